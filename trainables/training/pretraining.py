"""Trained source networks: what a trainable starts from when another one has to be trained first.

A source network is a replicate like any other, known by its identity and kept in a folder beside those of its children. The
first child that needs it trains it; the others find it, and verify its weights before using them.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.data.datasets import Dataset
from trainables.data.label_mixing import shares_of_classes
from trainables.networks.network import SYNAPSES, Inputs, Network
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.configs import identity_of
from trainables.training.epoch_report import EpochReport
from trainables.training.epochs.time_budget import EPOCHS
from trainables.training.files import Location, beside
from trainables.training.recipe import Recipe

Train = Callable[..., Iterator[EpochReport]]
"""A trainable's ``train``, of a trainable that keeps its weights."""


def trained_source_network(
    train: Train,
    config: Recipe,
    *,
    trainable: str,
    seed: int,
    dataset: Dataset,
    checkpoint_folder: Location | None,
    num_micro_batches: int = 1,
) -> tuple[dict[str, Tensor], list[EpochReport]]:
    """The weights and reports of a source network, which is trained now unless it is there already.

    ``train``, ``config`` and ``trainable`` are the source network's, ``checkpoint_folder`` is the child's: the source
    network's lies beside it. Without one, the source network is trained for this child alone. ``num_micro_batches`` is for
    both (see ``Task``).

    Raises:
        TrainingError: The source network cannot be trained.
    """
    identity = identity_of(trainable, config, data_digest=dataset.digest, seed=seed)
    with ExitStack() as stack:
        child = checkpoint_folder or Path(stack.enter_context(tempfile.TemporaryDirectory()), "child")
        folder = beside(child, identity)
        options = {"checkpoint_folder": folder, "num_micro_batches": num_micro_batches}
        reports = list(train(config, seed=seed, dataset=dataset, **options))
        return CheckpointFolder(folder).weights(), reports


def facts_of_source(config: Recipe, reports: Sequence[EpochReport]) -> dict[str, str]:
    """What a child's reports say of its source network: the arithmetic of bfloat16, and the length of a training for seconds."""
    last = reports[-1]
    facts = {} if config.precision == "float32" else {"parent_precision": last.run_facts["precision"]}
    if config.time_budget_s is not None:
        facts |= {"parent_time_budget": last.run_facts["time_budget"], "parent_epochs": f"{last.metrics[EPOCHS]:.4g}"}
    return facts


@torch.no_grad()
def fit_output_to_labels(
    network: Network,
    batches: Iterable[tuple[Inputs, Tensor]],
    time_steps: int,
    *,
    label_smoothing: float = 0.0,
    num_micro_batches: int = 1,
) -> None:
    """Scale and shift the output layer, o' = a·o + c, so that mean drives are as near to the labels' targets as they can be.

    An analogue network's outputs are logits, far from 0 and 1: a squared error would unlearn what it knows before it has shrunk
    them. a and c are two numbers of least squares; with a > 0 no answer changes.

    Args:
        network: Whose output layer has no neurons.
        batches: Inputs with their labels, ``[B]``.
        time_steps: T.
        label_smoothing: Of the targets, see ``shares_of_classes``.
        num_micro_batches: Into how many parts a batch is cut that does not fit into memory whole.
    """
    outputs, targets = [], []
    was_training = network.training
    network.eval()
    for inputs, labels_B in batches:
        drives_BK = torch.cat(list(network.simulate(inputs, time_steps, num_micro_batches=num_micro_batches))).mean(dim=0)
        outputs.append(drives_BK.double())
        targets.append(shares_of_classes(labels_B, drives_BK.shape[1], label_smoothing).double())
    network.train(was_training)
    output, target = torch.cat(outputs), torch.cat(targets)
    centred = output - output.mean()
    scale = (centred * target).sum() / centred.square().sum()
    if not scale > 0:  # nothing was learnt that is worth keeping, or all outputs are equal
        return
    layer = network.parts[network.operations_of(*SYNAPSES)[-1].name]
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    assert layer.bias is not None
    layer.weight.mul_(scale)
    layer.bias.mul_(scale).add_(target.mean() - scale * output.mean())
