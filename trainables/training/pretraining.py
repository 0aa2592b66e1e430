"""Trained source networks: what a trainable starts from when another one has to be trained first.

A source network is a replicate like any other, known by its identity and kept in a folder beside those of its children. The
first child that needs it trains it; the others find it, and verify its weights before using them.
"""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from torch import Tensor

from trainables.data.datasets import Dataset
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.configs import identity_of
from trainables.training.epoch_report import EpochReport
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
