"""Analogue networks: the parents of converted SNNs, and the baseline of a BITnet (the same net with ReLU and softmax)."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from trainables.costs.footprint import Footprint, footprint_of
from trainables.costs.timing import Timing, timing_of
from trainables.data.datasets import Dataset
from trainables.data.randomness import generator_for
from trainables.networks.activations import QCFS, ClampedReLU
from trainables.networks.layered import initialise_analogue, layered
from trainables.networks.layouts import NAMED_LAYOUTS, ImageShape, canonical_layout, final_map, has_pools
from trainables.networks.network import Network
from trainables.networks.residual import RESIDUAL_NETWORKS, residual
from trainables.networks.rules import RuleError
from trainables.training.configs import setting, without_inactive
from trainables.training.epoch_report import EpochReport
from trainables.training.files import Location
from trainables.training.loop import fit
from trainables.training.losses import cross_entropy_of_logits
from trainables.training.recipe import Recipe
from trainables.training.regularisers import Pruning
from trainables.training.task import Prepared, Task

Activation = Literal["relu", "clamped_relu", "qcfs"]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "Baseline": {"layout": "bitnet", "feature_scale": 4.0, "activation": "relu"},
    "VGG16 of Sengupta": {"layout": "vgg16", "pool": "average", "dropout": 0.2, "bias": False, "mean_per_pixel": True},
    "ResNet20 of Sengupta": {
        "layout": "resnet20",
        "dropout": 0.2,
        "bias": False,
        "num_plain_convolutions": 3,
        "mean_per_pixel": True,
    },
}


@dataclass(frozen=True, kw_only=True)
class AnalogueNetwork:
    """Which network; the fields that a converted SNN shares with its parent."""

    layout: str = setting("bitnet", canonical=canonical_layout, section="network")
    """Words such as "64 64 M 128 M F256" (see spikesweep's layouts), or a name: bitnet, bitnet_64px, bitnet_v101, vgg11, vgg13,
    vgg16, vgg19, resnet18, resnet20, resnet34."""

    feature_scale: float = setting(1.0, above=0, below=1000)
    """Multiplies every channel count and width."""

    activation: Activation = setting("relu")
    """relu; clamped_relu, bounded to [0, 1]; or qcfs, quantised to qcfs_levels."""

    qcfs_levels: int = setting(4, at_least=1)
    """L of qcfs: the time steps after which an SNN has the same values."""

    pool: Literal["layout", "average"] = setting("layout")
    """average makes every max pool of the layout an average pool."""

    batch_norm: bool = setting(False)
    """Batch normalisation after every convolution."""

    dropout: float = setting(0.0, at_least=0, below=1)
    """Dropout probability after activations that no pool follows; in residual networks within every unit."""

    bias: bool = setting(True)
    """Biases, of layers that no batch norm follows."""

    junction_activation: bool = setting(True)
    """Residual networks: an activation at every junction (Sengupta et al. 2019, constraint 1)."""

    num_plain_convolutions: int = setting(1, at_least=1)
    """Residual networks: 3x3 convolutions before the first unit; 3 is Sengupta et al.'s constraint 3."""

    def inactive_network_fields(self) -> set[str]:
        """The fields that another kind of network has a use for."""
        inactive = set() if self.activation == "qcfs" else {"qcfs_levels"}
        inactive |= set() if self.layout in RESIDUAL_NETWORKS else {"junction_activation", "num_plain_convolutions"}
        return inactive if has_pools(self.layout, "M") else inactive | {"pool"}


@dataclass(frozen=True, kw_only=True)
class Config(Recipe, AnalogueNetwork, Pruning):
    """An analogue network and its training by cross-entropy."""

    def inactive_fields(self) -> set[str]:
        """Of the network and of pruning."""
        return self.inactive_network_fields() | self.inactive_pruning()


def problems(config: Config, image_shape: ImageShape) -> Iterator[RuleError]:
    """The rules that the config breaks for images of ``image_shape`` and that no field can see by itself."""
    wrong = list(config.problems(image_shape))
    yield from wrong
    if not wrong:
        yield from network_problems(config, config.input_shape(image_shape))


def network_problems(config: AnalogueNetwork, input_shape: ImageShape) -> Iterator[RuleError]:
    """The rules that are broken by the fields that describe the network, alone or together with others."""
    if config.batch_norm and isinstance(config, Recipe) and config.batch_size == 1:
        yield RuleError("batch_size must be at least 2 where batch norms are trained", field="batch_size")
    if config.layout in RESIDUAL_NETWORKS:
        if config.pool != "layout":
            yield RuleError(f"pool must be layout where the layout is {config.layout}, which has no max pool", field="pool")
        if isinstance(config, Pruning) and config.prune == "activation" and not config.junction_activation:
            rule = "prune: activation needs an activation behind every convolution, so junction_activation must be true"
            yield RuleError(rule, field="prune")
        return
    if config.layout.strip().isidentifier() and config.layout.strip().islower() and config.layout not in NAMED_LAYOUTS:
        names = ", ".join([*NAMED_LAYOUTS, *RESIDUAL_NETWORKS])
        yield RuleError(f"a layout must be words of the grammar or one of {names}", field="layout")
        return
    try:
        final_map(config.layout, input_shape)
    except RuleError as error:
        yield RuleError(error.rule, error.value, field="layout")


def parent(config: Config) -> None:
    """An analogue network starts from nothing."""


def footprint(config: Config, image_shape: ImageShape, num_classes: int, num_micro_batches: int = 1) -> Footprint:
    """What a replicate takes, known before it is trained."""
    task = task_of(config, image_shape, num_classes, 0, num_micro_batches)
    return footprint_of(task, config, config.input_shape(image_shape))


def train(
    config: Config,
    *,
    seed: int,
    dataset: Dataset,
    checkpoint_folder: Location | None = None,
    num_micro_batches: int = 1,
    keep_weights: bool = False,
) -> Iterator[EpochReport]:
    """Train one replicate; see ``training.loop.fit`` for reports, checkpoints and errors.

    The weights are kept whatever ``keep_weights`` says: others may start from them.
    """
    del keep_weights
    task = task_of(config, dataset.image_shape, dataset.num_classes, seed, num_micro_batches)
    return fit(task, config, dataset=dataset, checkpoint_folder=checkpoint_folder)


def timing(config: Config, *, seed: int, dataset: Dataset) -> Timing:
    """How long a replicate will take, from a few of its steps."""
    return timing_of(task_of(config, dataset.image_shape, dataset.num_classes, seed), config, dataset)


def task_of(config: Config, image_shape: ImageShape, num_classes: int, seed: int = 0, num_micro_batches: int = 1) -> Task:
    """What ``train`` hands to ``fit``, for images of ``image_shape``."""

    def prepare(network: Network, _: object) -> Prepared:
        initialise_analogue(network, generator_for(seed, "weights"))
        return Prepared()

    return Task(
        build=lambda: build(config, config.input_shape(image_shape), num_classes),
        prepare=prepare,
        loss=cross_entropy_of_logits,
        seed=seed,
        pruning=config,
        keep_weights=True,
        num_micro_batches=num_micro_batches,
    )


def build(config: AnalogueNetwork, input_shape: ImageShape, num_classes: int) -> Network:
    """The network of a config, for images of ``input_shape``.

    Raises:
        ValueError: The layout does not fit the images.
    """
    options: dict[str, Any] = {
        "activation": _activation(config),
        "feature_scale": config.feature_scale,
        "batch_norm": config.batch_norm,
        "dropout": config.dropout,
        "bias": config.bias,
    }
    if config.layout in RESIDUAL_NETWORKS:
        return Network(
            residual(
                config.layout,
                image_channels=input_shape[2],
                num_classes=num_classes,
                junction_activation=config.junction_activation,
                num_plain_convolutions=config.num_plain_convolutions,
                **options,
            )
        )
    return Network(
        layered(
            config.layout,
            image_shape=input_shape,
            num_classes=num_classes,
            average_pools=config.pool == "average",
            **options,
        )
    )


def config_of_parent(config: Any, **changes: Any) -> Config:
    """The ``Config`` of the network that another trainable starts from: the fields that both have, then ``changes``.

    Fields that do nothing are as they are by default: what is the same network has one config.
    """
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(Config) if hasattr(config, field.name)}
    parent: Config = without_inactive(Config(**{**shared, **changes}))
    return parent


def _activation(config: AnalogueNetwork) -> Callable[[], nn.Module]:
    if config.activation == "qcfs":
        return lambda: QCFS(config.qcfs_levels)
    return ClampedReLU if config.activation == "clamped_relu" else nn.ReLU
