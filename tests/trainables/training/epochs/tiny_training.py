"""Trainings of a tiny analogue network, or of any other trainable, on the tiny data set."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainables import ann
from trainables.data.datasets import prepare
from trainables.training.epoch_report import EpochReport


def config_of(tiny_npz: Path, **changes: Any) -> ann.Config:
    """A network that trains an epoch in some hundredths of a second: 5 steps on 72 of the 96 images."""
    options = {"layout": "4 M 4", "batch_size": 16, "validation_fraction": 0.25, "device": "cpu"}
    return ann.Config(**{"data": str(tiny_npz), **options, **changes})


def train(config: Any, folder: Path | None = None, module: Any = ann, **options: Any) -> Iterator[EpochReport]:
    """The reports of seed 0."""
    dataset = prepare(config.data, Path(config.data).parent)
    yield from module.train(config, seed=0, dataset=dataset, checkpoint_folder=folder, **options)
