"""One replicate: a cell with a seed, and the identity under which it is trained once and never again."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from search_spaces.language.designs import Cell
from studies.run_record import levels_in_words
from trainables.training.configs import identity_field_names
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
    """A replicate with its identity: the digest of the config fields that change its result, the data and the seed."""
    fields = {name: getattr(config, name) for name in identity_field_names(type(config))} | {"data": dataset.digest}
    essence = json.dumps({"trainable": trainable, "config": fields, "seed": seed}, sort_keys=True)
    return Replicate(
        identity=hashlib.sha256(essence.encode()).hexdigest()[:32],
        trainable=trainable,
        cell=cell,
        seed=seed,
        config=dataclasses.asdict(config),
        dataset=dataset.name,
        data_digest=dataset.digest,
        num_parameters=num_parameters,
    )
