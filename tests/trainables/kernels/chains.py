"""What tests of the fused layers share: small BITnets with dyadic weights, and images to match.

Weights are multiples of 1/16 and images of 1/8, so that every sum is exact in float32, and every drive within bounds in bfloat16.
"""

from typing import Any

import torch
from torch import Tensor

from trainables import bitnet
from trainables.networks.layered import initialise_spiking
from trainables.networks.network import Network

SHAPE = (7, 6, 2)
CLASSES = 3
NUM_IMAGES = 3


def chain_of(**options: Any) -> Network:
    """A BITnet of the published neuron, unless the options say otherwise."""
    network = bitnet.build(bitnet.Config(**{**bitnet.PUBLISHED, **options}), SHAPE, CLASSES)
    initialise_spiking(network, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_((parameter * 16).round() / 16)
    return network


def inputs_of(kind: str, time_steps: int) -> Tensor:
    """Constant images, or signed spikes of every step."""
    generator = torch.Generator().manual_seed(1)
    height, width, channels = SHAPE
    shape = (NUM_IMAGES, channels, height, width)
    if kind == "constant":
        return (torch.randn(1, *shape, generator=generator) * 8).round() / 8
    return torch.randn(time_steps, *shape, generator=generator).sign()


def labels_of(num_images: int) -> Tensor:
    """Of every class."""
    return torch.arange(num_images) % CLASSES
