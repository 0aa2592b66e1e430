"""BITnet: a convolutional network of bddi neurons, trained in the spiking domain (P. Reddy, README of the BITnet repository).
bddi is its author's name for an integrate-and-fire neuron whose drive is clamped to [0, 1] and that keeps what is above the
threshold.
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

from trainables import ann
from trainables.costs.footprint import Footprint, footprint_of
from trainables.costs.timing import Timing, timing_of
from trainables.data.datasets import Dataset, Splits
from trainables.data.randomness import generator_for
from trainables.networks.activations import ClampedReLU
from trainables.networks.collapsed import TimeGroups, resolved_groups
from trainables.networks.drive_normalisation import (
    DriveNormalisation,
    normalise_drives,
    standardisation_problems,
    start_drives,
)
from trainables.networks.layered import initialise_spiking, layered, set_batch_norms
from trainables.networks.layouts import (
    ImageShape,
    canonical_layout,
    convolution_channels,
    final_map,
    has_hidden_linear_layers,
    has_pools,
    scaled_layout,
)
from trainables.networks.network import Network
from trainables.networks.precision import Precision
from trainables.networks.readout import Ties
from trainables.networks.rewriting import fold_batch_norms, fold_scales, share_weights
from trainables.networks.rules import RuleError
from trainables.networks.shapes import put_neurons
from trainables.networks.whitening import fix_first_layer
from trainables.published import bitnets
from trainables.spiking.neurons import MOST_TIME_STEPS, InitialMembranePotential, Integrate, NeuronModel
from trainables.spiking.surrogates import Shape, Surrogate
from trainables.training.configs import setting
from trainables.training.epoch_report import EpochReport
from trainables.training.epochs.judging import some_training_batches, some_training_inputs
from trainables.training.files import Location
from trainables.training.loop import fit
from trainables.training.losses import Loss, divergence_from_teacher, loss_of_outputs
from trainables.training.optimisation.optimisers import muon_problems
from trainables.training.pretraining import facts_of_source, fit_output_to_labels, trained_source_network
from trainables.training.recipe import Recipe
from trainables.training.regularisers import Pruning, SpikeRegularisers, rate_target_problems, resolved_rate_target
from trainables.training.task import Distillation, Prepared, Task, TrainTimeSteps, training_time_steps

PUBLISHED, PRESETS, PRESET_SOURCES = bitnets.PUBLISHED, bitnets.PRESETS, bitnets.PRESET_SOURCES

MOST_START_IMAGES, FEWEST_START_IMAGES = 256, 16
"""On how many training images gains are measured; on as many as the first number, the outputs of a pre-trained network."""
MOST_START_STEPS = 512
"""Images times time steps on which gains are measured: the network is simulated anew up to every layer, so that this takes as
long as a few steps of training, whatever T is."""


@dataclass(frozen=True, kw_only=True)
class SpikingLayers:
    """The fields that say which layers a BITnet has."""

    layout: str = setting("64 64 M 128 M 256 512 M", canonical=canonical_layout, section="network")
    """The layers, as words: a number is a 3x3 convolution with that many output channels, M a 2x2 max pool, A a 2x2 average
    pool, S gives the convolution before it stride 2, G takes the mean of every channel's spikes over its whole map, F128 is a
    fully connected layer. Or a name: bitnet, bitnet_64px, bitnet_v101, vgg11, vgg13, vgg16, vgg19. Spiking neurons follow every
    hidden layer, and an output layer is added automatically; readout says whether it has neurons."""

    feature_scale: float = setting(1.0, above=0, below=1000)
    """A factor for the number of channels of every convolution and the width of every hidden layer; the results are rounded."""


@dataclass(frozen=True, kw_only=True)
class Config(ann.NetworkParts, SpikingLayers, Recipe, SpikeRegularisers, Pruning):
    """A BITnet and its training; see ``PRESETS`` for the published ones."""

    lr: float = setting(1e-2, above=0)
    """The largest learning rate of the schedule. A training of one step has this rate. Standardised weights bear the 0.01 that is
    the default here."""

    time_steps: int = setting(8, at_least=1, at_most=MOST_TIME_STEPS, section="neurons")
    """T, the number of time steps that an image is shown for in training."""

    eval_time_steps: int | None = setting(None, at_least=1, at_most=MOST_TIME_STEPS)
    """The number of time steps of every evaluation, at least time_steps; null takes time_steps. Accuracy after fewer steps
    is part of the curve that every report has."""

    train_time_steps: TrainTimeSteps = setting("fixed", before="fixed")
    """The time steps of training: fixed, T at every step of the optimiser; mixed, drawn anew for every one, uniformly from 1 … T,
    which trains one network for all of them (Du et al., ICLR 2025); or descending, 4·T, 2·T and T in three equal parts of the
    epochs."""

    integrate: Integrate = setting("clamped")
    """What a neuron adds to its membrane potential at a step: clamped, the drive bounded to [0, 1] (bddi neurons, as
    published), or raw, the drive as it is."""

    initial_membrane_potential: InitialMembranePotential = setting(0.5, at_least=0, below=1)
    """v_0, the membrane potential before the first time step, as a fraction of the firing threshold. The spikes of T steps of
    constant drive p are floor(v_0 + T·p), so that 0.5 rounds and 0 cuts (Bu et al. 2022). dithered: 1/8, 5/8, 7/8 and 3/8 at the
    four pixels of every window that a 2x2 pool of spikes reads (Bayer 1973), 0.5 in all other layers. learnt: one for every
    channel, from 0.5 on, with dL/dv_0 = Σ dL/dS_1 over images and pixels."""

    pool_on: Literal["spikes", "drive"] = setting("spikes")
    """What pools read: spikes, the spikes of a layer (a max pool is then a logical OR), or drive, the layer's drive before
    its neurons."""

    pool_gradient: Literal["one", "split"] = setting("one")
    """Where the gradient of a max pool goes: one gives it to the first of the largest inputs, split shares it among all that
    are equally large, as spikes often are."""

    normalisation: DriveNormalisation = setting("weight_standardisation", before="none")
    """What gives the drive of hidden layers (what neurons receive: behind the pool where pool_on is drive) the standard
    deviation κ, drive_std. initial_gain scales a layer's weights once, so that it is κ on up to 256 training images.
    weight_standardisation: Ŵ = γ (W - mean W) / √(N var W + 0.0001) of every filter with N inputs, γ one learnt gain of the
    layer that starts from the same measurement (IS-SNN, arXiv 2606.31695). batch_norm: y = γ (x - μ)/σ + β of every channel
    over time steps, images and pixels, γ starting at κ (tdBN, Zheng et al. 2020). When the network is judged, all of it is
    part of weights and biases. Without effect where there is pre-training, as the analogue network is normalised already."""

    drive_std: float = setting(0.7, above=0, below=1000, before=1.0)
    """κ, the standard deviation that normalisation gives the drive of hidden layers at the start, as a multiple of the firing
    threshold."""

    initial_hidden_bias: float = setting(0.0, before=0.0)
    """The bias that hidden layers, or their batch norms, start with. Above 0, a neuron that hears nothing still gets a
    gradient."""

    initial_output_bias: float | None = setting(None, before=None)
    """The bias that the output layer starts with; null takes 1 / classes."""

    initial_output_scale: float = setting(0.25, above=0, below=1000, before=0.25)
    """A factor for the weights that the output layer starts with, which are uniform within ±1/√inputs (PyTorch's rule)."""

    readout: Literal["spikes", "potential"] = setting("potential", before="spikes")
    """How classes are read: spikes counts the spikes of output neurons; potential has no output neurons and sums up the drive
    of the output layer, Σ_t (W s_t + b)."""

    ties: Ties = setting("potential", before="lowest_class")
    """Of readout spikes: which of several classes with the most spikes so far is the answer, at every time step. potential: the
    one with the largest membrane potential left, as spikes and what is left add up to v_0 and the clamped drive so far;
    lowest_class: the first."""

    loss: Loss = setting("mse", section="learning rule")
    """The loss: mse is the mean squared error between spike rates and one-hot labels, as published; cross_entropy is that of
    softmax(10 · spike rates). With readout potential they are those of the mean drive, and of softmax(mean drive)."""

    loss_over_time: Literal["mean", "each_step"] = setting("mean", before="mean")
    """Of which outputs the loss is: mean, their mean over all time steps; or each_step, those of every step, so that classes are
    right early: (1 - λ)/T Σ_t loss(o_t) + λ mean (o - 1)², with λ = tet_lambda and o_t the output layer's drive (TET, Deng et
    al. 2022). each_step needs readout potential."""

    tet_lambda: float = setting(0.0, at_least=0, below=1, before=0.0)
    """λ of loss_over_time each_step, which draws all drives of the output towards 1, the firing threshold."""

    gradient: Literal["straight_through", "rate_collapsed", "surrogate"] = setting("straight_through")
    """How gradients pass the spikes. straight_through has slope 1 where the clamp is open and needs no history;
    rate_collapsed is the same on means over groups of time steps, faster and approximate; surrogate is back-propagation
    through time with a surrogate gradient."""

    gradient_margin: float = setting(0.0, at_least=0, before=0.0)
    """δ of gradients straight_through and rate_collapsed: they pass at drives between -δ and 1 + δ, or where integrate is raw at
    mean drives between -δ and 1 + δ firing thresholds. Above 0, neurons beyond the bounds of the clamp can come back."""

    time_groups: TimeGroups = setting("dyadic")
    """Of gradient rate_collapsed: the number of equal groups of time steps that share a backward pass, or dyadic for groups
    of 1, 1, 2, 4, 8, … steps."""

    precision: Precision = setting("float32")
    """The floating-point type of convolutions and linear layers, in training and in evaluation: float32; or bfloat16, which
    rounds weights and drives to 8 significant bits, never membrane potentials. bfloat16 is fast on GPUs with matrix units. On a
    CPU it takes plain PyTorch, as the event-driven kernels compute in float32 alone and are faster for sparse spikes."""

    surrogate: Shape = setting("arctan")
    """Of gradient surrogate: the function of the membrane potential that stands in for the derivative of a spike. arctan,
    triangle, rectangle and sigmoid are bumps around the threshold; stdb decays with the time since the neuron's last spike
    (Rathi et al. 2020)."""

    surrogate_width: float = setting(1.0, above=0)
    """The width of the surrogate gradient, as a multiple of the firing threshold."""

    surrogate_scale: float = setting(1.0, above=0)
    """The area under the surrogate gradient; 0.3 with triangle is that of Diet-SNN (Rathi & Roy 2020)."""

    detach_reset: bool = setting(False)
    """Of gradient surrogate: whether the gradient ignores that a spike resets the membrane potential."""

    pretrain_epochs: int = setting(0, at_least=0, section="pretraining")
    """For how many epochs the analogue network (pretrain_activation, batch normalisation) is trained first, whose weights the
    BITnet starts from; 0 starts from random weights, unless pretrain_time_budget_s is given."""

    pretrain_time_budget_s: float | None = setting(None, above=0, before=None)
    """For how many seconds the analogue network is trained first, in place of pretrain_epochs, which then has no effect; null
    trains for pretrain_epochs. They are counted as those of time_budget_s are, which are for the BITnet's own training."""

    pretrain_lr: float = setting(5e-3, above=0)
    """The largest learning rate of pre-training."""

    pretrain_precision: Precision = setting("float32", before="float32")
    """The floating-point type in which the analogue network is trained: float32; or bfloat16, which is faster on CPUs with AMX
    or AVX512-BF16 and on GPUs with matrix units (see precision, which is the BITnet's own)."""

    pretrain_activation: Literal["clamped_relu", "qcfs"] = setting("clamped_relu", before="clamped_relu")
    """The activation of the analogue network: clamped_relu, or qcfs, λ·clip(floor(z·L/λ + ½)/L, 0, 1) with L = time_steps and a
    learnt λ in every layer, which is folded into the weights (Bu et al. 2022). With initial_membrane_potential 0.5 a neuron with
    constant drive has exactly these rates."""

    distillation: float = setting(0.0, at_least=0, below=1, before=0.0)
    """w, how much the BITnet learns from the analogue network that it starts from: (1 - w) loss + w τ² KL(softmax(z/τ) ‖
    softmax(o/τ)), where z are that network's logits for the same images, and o are 10 · spike rates, or the mean drive where
    readout is potential (Hinton et al. 2015)."""

    distillation_temperature: float = setting(2.0, above=0, below=1000, before=2.0)
    """τ, the temperature of both softmaxes of distillation."""

    def inactive_fields(self) -> set[str]:
        """The fields that do nothing in this config, such as those of a gradient that it does not use; identities ignore them."""
        inactive = super().inactive_fields() | self.inactive_spike_terms() | self.inactive_pruning()
        inactive |= set() if self.gradient == "surrogate" else {"surrogate", "surrogate_width", "surrogate_scale", "detach_reset"}
        inactive |= {"gradient_margin"} if self.gradient == "surrogate" else set()
        inactive |= set() if self.gradient == "rate_collapsed" else {"time_groups"}
        inactive |= set() if self.readout == "spikes" else {"ties"}
        inactive |= set() if self.normalisation != "none" else {"drive_std"}
        starts = {"initial_hidden_bias", "initial_output_bias", "initial_output_scale"}
        of_pretraining = {
            "pretrain_lr",
            "pretrain_activation",
            "pretrain_precision",
            "batch_norm_scale",
            "pool_before_activation",
        }
        of_pretraining |= {"first_image_side", "first_image_side_fraction"}
        inactive |= {*starts, "normalisation", "drive_std"} if self.is_pretrained else of_pretraining
        inactive |= set() if self._trains_batch_norms() else {"batch_norm_momentum"}
        inactive |= {"first_image_side_fraction"} if self.first_image_side is None else set()
        inactive |= self.inactive_initial_weights(self.layout)
        if self.pretrain_time_budget_s is not None:
            inactive |= {"pretrain_epochs"}
        if self.loss_over_time == "mean":
            inactive |= {"tet_lambda"}
        elif not self.tet_lambda and set(self.possible_time_steps()) == {1}:
            inactive |= {"loss_over_time"}
        inactive |= set() if self.distillation else {"distillation_temperature"}
        inactive |= set() if has_pools(self.layout, "M", "A") else {"pool_on", "pool_before_activation"}
        inactive |= set() if has_pools(self.layout, "M") else {"pool_gradient"}
        if self.train_time_steps != "fixed" and set(self.possible_time_steps()) == {self.time_steps}:
            inactive |= {"train_time_steps"}
        return inactive | {"eval_time_steps"} if self.eval_time_steps == self.time_steps else inactive

    def _trains_batch_norms(self) -> bool:
        """Whether there are any: behind the convolutions of the analogue network, or behind all hidden layers of the BITnet."""
        if not self.whitening_takes_the_only_norm(self.layout):
            return self.is_pretrained or self.normalisation == "batch_norm"
        return not self.is_pretrained and self.normalisation == "batch_norm" and has_hidden_linear_layers(self.layout)

    @property
    def is_pretrained(self) -> bool:
        """Whether an analogue network is trained first."""
        return self.pretrain_epochs > 0 or self.pretrain_time_budget_s is not None

    def most_epochs(self) -> float:
        """Those of the BITnet, or of its pre-training if that is longer."""
        return math.inf if self.pretrain_time_budget_s is not None else max(super().most_epochs(), self.pretrain_epochs)

    def starting_normalisation(self) -> DriveNormalisation:
        """How drives are normalised: in no way where the weights of an analogue network carry it already."""
        return "none" if self.is_pretrained else self.normalisation

    def not_to_vary(self) -> Iterator[RuleError]:
        """The fields that a study must not vary among configs like this one, each with the rule that it would break."""
        yield from super().not_to_vary()
        if self.pretrain_time_budget_s is not None:
            rule = "pretrain_epochs must not vary where pretrain_time_budget_s is the length of pre-training"
            repair = "remove pretrain_epochs from the factors, or write pretrain_time_budget_s: null"
            yield RuleError(rule, repair=repair, field="pretrain_epochs")
        if self.train_time_steps == "mixed":
            rule = "time_steps must not vary where train_time_steps is mixed, which trains one network for all of them"
            repair = (
                "give time_steps one value there, such as the largest, as every run has the accuracy after each of its steps, "
                "or write train_time_steps: fixed"
            )
            yield RuleError(rule, repair=repair, field="time_steps")

    def possible_time_steps(self) -> Iterable[int]:
        """Every number of time steps that a step of training may have."""
        if self.train_time_steps == "mixed":
            return range(1, self.time_steps + 1)
        return training_time_steps(self.train_time_steps, self.time_steps, self.epochs)

    def resolved(self, num_images: int) -> dict[str, Any]:
        """What the fields come to in training; see ``Recipe.resolved``."""
        values, layout = super().resolved(num_images), scaled_layout(self.layout, self.feature_scale)
        groups = resolved_groups(self.possible_time_steps(), values["time_groups"])
        values |= {"layout": layout, "feature_scale": 1.0, "time_groups": groups}
        values["rate_target"] = resolved_rate_target(values["rate_target"])
        if self.initial_membrane_potential == "dithered" and not (self.pool_on == "spikes" and has_pools(self.layout, "M", "A")):
            values["initial_membrane_potential"] = 0.5
        return values | self.resolved_pruning(self.epochs, convolution_channels(self.layout, self.feature_scale))


def problems(config: Config, image_shape: ImageShape) -> Iterator[RuleError]:
    """The rules that the config breaks for images of ``image_shape`` and that no field can see by itself."""
    wrong = list(config.problems(image_shape))
    yield from wrong
    if not wrong:
        yield from _part_problems(config, config.input_shape(image_shape))
        try:
            final_map(config.layout, config.input_shape(image_shape))
        except RuleError as error:
            yield RuleError(error.rule, error.value, field="layout")
        else:
            build_it = partial(build, config, config.input_shape(image_shape), num_classes=2)
            yield from rate_target_problems(config, build_it)
            yield from muon_problems(config, build_it)
            if config.starting_normalisation() == "weight_standardisation":
                yield from standardisation_problems(config.layout, config.feature_scale, config.input_shape(image_shape))
    if config.eval_time_steps is not None and config.eval_time_steps < config.time_steps:
        rule = f"eval_time_steps must be at least time_steps ({config.time_steps}); fewer are part of the curve"
        yield RuleError(rule, repair="write eval_time_steps: null, which takes time_steps", field="eval_time_steps")
    if (most := max(config.possible_time_steps())) > MOST_TIME_STEPS:
        factor = most // config.time_steps
        rule = f"time_steps must be at most {MOST_TIME_STEPS // factor} where descending begins with {factor} times as many"
        repair = f"write time_steps: {MOST_TIME_STEPS // factor}, or train_time_steps: fixed"
        yield RuleError(rule, repair=repair, field="time_steps")
    if config.time_groups != "dyadic" and not 1 <= config.time_groups <= config.time_steps:
        rule = f"time_groups must be dyadic or a number from 1 to time_steps ({config.time_steps})"
        yield RuleError(rule, repair="write time_groups: dyadic", field="time_groups")
    yield from _neuron_problems(config)
    yield from _normalisation_problems(config)
    if config.is_pretrained and config.batch_size == 1:
        rule = "batch_size must be at least 2 where batch norms are trained, as in pre-training"
        yield RuleError(rule, repair="write batch_size: 2, or pretrain_epochs: 0", field="batch_size")
    yield from _length_problems(config)
    yield from _loss_problems(config)
    if config.surrogate == "stdb" and config.surrogate_width != 1:
        rule = "surrogate_width must be 1 for stdb, which has no width"
        yield RuleError(rule, repair="write surrogate_width: 1.0, or surrogate: arctan", field="surrogate_width")


def _length_problems(config: Config) -> Iterator[RuleError]:
    """The rules that are broken where it is not known how many epochs a training has."""
    if config.pretrain_time_budget_s is not None and config.schedule == "step":
        rule = "pretrain_time_budget_s must be null where schedule is step, as lr_milestones are epochs"
        repair = "write pretrain_time_budget_s: null, or schedule: cosine"
        yield RuleError(rule, repair=repair, field="pretrain_time_budget_s")
    if config.time_budget_s is None:
        return
    if config.train_time_steps == "descending" and "train_time_steps" not in config.inactive_fields():
        rule = "time_budget_s must be null where train_time_steps is descending, whose parts are epochs"
        yield RuleError(rule, repair="write time_budget_s: null, or train_time_steps: mixed", field="time_budget_s")
    if config.spike_penalty and config.spike_penalty_annealing != "constant":
        rule = (
            f"time_budget_s must be null where spike_penalty_annealing is {config.spike_penalty_annealing}, which counts epochs"
        )
        yield RuleError(rule, repair="write time_budget_s: null, or spike_penalty_annealing: constant", field="time_budget_s")


def _part_problems(config: Config, input_shape: ImageShape) -> Iterator[RuleError]:
    """The rules that parts of the network, or of the one that it is pre-trained as, break."""
    yield from ann.part_problems(config, input_shape)
    if config.is_pretrained:
        yield from ann.image_side_problems(config, config.layout, input_shape)


def _neuron_problems(config: Config) -> Iterator[RuleError]:
    """The rules that neurons and the read-out break."""
    if config.initial_membrane_potential == "learnt" and config.gradient == "rate_collapsed":
        rule = "initial_membrane_potential must be a number or dithered where gradient is rate_collapsed"
        yield RuleError(rule, repair="write gradient: straight_through", field="initial_membrane_potential")
    if config.readout == "potential" and config.ties != Config.ties:
        rule = "ties must not be set where readout is potential, which has no spikes to count"
        repair = "write ties: potential, or readout: spikes; as a factor, give ties when: {readout: spikes}"
        yield RuleError(rule, repair=repair, field="ties")


def _normalisation_problems(config: Config) -> Iterator[RuleError]:
    """The rules that the normalisation of drives breaks."""
    if config.starting_normalisation() != "batch_norm":
        return
    if config.gradient == "rate_collapsed":
        rule = "gradient must be straight_through or surrogate where normalisation is batch_norm"
        yield RuleError(
            rule, repair="write gradient: straight_through, or normalisation: weight_standardisation", field="gradient"
        )
    if config.batch_size == 1:
        rule = "batch_size must be at least 2 where normalisation is batch_norm"
        yield RuleError(rule, repair="write batch_size: 2, or normalisation: weight_standardisation", field="batch_size")


def _loss_problems(config: Config) -> Iterator[RuleError]:
    """The rules that the loss breaks."""
    if config.loss_over_time == "each_step" and config.readout == "spikes":
        rule = "loss_over_time must be mean where readout is spikes: one step of an output neuron says 0 or 1 alone"
        yield RuleError(rule, repair="write readout: potential, or loss_over_time: mean", field="loss_over_time")
    if config.distillation and not config.is_pretrained:
        rule = "distillation must be 0 where pretrain_epochs is 0: there is no analogue network to learn from"
        yield RuleError(rule, repair="write pretrain_epochs: 5, or distillation: 0", field="distillation")


def source_network(config: Config) -> ann.Config | None:
    """The config of the analogue network that the BITnet starts from; None if it starts from random weights."""
    if not config.is_pretrained:
        return None
    return ann.config_of_source_network(
        config,
        activation=config.pretrain_activation,
        qcfs_levels=config.time_steps,
        batch_norm=True,
        epochs=config.pretrain_epochs or Config.epochs,
        time_budget_s=config.pretrain_time_budget_s,
        lr=config.pretrain_lr,
        precision=config.pretrain_precision,
        lr_milestones=config.milestones_within(config.pretrain_epochs),
        prune="none",
    )


def footprint(config: Config, image_shape: ImageShape, num_classes: int, num_micro_batches: int = 1) -> Footprint:
    """Parameters, operations and memory of a replicate, known before it is trained; a source network's are its own."""
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

    See ``training.loop.fit`` for checkpoints, resuming and errors.
    """
    task = task_of(config, dataset.image_shape, dataset.num_classes, seed, num_micro_batches)
    start = source_network(config)

    def source(start: ann.Config) -> tuple[Network, dict[str, str]]:
        """The trained analogue network, and what every report says of it."""
        weights, reports = trained_source_network(
            ann.train,
            start,
            trainable="ann",
            seed=seed,
            dataset=dataset,
            checkpoint_folder=checkpoint_folder,
            num_micro_batches=num_micro_batches,
        )
        analogue = ann.build(start, start.input_shape(dataset.image_shape), dataset.num_classes)
        analogue.load_state_dict(weights)
        return analogue, {"parent_accuracy": str(reports[-1].metrics["val/accuracy"]), **facts_of_source(start, reports)}

    distillation = task.distillation
    if start and distillation:
        source = cache(source)  # it is asked for twice
        distillation = dataclasses.replace(distillation, teacher=lambda: source(start)[0])

    def prepare(network: Network, splits: Splits) -> Prepared:
        prepared = task.prepare(network, splits)
        if start is None:
            return prepared
        analogue, about_source = source(start)
        share_weights(fold_scales(fold_batch_norms(analogue)), network)
        if _fits_output(config):
            some = some_training_batches(splits, MOST_START_IMAGES, seed, "output", num_micro_batches=num_micro_batches)
            smoothing = config.label_smoothing
            fit_output_to_labels(network, some, config.time_steps, label_smoothing=smoothing, num_micro_batches=num_micro_batches)
        return Prepared(run_facts=about_source)

    started = dataclasses.replace(task, prepare=prepare, distillation=distillation, keep_weights=keep_weights)
    return fit(started, config, dataset=dataset, checkpoint_folder=checkpoint_folder)


def timing(config: Config, *, seed: int, dataset: Dataset) -> Timing:
    """How long a replicate will take, measured on a few of its steps.

    It is timed as if it started from random weights: loading a source network's takes milliseconds, and its training is timed
    apart.
    """
    return timing_of(task_of(config, dataset.image_shape, dataset.num_classes, seed), config, dataset)


def task_of(config: Config, image_shape: ImageShape, num_classes: int, seed: int = 0, num_micro_batches: int = 1) -> Task:
    """What ``train`` passes to ``fit``, starting from random weights, for images of ``image_shape`` (height, width, channels)."""

    def prepare(network: Network, splits: Splits) -> Prepared:
        initialise_spiking(
            network,
            generator_for(seed, "weights"),
            hidden_bias=config.initial_hidden_bias,
            output_bias=config.initial_output_bias,
            output_scale=config.initial_output_scale,
        )
        if not config.is_pretrained:
            ann.start_parts(config, network, splits, seed, scale=1.0, num_micro_batches=num_micro_batches)
        if config.starting_normalisation() != "none":
            num_images = max(FEWEST_START_IMAGES, min(MOST_START_IMAGES, MOST_START_STEPS // config.time_steps))
            batches = partial(some_training_inputs, splits, num_images, seed, "gain", num_micro_batches=num_micro_batches)
            start_drives(network, batches, config.time_steps, config.drive_std, num_micro_batches=num_micro_batches)
        return Prepared()

    return Task(
        build=lambda: build(config, config.input_shape(image_shape), num_classes),
        prepare=prepare,
        simulates_to_prepare=config.starting_normalisation() != "none" or _fits_output(config),
        loss=loss_of_outputs(
            config.loss,
            spiking=config.readout == "spikes",
            tet_lambda=config.tet_lambda if config.loss_over_time == "each_step" else None,
        ),
        distillation=_distillation(config, config.input_shape(image_shape), num_classes),
        seed=seed,
        time_steps=config.time_steps,
        train_time_steps=config.train_time_steps,
        eval_time_steps=config.eval_time_steps or config.time_steps,
        time_groups=config.time_groups if config.gradient == "rate_collapsed" else None,
        precision=config.precision,
        ties=config.ties,
        regularisers=config,
        selection=config.active_selection,
        pruning=config,
        num_micro_batches=num_micro_batches,
    )


def _fits_output(config: Config) -> bool:
    """Whether a pre-trained output layer is scaled to the labels, as a mean squared error of summed drives needs it."""
    return config.is_pretrained and config.readout == "potential" and config.loss == "mse"


def _distillation(config: Config, input_shape: ImageShape, num_classes: int) -> Distillation | None:
    """What is learnt from the analogue network, which has random weights here."""
    start = source_network(config)
    if not config.distillation or start is None:
        return None
    return Distillation(
        teacher=lambda: ann.build(start, input_shape, num_classes),
        weight=config.distillation,
        precision=start.precision,
        divergence=partial(
            divergence_from_teacher, spiking=config.readout == "spikes", temperature=config.distillation_temperature
        ),
    )


def build(config: Config, input_shape: ImageShape, num_classes: int) -> Network:
    """The spiking network of a config, for inputs of ``input_shape`` (height, width, channels).

    Raises:
        ValueError: The layout does not fit the images.
    """
    network = Network(
        layered(
            config.layout,
            image_shape=input_shape,
            num_classes=num_classes,
            activation=ClampedReLU,
            feature_scale=config.feature_scale,
            pool_before_activation=config.pool_on == "drive",
            split_ties=config.pool_gradient == "split",
            activate_output=config.readout == "spikes",
        )
    )
    surrogate = Surrogate(config.surrogate, config.surrogate_width, config.surrogate_scale)
    model = NeuronModel(
        integrate=config.integrate,
        initial_membrane_potential=config.initial_membrane_potential,
        surrogate=surrogate if config.gradient == "surrogate" else None,
        detach_reset=config.detach_reset,
        gradient_margin=config.gradient_margin if config.gradient != "surrogate" else 0.0,
    )
    put_neurons(network, model, input_shape)
    if config.first_layer == "whitening":
        fix_first_layer(network)
    normalise_drives(network, config.starting_normalisation())
    set_batch_norms(network, momentum=config.batch_norm_momentum)
    return network
