"""Rewriting a trained network without changing what it computes: norms and scales folded, biases made, weights shared."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from trainables.networks.activations import QCFS
from trainables.networks.network import INPUT, NORMS, SYNAPSES, Network, Operation, UnknownModuleError


def fold_batch_norms(network: Network) -> Network:
    """The same network, in evaluation, without batch norms: W' = γW/√(σ²+ε), b' = γ(b-μ)/√(σ²+ε)+β.

    Raises:
        UnknownModuleError: A batch norm does not follow a convolution or linear layer of its own.
    """
    folded = copy.deepcopy(network).eval()
    for norm in network.operations_of(*NORMS):
        (source,) = norm.inputs
        operation = next((operation for operation in folded.operations if operation.name == source), None)
        shared = sum(source in other.inputs for other in folded.operations) > 1
        if operation is None or shared or not folded.is_a(operation, *SYNAPSES):
            raise UnknownModuleError(f"{norm.name} is a batch norm that follows no convolution or linear layer of its own")
        part, batch_norm = folded.parts[source], folded.parts[norm.name]
        assert isinstance(batch_norm, nn.BatchNorm1d | nn.BatchNorm2d)
        if isinstance(part, nn.Conv2d):
            folded.parts[source] = fuse_conv_bn_eval(part, batch_norm)
        elif isinstance(part, nn.Linear):
            folded.parts[source] = fuse_linear_bn_eval(part, batch_norm)
        folded.remove(norm)
    return folded.requires_grad_(True)  # the fused bias of a layer that had none would be frozen


def fold_scales(network: Network) -> Network:
    """The same network with the λ of every QCFS at 1: W_l' = W_l·λ_{l-1}/λ_l, b_l' = b_l/λ_l, with λ_0 = 1.

    Pools in between change nothing, as a positive factor passes them.

    Raises:
        UnknownModuleError: It is no chain of layers, each with synapses before its QCFS and no batch norm.
    """
    folded = copy.deepcopy(network)
    last, scale = INPUT, torch.ones(())
    synapses: nn.Conv2d | nn.Linear | None = None
    with torch.no_grad():
        for operation in folded.operations:
            part = folded.parts[operation.name] if operation.kind == "module" else None
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
    return folded


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
