"""The part of a config that every trained network shares: the data, and how it is learnt."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch

from trainables.data.datasets import NO_IMAGES
from trainables.kernels.interface import Backend
from trainables.networks.layouts import ImageShape
from trainables.training.configs import setting


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Data, augmentation and optimisation: a one-cycle learning rate, the last epoch's weights are the result.

    Nothing is selected on the way, so the test images are looked at once, after the last epoch.
    """

    data: str = setting("digits", section="data")
    """digits, mnist, fashion_mnist, cifar10, cifar100, or the path of an .npz file with your own arrays (none is no data: it is
    for the response surface alone)."""

    validation_fraction: float = setting(0.1, above=0, below=1)
    """Fraction of the training images set aside for validation."""

    split_seed: int = setting(0, at_least=0)
    """Decides which images are set aside; the same for all replicates."""

    num_train_images: int | None = setting(None, at_least=1)
    """Train on this many of the images left (the first of the split's order); null for all."""

    image_downscale: int = setting(1, at_least=1)
    """Average blocks of this many pixels a side before anything else: 2 makes 32x32 images 16x16."""

    mean_per_pixel: bool = setting(False)
    """Subtract the training images' mean image (Sengupta et al. 2019) rather than their mean per channel."""

    flip: bool = setting(False)
    """Mirror a random half of the training images."""

    crop_padding: int = setting(0, at_least=0)
    """Crop training images at a random place after padding them by this many pixels."""

    epochs: int = setting(10, at_least=1, section="training")
    """Passes over the training images."""

    batch_size: int = setting(64, at_least=1)
    """Images per optimiser step."""

    optimizer: Literal["adamw", "sgd"] = setting("adamw")
    """AdamW, or stochastic gradient descent with Nesterov momentum; the one-cycle policy moves the learning rate, and between
    0.95 and 0.85 against it the momentum (AdamW's first beta)."""

    lr: float = setting(5e-3, above=0)
    """The peak of the one-cycle learning rate."""

    weight_decay: float = setting(0.01, at_least=0)
    """AdamW's decoupled weight decay, or SGD's L2 penalty."""

    device: str = setting("auto", identity=False, section="computation")
    """cpu, a CUDA device such as cuda:0, or auto: in a study a GPU if resources ask for one; else a GPU if there is one."""

    backend: Backend = setting("auto", identity=False)
    """Which code runs a spiking network. torch is plain PyTorch and supports every network; event_driven are CPU kernels whose
    time depends on the number of spikes; triton are GPU kernels. auto takes event_driven on a CPU where it supports the network,
    and torch on a GPU, because the triton kernels have not been measured on one yet. Results agree within rounding."""

    def problems(self, image_shape: ImageShape) -> Iterator[tuple[str, str]]:
        """What a field's own rule cannot see, for images of ``image_shape``: pairs (field, what is wrong)."""
        if self.data == NO_IMAGES:
            yield "data", f"data must hold images to learn from, and {NO_IMAGES} has none: it is for the response surface alone"
        if min(self.input_shape(image_shape)) < 1:
            height, width, _ = image_shape
            yield "image_downscale", f"image_downscale must leave at least 1x1 of {height}x{width} images"
        try:
            known = self.device == "auto" or torch.device(self.device).type in ("cpu", "cuda")
        except RuntimeError:
            known = False
        if not known:
            yield "device", "device must be auto, cpu, or a CUDA device such as cuda:0"

    def inactive_fields(self) -> set[str]:
        """The fields that do nothing in this config, or what their defaults would do: they are no part of its identity."""
        return set()

    def input_shape(self, image_shape: ImageShape) -> ImageShape:
        """The shape of what the network sees, for images of ``image_shape``."""
        height, width, channels = image_shape
        return height // self.image_downscale, width // self.image_downscale, channels
