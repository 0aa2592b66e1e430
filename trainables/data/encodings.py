"""How an image becomes the input of T time steps."""

from typing import Literal

import torch
from torch import Tensor

from trainables.data.normalisation import Normalisation
from trainables.data.randomness import generator_for
from trainables.networks.network import ConstantCurrent

Encoding = Literal["constant", "poisson"]
"""The normalised image itself at every time step, or random spikes of it."""


class SignedPoisson:
    """Signed Poisson spikes: s = sgn(x)·1[U ≤ |x|] for every pixel x and time step, U uniform in [0, 1).

    Source: Sengupta et al. 2019, section 3.2.

    Every image has random numbers of its own, which depend on ``names`` and its index alone: neither the batch nor the order
    of the images matters. The steps must be asked for in order. The draws come from the CPU whatever the device.

    Args:
        images_BCHW: Images of mean 0 with values in [-1, 1].
        indices_B: Which images of the data set they are.
        names: What else the random numbers depend on, e.g. the replicate's seed and the purpose.
    """

    def __init__(self, images_BCHW: Tensor, indices_B: Tensor, *names: int | str) -> None:
        self.num_images = len(images_BCHW)
        self._images_BCHW = images_BCHW
        self._generators = [generator_for(*names, "poisson", index) for index in indices_B.tolist()]
        self._next = 0

    def __call__(self, start: int, length: int) -> Tensor:
        """The spikes of ``length`` time steps from ``start``: ``[length, B, C, H, W]`` in {-1, 0, 1}.

        Raises:
            ValueError: The steps are not asked for in order.
        """
        if start != self._next:
            raise ValueError(f"the steps must be asked for in order: expected {self._next}, got {start}")
        self._next += length
        shape = (length, *self._images_BCHW.shape[1:])
        draws = torch.stack([torch.rand(shape, generator=generator) for generator in self._generators], dim=1)
        return self._images_BCHW.sign() * (draws.to(self._images_BCHW.device) <= self._images_BCHW.abs())


def normalised(encoding: Encoding, normalisation: Normalisation, images_BCHW: Tensor) -> Tensor:
    """uint8 images as an encoding takes them, float32 and contiguous: of mean 0, and if they are not spikes of deviation 1."""
    return normalisation.centre(images_BCHW) if encoding == "poisson" else normalisation.normalise(images_BCHW)


def inputs_of(encoding: Encoding, images_BCHW: Tensor, indices_B: Tensor, *names: int | str) -> ConstantCurrent | SignedPoisson:
    """What a network is shown for such images; indices and ``names`` tell random draws apart."""
    if encoding == "poisson":
        return SignedPoisson(images_BCHW, indices_B, *names)
    return ConstantCurrent(images_BCHW)
