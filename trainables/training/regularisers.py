"""Regularisers and pruning: penalties for spikes, target rates, and filters that are set to 0."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from trainables.data.randomness import generator_for
from trainables.networks.drive_normalisation import raw_weight
from trainables.networks.network import SYNAPSES, Network
from trainables.networks.rules import RuleError
from trainables.training.configs import setting

Annealing = Literal["constant", "linear", "quadratic"]
PruningScore = Literal["none", "l1", "activation", "random"]
Schedule = Literal["once", "linear", "cubic"]

MOST_EPOCHS_RESOLVED = 1000


@dataclass(frozen=True, kw_only=True)
class SpikeRegularisers:
    """Terms that are added to the loss, on the spikes of all layers."""

    spike_penalty: float = setting(0.0, at_least=0, section="regularisation")
    """The weight of a term in the loss for every spike: the mean over layers of the number of spikes per neuron and image. 0
    adds no such term."""

    spike_penalty_annealing: Annealing = setting("linear")
    """How the weight of the spike penalty rises over the epochs to its full value: constant has it from the start, linear
    rises with the epoch, quadratic with its square."""

    rate_target: float | str | None = setting(None)
    """The spike rate (spikes per neuron and time step, 0 to 1) that hidden spiking layers are drawn towards: one number for
    all, or one for each layer in a text such as "0.2 0.1 0.1 0.05". null draws them nowhere."""

    rate_target_weight: float = setting(1.0, at_least=0)
    """The weight of the term in the loss that draws layers to rate_target: the mean over hidden layers of (spike rate -
    target)²."""

    @property
    def penalise(self) -> bool:
        """Whether any term is on."""
        return bool(self.spike_penalty) or self.rate_target is not None

    def inactive_spike_terms(self) -> set[str]:
        """The fields of terms that are off, which do nothing."""
        inactive = set() if self.spike_penalty else {"spike_penalty_annealing"}
        return inactive if self.rate_target is not None else inactive | {"rate_target_weight"}


def rate_targets(config: SpikeRegularisers, num_layers: int) -> list[float]:
    """The target of every one of ``num_layers`` layers; none if there is no target.

    Raises:
        RuleError: They are not one number or as many as layers, from 0 to 1.
    """
    if config.rate_target is None:
        return []
    words = str(config.rate_target).split()
    try:
        targets = [float(word) for word in words]
    except ValueError:
        targets = []
    if len(targets) not in (1, num_layers) or not all(0 <= target <= 1 for target in targets):
        rule = f"rate_target must be one number from 0 to 1, or {num_layers}, one for every hidden spiking layer"
        raise RuleError(rule, field="rate_target")
    return targets * (num_layers // len(targets))


def resolved_rate_target(target: float | str | None) -> float | list[float] | None:
    """The rate target of every layer as a number; one number where it is the same for all."""
    if target is None:
        return None
    targets = [float(word) for word in str(target).split()]
    return targets[0] if len(set(targets)) == 1 else targets


def rate_target_problems(config: SpikeRegularisers, build: Callable[[], Network]) -> Iterator[RuleError]:
    """The rule that the targets break for the network that ``build`` makes."""
    if config.rate_target is None:
        return
    with torch.device("meta"):
        network = build()
    try:
        rate_targets(config, len(hidden_layers(network)))
    except RuleError as error:
        yield error


def hidden_layers(network: Network) -> list[str]:
    """The spiking layers that are not the output."""
    output = network.layers.get(network.operations[-1].name)
    return [layer for layer, _ in network.neurons() if layer != output]


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """Pruning: filters of convolutions are set to 0 during training, without training again afterwards."""

    prune: PruningScore = setting("none", section="pruning")
    """Which filters of convolutions are set to 0 during training: those with the smallest L1 norm (l1), with the least
    active outputs (activation), or random ones (random). none prunes nothing."""

    prune_fraction: float = setting(0.5, above=0, below=1)
    """The fraction of the filters of every convolution that is pruned at the end of the schedule."""

    prune_schedule: Schedule = setting("linear")
    """How the pruned fraction grows after every epoch: once prunes all after the first, linear the same number each time,
    cubic more at first (Zhu & Gupta 2017)."""

    prune_epochs: int = setting(5, at_least=1)
    """After how many epochs the whole fraction is pruned."""

    def inactive_pruning(self) -> set[str]:
        """All fields but ``prune`` where nothing is pruned; where all is pruned at once, when that is complete."""
        if self.prune == "none":
            return {"prune_fraction", "prune_schedule", "prune_epochs"}
        return {"prune_epochs"} if self.prune_schedule == "once" else set()

    def num_pruned(self, epoch: int, num_filters: int) -> int:
        """How many of a convolution's filters are pruned after an epoch; one at least is kept."""
        elapsed = min(1.0, epoch / self.prune_epochs)
        progress = {"once": 1.0, "linear": elapsed, "cubic": 1 - (1 - elapsed) ** 3}[self.prune_schedule]
        return min(round(self.prune_fraction * progress * num_filters), num_filters - 1)

    def resolved_pruning(self, epochs: int, channels: Iterable[int]) -> dict[str, Any]:
        """What the fields of pruning come to: the number of pruned filters after each epoch, for each of these channel counts.

        Nothing where nothing is pruned, or where there are too many epochs for a list.
        """
        if self.prune == "none" or epochs > MOST_EPOCHS_RESOLVED:
            return {}
        counts = sorted(set(channels))
        numbers = [[self.num_pruned(epoch, count) for count in counts] for epoch in range(1, epochs + 1)]
        return {"prune_fraction": numbers, "prune_schedule": None, "prune_epochs": None}


class SpikePenalty:
    """Collects the spikes of a forward pass, with their gradients, and makes the penalty of them; an ``Observer``."""

    def __init__(self, config: SpikeRegularisers, num_epochs: int, network: Network) -> None:
        self._config, self._num_epochs = config, num_epochs
        self._hidden = hidden_layers(network)
        self._targets = rate_targets(config, len(self._hidden))
        self._spikes_per_neuron: dict[str, Tensor] = {}
        self._rates: dict[str, Tensor] = {}

    def inputs(self, layer: str, module: nn.Module, inputs_TBN: Tensor) -> None:
        """Not used."""

    def outputs(self, layer: str, outputs_TBN: Tensor) -> None:
        """Remember a layer's mean activity."""
        self._rates[layer] = outputs_TBN.mean()
        self._spikes_per_neuron[layer] = self._rates[layer] * len(outputs_TBN)

    def total(self, epoch: int) -> Tensor:
        """All terms for the batch that has just run: λ(e)·Σ_l w_l Σ_t S_t with w_l = 1 / (layers · neurons of l · images),
        and the squared distances from the rate target.
        """
        config = self._config
        progress = epoch / self._num_epochs
        rise = {"constant": 1.0, "linear": progress, "quadratic": progress**2}[config.spike_penalty_annealing]
        penalty = config.spike_penalty * rise * torch.stack(list(self._spikes_per_neuron.values())).mean()
        if self._targets:
            rates = torch.stack([self._rates[layer] for layer in self._hidden])
            targets = torch.tensor(self._targets, device=rates.device)
            penalty = penalty + config.rate_target_weight * (rates - targets).square().mean()
        return penalty


class Pruner:
    """Chooses the filters that go, and keeps them at 0.

    A pruned filter is one whose weights and bias (and batch norm) are all 0: the network's own state says which, so that
    a resumed replicate knows them. An ``Observer``: it sums up every layer's activity for the score ``activation``.
    """

    def __init__(self, config: Pruning, network: Network, seed: int, *, is_over: bool = False) -> None:
        self._config, self._network, self._seed, self._is_over = config, network, seed, is_over
        self._activity_C: dict[str, Tensor] = {}

    def inputs(self, layer: str, module: nn.Module, inputs_TBN: Tensor) -> None:
        """Not used."""

    def outputs(self, layer: str, outputs_TBN: Tensor) -> None:
        """Add to the activity of a convolution's channels."""
        if outputs_TBN.dim() == 5:
            activity_C = outputs_TBN.detach().sum(dim=(0, 1, 3, 4), dtype=torch.float64)
            self._activity_C[layer] = self._activity_C.get(layer, 0) + activity_C

    def after_step(self) -> None:
        """Keep pruned filters at 0, whatever the optimiser's moments made of them."""
        with torch.no_grad():
            for (_, conv, tensors), kept_C in zip(self._filters(), self._kept, strict=True):
                del conv
                for tensor in tensors:
                    tensor.mul_(kept_C.view(-1, *[1] * (tensor.dim() - 1)))

    def begin_epoch(self) -> None:
        """Forget the last epoch's activity; see which filters are pruned."""
        self._activity_C.clear()
        self._kept = [conv.weight.detach().flatten(1).any(dim=1) for _, conv, _ in self._filters()]

    def end_epoch(self, epoch: int) -> None:
        """Prune as far as the schedule has come, unless it is over."""
        if self._is_over:
            return
        with torch.no_grad():
            for number, (layer, conv, tensors) in enumerate(self._filters()):
                kept_C = self._kept[number]
                num_pruned = self._config.num_pruned(epoch, len(kept_C))
                order = torch.argsort(self._scores(layer, conv, number).masked_fill(~kept_C, -1.0), stable=True)
                for tensor in tensors:
                    tensor[order[:num_pruned]] = 0

    def _scores(self, layer: str, conv: nn.Conv2d, number: int) -> Tensor:
        """At least 0; the smallest go first."""
        if self._config.prune == "l1":
            return conv.weight.detach().abs().sum(dim=(1, 2, 3), dtype=torch.float64)
        if self._config.prune == "activation":
            return self._activity_C[layer]
        # the same order in every epoch, so that the schedule only goes further along it
        generator = generator_for(self._seed, "prune", number)
        return torch.rand(conv.out_channels, generator=generator, dtype=torch.float64).to(conv.weight.device)

    def _filters(self) -> Iterator[tuple[str, nn.Conv2d, list[Tensor]]]:
        """Every convolution with its layer and all tensors that have a row a filter."""
        for operation in self._network.operations_of(nn.Conv2d):
            conv = self._network.parts[operation.name]
            assert isinstance(conv, nn.Conv2d)
            tensors: list[Tensor] = [raw_weight(conv)] + ([conv.bias] if conv.bias is not None else [])
            for later in self._network.operations_of(nn.BatchNorm2d):
                norm = self._network.parts[later.name]
                if self._network.back_through_pools(later.inputs[0])[-1] == operation:
                    assert isinstance(norm, nn.BatchNorm2d)
                    tensors += [norm.weight, norm.bias]
            yield self._network.layers[operation.name], conv, tensors


def num_pruned_filters(network: Network) -> int:
    """Filters whose weights are all 0."""
    convolutions = [network.parts[operation.name] for operation in network.operations_of(*SYNAPSES)]
    return sum(int((~conv.weight.flatten(1).any(dim=1)).sum()) for conv in convolutions if isinstance(conv, nn.Conv2d))
