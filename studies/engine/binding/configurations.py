"""Makes of a cell what is trained: the trainable with its config, and the replicate with its identity."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from search_spaces.language.expressions import Expression
from search_spaces.language.rules import RuleError
from search_spaces.language.space import Cell, Level
from studies.engine.binding.replicates import Replicate, make_replicate
from studies.engine.binding.trainable_modules import Trainable, field_names, load_trainable, make_config, trainable_of
from studies.run_record import Role
from trainables.costs.footprint import Footprint
from trainables.data.classes import data_problem
from trainables.data.datasets import Dataset
from trainables.networks.rules import RuleError as TrainableRuleError
from trainables.training.configs import identity_of
from trainables.training.recipe import Recipe

TRAINABLE = "trainable"
"""The name of the factor that chooses among trainables; every other factor is a field of a config."""
DERIVED = tuple(field.name for field in dataclasses.fields(Footprint))
"""What is known of a configuration before it is trained and may be used in constraints, beside its fields."""


@dataclass(frozen=True)
class Configuration:
    """One configuration, bound to its trainable and its data."""

    trainable: str
    config: Recipe
    dataset: Dataset

    @property
    def module(self) -> Trainable:
        """The module of the trainable."""
        return load_trainable(self.trainable)

    @cached_property
    def footprint(self) -> Footprint:
        """The parameters, operations and memory of the configuration, known before training."""
        return self.module.footprint(self.config, self.dataset.image_shape, self.dataset.num_classes)

    @property
    def identity(self) -> str:
        """What tells trainings apart: configurations with the same identity would train the same network."""
        return identity_of(self.trainable, self.config, data_digest=self.dataset.digest, seed=0)

    @cached_property
    def training(self) -> str:
        """What is trained, as text: configurations with the same one train the same network, though their identities may differ.

        An identity is of what is written; this is of what it comes to: channel counts, numbers of images.
        """
        resolved = self.config.resolved(len(self.dataset.train_labels)) | {"data": self.dataset.digest}
        return json.dumps([self.trainable, resolved], sort_keys=True)

    @property
    def source_network(self) -> "Configuration | None":
        """The configuration that has to be trained first, on the same data; None if there is none."""
        config = self.module.source_network(self.config)
        return Configuration(trainable_of(config), config, self.dataset) if config else None

    def problems(self) -> Iterator[TrainableRuleError]:
        """The rules that keep it from being trained, each with the field that breaks it."""
        yield from self.module.problems(self.config, self.dataset.image_shape)
        config = self.config
        broken = data_problem(
            self.dataset,
            config.data,
            validation_fraction=config.validation_fraction,
            split_seed=config.split_seed,
            num_train_images=config.num_train_images,
            num_classes=config.num_classes,
        )
        if broken:
            yield broken


@dataclass(frozen=True)
class Binder:
    """What all configurations of a study have in common; with a cell it makes a configuration.

    Attributes:
        trainable: The one that is trained; None where it is a factor.
        shared: Values by field; they apply to the trainables that have the field.
        constraints: What every configuration must keep.
        datasets: Every data set of the study, by its name in the file.
    """

    trainable: str | None
    shared: Mapping[str, Any]
    constraints: Sequence[Expression]
    datasets: Mapping[str, Dataset]

    def configuration(self, cell: Cell, tuned: Mapping[str, Level] | None = None) -> Configuration:
        """The configuration of a cell, with the values of tuned hyperparameters if there are any."""
        name = str(cell.get(TRAINABLE, self.trainable))
        trainable = load_trainable(name)
        fields = field_names(trainable.Config)
        values = {**self.shared, **cell, **(tuned or {})}
        config = make_config(trainable.Config, {key: value for key, value in values.items() if key in fields})
        return Configuration(name, config, self.datasets[config.data])

    def broken_constraint(self, configuration: Configuration) -> Expression | None:
        """The first constraint that a configuration breaks; one on a field that it does not have is kept.

        Raises:
            RuleError: A constraint has no answer for it; the error's field is the constraint's text.
        """
        known: dict[str, Level] = {TRAINABLE: configuration.trainable}
        known |= {name: getattr(configuration.config, name) for name in field_names(type(configuration.config))}
        for constraint in self.constraints:
            if constraint.names & set(DERIVED):
                known |= dataclasses.asdict(configuration.footprint)
            try:
                if constraint.names <= known.keys() and not constraint.holds(known):
                    return constraint
            except RuleError as broken:
                raise RuleError(broken.rule, broken.value, field=constraint.text) from None
        return None

    def accepts(self, cell: Cell, tuned: Mapping[str, Level] | None = None) -> bool:
        """Whether a cell may be trained: it breaks no rule of the trainable for these images, and no constraint of the study."""
        configuration = self.configuration(cell, tuned)
        if next(configuration.problems(), None) is not None:
            return False
        try:
            return self.broken_constraint(configuration) is None
        except RuleError:
            return False

    def training(self, cell: Cell, tuned: Mapping[str, Level] | None = None) -> str:
        """What a cell trains, as text; see ``Configuration.training``. The cell must be one that may be trained."""
        return self.configuration(cell, tuned).training

    def replicate(self, cell: Cell, seed: int, *, role: Role = "cell", tuned: Mapping[str, Level] | None = None) -> Replicate:
        """The replicate of a cell with a seed."""
        configuration = self.configuration(cell, tuned)
        return make_replicate(
            configuration.trainable,
            cell,
            configuration.config,
            seed,
            configuration.dataset,
            role=role,
            tuned=dict(tuned or {}),
            source_config=configuration.module.source_network(configuration.config),
        )
