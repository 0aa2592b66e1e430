"""A replicate is a cell with a seed; its identity tells it from all others, so that the same training is never repeated."""

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
class SourceNetwork:
    """A network that has to be trained before a replicate can begin, e.g. the analogue network that a conversion starts from."""

    identity: str
    trainable: str
    recipe: Recipe
    seed: int
    data_digest: str
    title: str
    """Its name for people, e.g. ``source network ann 64 M 128 · seed 3``."""

    @property
    def config(self) -> dict[str, Any]:
        """Every field of the recipe."""
        return dataclasses.asdict(self.recipe)


@dataclass(frozen=True, kw_only=True)
class Replicate:
    """One replicate, as a worker needs it for training and MLflow for its record; plain data."""

    identity: str
    trainable: str
    cell: Cell
    seed: int
    recipe: Recipe
    """The config of the trainable."""
    dataset: str
    data_digest: str
    role: Role = "cell"
    """What the replicate is for: a cell of a design, a trial of a search, another seed of a finalist, or a trial of a tuning."""
    tuned: Cell = field(default_factory=dict)
    """The values of the tuned hyperparameters, where the study tunes some."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Notes of the sampler that proposed it, which it needs again after a restart, e.g. the generation."""
    source_network: SourceNetwork | None = None
    """The network that is trained first, with the same seed and data; None if there is none."""

    @property
    def config(self) -> dict[str, Any]:
        """Every field of the recipe by name. It is made when asked for: a large study has many replicates."""
        return dataclasses.asdict(self.recipe)

    @property
    def title(self) -> str:
        """Its name for people, e.g. ``T=8 fs=0.5 64 M 128 · seed 3``."""
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
    source_config: Recipe | None = None,
) -> Replicate:
    """A replicate, and its source network if it has one, with their identities (see
    ``trainables.training.configs.identity_of``).
    """
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
        source_network=_make_source_network(cell, source_config, seed, dataset) if source_config else None,
    )


def _make_source_network(cell: Cell, config: Recipe, seed: int, dataset: Dataset) -> SourceNetwork:
    trainable = trainable_of(config)
    fields = {each.name for each in dataclasses.fields(config)}
    levels = cell_in_short({name: level for name, level in cell.items() if name in fields})
    return SourceNetwork(
        identity=identity_of(trainable, config, data_digest=dataset.digest, seed=seed),
        trainable=trainable,
        recipe=config,
        seed=seed,
        data_digest=dataset.digest,
        title=f"source network {f'{trainable} {levels}'.strip()} · seed {seed}",
    )
