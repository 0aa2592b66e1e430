"""The training loop: epochs of a spiking network on one data set, one report each, resumable after any of them."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.networks.spiking_network import Observer, SpikingNetwork
from trainables.spiking.activity import ActivityMeter
from trainables.training.checkpoints import CheckpointFolder, trained_once
from trainables.training.data import Dataset, Split, Splits, augment, split
from trainables.training.randomness import generator_for
from trainables.training.recipe import Recipe
from trainables.training.reports import Report, TrainingError

EVALUATION_BATCH_SIZE = 64

Loss = Callable[[Tensor, Tensor], Tensor]


def resolve_device(name: str) -> torch.device:
    """The torch device for a config's ``device``."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def fit(
    build: Callable[[], SpikingNetwork],
    loss: Loss,
    recipe: Recipe,
    *,
    seed: int,
    dataset: Dataset,
    checkpoint_folder: Path | None,
    keep_weights: bool = False,
) -> Iterator[Report]:
    """Train what ``build`` makes and yield a report after every epoch.

    With a ``checkpoint_folder``, every epoch is on disk before it is reported. A later call with the same arguments repeats
    the reports found there and goes on after them, to the same bits on the same CPU; a finished replicate is only repeated.
    While one process trains, others with the same folder wait. ``keep_weights`` keeps the last weights there too.

    Raises:
        TrainingError: A weight or a metric is not finite.
    """

    def train(folder: CheckpointFolder | None) -> Iterator[Report]:
        return _fit(build, loss, recipe, seed=seed, dataset=dataset, folder=folder, keep_weights=keep_weights)

    return trained_once(checkpoint_folder, train)


def _fit(
    build: Callable[[], SpikingNetwork],
    loss: Loss,
    recipe: Recipe,
    *,
    seed: int,
    dataset: Dataset,
    folder: CheckpointFolder | None,
    keep_weights: bool,
) -> Iterator[Report]:
    device = resolve_device(recipe.device)
    splits = split(
        dataset,
        validation_fraction=recipe.validation_fraction,
        split_seed=recipe.split_seed,
        num_train_images=recipe.num_train_images,
        image_downscale=recipe.image_downscale,
        device=device,
    )
    network = build()
    network.initialise(generator_for(seed, "weights"))
    network.to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=recipe.lr, total_steps=recipe.epochs * -(-len(splits.train) // recipe.batch_size)
    )
    stateful: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule}

    reports: list[Report] = []
    if folder and (checkpoint := folder.load()):
        state, reports = checkpoint
        for name, part in stateful.items():
            part.load_state_dict(state[name])
        yield from reports

    for epoch in range(len(reports) + 1, recipe.epochs + 1):
        train_metrics = _train_epoch(network, loss, optimizer, schedule, splits, recipe, seed=seed, epoch=epoch)
        if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
            # spikes are finite whatever the weights are, so that no loss would ever show it
            raise TrainingError(f"epoch {epoch}: the weights are no longer finite numbers; a lower lr may help")
        meter = ActivityMeter()
        accuracy_at_t = evaluate(network, splits, splits.validation, observe=meter)
        final = epoch == recipe.epochs
        test_accuracy_at_t = evaluate(network, splits, splits.test) if final else []
        metrics = {**train_metrics, "val/accuracy": accuracy_at_t[-1], **meter.metrics()}
        if final:
            metrics["test/accuracy"] = test_accuracy_at_t[-1]
        curves = {"accuracy_at_t": accuracy_at_t} | ({"test/accuracy_at_t": test_accuracy_at_t} if final else {})
        report = Report(epoch, time.time_ns() // 1_000_000, metrics, curves, recipe.epochs)
        reports.append(report)
        if folder and final:
            folder.finish(reports, network.state_dict() if keep_weights else None)
        elif folder:
            folder.save({name: part.state_dict() for name, part in stateful.items()}, reports)
        yield report


def _train_epoch(
    network: SpikingNetwork,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    splits: Splits,
    recipe: Recipe,
    *,
    seed: int,
    epoch: int,
) -> dict[str, float]:
    network.train()
    train = splits.train
    device = train.labels.device
    order = torch.randperm(len(train), generator=generator_for(seed, "shuffle", epoch)).to(device)
    total_loss = torch.zeros((), dtype=torch.float64, device=device)
    num_correct = torch.zeros((), dtype=torch.int64, device=device)
    start = time.perf_counter()
    for batch, positions in enumerate(torch.split(order, recipe.batch_size)):
        images_BCHW, labels_B = train.batch(positions)
        images_BCHW = augment(
            images_BCHW, flip=recipe.flip, crop_padding=recipe.crop_padding, seed=seed, epoch=epoch, batch=batch
        )
        spikes_TBK = network(splits.normalise(images_BCHW))
        batch_loss = loss(spikes_TBK, labels_B)
        optimizer.zero_grad(set_to_none=True)
        batch_loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        total_loss += batch_loss.detach() * len(labels_B)
        num_correct += (spikes_TBK.detach().sum(dim=0).argmax(dim=1) == labels_B).sum()
    metrics = {"train/loss": float(total_loss) / len(train), "train/accuracy": float(num_correct) / len(train)}
    duration_s = time.perf_counter() - start  # after float(), which waits for a GPU
    return {**metrics, "time/images_per_s": len(train) / duration_s}


@torch.no_grad()
def evaluate(network: SpikingNetwork, splits: Splits, part: Split, *, observe: Observer | None = None) -> list[float]:
    """Accuracy of the spike counts up to step t, for t = 1 … T, from one pass; equal counts go to the lower class index."""
    network.eval()
    correct_T: Tensor | int = 0
    for images_BCHW, labels_B in part.batches(EVALUATION_BATCH_SIZE):
        counts_TBK = network(splits.normalise(images_BCHW), observe=observe).cumsum(dim=0)
        correct_T = correct_T + (counts_TBK.argmax(dim=2) == labels_B).sum(dim=1)
    return [int(correct) / len(part) for correct in torch.as_tensor(correct_T)]
