"""Analogue networks (ANNs): what converted SNNs are made from, and what a BITnet is compared with (same layout, ReLU, softmax).

The preset Baseline has the name that the BITnet README gives it; it is not the baseline of a study.
"""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from trainables.costs.footprint import Footprint, footprint_of
from trainables.costs.timing import Timing, timing_of
from trainables.data.datasets import Dataset, Splits
from trainables.data.randomness import generator_for
from trainables.networks.activations import QCFS, ClampedReLU
from trainables.networks.layered import initialise_analogue, layered, set_batch_norms, start_from_identity
from trainables.networks.layouts import (
    NAMED_LAYOUTS,
    ImageShape,
    canonical_layout,
    convolution_channels,
    downsized_shape,
    final_map,
    has_global_pool,
    has_hidden_linear_layers,
    has_one_convolution,
    has_pools,
    scaled_layout,
)
from trainables.networks.network import Network
from trainables.networks.residual import RESIDUAL_NETWORKS, residual, residual_channels, shrink_residual_weights
from trainables.networks.rules import RuleError
from trainables.networks.whitening import fix_first_layer, whiten_first_layer
from trainables.published import analogue
from trainables.training.configs import setting, without_inactive
from trainables.training.epoch_report import EpochReport
from trainables.training.epochs.judging import some_training_inputs
from trainables.training.files import Location
from trainables.training.loop import fit
from trainables.training.losses import cross_entropy_of_logits
from trainables.training.optimisation.optimisers import muon_problems
from trainables.training.recipe import Recipe
from trainables.training.regularisers import Pruning
from trainables.training.task import Prepared, SmallImages, Task

Activation = Literal["relu", "clamped_relu", "qcfs"]

WHITENING_IMAGES = 5000
"""On how many training images (all, if there are fewer) the covariance of patches is measured."""

PRESETS, PRESET_SOURCES = analogue.PRESETS, analogue.PRESET_SOURCES


@dataclass(frozen=True, kw_only=True)
class NetworkParts:
    """Parts of networks that learn in few epochs; a BITnet shares them with the analogue network that it starts from."""

    first_layer: Literal["learnt", "whitening"] = setting("learnt", before="learnt", section="network")
    """What the first convolution does. learnt: its weights are learnt like all others. whitening: its filters are the
    eigenvectors of the covariance of 3x3 patches of 5,000 training images, those of the largest eigenvalues first, each with both
    signs, over √(eigenvalue + 0.0005) (Jordan 2024). They are never learnt, not in fine-tuning either; the bias is. No batch norm
    follows them."""

    initial_weights: Literal["kaiming", "dirac", "small_residual"] = setting("kaiming", before="kaiming")
    """The weights that training starts with. kaiming: random (He et al. 2015). dirac: as many filters as possible of every 3x3
    convolution but the first pass on one input channel each (torch.nn.init.dirac_); the others are random. small_residual: as
    kaiming, but with the standard deviation √2/(k²·n), rather than √(2/(k²·n)), in the k×k convolutions of n channels within
    residual units, which networks without batch norms need (Sengupta et al. 2019, section 4.1); other networks start as with
    kaiming."""

    batch_norm_momentum: float = setting(0.1, above=0, at_most=1, before=0.1)
    """m of batch norms: after every step of the optimiser, the mean and variance that they have when the network is judged are
    (1 - m) times the old ones plus m times those of the batch. Short trainings need more than 0.1."""

    batch_norm_scale: float | Literal["learnt"] = setting("learnt", above=0, below=1000, before="learnt")
    """γ of the analogue network's batch norms: learnt for every channel from 1 on, or the number that all of them have
    throughout. Their shifts are learnt in either case. With a number, whitening filters are multiplied by it, too."""

    pool_before_activation: bool = setting(False, before=False)
    """Whether the analogue network's pools stand right behind convolutions, before batch norm and activation, which then have a
    quarter of the work. Of max pools the trained network is the same function, and spiking networks made from it have pools of
    spikes; an average pool of drives is another function than one of activations, and stays where it is in a conversion."""

    first_image_side: int | None = setting(None, at_least=1, before=None, section="training")
    """The shorter side, in pixels, that training images of the analogue network are downsized to in the first part of training
    (bilinear, with antialiasing); null leaves them as they are. It needs a layout whose weights fit maps of any size: one with G,
    or a residual network."""

    first_image_side_fraction: float = setting(0.5, above=0, below=1, before=0.5)
    """The first part of training in which images have first_image_side, as a fraction of its steps, or of its seconds where these
    are its length."""

    @property
    def small_images(self) -> SmallImages | None:
        """How training images are downsized at first; None where they are not."""
        if self.first_image_side is None:
            return None
        return SmallImages(self.first_image_side, self.first_image_side_fraction)

    def inactive_initial_weights(self, layout: str) -> set[str]:
        """``initial_weights`` where it does nothing for a layout of words: no residual units, or no hidden 3x3 convolution."""
        return {"initial_weights"} if self.initial_weights == "small_residual" or has_one_convolution(layout) else set()

    def whitening_takes_the_only_norm(self, layout: str) -> bool:
        """Whether the one convolution of a layout of words would have a batch norm behind it, and whitening has none."""
        return self.first_layer == "whitening" and has_one_convolution(layout)

    @property
    def fixed_scale(self) -> float | None:
        """The scale of batch norms; None where it is learnt."""
        return None if isinstance(self.batch_norm_scale, str) else self.batch_norm_scale


@dataclass(frozen=True, kw_only=True)
class AnalogueLayers:
    """The fields that say which layers an analogue network has."""

    layout: str = setting("bitnet", canonical=canonical_layout, section="network")
    """The layers, as words: a number is a 3x3 convolution with that many output channels, M a 2x2 max pool, A a 2x2 average
    pool, S gives the convolution before it stride 2, G takes the mean of every channel over its whole map, F256 is a fully
    connected layer. Or a name: bitnet, bitnet_64px, bitnet_v101, vgg11, vgg13, vgg16, vgg19, resnet18, resnet20, resnet34,
    resnet50, resnet101. The output layer is added automatically."""

    feature_scale: float = setting(1.0, above=0, below=1000)
    """A factor for the number of channels of every convolution and the width of every hidden layer; the results are rounded."""

    activation: Activation = setting("relu")
    """The activation function of hidden layers: relu; clamped_relu, which is bounded to [0, 1]; or qcfs, which has
    qcfs_levels equal steps and a learnt size (Bu et al. 2022)."""

    qcfs_levels: int = setting(4, at_least=1)
    """L of activation qcfs, the number of its steps: after L time steps a converted SNN takes the same values."""

    pool: Literal["layout", "average"] = setting("layout")
    """layout takes the pools of the layout; average makes every max pool of it an average pool."""

    batch_norm: bool = setting(False)
    """Whether every convolution is followed by batch normalisation."""

    dropout: float = setting(0.0, at_least=0, below=1)
    """The probability with which a unit is dropped in training: after every activation that no pool follows, and in residual
    networks within every unit."""

    linear_dropout: float | None = setting(None, at_least=0, below=1, before=None)
    """The probability with which a unit of a hidden fully connected layer is dropped in training; null takes dropout."""

    bias: bool = setting(True)
    """Whether convolutions and linear layers have biases; a convolution that batch normalisation follows has none in any
    case."""

    junction_activation: bool = setting(True)
    """Of residual networks: whether an activation follows the sum at every junction (Sengupta et al. 2019, constraint 1)."""

    num_plain_convolutions: int = setting(1, at_least=1, at_most=100)
    """Of residual networks: how many 3x3 convolutions come before the first residual unit; 3 is constraint 3 of Sengupta et
    al. 2019."""

    first_pool: bool = setting(False, before=False)
    """Of residual networks: whether a 3x3 max pool of stride 2 comes before the first residual unit, as He et al. 2016 have it
    for large images. Such a network has about a quarter of the operations; published accuracies are of networks with and without
    it under one name, such as ResNet18."""


@dataclass(frozen=True, kw_only=True)
class AnalogueNetwork(NetworkParts, AnalogueLayers):
    """The fields that say which network; a converted SNN shares them with its source network."""

    def inactive_network_fields(self) -> set[str]:
        """The fields that do nothing for this network, as other kinds of networks have them."""
        inactive = set() if self.activation == "qcfs" else {"qcfs_levels"}
        of_residual = {"junction_activation", "num_plain_convolutions", "first_pool"}
        is_residual = self.layout in RESIDUAL_NETWORKS
        inactive |= set() if is_residual else of_residual | self.inactive_initial_weights(self.layout)
        has_no_norm = not is_residual and self.whitening_takes_the_only_norm(self.layout)
        inactive |= set() if has_hidden_linear_layers(self.layout) else {"linear_dropout"}
        inactive |= {"first_image_side_fraction"} if self.first_image_side is None else set()
        inactive |= {"batch_norm_momentum"} if has_no_norm or not self.batch_norm else set()
        inactive |= set() if self.batch_norm else {"batch_norm_scale"}
        inactive |= set() if has_pools(self.layout, "M", "A") else {"pool_before_activation"}
        return inactive if has_pools(self.layout, "M") else inactive | {"pool"}

    def resolved_network(self) -> dict[str, Any]:
        """What these fields come to in the network that is built."""
        if self.layout in RESIDUAL_NETWORKS:
            return {"feature_scale": self.scaled_channels()}
        layout = scaled_layout(self.layout, self.feature_scale)
        layout = layout.replace("M", "A") if self.pool == "average" else layout
        values: dict[str, Any] = {"layout": layout, "feature_scale": 1.0, "pool": "layout"}
        if self.linear_dropout is None and has_hidden_linear_layers(self.layout):
            values["linear_dropout"] = self.dropout
        return values

    def scaled_channels(self) -> list[int]:
        """The channel counts of the network's convolutions."""
        if self.layout in RESIDUAL_NETWORKS:
            return residual_channels(self.layout, self.feature_scale)
        return convolution_channels(self.layout, self.feature_scale)


@dataclass(frozen=True, kw_only=True)
class Config(AnalogueNetwork, Recipe, Pruning):
    """An analogue network, trained with the cross-entropy loss."""

    def inactive_fields(self) -> set[str]:
        """The fields that do nothing in this config, such as those of a gradient that it does not use; identities ignore them."""
        return super().inactive_fields() | self.inactive_network_fields() | self.inactive_pruning()

    def resolved(self, num_images: int) -> dict[str, Any]:
        """What the fields come to in training; see ``Recipe.resolved``."""
        values = super().resolved(num_images) | self.resolved_network()
        return values | self.resolved_pruning(self.epochs, self.scaled_channels())


def problems(config: Config, image_shape: ImageShape) -> Iterator[RuleError]:
    """The rules that the config breaks for images of ``image_shape`` and that no field can see by itself."""
    wrong = list(config.problems(image_shape))
    yield from wrong
    if not wrong:
        wrong = list(network_problems(config, config.input_shape(image_shape)))
        yield from wrong
    if not wrong:
        yield from muon_problems(config, lambda: build(config, config.input_shape(image_shape), num_classes=2))


def network_problems(config: AnalogueNetwork, input_shape: ImageShape) -> Iterator[RuleError]:
    """The rules that are broken by the fields that describe the network, alone or together with others."""
    yield from part_problems(config, input_shape)
    if config.batch_norm and isinstance(config, Recipe) and config.batch_size == 1:
        yield RuleError("batch_size must be at least 2 where batch norms are trained", field="batch_size")
    yield from image_side_problems(config, config.layout, input_shape)
    if config.layout in RESIDUAL_NETWORKS:
        if config.pool != "layout":
            rule = f"pool must be layout where the layout is {config.layout}: average is for the max pools of layouts of words"
            yield RuleError(rule, repair="write pool: layout", field="pool")
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


def part_problems(config: NetworkParts, input_shape: ImageShape) -> Iterator[RuleError]:
    """The rules that parts of the network break for inputs of ``input_shape``."""
    height, width, _ = input_shape
    if config.first_layer == "whitening" and min(height, width) < 3:
        rule = "first_layer: whitening needs images of at least 3x3 pixels, as it looks at patches of that size"
        yield RuleError(rule, f"{height}x{width}", "write first_layer: learnt, or a smaller image_downscale", "first_layer")


def image_side_problems(config: NetworkParts, layout: str, input_shape: ImageShape) -> Iterator[RuleError]:
    """The rules that the image side of the first part of training breaks."""
    side, shorter = config.first_image_side, min(input_shape[:2])
    if side is None:
        return
    if side >= shorter:
        rule = f"first_image_side must be below the shorter side of the images as the network sees them ({shorter})"
        yield RuleError(rule, repair=f"write first_image_side: {max(1, shorter * 3 // 4)}, or null", field="first_image_side")
    elif layout not in RESIDUAL_NETWORKS and not has_global_pool(layout):
        rule = "first_image_side needs a layout whose weights fit maps of any size"
        repair = "let a global average pool end the convolutions, as in layout: 64 M 128 M G, or write first_image_side: null"
        yield RuleError(rule, f"{side} with {layout!r}", repair, field="first_image_side")
    elif layout not in RESIDUAL_NETWORKS:
        with suppress(RuleError):  # a layout that fits no image at all is a problem of its own
            final_map(layout, input_shape)
            try:
                final_map(layout, downsized_shape(input_shape, side))
            except RuleError as error:
                repair = "write a larger first_image_side, or null"
                yield RuleError(error.rule, error.value, repair, field="first_image_side")


def source_network(config: Config) -> None:
    """None: an analogue network starts from random weights."""


def footprint(config: Config, image_shape: ImageShape, num_classes: int, num_micro_batches: int = 1) -> Footprint:
    """Parameters, operations and memory of a replicate, known before it is trained."""
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
    """Train one replicate and yield a report after every epoch.

    The weights are kept whatever ``keep_weights`` says: others may start from them. See ``training.loop.fit`` for checkpoints,
    resuming and errors.
    """
    del keep_weights
    task = task_of(config, dataset.image_shape, dataset.num_classes, seed, num_micro_batches)
    return fit(task, config, dataset=dataset, checkpoint_folder=checkpoint_folder)


def timing(config: Config, *, seed: int, dataset: Dataset) -> Timing:
    """How long a replicate will take, measured on a few of its steps."""
    return timing_of(task_of(config, dataset.image_shape, dataset.num_classes, seed), config, dataset)


def task_of(config: Config, image_shape: ImageShape, num_classes: int, seed: int = 0, num_micro_batches: int = 1) -> Task:
    """What ``train`` passes to ``fit``, for images of ``image_shape`` (height, width, channels)."""

    def prepare(network: Network, splits: Splits) -> Prepared:
        initialise_analogue(network, generator_for(seed, "weights"))
        scale = config.fixed_scale if config.batch_norm and config.fixed_scale else 1.0
        start_parts(config, network, splits, seed, scale=scale, num_micro_batches=num_micro_batches)
        return Prepared()

    return Task(
        build=lambda: build(config, config.input_shape(image_shape), num_classes),
        prepare=prepare,
        loss=cross_entropy_of_logits,
        seed=seed,
        pruning=config,
        precision=config.precision,
        selection=config.active_selection,
        small_images=config.small_images,
        keep_weights=True,
        num_micro_batches=num_micro_batches,
    )


def start_parts(
    config: NetworkParts, network: Network, splits: Splits, seed: int, *, scale: float, num_micro_batches: int
) -> None:
    """Give a network whose weights have been drawn the first weights that its parts have instead.

    ``scale`` multiplies whitening filters.
    """
    if config.initial_weights == "dirac":
        start_from_identity(network)
    elif config.initial_weights == "small_residual":
        shrink_residual_weights(network)
    if config.first_layer == "whitening":
        some = some_training_inputs(splits, WHITENING_IMAGES, seed, "whitening", num_micro_batches=num_micro_batches)
        whiten_first_layer(network, some, scale=scale)


def build(config: AnalogueNetwork, input_shape: ImageShape, num_classes: int) -> Network:
    """The network of a config, for inputs of ``input_shape`` (height, width, channels).

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
        module = residual(
            config.layout,
            image_channels=input_shape[2],
            num_classes=num_classes,
            junction_activation=config.junction_activation,
            num_plain_convolutions=config.num_plain_convolutions,
            first_pool=config.first_pool,
            **options,
        )
    else:
        module = layered(
            config.layout,
            image_shape=input_shape,
            num_classes=num_classes,
            average_pools=config.pool == "average",
            linear_dropout=config.linear_dropout,
            pool_before_activation=config.pool_before_activation,
            **options,
        )
    network = Network(module)
    set_batch_norms(network, momentum=config.batch_norm_momentum, scale=config.fixed_scale)
    if config.first_layer == "whitening":
        fix_first_layer(network)
    return network


def config_of_source_network(config: Any, **changes: Any) -> Config:
    """The ``Config`` of the network that another trainable starts from: the fields that both have, then ``changes``.

    Inactive fields have their defaults, so that the same network always has the same config.
    """
    shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(Config) if hasattr(config, field.name)}
    source: Config = without_inactive(Config(**{**shared, **changes}))
    return source


def _activation(config: AnalogueNetwork) -> Callable[[], nn.Module]:
    if config.activation == "qcfs":
        return lambda: QCFS(config.qcfs_levels)
    return ClampedReLU if config.activation == "clamped_relu" else nn.ReLU
