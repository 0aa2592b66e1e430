"""What stands around the kernels: the data loader, the analogue networks' training step, the evaluation of converted networks.

    python -m tests.benchmarks.pipeline --json            all (ten minutes); data: digits, and CIFAR-10 as ``prepare`` finds it
    python -m tests.benchmarks.pipeline --short --json    fewer turns, narrower networks (a minute and a half)
    python -m tests.benchmarks.pipeline --only loader     or step, or conversion

*loader*: an epoch's batches are gathered, downscaled, augmented and normalised, as the trainer does it, without any training;
against ``Trainer.train_epoch`` of the fastest networks that are shipped, which does the same and trains. Batches are made between
steps and none in advance, so that a loader's share of an epoch is what the trainer waits. Every network is there with all parts
of augmentation, too. ``images_per_s_without_pixels`` is what
draws and calls alone allow: on a GPU, where images lie on it, all else is its own work.
Floor: every byte of an image read once. Acceptance: a share of at most 5 %.

*step*: ``Trainer.train_epoch`` of an analogue network against a plain PyTorch loop written by hand (``plain_epoch``): the same
modules in an ``nn.Sequential``, AdamW, one-cycle policy, batches, loss and accuracy, no augmentation. After an epoch of each the
weights must be equal to the last bit, which is checked first. Floor: the plain loop. Acceptance: at most 1.05 times as long,
for VGG-11 on CIFAR-10 images and for the digits' network of equal_recipe.

*conversion*: see ``converted_evaluation``.

Both sides are measured in one process in turns; a number is the median of the turns (a step's ratio that of the turns' ratios):
CPU time with one thread, wall clock with two.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.benchmarks import converted_evaluation
from trainables import ann, bitnet
from trainables.data.augmentation import training_batch
from trainables.data.datasets import Dataset, Splits, default_data_folder, prepare
from trainables.data.encodings import inputs_of
from trainables.data.randomness import generator_for
from trainables.networks.network import Network
from trainables.networks.precision import FEWEST_PIXELS
from trainables.training.loop import Trainer, batch_sizes, splits_of
from trainables.training.recipe import Recipe
from trainables.training.task import Task

DIGITS: Mapping[str, Any] = {"data": "digits", "validation_fraction": 0.25, "batch_size": 32, "epochs": 10_000}
CIFAR10: Mapping[str, Any] = {"data": "cifar10", "num_train_images": 640, "batch_size": 64, "epochs": 10_000}
AUGMENTED: Mapping[str, Any] = {**CIFAR10, "flip": True, "crop_padding": 4}
SIX_LAYERS = "64 64 M 128 M 256 512 M"
LOADED: Mapping[str, Any] = {
    "quickstart's BITnet, digits": bitnet.Config(**DIGITS, layout=SIX_LAYERS, feature_scale=0.125, time_steps=8),
    "equal_recipe's ANN, digits": ann.Config(**DIGITS, layout=SIX_LAYERS, feature_scale=0.125),
    "converted_digits' ANN, digits": ann.Config(**DIGITS, layout="16 16 M 32 M 64 M", batch_norm=True),
    "bitnet_cifar10's BITnet, CIFAR-10 at 16x16": bitnet.Config(
        **{**CIFAR10, "flip": True, "image_downscale": 2}, layout=SIX_LAYERS, feature_scale=0.0625, time_steps=4
    ),
    "BITnet6's ANN at 0.125, CIFAR-10": ann.Config(**AUGMENTED, layout=SIX_LAYERS, feature_scale=0.125),
    "VGG-11 ANN at 0.125, CIFAR-10": ann.Config(**AUGMENTED, layout="vgg11", feature_scale=0.125),
}
EVERYTHING: Mapping[str, Any] = {
    "flip": "alternating",
    "crop_padding": 2,
    "crop_padding_mode": "reflect",
    "rotation": 15.0,
    "trivial_augment": True,
    "cutout": 4,
    "random_erasing": 0.25,
    "mixup": 0.2,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
}
STEPPED: Mapping[str, ann.Config] = {
    "vgg11": ann.Config(**CIFAR10, layout="vgg11", feature_scale=0.125),
    "digits": ann.Config(**DIGITS, layout=SIX_LAYERS, feature_scale=0.125),
}
MOST_WAITING, MOST_STEP = 0.05, 1.05
PARTS = ("loader", "step", "conversion")
Epoch = Callable[[int], object]


def main() -> None:
    """Measure, print tables, and with ``--json`` one last line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer turns and narrower networks, one thread alone")
    parser.add_argument("--json", action="store_true", help="end with a line of JSON")
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    for num_threads in (1,) if arguments.short else (1, 2):
        torch.set_num_threads(num_threads)
        results[f"threads={num_threads}"] = measure(arguments.only, num_threads, short=arguments.short)
    one = results["threads=1"]
    results |= {key: value for part in one.values() for key, value in part.items() if not isinstance(value, dict)}
    if arguments.json:
        print(json.dumps(results))


def measure(only: str | None, num_threads: int, *, short: bool) -> dict[str, dict[str, Any]]:
    """The parts, or one of them."""
    clock = time.process_time if num_threads == 1 else time.perf_counter
    results = {}
    if only in (None, "loader"):
        augmented = {f"{name}, all augmentation": replace(config, **EVERYTHING) for name, config in LOADED.items()}
        results["loader"] = loader({**LOADED, **augmented}, clock, turns=5 if short else 11)
    if only in (None, "step"):
        results["step"] = step(STEPPED, clock, turns=21 if short else 81)
    if only in (None, "conversion"):
        results["conversion"] = converted_evaluation.measure(clock, short=short)
    return results


@dataclass(frozen=True)
class Trained:
    """A network in training."""

    task: Task
    recipe: Recipe
    splits: Splits
    network: Network
    trainer: Trainer


def trained(config: Any, dataset: Dataset | None = None) -> Trained:
    """The network of a config, as ``fit`` begins with it."""
    dataset = dataset or prepare(config.data, default_data_folder())
    splits = splits_of(config, dataset, torch.device("cpu"))
    trainable = bitnet if isinstance(config, bitnet.Config) else ann
    task = trainable.task_of(config, dataset.image_shape, dataset.num_classes)
    network = task.build()
    task.prepare(network, splits)
    return Trained(task, config, splits, network, Trainer(task, config, network, splits))


def random_images(config: Recipe, side: int, channels: int, num_images: int = 300) -> Dataset:
    """A data set in the place of a config's own."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2, num_images, side, side, channels), dtype=np.uint8)
    labels = random.integers(0, 10, (2, num_images))
    return Dataset(config.data, "random", 10, images[0], labels[0], images[1], labels[1])


def loader(configs: Mapping[str, Any], clock: Callable[[], float], turns: int) -> dict[str, Any]:
    """Images per second of loader and trainer, by network."""
    results: dict[str, Any] = {name: loaded(trained(config), clock, turns) for name, config in configs.items()}
    for name, result in results.items():
        print(f"loader: {name}", result, flush=True)
    results["largest_share_of_waiting"] = max(result["share"] for result in results.values())
    print(f"largest share of an epoch that is waiting: {results['largest_share_of_waiting']} (at most {MOST_WAITING})")
    return results


def loaded(it: Trained, clock: Callable[[], float], turns: int) -> dict[str, Any]:
    """Images per second of one network's loader, and of its trainer, and the loader's share."""
    without_pixels = replace(
        it.splits, train=replace(it.splits.train, images=it.splits.train.images[:, :3, :3].contiguous(), image_downscale=1)
    )
    without_pixels = replace(without_pixels, mean=it.splits.mean[:, :3, :3])
    epochs: dict[str, Epoch] = {
        "loader": lambda epoch: load_epoch(it.task, it.recipe, it.splits, epoch),
        "trainer": it.trainer.train_epoch,
        "without pixels": lambda epoch: load_epoch(it.task, it.recipe, without_pixels, epoch),
    }
    seconds = {name: statistics.median(times) for name, times in timed(epochs, clock, turns).items()}
    num_images = len(it.splits.train)
    rates = {name: round(num_images / taken) for name, taken in seconds.items()}
    return {
        "loader_images_per_s": rates["loader"],
        "trainer_images_per_s": rates["trainer"],
        "images_per_s_without_pixels": rates["without pixels"],
        "ratio": round(seconds["trainer"] / seconds["loader"], 1),
        "share": round(seconds["loader"] / seconds["trainer"], 4),
    }


def load_epoch(task: Task, recipe: Recipe, splits: Splits, epoch: int) -> None:
    """What ``Trainer`` does in an epoch before it runs its network."""
    train = splits.train
    order = torch.randperm(len(train), generator=generator_for(task.seed, "shuffle", epoch))
    augmentation = recipe.augmentation()
    for batch, positions in enumerate(torch.split(order, batch_sizes(train, recipe))):
        images_BCHW, _, indices_B = training_batch(
            splits, positions, augmentation, task.encoding, seed=task.seed, epoch=epoch, batch=batch
        )
        inputs_of(task.encoding, images_BCHW, indices_B, task.seed, "train", epoch)(0, 1)


def step(configs: Mapping[str, ann.Config], clock: Callable[[], float], turns: int) -> dict[str, Any]:
    """How many times as long as the plain loop's an epoch of the trainer takes, by network."""
    results: dict[str, Any] = {}
    for name, config in configs.items():
        stepped_ = stepped(trained(config), clock, turns)
        results |= {name: stepped_, f"ann_step_vs_torch_{name}": stepped_["ratio"]}
        print(f"step: {name}", stepped_, f"(ratio at most {MOST_STEP})", flush=True)
    return results


def stepped(it: Trained, clock: Callable[[], float], turns: int) -> dict[str, Any]:
    """Milliseconds per training step of the trainer and of the plain loop, and their ratio.

    Raises:
        ValueError: They do not learn the same.
    """
    plain = plain_epoch(it)
    it.trainer.train_epoch(1)
    weights = plain(1)
    if not all(torch.equal(ours, theirs) for ours, theirs in zip(it.network.parameters(), weights, strict=True)):
        raise ValueError("trainer and plain loop must learn the same weights, and they differ after an epoch")
    times = timed({"trainer": it.trainer.train_epoch, "plain": plain}, clock, turns)
    num_steps = len(batch_sizes(it.splits.train, it.recipe))
    ratios = sorted(ours / theirs for ours, theirs in zip(times["trainer"], times["plain"], strict=True))
    return {
        "ms_per_step": {name: round(1e3 * statistics.median(taken) / num_steps, 3) for name, taken in times.items()},
        "ratio": round(statistics.median(ratios), 3),
        "quartiles": [round(ratios[len(ratios) // 4], 3), round(ratios[3 * len(ratios) // 4], 3)],
    }


def plain_epoch(it: Trained) -> Callable[[int], list[nn.Parameter]]:
    """A training loop as one writes it by hand, of the same network from the same weights."""
    recipe, train, mean, std = it.recipe, it.splits.train, it.splits.mean, it.splits.std
    images_NHWC, labels_N = train.images[train.indices], train.labels[train.indices]
    parts = [
        it.network.parts[operation.name] if operation.kind == "module" else nn.Flatten() for operation in it.network.operations
    ]
    model = nn.Sequential(*copy.deepcopy(parts))
    # fused, as ours: what is not fused rounds otherwise
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    num_batches = len(batch_sizes(train, recipe))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.lr, total_steps=recipe.epochs * num_batches)

    def run(epoch: int) -> list[nn.Parameter]:
        model.train()
        order = torch.randperm(len(labels_N), generator=generator_for(it.task.seed, "shuffle", epoch))
        total_loss, num_correct = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
        for which in torch.split(order, batch_sizes(train, recipe)):
            labels_B = labels_N[which]
            optimizer.zero_grad()
            images_BCHW = _normalised(images_NHWC[which], mean, std)
            if images_BCHW[0, 0].numel() >= FEWEST_PIXELS:  # the faster way to write it
                images_BCHW = images_BCHW.contiguous(memory_format=torch.channels_last)
            logits_BK = model(images_BCHW)
            loss = functional.cross_entropy(logits_BK, labels_B)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total_loss += loss.detach() * len(labels_B)
            num_correct += (logits_BK.detach().argmax(dim=1) == labels_B).sum()
        float(total_loss), int(num_correct)
        return list(model.parameters())

    return run


def _normalised(images_BHWC: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    pixels_BCHW = images_BHWC.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    return (pixels_BCHW / 255 - mean) / std


def timed(epochs: Mapping[str, Epoch], clock: Callable[[], float], turns: int) -> dict[str, list[float]]:
    """The seconds of every turn of each, who begins changing from turn to turn."""
    taken: dict[str, list[float]] = {name: [] for name in epochs}
    for turn in range(turns + 1):
        names = list(epochs)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = clock()
            epochs[name](turn + 2)
            if turn:  # the first warms up
                taken[name].append(clock() - start)
    return taken


if __name__ == "__main__":
    main()
