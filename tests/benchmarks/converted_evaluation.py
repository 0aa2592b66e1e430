"""The evaluation of a converted VGG-11 to T = 200: event-driven kernels against plain PyTorch; a part of ``pipeline``.

    python -m tests.benchmarks.pipeline --only conversion [--short] --json

VGG-11 at feature_scale 0.5 (with --short 0.25) with batch norms, trained for a few epochs on CIFAR-10 images and converted by
percentile, the image a constant current, max pools by the largest count, as the shipped conversions have them. Compared on the
same 32 images at T = 50 and 200: ``EventDrivenEvaluator.outputs``, and ``Network.simulate``, which plain PyTorch runs; both
give the outputs of every step. Drives are summed in other orders, so that a membrane potential may cross its threshold a step
later: at least nine of ten images must be given the same class at the end, which is checked.
Floor: a row of weights added for every spike. Acceptance: the kernels are faster, or the table of shipped studies says why they
are not used; it names the backend of every conversion that the shipped studies hold.
"""

import collections
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from studies.engine.definition.loading import load_study
from studies.engine.definition.locations import shipped_studies
from trainables import ann, converted_snn
from trainables.conversion.calibration_set import calibration_set
from trainables.data.datasets import Dataset, Splits, default_data_folder, prepare
from trainables.kernels.choice import evaluator_for
from trainables.kernels.cpu.evaluation import EventDrivenEvaluator
from trainables.networks.network import ConstantCurrent, Network
from trainables.networks.readout import Readout
from trainables.training.loop import Trainer, backend_request, splits_of

BATCH_SIZE = 32
SAME_CLASS = 0.9


def measure(clock: Callable[[], float], *, short: bool) -> dict[str, Any]:
    """How many times as fast the kernels are, the spike rates, and what the shipped studies' conversions run on."""
    dataset = prepare("cifar10", default_data_folder())
    recipe: dict[str, Any] = {"data": "cifar10", "num_train_images": 1024 if short else 4096, "epochs": 2 if short else 3}
    config = config_of(layout="vgg11", feature_scale=0.25 if short else 0.5, **recipe)
    network, splits = converted(config, dataset)
    results: dict[str, Any] = {}
    for time_steps in (50, 200):
        compared_ = compared(network, shown(splits, BATCH_SIZE), time_steps, clock, turns=1 if short else 3)
        results |= {f"T={time_steps}": compared_, f"converted_vs_torch_T{time_steps}": compared_["ratio"]}
        print(f"conversion: VGG-11, T={time_steps}", compared_, flush=True)
    average = config_of(layout="vgg11", feature_scale=0.25, pool="average", **recipe)
    results["average_pools"] = backend_of(average, dataset)
    print("conversion: VGG-11 with average pools:", results["average_pools"])
    results["shipped"] = backends_of_shipped_studies()
    for study, backends in results["shipped"].items():
        print(f"conversions of {study}:", backends, flush=True)
    return results


def config_of(**options: Any) -> converted_snn.Config:
    """A conversion that is measured."""
    return converted_snn.Config(
        batch_norm=True, balance="percentile", calibration_images=32, time_steps=8, batch_size=64, lr=2e-3, **options
    )


def converted(config: converted_snn.Config, dataset: Dataset) -> tuple[Network, Splits]:
    """A network that is trained and converted, and the images."""
    splits = splits_of(config, dataset, torch.device("cpu"))
    source = converted_snn.source_network(config)
    source_task = ann.task_of(source, dataset.image_shape, dataset.num_classes)
    analogue = source_task.build()
    source_task.prepare(analogue, splits)
    trainer = Trainer(source_task, source, analogue, splits)
    for epoch in range(1, source.epochs + 1):
        trainer.train_epoch(epoch)
    analogue.eval()
    network = converted_snn.task_of(config, dataset.image_shape, dataset.num_classes).build()
    calibration = calibration_set(splits, config.calibration_images, split_seed=0, encoding=config.encoding, seed=0)
    converted_snn.convert(analogue, network, config, calibration, config.input_shape(dataset.image_shape))
    network.eval()
    return network, splits


def shown(splits: Splits, num_images: int) -> Tensor:
    """The first validation images."""
    images_BCHW, *_ = splits.validation.batch(torch.arange(num_images))
    return splits.normalise(images_BCHW)


@torch.no_grad()
def compared(network: Network, images_BCHW: Tensor, time_steps: int, clock: Callable[[], float], turns: int) -> dict[str, Any]:
    """The seconds of both, torch's over the kernels', how many images have the same class, and the spike rates.

    Raises:
        ValueError: Too few images have the same class.
    """
    evaluator = EventDrivenEvaluator(network, (images_BCHW.shape[2], images_BCHW.shape[3]), time_steps)
    evaluator.warm_up()
    rates, readout = _Rates(), Readout(network)

    def by_kernels() -> Tensor:
        return readout.outputs(evaluator.drives(images_BCHW), time_steps)

    def by_torch(*observers: _Rates) -> Tensor:
        return torch.cat([*network.simulate(ConstantCurrent(images_BCHW), time_steps, observers)])

    classes = [outputs_TBK.sum(dim=0).argmax(dim=1) for outputs_TBK in (by_kernels(), by_torch(rates))]
    same = float((classes[0] == classes[1]).float().mean())
    if same < SAME_CLASS:
        raise ValueError(f"at least {SAME_CLASS:.0%} of the images must have the same class on both sides, but {same:.0%} have")
    sides: dict[str, Callable[[], Tensor]] = {"event_driven": by_kernels, "torch": by_torch}
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(turns):
        for name, run in sides.items():
            start = clock()
            run()
            taken[name].append(clock() - start)
    seconds = {name: statistics.median(times) for name, times in taken.items()}
    return {
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "ratio": round(seconds["torch"] / seconds["event_driven"], 2),
        "same_class": same,
        "spike_rates": {layer: round(rate, 3) for layer, rate in rates.means().items()},
    }


class _Rates:
    """Observes spike rates over all pieces of a simulation."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = collections.defaultdict(float)
        self._steps: dict[str, int] = collections.defaultdict(int)

    def inputs(self, layer: str, module: nn.Module, inputs_TBN: Tensor) -> None: ...

    def outputs(self, layer: str, outputs_TBN: Tensor) -> None:
        self._sums[layer] += float(outputs_TBN.sum(dim=0).mean())
        self._steps[layer] += len(outputs_TBN)

    def means(self) -> dict[str, float]:
        return {layer: total / self._steps[layer] for layer, total in self._sums.items()}


def backends_of_shipped_studies() -> dict[str, dict[str, int]]:
    """What evaluates the conversions of every shipped study, and how many of its cells."""
    found: dict[str, dict[str, int]] = {}
    for study in shipped_studies():
        backends = collections.Counter(_backends(study))
        if backends:
            found[study] = dict(backends)
    return found


def _backends(study: str) -> Iterator[str]:
    loaded = load_study(study)
    for cell in loaded.cells:
        configuration = loaded.binder.configuration(cell)
        if isinstance(configuration.config, converted_snn.Config):
            yield backend_of(configuration.config, configuration.dataset)


def backend_of(config: converted_snn.Config, dataset: Dataset) -> str:
    """What evaluates a conversion, and why it is torch where it is."""
    task = converted_snn.task_of(config, dataset.image_shape, dataset.num_classes)
    request = backend_request(task, config, config.input_shape(dataset.image_shape), task.eval_time_steps)
    return evaluator_for(task.build(), request)[1]
