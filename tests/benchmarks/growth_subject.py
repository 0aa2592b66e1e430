"""What ``cost_growth`` measures: a BITnet6 whose layers spike at known rates, its steps, ours and torch's, and its work."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.benchmarks.spike_rates import set_rates
from tests.benchmarks.training_step import CLASSES
from tests.benchmarks.training_step import images as digits
from trainables import bitnet
from trainables.kernels.choice import evaluator_for, trainer_for
from trainables.kernels.cpu.compiled.arrays import lanes_of, num_lane_groups
from trainables.kernels.interface import Backend, BackendRequest, Training
from trainables.networks.layered import initialise_spiking, synaptic_modules
from trainables.networks.network import ConstantCurrent, Network
from trainables.networks.precision import forward_torch
from trainables.networks.readout import Readout
from trainables.spiking.costs import OperationCounter
from trainables.training.losses import mse_of_rates

Step = Callable[[], object]
CALIBRATION_IMAGES = 8


@dataclass(frozen=True)
class Point:
    """Where a time is measured; the defaults are the baseline."""

    time_steps: int = 16
    feature_scale: float = 0.5
    side: int = 32
    batch_size: int = 16
    num_threads: int = 1


@dataclass(frozen=True)
class Subject:
    """A network with images ``[B, 3, side, side]`` and labels.

    Attributes:
        num_neurons: For one image.
        num_words: Of 32 channels' bits each, for one image and time step.
        open_share: Of all drives, those within (0, 1), which gradients go through.
    """

    point: Point
    network: Network
    images_BCHW: Tensor
    labels_B: Tensor
    num_neurons: int
    num_words: int
    open_share: float


def subject_of(point: Point) -> Subject:
    """Drawn weights, biases by ``RATES``, digits enlarged to the side."""
    pixels, labels_B = digits(None)
    images_BCHW = functional.interpolate(pixels[: point.batch_size], size=(point.side, point.side), mode="bilinear")
    config = bitnet.Config(layout="bitnet", feature_scale=point.feature_scale, **bitnet.PUBLISHED)
    network = bitnet.build(config, (point.side, point.side, 3), CLASSES)
    initialise_spiking(network, torch.Generator().manual_seed(0))
    drives = set_rates(network, images_BCHW[:CALIBRATION_IMAGES], point.time_steps)
    num_neurons = [channels * num_places for channels, num_places, _ in drives]
    num_open = sum(num * share for num, (_, _, share) in zip(num_neurons, drives, strict=True))
    return Subject(
        point,
        network,
        images_BCHW,
        labels_B[: point.batch_size],
        num_neurons=sum(num_neurons),
        num_words=sum(num_lane_groups(channels) * num_places for channels, num_places, _ in drives),
        open_share=num_open / sum(num_neurons),
    )


def work_of(subject: Subject) -> dict[str, float]:
    """What a forward pass has to do for an image, and what is known of it.

    ``additions`` of weights to drives, ``places`` of rows that are added (rows have 16 or 32 places a block, whether channels
    fill them or not), ``dense_macs`` of a network without spikes that sees an image once and all else T times, ``first_macs``
    of its first layer, ``neurons``, ``words`` of bits a time step, ``weights``, and the mean ``spike_rate``.
    """
    network, counter = subject.network, OperationCounter()
    evaluator, _ = evaluator_for(network, backend_request(subject.point, "auto"))
    counter.next_batch(len(subject.images_BCHW))
    if evaluator:
        readout, time_steps = Readout(network), subject.point.time_steps
        outputs_TBK = readout.outputs(evaluator.drives(subject.images_BCHW, counter), time_steps)
        counter.outputs(readout.layer, outputs_TBK)
    else:
        torch_outputs(subject, counter)
    metrics, places = counter.metrics(), 0.0
    for operation, module in zip(network.operations_of(nn.Conv2d, nn.Linear), synaptic_modules(network), strict=True):
        channels = module.weight.shape[0]
        places += (
            metrics[f"effective_acs/{network.layers[operation.name]}"] * num_lane_groups(channels) * lanes_of(channels) / channels
        )
    return {
        "additions": metrics["ops/effective_acs"],
        "places": places,
        "dense_macs": metrics["ops/dense_operations"],
        "first_macs": metrics["ops/effective_macs"],
        "neurons": float(subject.num_neurons),
        "words": float(subject.num_words),
        "weights": float(sum(module.weight.numel() for module in synaptic_modules(network))),
        "spike_rate": metrics["spike_rate/overall"],
        "open_share": subject.open_share,
    }


def backend_request(point: Point, wanted: Backend) -> BackendRequest:
    """What the trainer asks a backend for."""
    return BackendRequest(wanted=wanted, input_map=(point.side, point.side), time_steps=point.time_steps, constant_input=True)


def steps_of(subject: Subject) -> tuple[dict[str, Step], str]:
    """Training steps without the optimiser and inference, ours and torch's, by name; and the name of our backend."""
    network, images_BCHW = subject.network, subject.images_BCHW
    made: dict[str, Step] = {}
    request = backend_request(subject.point, "auto")
    for name, groups in (("exact", None), ("collapsed", 1)):
        training, backend = trainer_for(network, request, groups, observed_by=None)
        if training is None:
            raise RuntimeError(f"the default backend must be a fast one, but it is {backend}")
        made[f"ours {name}"] = partial(_kernel_step, subject, training, groups)
        made[f"torch {name}"] = partial(_torch_step, subject, groups)
    evaluating, backend = evaluator_for(network, request)
    assert evaluating
    readout, time_steps = Readout(network), subject.point.time_steps
    made["ours inference"] = lambda: readout.classes(evaluating.drives(images_BCHW), time_steps)
    made["torch inference"] = lambda: torch_outputs(subject)
    return made, backend


def _kernel_step(subject: Subject, trainer: Training, groups: int | None) -> None:
    subject.network.zero_grad(set_to_none=True)
    readout = Readout(subject.network)
    trainer.gradients(
        subject.images_BCHW,
        lambda drive_TBK: readout.outputs(drive_TBK, subject.point.time_steps, groups),
        lambda outputs_TBK, which: mse_of_rates(outputs_TBK, subject.labels_B[which]),
    )


def _torch_step(subject: Subject, groups: int | None) -> None:
    """As the trainer does it without kernels."""
    subject.network.zero_grad(set_to_none=True)
    outputs_TBK = forward_torch(subject.network, subject.images_BCHW[None], subject.point.time_steps, groups)
    mse_of_rates(outputs_TBK, subject.labels_B).backward()  # type: ignore[no-untyped-call]


@torch.no_grad()
def torch_outputs(subject: Subject, counter: OperationCounter | None = None) -> Tensor:
    """As the trainer evaluates without kernels, in pieces of time."""
    pieces: Iterator[Tensor] = subject.network.simulate(
        ConstantCurrent(subject.images_BCHW), subject.point.time_steps, [counter] if counter else ()
    )
    return torch.cat(list(pieces))
