"""One replicate: a cell with a seed, and the identity under which it is trained once and never again."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from search_spaces.language.space import Cell
from studies.engine.binding.trainable_modules import trainable_of
from studies.run_record import Role, cell_in_short, levels_in_words
from trainables.data.datasets import Dataset
from trainables.training.configs import identity_of
from trainables.training.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Parent:
    """What has to be trained before a replicate: a replicate of another trainable, that no study has to ask for."""

    identity: str
    trainable: str
    recipe: Recipe
    seed: int
    data_digest: str
    title: str
    """What a person calls it, e.g. ``parent ann 64 M 128 · seed 3``."""

    @property
    def config(self) -> dict[str, Any]:
        """Every field of the recipe."""
        return dataclasses.asdict(self.recipe)


@dataclass(frozen=True, kw_only=True)
class Replicate:
    """What a worker needs to train it and a record needs to name it; plain data."""

    identity: str
    trainable: str
    cell: Cell
    seed: int
    recipe: Recipe
    """The trainable's config."""
    dataset: str
    data_digest: str
    role: Role = "cell"
    """What it is for: a cell of a design, a trial of a search, a finalist's other seed, or a trial of a nested search."""
    tuned: Cell = field(default_factory=dict)
    """The values of nuisance hyperparameters."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What the sampler that proposed it wants to find again, e.g. its generation."""
    parent: Parent | None = None
    """What is trained first, with the same seed and data."""

    @property
    def config(self) -> dict[str, Any]:
        """Every field of the recipe; a large study keeps no dict of them for each of its replicates."""
        return dataclasses.asdict(self.recipe)

    @property
    def title(self) -> str:
        """What a person calls it, e.g. ``T=8 fs=0.5 64 M 128 · seed 3``."""
        tuned = f" ({levels_in_words(self.tuned)})" if self.tuned else ""
        return f"{cell_in_short(self.cell)}{tuned} · seed {self.seed}".removeprefix(" · ")


def make_replicate(
    trainable: str,
    cell: Cell,
    config: Recipe,
    seed: int,
    dataset: Dataset,
    *,
    role: Role = "cell",
    tuned: Cell | None = None,
    parent_config: Recipe | None = None,
) -> Replicate:
    """A replicate, and its parent if it has one, with their identities (see ``trainables.training.configs.identity_of``)."""
    return Replicate(
        identity=identity_of(trainable, config, data_digest=dataset.digest, seed=seed),
        trainable=trainable,
        cell=cell,
        seed=seed,
        recipe=config,
        dataset=dataset.name,
        data_digest=dataset.digest,
        role=role,
        tuned=tuned or {},
        parent=_make_parent(cell, parent_config, seed, dataset) if parent_config else None,
    )


def _make_parent(cell: Cell, config: Recipe, seed: int, dataset: Dataset) -> Parent:
    trainable = trainable_of(config)
    fields = {each.name for each in dataclasses.fields(config)}
    levels = cell_in_short({name: level for name, level in cell.items() if name in fields})
    return Parent(
        identity=identity_of(trainable, config, data_digest=dataset.digest, seed=seed),
        trainable=trainable,
        recipe=config,
        seed=seed,
        data_digest=dataset.digest,
        title=f"parent {f'{trainable} {levels}'.strip()} · seed {seed}",
    )
