"""Converted SNNs: a trained analogue network whose activations are replaced by integrate-and-fire neurons.

Fine-tuning the converted network as a spiking one is hybrid training (Rathi et al. 2020).
"""

import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from trainables import ann
from trainables.conversion.agreement import agreement, correct_biases, shift_biases
from trainables.conversion.calibration_set import BATCH_SIZE as CALIBRATION_BATCH_SIZE
from trainables.conversion.calibration_set import CalibrationSet, analogue_activations, calibration_set
from trainables.conversion.structure import (
    Granularity,
    analogue_counterpart,
    normalise_weights,
    scale_weights,
    spiking_structure,
)
from trainables.conversion.thresholds import Balance, activation_scales, layers_at_junctions, qcfs_scales, spike_norm
from trainables.costs.footprint import Footprint, footprint_of
from trainables.costs.timing import Timing, timing_of
from trainables.data.datasets import Dataset, Splits
from trainables.data.encodings import Encoding
from trainables.data.randomness import generator_for
from trainables.networks.layered import initialise_analogue
from trainables.networks.layouts import ImageShape, has_pools
from trainables.networks.network import Network
from trainables.networks.precision import Precision
from trainables.networks.readout import Ties
from trainables.networks.residual import RESIDUAL_NETWORKS
from trainables.networks.rewriting import share_weights
from trainables.networks.rules import RuleError
from trainables.published import conversions
from trainables.spiking.neurons import MOST_TIME_STEPS, NeuronModel, Reset
from trainables.spiking.surrogates import Shape, Surrogate
from trainables.training.configs import setting
from trainables.training.epoch_report import EpochReport
from trainables.training.files import Location
from trainables.training.loop import fit
from trainables.training.losses import loss_of_outputs
from trainables.training.optimisation.optimisers import muon_problems
from trainables.training.pretraining import facts_of_source, trained_source_network
from trainables.training.recipe import Recipe
from trainables.training.regularisers import Pruning, SpikeRegularisers, rate_target_problems, resolved_rate_target
from trainables.training.task import Prepared, Task

PRESETS, PRESET_SOURCES = conversions.PRESETS, conversions.PRESET_SOURCES


@dataclass(frozen=True, kw_only=True)
class Config(ann.AnalogueNetwork, Recipe, SpikeRegularisers, Pruning):
    """A conversion: the source network's network and training (epochs, time_budget_s, lr, … are the source network's), its
    conversion, and fine-tuning.
    """

    time_steps: int = setting(32, at_least=1, at_most=MOST_TIME_STEPS, section="conversion")
    """T, the number of time steps that an image is shown for: what bias corrections and fine-tuning are made for."""

    eval_time_steps: int | None = setting(None, at_least=1, at_most=MOST_TIME_STEPS)
    """The number of time steps of every evaluation, at least time_steps; null takes time_steps. Accuracy after fewer steps
    is part of the curve that every report has."""

    encoding: Encoding = setting("constant")
    """How an image becomes input: constant gives the image itself at every time step; poisson gives random spikes, whose
    sign is that of the pixel less its mean and whose probability is the size of that difference (Sengupta et al. 2019,
    section 3.2)."""

    reset: Reset = setting("soft")
    """What a spike does to the membrane potential: soft subtracts the firing threshold, so that the remainder is kept (RMP,
    Han et al. 2020); hard sets it to 0."""

    balance: Balance = setting("max")
    """How firing thresholds are chosen: the largest activation of a layer (max, Diehl et al. 2015), a percentile of its
    activations (percentile, Rueckauer et al. 2017), the value of least squared error (mse, Li et al. 2021), the quantisation
    that the analogue network has learnt (qcfs, Bu et al. 2022), or the largest weighted input of spikes (spike_norm,
    Sengupta et al. 2019)."""

    percentile: float = setting(99.9, above=0, at_most=100)
    """Of balance percentile: which percentile of a layer's activations the threshold is; 100 is the largest."""

    per: Granularity = setting("layer")
    """Whether there is one firing threshold for each layer or for each channel."""

    threshold_scale: float = setting(1.0, above=0)
    """A factor for every firing threshold after balancing; Rathi et al. 2020 take 0.7 where T is small."""

    equal_thresholds: bool = setting(True)
    """Of balance spike_norm in residual networks: whether layers that meet at a junction share the threshold 1 (Sengupta et
    al. 2019, constraint 2)."""

    initial_membrane_potential: float = setting(0.0, at_least=0, below=1)
    """The membrane potential before the first time step, as a fraction of the firing threshold; 0.5 belongs to balance qcfs."""

    leak: float = setting(1.0, above=0, at_most=1)
    """The fraction of the membrane potential that is kept from one time step to the next; 1 is no leak, as conversions
    assume."""

    bias_shift: bool = setting(False)
    """Whether θ/(2T) is added to every drive, θ the firing threshold, so that a rate is rounded rather than cut (Deng & Gu
    2021)."""

    bias_correction: bool = setting(False)
    """Whether biases are corrected, layer after layer, by the mean difference of spike rates and analogue activations (Li et
    al. 2021, section 3.3)."""

    max_pool: Literal["largest_count", "or"] = setting("largest_count")
    """What a max pool of spikes emits: largest_count spikes whenever the largest spike count of its window rises, so that
    its own count is that largest one; or spikes whenever any neuron of the window does."""

    readout: Literal["membrane", "spikes"] = setting("membrane")
    """How classes are judged: membrane sums up the drive of the output layer, spikes counts the spikes of output neurons."""

    ties: Ties = setting("potential", before="lowest_class")
    """Of readout spikes: which of several classes with the most spikes so far is the answer, at every time step. potential: the
    one with the largest membrane potential left, as a fraction of its firing threshold; lowest_class: the first."""

    calibration_images: int = setting(256, at_least=1)
    """On how many training images thresholds, corrections and the agreement of layers with the analogue network are
    measured."""

    spike_norm_time_steps: int = setting(2500, at_least=1, at_most=MOST_TIME_STEPS)
    """Of balance spike_norm: over how many time steps the largest weighted input is looked for; 2500 in Sengupta et al.
    2019."""

    finetune_epochs: int = setting(0, at_least=0, section="fine-tuning")
    """For how many epochs the converted network is trained as a spiking one; 0 only converts."""

    finetune_lr: float = setting(1e-3, above=0)
    """The largest learning rate of fine-tuning."""

    finetune_precision: Precision = setting("float32", before="float32")
    """The floating-point type of the convolutions and linear layers of the spiking network, in fine-tuning and in evaluation:
    float32; or bfloat16, never of membrane potentials. On a CPU bfloat16 takes plain PyTorch, as the event-driven kernels
    compute in float32 alone. precision is the source network's; the conversion itself is computed in float32."""

    finetune_gradient: Literal["surrogate", "straight_through"] = setting("surrogate")
    """How gradients pass the spikes in fine-tuning: surrogate is back-propagation through time with a surrogate gradient,
    straight_through is local in time."""

    surrogate: Shape = setting("stdb")
    """Of fine-tuning: the function that stands in for the derivative of a spike. stdb, with surrogate_scale 0.3, is that of
    Rathi et al. 2020, triangle with 0.3 that of Diet-SNN (Rathi & Roy 2020)."""

    surrogate_width: float = setting(1.0, above=0)
    """The width of the surrogate gradient, as a multiple of the firing threshold; 1 for stdb, which has none."""

    surrogate_scale: float = setting(0.3, above=0)
    """The area under the surrogate gradient; of stdb, its factor α."""

    detach_reset: bool = setting(False)
    """Whether the surrogate gradient ignores that a spike resets the membrane potential."""

    train_neurons: bool = setting(False)
    """Whether fine-tuning also learns a firing threshold and a leak for every layer, starting from those of the conversion
    (Diet-SNN, Rathi & Roy 2020)."""

    def inactive_fields(self) -> set[str]:
        """The fields that do nothing in this config, such as those of a gradient that it does not use; identities ignore them."""
        inactive = super().inactive_fields() | self.inactive_network_fields() | self._inactive_fine_tuning()
        inactive |= self.inactive_pruning() | self.inactive_spike_terms()
        inactive |= set() if self.readout == "spikes" else {"ties"}
        inactive |= set() if self.balance == "percentile" else {"percentile"}
        inactive |= set() if self.balance == "spike_norm" else {"spike_norm_time_steps"}
        meets = self.balance == "spike_norm" and self.layout in RESIDUAL_NETWORKS
        inactive |= set() if meets else {"equal_thresholds"}
        has_max_pools = self.first_pool if self.layout in RESIDUAL_NETWORKS else has_pools(self.layout, "M")
        inactive |= set() if self.pool == "layout" and has_max_pools else {"max_pool"}
        return inactive | {"eval_time_steps"} if self.eval_time_steps == self.time_steps else inactive

    def resolved(self, num_images: int) -> dict[str, Any]:
        """What the fields come to in training; see ``Recipe.resolved``."""
        values = super().resolved(num_images) | self.resolved_network()
        values["calibration_images"] = min(self.calibration_images, values["num_train_images"])
        values["rate_target"] = resolved_rate_target(values["rate_target"])
        return values | self.resolved_pruning(self.epochs, self.scaled_channels())

    def most_epochs(self) -> float:
        """Those of the source network, or of fine-tuning if that is longer."""
        return max(super().most_epochs(), self.finetune_epochs)

    def _inactive_fine_tuning(self) -> set[str]:
        of_surrogate = {"surrogate", "surrogate_width", "surrogate_scale", "detach_reset"}
        if self.finetune_epochs:
            return set() if self.finetune_gradient == "surrogate" else of_surrogate
        terms = {field.name for field in dataclasses.fields(SpikeRegularisers)}
        return {"finetune_lr", "finetune_precision", "finetune_gradient", "train_neurons"} | of_surrogate | terms


def problems(config: Config, image_shape: ImageShape) -> Iterator[RuleError]:
    """The rules that the config breaks for images of ``image_shape`` and that no field can see by itself."""
    wrong = list(config.problems(image_shape))
    yield from wrong
    if not wrong:
        wrong = list(ann.network_problems(config, config.input_shape(image_shape)))
        yield from wrong
    if not wrong:
        build_it = partial(_build, config, image_shape, num_classes=2)
        yield from rate_target_problems(config, build_it)
        yield from muon_problems(config, build_it)
    if config.eval_time_steps is not None and config.eval_time_steps < config.time_steps:
        yield RuleError(f"eval_time_steps must be at least time_steps ({config.time_steps})", field="eval_time_steps")
    if config.readout == "membrane" and config.ties != Config.ties:
        rule = "ties must not be set where readout is membrane, which has no spikes to count"
        repair = "write ties: potential, or readout: spikes; as a factor, give ties when: {readout: spikes}"
        yield RuleError(rule, repair=repair, field="ties")
    if config.balance == "qcfs" and config.activation != "qcfs":
        yield RuleError("balance qcfs needs the source network's activation to be qcfs", field="balance")
    if config.balance == "spike_norm":
        yield from _spike_norm_problems(config)
    if config.train_neurons and (config.finetune_gradient != "surrogate" or config.per != "layer"):
        yield RuleError("train_neurons needs finetune_gradient: surrogate and per: layer", field="train_neurons")
    if config.surrogate == "stdb" and config.surrogate_width != 1:
        yield RuleError("surrogate_width must be 1 for stdb, which has no width", field="surrogate_width")
    if (
        config.finetune_epochs
        and config.equal_thresholds
        and config.balance == "spike_norm"
        and config.layout in RESIDUAL_NETWORKS
    ):
        rule = "fine-tuning needs a network whose drives have one unit; use another balance for it"
        yield RuleError(rule, field="finetune_epochs")


def _spike_norm_problems(config: Config) -> Iterator[RuleError]:
    if config.bias or config.batch_norm:
        field = "batch_norm" if config.batch_norm else "bias"
        rule = "spike_norm is defined for networks without biases and batch norms (Sengupta et al. 2019): set both to false"
        yield RuleError(rule, field=field)
    if config.per != "layer":
        yield RuleError("spike_norm has one threshold per layer, so per must be layer", field="per")
    if config.bias_shift or config.bias_correction:
        field = "bias_shift" if config.bias_shift else "bias_correction"
        yield RuleError("spike_norm is defined for networks without biases", field=field)


def source_network(config: Config) -> ann.Config:
    """The config of the analogue network that is converted."""
    return ann.config_of_source_network(config)


def footprint(config: Config, image_shape: ImageShape, num_classes: int, num_micro_batches: int = 1) -> Footprint:
    """Parameters, operations and memory of a conversion and its fine-tuning, known before; the source network's are its own."""
    task, recipe = task_of(config, image_shape, num_classes, 0, num_micro_batches), _fine_tuning(config)
    return footprint_of(task, recipe, config.input_shape(image_shape), calibration_images=config.calibration_images)


def train(
    config: Config,
    *,
    seed: int,
    dataset: Dataset,
    checkpoint_folder: Location | None = None,
    num_micro_batches: int = 1,
    keep_weights: bool = False,
) -> Iterator[EpochReport]:
    """Convert the trained source network and fine-tune it if asked to; the source network is trained first unless it is stored
    already.

    The first report is the conversion's; every epoch of fine-tuning has one more. See ``training.loop.fit``.
    """

    def prepare(network: Network, splits: Splits) -> Prepared:
        weights, reports = trained_source_network(
            ann.train,
            source_network(config),
            trainable="ann",
            seed=seed,
            dataset=dataset,
            checkpoint_folder=checkpoint_folder,
            num_micro_batches=num_micro_batches,
        )
        trained = ann.build(config, config.input_shape(dataset.image_shape), dataset.num_classes)
        trained.load_state_dict(weights)
        input_shape = config.input_shape(dataset.image_shape)
        prepared = _convert(trained, network, config, splits, seed, input_shape, num_micro_batches)
        last = reports[-1].metrics
        about_source = {"parent/val_accuracy": last["val/accuracy"], "parent/test_accuracy": last["test/accuracy"]}
        facts = prepared.run_facts | facts_of_source(source_network(config), reports)
        return dataclasses.replace(prepared, metrics=prepared.metrics | about_source, run_facts=facts)

    task = task_of(config, dataset.image_shape, dataset.num_classes, seed, num_micro_batches)
    task = dataclasses.replace(task, prepare=prepare, keep_weights=keep_weights)
    return fit(task, _fine_tuning(config), dataset=dataset, checkpoint_folder=checkpoint_folder)


def timing(config: Config, *, seed: int, dataset: Dataset) -> Timing:
    """How long a conversion and its fine-tuning will take, from a few steps of them; the source network has its own.

    The conversion is that of an untrained source network, whose numbers cost as much, on one batch of calibration images:
    calibration goes through its images batch by batch, so that its time is that of one, times their number.
    """
    input_shape = config.input_shape(dataset.image_shape)
    one_batch = dataclasses.replace(config, calibration_images=min(CALIBRATION_BATCH_SIZE, config.calibration_images))
    conversions_s: list[float] = []

    def prepare(network: Network, splits: Splits) -> Prepared:
        untrained = ann.build(config, input_shape, dataset.num_classes)
        initialise_analogue(untrained, generator_for(seed, "weights"))
        start = time.perf_counter()
        prepared = _convert(untrained, network, one_batch, splits, seed, input_shape)
        num_images = min(config.calibration_images, len(splits.train))
        conversions_s.append((time.perf_counter() - start) * (math.ceil(num_images / CALIBRATION_BATCH_SIZE) - 1))
        return prepared

    task = dataclasses.replace(task_of(config, dataset.image_shape, dataset.num_classes, seed), prepare=prepare)
    timed = timing_of(task, _fine_tuning(config), dataset)
    return dataclasses.replace(timed, seconds_once=timed.seconds_once + sum(conversions_s))


def _convert(
    trained: Network,
    network: Network,
    config: Config,
    splits: Splits,
    seed: int,
    input_shape: ImageShape,
    num_micro_batches: int = 1,
) -> Prepared:
    calibration = calibration_set(
        splits,
        config.calibration_images,
        split_seed=config.split_seed,
        encoding=config.encoding,
        seed=seed,
        num_micro_batches=num_micro_batches,
    )
    trained.to(splits.train.images.device)
    return convert(trained, network, config, calibration, input_shape)


def _fine_tuning(config: Config) -> Config:
    """The recipe of what is trained here: the source network's, but for its length, its learning rate and its milestones."""
    epochs, lr = config.finetune_epochs, config.finetune_lr
    milestones = config.milestones_within(epochs)
    return dataclasses.replace(config, epochs=epochs, time_budget_s=None, lr=lr, lr_milestones=milestones)


def task_of(config: Config, image_shape: ImageShape, num_classes: int, seed: int = 0, num_micro_batches: int = 1) -> Task:
    """What ``train`` hands to ``fit``, without what only a source network's weights can give, for images of ``image_shape``."""
    return Task(
        build=lambda: _build(config, image_shape, num_classes),
        loss=loss_of_outputs("cross_entropy", spiking=config.readout == "spikes"),
        seed=seed,
        time_steps=config.time_steps,
        eval_time_steps=config.eval_time_steps or config.time_steps,
        encoding=config.encoding,
        precision=config.finetune_precision if config.finetune_epochs else "float32",
        ties=config.ties,
        regularisers=config,
        selection=config.active_selection,
        pruning=config,
        pruning_is_over=True,  # the schedule was the source network's
        report_prepared=True,
        num_micro_batches=num_micro_batches,
    )


@torch.no_grad()
def convert(trained: Network, network: Network, config: Config, calibration: CalibrationSet, input_shape: ImageShape) -> Prepared:
    """Give ``network``, a spiking structure, the weights, thresholds and corrections that the config asks for.

    Returns:
        How every layer agrees with the analogue network's, and the digest of the calibration set.
    """
    analogue = analogue_counterpart(trained, config.readout).to(calibration.images_BCHW.device)
    share_weights(analogue, network)
    activations = analogue_activations(analogue, calibration)
    neurons = dict(network.neurons())
    shapes = {layer: neuron.firing_threshold.shape for layer, neuron in neurons.items()}
    splits = calibration.splits
    input_scale = 1 / splits.std if config.encoding == "poisson" else torch.ones_like(splits.std[0, 0, 0])
    if config.balance == "spike_norm":
        scale_weights(
            network, {layer: torch.ones_like(n.firing_threshold) for layer, n in neurons.items()}, input_scale, input_shape
        )
        shared_by = layers_at_junctions(network) if config.equal_thresholds else set[str]()
        thresholds = spike_norm(network, calibration, config.spike_norm_time_steps, shared_by=shared_by)
        scales = _products(network, thresholds)
    else:
        scales = _scales(config, analogue, activations, shapes)
        scales = {layer: scale.to(input_scale.device) for layer, scale in scales.items()}
        scale_weights(network, scales, input_scale, input_shape)
        thresholds = scales
    for layer, neuron in neurons.items():
        neuron.firing_threshold.data.copy_(thresholds[layer] * config.threshold_scale)
    if config.bias_shift:
        shift_biases(network, config.time_steps)
    if config.bias_correction:
        correct_biases(network, activations, scales, calibration, config.time_steps)
    layers = agreement(network, activations, scales, calibration, config.time_steps)
    metrics = {f"conversion_error/{layer.layer}": layer.error for layer in layers}
    metrics |= {f"conversion_correlation/{layer.layer}": layer.correlation for layer in layers}
    rows = [dataclasses.asdict(row) | {"firing_threshold": float(neurons[row.layer].firing_threshold.mean())} for row in layers]
    if config.finetune_epochs:
        normalise_weights(network)
    return Prepared(metrics, {"calibration_digest": calibration.digest}, {"conversion": rows})


def _scales(
    config: Config, analogue: Network, activations: dict[str, Tensor], shapes: dict[str, torch.Size]
) -> dict[str, Tensor]:
    balance: Balance = "max" if config.balance == "qcfs" else config.balance
    scales = activation_scales(activations, shapes, balance=balance, percentile=config.percentile, time_steps=config.time_steps)
    return scales | qcfs_scales(analogue, shapes) if config.balance == "qcfs" else scales


def _products(network: Network, thresholds: dict[str, Tensor]) -> dict[str, Tensor]:
    """What a spike of every layer is worth in the analogue network's units: the product of the thresholds up to it."""
    scales: dict[str, Tensor] = {}
    known: dict[str, Tensor] = {}
    for operation in network.operations:
        worth = known.get(operation.inputs[0], torch.ones(()))
        layer = network.layers.get(operation.name)
        if layer in thresholds and not network.is_a(operation, torch.nn.Conv2d, torch.nn.Linear):
            worth = worth * thresholds[layer].cpu()
            scales[layer] = worth
        known[operation.name] = worth
    return scales


def _build(config: Config, image_shape: ImageShape, num_classes: int) -> Network:
    input_shape = config.input_shape(image_shape)
    surrogate = Surrogate(config.surrogate, config.surrogate_width, config.surrogate_scale)
    model = NeuronModel(
        integrate="raw",
        reset=config.reset,
        initial_membrane_potential=config.initial_membrane_potential,
        surrogate=surrogate if config.finetune_gradient == "surrogate" else None,
        detach_reset=config.detach_reset,
    )
    analogue = analogue_counterpart(ann.build(config, input_shape, num_classes), config.readout)
    return spiking_structure(
        analogue,
        model,
        input_shape=input_shape,
        per=config.per,
        max_pool=config.max_pool,
        with_biases=config.bias_shift or config.bias_correction,
        leak=config.leak,
        trainable=config.train_neurons and config.finetune_epochs > 0,
    )
