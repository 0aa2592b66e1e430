"""Rewriting a trained network without changing what it computes: norms and scales folded, biases made, weights shared."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from trainables.networks.activations import ACTIVATIONS, QCFS
from trainables.networks.drive_normalisation import raw_weight, standardisation_of
from trainables.networks.network import INPUT, MAX_POOLS, NORMS, SYNAPSES, Network, Operation, UnknownModuleError


def folded(network: Network) -> Network:
    """A spiking network as it is judged, served and counted: plain convolutions, linear layers and neurons with equal spikes.

    What normalises drives in training is then part of weights and biases. The copy is in evaluation, and its ``state_dict`` has
    the same keys every time. A network without such parts, and an analogue one, are returned themselves.
    """
    standardised = any(standardisation_of(part) for part in network.parts.values())
    spiking = any(True for _ in network.neurons())
    return fold_batch_norms(network) if spiking and (standardised or network.operations_of(*NORMS)) else network


def refresh_folded(judged: Network, network: Network) -> None:
    """Bring ``judged``, which ``folded(network)`` gave, up to the network's weights; what runs it sees them."""
    if judged is network:
        return
    if network.operations_of(*NORMS):
        judged.load_state_dict(folded(network).state_dict())
        return
    # a copy of a whole network takes as long as some training steps of a small one
    state = {key: value for key, value in network.state_dict().items() if ".parametrizations." not in key}
    standardised = {name: part for name, part in network.parts.items() if standardisation_of(part)}
    judged.load_state_dict(state | {f"parts.{name}.weight": part.weight for name, part in standardised.items()})


def fold_batch_norms(network: Network) -> Network:
    """The same network, in evaluation, with plain weights and without batch norms: W' = γW/√(σ²+ε), b' = γ(b-μ)/√(σ²+ε)+β.
    A weight that is not learnt stays so.

    Pools may stand before a norm: an average pool in any case, a max pool where no scale γ is below 0.

    Raises:
        UnknownModuleError: A batch norm does not follow a convolution or linear layer of its own, or a max pool is in the way.
    """
    plain = copy.deepcopy(network).eval()
    for operation in plain.operations_of(*SYNAPSES):
        plain.parts[operation.name] = _with_plain_weight(plain.parts[operation.name])
    for norm in network.operations_of(*NORMS):
        _fold(plain, norm)
    plain.requires_grad_(True)  # the fused bias of a layer that had none would be frozen
    for operation in network.operations_of(*SYNAPSES):
        if not raw_weight(_synapses(network, operation)).requires_grad:
            _synapses(plain, operation).weight.requires_grad_(False)
    return plain


def max_pools_behind_activations(network: Network) -> None:
    """Put every max pool that stands right before an activation right behind it: max a(x) = a(max x), as a never falls.

    Spiking networks have max pools of spikes, and none of drives.
    """
    done = False
    while not done:
        done = True
        for activation in network.operations_of(*ACTIVATIONS):
            if activation.inputs == (INPUT,):
                continue
            pool = next(operation for operation in network.operations if operation.name == activation.inputs[0])
            alone = sum(pool.name in other.inputs for other in network.operations) == 1
            if network.is_a(pool, *MAX_POOLS) and alone and activation is not network.operations[-1]:
                network.swap(pool, activation)
                done = False


def _synapses(network: Network, operation: Operation) -> nn.Conv2d | nn.Linear:
    part = network.parts[operation.name]
    assert isinstance(part, nn.Conv2d | nn.Linear)
    return part


def _fold(network: Network, norm: Operation) -> None:
    """Make a batch norm part of the synapses before it."""
    batch_norm = network.parts[norm.name]
    assert isinstance(batch_norm, nn.BatchNorm1d | nn.BatchNorm2d)
    (*pools, synapses) = network.back_through_pools(norm.inputs[0]) if norm.inputs != (INPUT,) else [norm]
    shared = any(sum(before.name in other.inputs for other in network.operations) > 1 for before in (*pools, synapses))
    if shared or not network.is_a(synapses, *SYNAPSES):
        raise UnknownModuleError(f"{norm.name} is a batch norm that follows no convolution or linear layer of its own")
    if any(network.is_a(pool, *MAX_POOLS) for pool in pools) and not batch_norm.weight.is_meta and (batch_norm.weight < 0).any():
        raise UnknownModuleError(f"{norm.name} is a batch norm with scales below 0 behind a max pool")
    part = network.parts[synapses.name]
    if isinstance(part, nn.Conv2d):
        network.parts[synapses.name] = fuse_conv_bn_eval(part, batch_norm)
    elif isinstance(part, nn.Linear):
        network.parts[synapses.name] = fuse_linear_bn_eval(part, batch_norm)
    network.remove(norm)


def _with_plain_weight(part: nn.Module) -> nn.Module:
    """The same convolution or linear layer, with its standardised weight as a weight like any other.

    ``parametrize.remove_parametrizations`` would take the weight from the network that this is a copy of: they share a class.
    """
    if standardisation_of(part) is None:
        return part
    assert isinstance(part, nn.Conv2d | nn.Linear)
    bias = part.bias is not None
    plain: nn.Conv2d | nn.Linear
    if isinstance(part, nn.Linear):
        plain = nn.Linear(part.in_features, part.out_features, bias=bias, device="meta")
    else:
        plain = nn.Conv2d(
            part.in_channels,
            part.out_channels,
            part.kernel_size,  # type: ignore[arg-type]  # a pair
            part.stride,  # type: ignore[arg-type]
            part.padding,  # type: ignore[arg-type]
            part.dilation,  # type: ignore[arg-type]
            part.groups,
            bias=bias,
            padding_mode=part.padding_mode,
            device="meta",
        )
    plain.weight, plain.bias = nn.Parameter(part.weight.detach()), part.bias
    return plain.train(part.training)


def fold_scales(network: Network) -> Network:
    """The same network with the λ of every QCFS at 1: W_l' = W_l·λ_{l-1}/λ_l, b_l' = b_l/λ_l, with λ_0 = 1.

    Pools in between change nothing, as a positive factor passes them.

    Raises:
        UnknownModuleError: It is no chain of layers, each with synapses before its QCFS and no batch norm.
    """
    plain = copy.deepcopy(network)
    last, scale = INPUT, torch.ones(())
    synapses: nn.Conv2d | nn.Linear | None = None
    with torch.no_grad():
        for operation in plain.operations:
            part = plain.parts[operation.name] if operation.kind == "module" else None
            if operation.inputs != (last,) or isinstance(part, NORMS) or (isinstance(part, QCFS) and synapses is None):
                raise UnknownModuleError(f"scales are folded in chains of layers, of which {operation.name} is no part")
            last = operation.name
            if isinstance(part, nn.Conv2d | nn.Linear):
                part.weight.mul_(scale)
                synapses, scale = part, torch.ones(())
            elif isinstance(part, QCFS) and synapses is not None:
                scale = part.scale.clone()
                synapses.weight.div_(scale)
                if synapses.bias is not None:
                    synapses.bias.div_(scale)
                part.scale.fill_(1)
                synapses = None
    return plain


def share_weights(source: Network, target: Network) -> None:
    """Copy the weights and biases of ``source``'s convolutions and linear layers, in order, to ``target``'s."""
    pairs = zip(source.operations_of(*SYNAPSES), target.operations_of(*SYNAPSES), strict=True)
    with torch.no_grad():
        for from_operation, to_operation in pairs:
            origin, part = source.parts[from_operation.name], target.parts[to_operation.name]
            assert isinstance(origin, nn.Conv2d | nn.Linear)
            assert isinstance(part, nn.Conv2d | nn.Linear)
            part.weight.copy_(origin.weight)
            if part.bias is not None:
                part.bias.copy_(origin.bias if origin.bias is not None else torch.zeros_like(part.bias))


def give_biases(network: Network) -> None:
    """A bias of 0 for every convolution and linear layer that has none."""
    for operation in network.operations_of(*SYNAPSES):
        part = network.parts[operation.name]
        assert isinstance(part, nn.Conv2d | nn.Linear)
        if part.bias is None:
            part.bias = nn.Parameter(torch.zeros_like(part.weight.flatten(1)[:, 0]))


def driving_operation(network: Network, layer: str) -> Operation:
    """The operation with synapses that drives a layer; the last one where several meet."""
    return [operation for operation in network.operations_of(*SYNAPSES) if network.layers[operation.name] == layer][-1]
