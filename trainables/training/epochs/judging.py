"""How a network is shown images, and how it is judged after an epoch."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trainables.data.datasets import Split, Splits
from trainables.data.encodings import Encoding, inputs_of, normalised
from trainables.data.normalisation import Normalisation
from trainables.data.randomness import generator_for
from trainables.kernels.choice import evaluator_for
from trainables.kernels.interface import BackendRequest, Evaluating
from trainables.networks.network import Inputs, Network
from trainables.networks.precision import simulate_torch
from trainables.networks.readout import Readout, Tally
from trainables.networks.rewriting import folded, refresh_folded
from trainables.spiking.costs import OperationCounter, footprint_bytes
from trainables.training.epoch_report import steps_to_within
from trainables.training.epochs.correct_images import packed
from trainables.training.task import Task

EVALUATION_BATCH_SIZE = 64
ONE_POINT = 0.01
TEST_ACCURACY = "test/accuracy"


def size_of_parts(batch_size: int, num_micro_batches: int) -> int:
    """How many images are run at once where no gradient adds up over a batch."""
    return math.ceil(batch_size / num_micro_batches)


def encode(encoding: Encoding, normalisation: Normalisation, images_BCHW: Tensor, indices_B: Tensor, *names: int | str) -> Inputs:
    """What a network is shown for uint8 images ``[B, C, H, W]``; indices and ``names`` tell random draws apart."""
    return inputs_of(encoding, normalised(encoding, normalisation, images_BCHW), indices_B, *names)


def some_training_inputs(splits: Splits, num_images: int, *names: int | str, num_micro_batches: int) -> Iterator[Inputs]:
    """Training images that ``names`` choose (all, if there are fewer), in batches; the same input at every time step."""
    return (inputs for inputs, _ in some_training_batches(splits, num_images, *names, num_micro_batches=num_micro_batches))


def some_training_batches(
    splits: Splits, num_images: int, *names: int | str, num_micro_batches: int
) -> Iterator[tuple[Inputs, Tensor]]:
    """The same with their labels ``[B]``."""
    train = splits.train
    positions = torch.randperm(len(train), generator=generator_for(*names))[:num_images].to(train.indices.device)
    for some in torch.split(positions, size_of_parts(EVALUATION_BATCH_SIZE, num_micro_batches)):
        images_BCHW, labels_B, indices_B = train.batch(some)
        yield encode("constant", splits, images_BCHW, indices_B), labels_B


@dataclass(frozen=True)
class Judgement:
    """Metrics and curves for the report of an epoch, and which images were judged right, by the name of their part."""

    metrics: dict[str, float]
    curves: dict[str, list[float]]
    correct: dict[str, str] = field(default_factory=dict)

    def __or__(self, other: "Judgement") -> "Judgement":
        return Judgement(self.metrics | other.metrics, self.curves | other.curves, self.correct | other.correct)


NOTHING_JUDGED = Judgement({}, {})
VALIDATION, TEST = "validation", "test"


class Judge:
    """Judges a network as it is at the moment, by the fastest code that runs it, which ``backend`` says.

    Args:
        task: How the network is evaluated.
        network: Any weights that it gets later are judged too.
        splits: The images.
        request: How the network is run.
    """

    def __init__(self, task: Task, network: Network, splits: Splits, request: BackendRequest) -> None:
        self._task, self._network, self._splits = task, network, splits
        self._judged = folded(network)
        self._evaluator, self.backend = evaluator_for(self._judged, request)

    def on_validation(self) -> Judgement:
        """What is measured on the validation images."""
        counter, network = OperationCounter(), self._up_to_date()
        validated = self._evaluate(network, self._splits.validation, VALIDATION, counter)
        accuracy_at_t = validated.accuracy_at_t
        metrics = {
            "val/accuracy": accuracy_at_t[-1],
            **counter.metrics(),
            "footprint_bytes": float(footprint_bytes(network)),
        }
        curves = {"accuracy_at_t": accuracy_at_t, **counter.curves()}
        if validated.ties_at_t is not None:
            metrics["val/ties"], curves["ties_at_t"] = validated.ties_at_t[-1], validated.ties_at_t
        if self._task.eval_time_steps > 1:
            metrics["val/steps_to_within_one_point"] = float(steps_to_within(accuracy_at_t, ONE_POINT))
            metrics["val/mean_accuracy_over_t"] = sum(accuracy_at_t) / len(accuracy_at_t)
        return Judgement(metrics, curves, {VALIDATION: packed(validated.correct_N, self._splits.validation.indices)})

    def on_test(self) -> Judgement:
        """What is measured on the test images."""
        tested = self._evaluate(self._up_to_date(), self._splits.test, TEST)
        accuracy_at_t = tested.accuracy_at_t
        correct = {TEST: packed(tested.correct_N, self._splits.test.indices)}
        return Judgement({TEST_ACCURACY: accuracy_at_t[-1]}, {"test/accuracy_at_t": accuracy_at_t}, correct)

    def _up_to_date(self) -> Network:
        refresh_folded(self._judged, self._network)
        return self._judged

    def _evaluate(self, network: Network, part: Split, purpose: str, counter: OperationCounter | None = None) -> "Evaluation":
        options: dict[str, Any] = {"purpose": purpose, "counter": counter, "evaluator": self._evaluator}
        return evaluate(self._task, network, self._splits, part, **options)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation finds up to every time step, as fractions of the images.

    Attributes:
        accuracy_at_t: Images whose class is right.
        ties_at_t: Images whose largest spike count several classes have; None where there are no output neurons.
        correct_N: Whether each image's class is right after all time steps.
    """

    accuracy_at_t: list[float]
    ties_at_t: list[float] | None
    correct_N: Tensor


@torch.no_grad()
def evaluate(
    task: Task,
    network: Network,
    splits: Splits,
    part: Split,
    *,
    purpose: str,
    counter: OperationCounter | None = None,
    evaluator: Evaluating | None = None,
) -> Evaluation:
    """Judge the outputs summed up to step t, for t = 1 … eval_time_steps, in one pass.

    ``evaluator`` runs the network, or plain torch if it is None. ``task.ties`` says to which class equal spike counts go.
    """
    network.eval()
    readout = Readout(network, task.ties)
    correct_T, tied_T = [0] * task.eval_time_steps, [0] * task.eval_time_steps
    correct_BN: list[Tensor] = []
    for images_BCHW, labels_B, indices_B in part.batches(size_of_parts(EVALUATION_BATCH_SIZE, task.num_micro_batches)):
        if counter:
            counter.next_batch(len(labels_B))
        inputs = encode(task.encoding, splits, images_BCHW, indices_B, task.seed, purpose)
        tally, t = Tally(readout), 0
        pieces: Iterable[Tensor]
        if evaluator:
            pieces = [evaluator.drives(inputs(0, 1)[0], counter).float()]
        else:
            pieces = simulate_torch(
                network,
                inputs,
                task.eval_time_steps,
                [counter] if counter else (),
                readout.until,
                precision=task.precision,
                num_micro_batches=task.num_micro_batches,
            )
        right_B = torch.zeros_like(labels_B, dtype=torch.bool)
        for drive_TBK in pieces:
            steps = tally.add(drive_TBK)
            if counter and readout.neuron:
                counter.outputs(readout.layer, steps.outputs_TBK)
            right_TB = steps.classes_TB == labels_B
            _add_up(correct_T, t, right_TB)
            if steps.tied_TB is not None:
                _add_up(tied_T, t, steps.tied_TB)
            t += len(drive_TBK)
            right_B = right_TB[-1]
        correct_BN.append(right_B)
    accuracy_at_t, ties_at_t = ([number / len(part) for number in numbers] for numbers in (correct_T, tied_T))
    return Evaluation(accuracy_at_t, ties_at_t if readout.neuron else None, torch.cat(correct_BN))


def _add_up(numbers_T: list[int], start: int, which_TB: Tensor) -> None:
    for t, number in enumerate(which_TB.sum(dim=1).tolist(), start=start):
        numbers_T[t] += number
