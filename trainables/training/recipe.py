"""The part of a config that every trained network shares: the data, and how it is learnt."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from trainables.data.datasets import NO_IMAGES, num_validation_images
from trainables.kernels.interface import Backend
from trainables.networks.layouts import ImageShape
from trainables.networks.precision import Precision
from trainables.networks.rules import RuleError
from trainables.training.configs import identity_field_names, setting, without_inactive
from trainables.training.recipe_parts.augmentation_fields import AugmentationFields
from trainables.training.recipe_parts.optimisation_fields import OptimisationFields
from trainables.training.regularisers import Pruning


@dataclass(frozen=True, kw_only=True)
class Recipe(AugmentationFields, OptimisationFields):
    """Data, augmentation, the length of training, and optimisation.

    Unless an epoch is selected on them, the test images are looked at once, after the last epoch.
    """

    data: str = setting("digits", section="data")
    """The data set: digits (8x8 images, shipped with scikit-learn), mnist, fashion_mnist, cifar10, cifar100 (downloaded
    once), or the path of an .npz file with your own arrays. none is for the response surface alone, which looks at no image."""

    validation_fraction: float = setting(0.1, above=0, below=1)
    """The fraction of the training images that is set aside for validation. Objectives are measured on these; the test
    images are looked at once, after the last epoch, unless selection is best_on_test."""

    split_seed: int = setting(0, at_least=0)
    """Decides which training images are set aside for validation. It is the same for all replicates, so that they stay
    comparable."""

    num_train_images: int | None = setting(None, at_least=1)
    """How many of the images left for training are used, the first ones in the order of the split; null uses all of them."""

    num_classes: int | None = setting(None, at_least=1, identity=False)
    """How many classes there are: one more than the largest label. It confirms data in which a class has no training image, or
    in which there is one class alone. null asks for training images of every class, and two classes or more. It changes no
    result: a network has an output for each class in either case."""

    image_downscale: int = setting(1, at_least=1)
    """The side of the square blocks of pixels that are averaged before anything else, in pixels: 2 makes 32x32 images 16x16,
    1 leaves them as they are."""

    mean_per_pixel: bool = setting(False)
    """Whether the mean image of the training images is subtracted (Sengupta et al. 2019), rather than their mean in each
    channel."""

    device: str = setting("auto", identity=False, section="computation")
    """Where to compute: cpu, a CUDA device such as cuda:0, or auto. In a study, auto is a GPU where the study's resources
    ask for one; elsewhere, a GPU if there is one."""

    backend: Backend = setting("auto", identity=False)
    """Which code runs a spiking network. torch is plain PyTorch and supports every network; event_driven are CPU kernels whose
    time depends on the number of spikes; triton are GPU kernels. auto takes event_driven on a CPU where it supports the network,
    and torch on a GPU, because the triton kernels have not been measured on one yet. Results agree within rounding."""

    precision: Precision = setting("float32", before="float32")
    """The floating-point type of convolutions and linear layers, in training and in evaluation: float32; or bfloat16, which
    rounds weights and what they are multiplied with to 8 significant bits and is faster on CPUs with AMX or AVX512-BF16 and on
    GPUs with matrix units. Sums, the statistics of norms, losses and the optimiser stay float32. A CPU without such
    instructions emulates them: right, and slower than float32."""

    def problems(self, image_shape: ImageShape) -> Iterator[RuleError]:
        """The rules that the config breaks for images of ``image_shape`` and that no field can see by itself."""
        if self.data == NO_IMAGES:
            rule = f"data must hold images to learn from, and {NO_IMAGES} has none: it is for the response surface alone"
            yield RuleError(rule, field="data")
        if min(self.input_shape(image_shape)) < 1:
            height, width, _ = image_shape
            yield RuleError(f"image_downscale must leave at least 1x1 of {height}x{width} images", field="image_downscale")
        else:
            yield from self.augmentation_problems(self.input_shape(image_shape))
        for name in ("mixup", "cutmix"):
            if getattr(self, name) and self.batch_size == 1:
                rule = f"{name} must be 0 where batch_size is 1: an image is mixed with another one of its batch"
                yield RuleError(rule, repair=f"write {name}: 0, or batch_size: 2", field=name)
        try:
            known = self.device == "auto" or torch.device(self.device).type in ("cpu", "cuda")
        except RuntimeError:
            known = False
        if not known:
            yield RuleError("device must be auto, cpu, or a CUDA device such as cuda:0", field="device")
        yield from self.optimisation_problems()
        if isinstance(self, Pruning) and self.prune != "none":
            yield from self._problems_of_pruning()

    def _problems_of_pruning(self) -> Iterator[RuleError]:
        if self.ema_decay:
            rule = "ema_decay must be 0 where filters are pruned: their average with earlier weights is not 0"
            yield RuleError(rule, repair="write ema_decay: 0, or prune: none", field="ema_decay")
        if self.time_budget_s is not None:
            rule = "time_budget_s must be null where filters are pruned, as prune_epochs counts epochs"
            yield RuleError(rule, repair="write time_budget_s: null, or prune: none", field="time_budget_s")
        if self.selection != "last":
            rule = "selection must be last where filters are pruned, as an earlier epoch has more of them"
            yield RuleError(rule, repair="write selection: last, or prune: none", field="selection")

    def not_to_vary(self) -> Iterator[RuleError]:
        """The fields that a study must not vary among configs like this one, each with the rule that it would break."""
        if "epochs" in self.inactive_fields():
            rule = "epochs must not vary where time_budget_s is the length of training: they have no effect there"
            yield RuleError(rule, repair="remove epochs from the factors, or write time_budget_s: null", field="epochs")

    @classmethod
    def unused_fields(cls) -> set[str]:
        """The fields that a trainable has no use for, whatever the others say; its page leaves them out."""
        return set()

    def inactive_fields(self) -> set[str]:
        """The fields that do nothing in this config; identities ignore them."""
        return self.inactive_augmentation() | self.inactive_optimisation() | self.inactive_length()

    def resolved(self, num_images: int) -> dict[str, Any]:
        """What the fields come to in training, for a data set of ``num_images`` training images.

        Configs of a trainable that come to the same train the same network, though their identities differ: a feature scale
        comes to numbers of channels, a fraction to a number of images.
        """
        active = without_inactive(self)
        values = {name: getattr(active, name) for name in identity_field_names(type(self))}
        num_validation = num_validation_images(num_images, active.validation_fraction)
        num_train = min(active.num_train_images or num_images, num_images - num_validation)
        is_one_batch = active.batch_size >= num_train or 1 < active.batch_size == num_train - 1  # see loop.batch_sizes
        batch_size = num_train if is_one_batch else active.batch_size
        values |= self.resolved_optimisation()
        return values | {"validation_fraction": num_validation, "num_train_images": num_train, "batch_size": batch_size}

    def input_shape(self, image_shape: ImageShape) -> ImageShape:
        """The shape of what the network sees, for images of ``image_shape``."""
        height, width, channels = image_shape
        return height // self.image_downscale, width // self.image_downscale, channels
