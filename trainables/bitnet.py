"""BITnet: a convolutional network of bddi neurons, trained with the straight-through gradient (Reddy, BITnet README)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from trainables.networks.layouts import ImageShape, final_map
from trainables.networks.spiking_network import SpikingNetwork, rate_loss
from trainables.training.configs import setting
from trainables.training.data import Dataset
from trainables.training.loop import fit
from trainables.training.recipe import Recipe
from trainables.training.reports import Report


@dataclass(frozen=True, kw_only=True)
class Config(Recipe):
    """A BITnet and its training. ``feature_scale: 4`` is the published BITnet6, 5 is BITnet6 Max."""

    layout: str = setting("64 64 M 128 M 256 512 M")
    """3x3 convolutions by their channels, M for a max pool, A for an average pool; the spiking output layer follows."""

    feature_scale: float = setting(1.0, above=0, below=1000)
    """Multiplies every channel count of the layout."""

    time_steps: int = setting(8, at_least=1)
    """T, the steps that each image is shown for, in training and evaluation."""


def parent(config: Config) -> Recipe | None:  # noqa: ARG001  # the protocol's
    """Nothing has to be trained first."""
    return None


def problems(config: Config, image_shape: ImageShape) -> Iterator[tuple[str, str]]:
    """What a field's own rule cannot see, for images of ``image_shape``: pairs (field, what is wrong)."""
    wrong = list(config.problems(image_shape))
    yield from wrong
    try:
        final_map(config.layout, config.input_shape(image_shape))
    except ValueError as error:
        if not wrong:
            yield "layout", str(error)


def num_parameters(config: Config, image_shape: ImageShape, num_classes: int) -> int:
    """Trainable parameters, without allocating them."""
    with torch.device("meta"):
        network = _build(config, image_shape, num_classes)
    return sum(parameter.numel() for parameter in network.parameters())


def train(config: Config, *, seed: int, dataset: Dataset, checkpoint_folder: Path | None = None) -> Iterator[Report]:
    """Train one replicate; see ``training.loop.fit`` for reports, checkpoints and errors."""
    return fit(
        lambda: _build(config, dataset.image_shape, dataset.num_classes),
        rate_loss,
        config,
        seed=seed,
        dataset=dataset,
        checkpoint_folder=checkpoint_folder,
    )


def _build(config: Config, image_shape: ImageShape, num_classes: int) -> SpikingNetwork:
    return SpikingNetwork(
        config.layout,
        feature_scale=config.feature_scale,
        time_steps=config.time_steps,
        image_shape=config.input_shape(image_shape),
        num_classes=num_classes,
    )
