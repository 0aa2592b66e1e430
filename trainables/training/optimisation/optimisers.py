"""The optimisers of a network: PyTorch's own, all with the rates of one schedule."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainables.networks.drive_normalisation import raw_weight, standardisation_of
from trainables.networks.network import NORMS, SYNAPSES, Network
from trainables.networks.rules import RuleError
from trainables.training.optimisation.schedules import Rates
from trainables.training.recipe_parts.optimisation_fields import OptimisationFields


class Optimiser:
    """Changes the weights of a network that learns, by one optimiser or, with muon, by two."""

    def __init__(self, config: OptimisationFields, network: Network) -> None:
        learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self._muon = _MuonOfMatrices(hidden_weights(network), config) if config.optimizer == "muon" else None
        by_muon = {id(weight) for weight in self._muon.weights} if self._muon else set[int]()
        shifts = {id(parameter) for parameter in shifts_and_scales(network)} if config.bias_lr_factor != 1 else set[int]()
        rest = [parameter for parameter in learnt if id(parameter) not in by_muon]
        groups = [
            ([parameter for parameter in rest if id(parameter) not in shifts], 1.0),
            ([parameter for parameter in rest if id(parameter) in shifts], config.bias_lr_factor),
        ]
        groups = [(parameters, factor) for parameters, factor in groups if parameters]
        self._factors = [factor for _, factor in groups]
        self._main = _main_optimiser(config, groups)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self._main.zero_grad(set_to_none=True)
        if self._muon:
            self._muon.zero_grad()

    def step(self, rates: Rates) -> None:
        """Change the weights by their gradients."""
        for group, factor in zip(self._main.param_groups, self._factors, strict=True):
            group["lr"] = rates.lr * factor
            if "betas" in group:
                group["betas"] = (rates.momentum, group["betas"][1])
            else:
                group["momentum"] = rates.momentum
        self._main.step()
        if self._muon:
            self._muon.step(rates)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"optimizer": self._main.state_dict()} | ({"muon": self._muon.state_dict()} if self._muon else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The opposite of ``state_dict``."""
        self._main.load_state_dict(state["optimizer"])
        if self._muon:
            self._muon.load_state_dict(state["muon"])


def _main_optimiser(config: OptimisationFields, groups: list[tuple[list[nn.Parameter], float]]) -> torch.optim.Optimizer:
    """Fused: one call for every parameter; of a small network's step, a dozen calls each would take a tenth.

    The weight decay of a group is divided by its factor, as it is multiplied by the learning rate.
    """
    lr = config.lr
    given = [
        {"params": parameters, "lr": lr * factor, "weight_decay": config.weight_decay / factor} for parameters, factor in groups
    ]
    if config.optimizer == "sgd":
        momentum = config.constant_momentum()
        return torch.optim.SGD(given, lr=lr, momentum=momentum, nesterov=config.nesterov and momentum > 0, fused=True)
    return torch.optim.AdamW(given, lr=lr, fused=True)


class _MuonOfMatrices:
    """``torch.optim.Muon``, which takes matrices alone, of the weights of convolutions and linear layers.

    The matrices, ``[outputs, inputs]`` with the inputs of a convolution's kernel side by side, share the storage of the weights.
    """

    def __init__(self, weights: list[nn.Parameter], config: OptimisationFields) -> None:
        self.weights = weights
        self._matrices = [nn.Parameter(_as_matrix(weight.detach())) for weight in weights]
        self._muon = torch.optim.Muon(
            self._matrices,
            lr=config.lr,
            weight_decay=config.weight_decay,
            nesterov=config.nesterov,
            adjust_lr_fn="match_rms_adamw",
        )

    def zero_grad(self) -> None:
        for weight in self.weights:
            weight.grad = None

    def step(self, rates: Rates) -> None:
        for weight, matrix in zip(self.weights, self._matrices, strict=True):
            matrix.data = _as_matrix(weight.detach())  # in case the weight was moved
            matrix.grad = None if weight.grad is None else _as_matrix(weight.grad, like=weight)
        for group in self._muon.param_groups:
            group["lr"], group["momentum"] = rates
        self._muon.step()  # type: ignore[no-untyped-call]

    def state_dict(self) -> dict[str, Any]:
        return self._muon.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._muon.load_state_dict(state)


def _as_matrix(weight: Tensor, like: Tensor | None = None) -> Tensor:
    """A view of a weight as a matrix; of a gradient, its numbers in the order of the weight ``like`` that it belongs to."""
    layout = weight if like is None else like
    channels_last = layout.dim() == 4 and not layout.is_contiguous()
    ordered = weight.permute(0, 2, 3, 1) if channels_last else weight
    return ordered.view(len(weight), -1) if like is None else ordered.reshape(len(weight), -1)


def hidden_weights(network: Network) -> list[nn.Parameter]:
    """The weights of the convolutions and linear layers between the first and the output layer that are learnt."""
    layers = [network.parts[operation.name] for operation in network.operations_of(*SYNAPSES)][1:-1]
    weights = (raw_weight(layer) for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear))
    return [weight for weight in weights if isinstance(weight, nn.Parameter) and weight.requires_grad]


def muon_problems(config: OptimisationFields, build: Callable[[], Network]) -> Iterator[RuleError]:
    """The rule that ``optimizer`` breaks for the network that ``build`` makes."""
    if config.optimizer != "muon":
        return
    with torch.device("meta"):
        network = build()
    if not hidden_weights(network):
        rule = "optimizer must be adamw or sgd where there is no layer between the first and the output layer, which muon is for"
        yield RuleError(rule, repair="write optimizer: adamw, or a layout of two layers or more", field="optimizer")


def shifts_and_scales(network: Network) -> Iterator[nn.Parameter]:
    """Biases, and what scales normalised values: the weights of batch norms, and the gains of standardised weights."""
    for part in network.parts.values():
        if isinstance(part, (*SYNAPSES, *NORMS)) and isinstance(part.bias, nn.Parameter):
            yield part.bias
        if isinstance(part, NORMS) and isinstance(part.weight, nn.Parameter):
            yield part.weight
        if standardisation := standardisation_of(part):
            yield standardisation.gain
