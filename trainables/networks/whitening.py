"""A first layer that is not learnt: filters that whiten the patches of images (Jordan 2024, cifar10-airbench).

With Σ the covariance of 3x3 patches of the training images and Σ = Σ_i e_i u_i u_iᵀ its eigenvectors, those of the largest e_i
first, the filters are u_1/s_1, -u_1/s_1, u_2/s_2, -u_2/s_2, … with s_i = √(e_i + ε). What they make of the patches has
variance 1, and two of them are uncorrelated unless one is the negative of the other.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.networks.network import INPUT, NORMS, Inputs, Network

SMALLEST_VARIANCE = 5e-4
"""ε, for images of standard deviation 1."""
LEAST_SHARE = 1e-6
"""Of the largest eigenvalue; along an eigenvector with less, patches do not vary, and a filter would show rounding alone."""


def fix_first_layer(network: Network) -> None:
    """Take the weights of the first convolution out of what is learnt, and a batch norm behind it out of the network.

    Whitened drives need no norm. What is left to learn is the bias, which the norm had, too.
    """
    first = network.operations_of(nn.Conv2d)[0]
    conv = network.parts[first.name]
    assert isinstance(conv, nn.Conv2d)
    conv.weight.requires_grad_(False)
    for norm in network.operations_of(*NORMS):
        if norm.inputs != (INPUT,) and network.back_through_pools(norm.inputs[0])[-1].name == first.name:
            network.remove(norm)
            conv.bias = nn.Parameter(torch.zeros_like(conv.weight[:, 0, 0, 0]))


@torch.no_grad()
def whiten_first_layer(network: Network, batches: Iterable[Inputs], *, scale: float = 1.0) -> None:
    """Give the first convolution whitening filters, times ``scale``, from images whose input is the same at every time step."""
    conv = network.parts[network.operations_of(nn.Conv2d)[0].name]
    assert isinstance(conv, nn.Conv2d)
    covariance_PP = patch_covariance((inputs(0, 1)[0] for inputs in batches), conv.kernel_size[0])
    filters_OP = scale * whitening_filters(covariance_PP, conv.out_channels)
    conv.weight.copy_(filters_OP.view_as(conv.weight))


def patch_covariance(batches: Iterable[Tensor], side: int = 3) -> Tensor:
    """The covariance, ``[P, P]`` in float64, of all square patches that lie within images ``[B, C, H, W]``; P = C · side²."""
    number = 0
    sum_P: Tensor | float = 0.0
    products_PP: Tensor | float = 0.0
    for images_BCHW in batches:
        patches_PN = functional.unfold(images_BCHW, side).transpose(0, 1).flatten(1).double()
        number += patches_PN.shape[1]
        sum_P, products_PP = sum_P + patches_PN.sum(dim=1), products_PP + patches_PN @ patches_PN.T
    assert isinstance(sum_P, Tensor)
    mean_P = sum_P / number
    return products_PP / number - torch.outer(mean_P, mean_P)


def whitening_filters(covariance_PP: Tensor, num_filters: int) -> Tensor:
    """``[num_filters, P]`` in float64: see the module. Of fewer eigenvectors than are needed, the first ones come again.

    An eigenvector's sign is arbitrary: its largest component is positive in the first filter of a pair.
    """
    variances, vectors = torch.linalg.eigh(covariance_PP.cpu())
    variances_V, vectors_VP = variances.flip(0), vectors.T.flip(0)
    kept = max(1, int((variances_V > LEAST_SHARE * variances_V[0]).sum()))
    variances_V, vectors_VP = variances_V[:kept].clamp(min=0), vectors_VP[:kept]
    largest_V1 = vectors_VP.abs().argmax(dim=1, keepdim=True)
    vectors_VP = vectors_VP * vectors_VP.gather(1, largest_V1).sign()
    scaled_VP = vectors_VP / (variances_V + SMALLEST_VARIANCE).sqrt()[:, None]
    pairs_FP = torch.stack([scaled_VP, -scaled_VP], dim=1).flatten(0, 1)
    return pairs_FP.repeat(-(-num_filters // len(pairs_FP)), 1)[:num_filters].to(covariance_PP.device)
