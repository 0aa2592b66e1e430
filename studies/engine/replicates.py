"""One replicate: a cell with a seed, and the identity under which it is trained once and never again."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from search_spaces.language.designs import Cell
from studies.run_record import levels_in_words
from trainables.training.configs import identity_of
from trainables.training.data import Dataset
from trainables.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Replicate:
    """What a worker needs to train it and a record needs to name it; plain data."""

    identity: str
    trainable: str
    cell: Cell
    seed: int
    config: dict[str, Any]
    """Every field of the trainable's config."""
    dataset: str
    data_digest: str
    num_parameters: int

    @property
    def title(self) -> str:
        """What a person calls it, e.g. ``time_steps=8 feature_scale=0.5 layout=64 M 128 · seed 3``."""
        return f"{levels_in_words(self.cell)} · seed {self.seed}"


def make_replicate(trainable: str, cell: Cell, config: Recipe, seed: int, dataset: Dataset, num_parameters: int) -> Replicate:
    """A replicate with its identity (see ``trainables.training.configs.identity_of``)."""
    return Replicate(
        identity=identity_of(trainable, config, data_digest=dataset.digest, seed=seed),
        trainable=trainable,
        cell=cell,
        seed=seed,
        config=dataclasses.asdict(config),
        dataset=dataset.name,
        data_digest=dataset.digest,
        num_parameters=num_parameters,
    )
