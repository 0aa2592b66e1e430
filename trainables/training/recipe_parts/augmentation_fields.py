"""The fields that say what is done to training images and their labels before they are learnt."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from trainables.data.augmentation import Augmentation, Flip
from trainables.data.augmented_images import PaddingMode
from trainables.networks.layouts import ImageShape
from trainables.networks.rules import RuleError
from trainables.training.configs import setting

NAMES = tuple(field.name for field in dataclasses.fields(Augmentation))


@dataclass(frozen=True, kw_only=True)
class AugmentationFields:
    """How training images are varied, and what their labels become."""

    flip: Flip = setting(False, section="augmentation")
    """Which training images are mirrored left to right: false, none; true, a random half, drawn anew in every epoch; alternating,
    a random half in the first epoch, and in every other one those that were not in the epoch before, so that both sides of an
    image are seen equally often (Jordan 2024, airbench)."""

    crop_padding: int = setting(0, at_least=0)
    """By how many pixels training images are padded on every side before a random crop of their old size is taken; 0 takes no
    crop."""

    crop_padding_mode: PaddingMode = setting("zeros", before="zeros")
    """What images are padded with: zeros, black pixels; or reflect, the image mirrored at its border, which is not repeated."""

    rotation: float = setting(0.0, at_least=0, at_most=180, before=0.0)
    """The largest angle, in degrees, by which training images are turned about their centre: a uniform one to either side, anew
    in every epoch, with nearest pixels and black corners, as torchvision's RandomRotation has it. 0 turns none."""

    trivial_augment: bool = setting(False, before=False)
    """Whether every training image is changed by one of TrivialAugment's 14 operations, which is drawn with its strength, anew in
    every epoch (Müller & Hutter 2021); the wide space, with nearest neighbours, as torchvision has it."""

    cutout: int = setting(0, at_least=0, before=0)
    """The side in pixels of a square that is erased from every training image, anew in every epoch: its centre may be any pixel,
    and what is erased gets the mean of the training images (DeVries & Taylor 2017). 0 erases nothing."""

    random_erasing: float = setting(0.0, at_least=0, at_most=1, before=0.0)
    """The probability with which a random rectangle, 2 to 33 % of a training image, is erased: it gets the mean of the training
    images (Zhong et al. 2020, as torchvision has it)."""

    mixup: float = setting(0.0, at_least=0, below=1000, before=0.0)
    """α of MixUp: images and targets of a batch are mixed in pairs, λ x_i + (1 - λ) x_j, with one λ ~ Beta(α, α) for every batch
    (Zhang et al. 2018). 0 mixes nothing. Where cutmix is above 0 too, one of the two is drawn for every batch."""

    cutmix: float = setting(0.0, at_least=0, below=1000, before=0.0)
    """α of CutMix: a rectangle, the share 1 - λ of an image, is taken from another one of its batch, and the targets are mixed by
    their shares of pixels, with one λ ~ Beta(α, α) for every batch (Yun et al. 2019). 0 takes nothing."""

    label_smoothing: float = setting(0.0, at_least=0, below=1, before=0.0)
    """ε of label smoothing: of K classes, an image's own one has the target 1 - ε + ε/K, every other one ε/K, in every loss
    (Szegedy et al. 2016). 0 leaves targets at 0 and 1."""

    def augmentation(self) -> Augmentation:
        """What these fields come to."""
        return Augmentation(**{name: getattr(self, name) for name in NAMES})

    def inactive_augmentation(self) -> set[str]:
        """The fields that do nothing under the others' values."""
        return set() if self.crop_padding else {"crop_padding_mode"}

    def augmentation_problems(self, input_shape: ImageShape) -> Iterator[RuleError]:
        """The rules that are broken for images of ``input_shape``, as a network sees them."""
        height, width, channels = input_shape
        images, shorter = f"{height}x{width}", min(height, width)
        if self.crop_padding_mode == "reflect" and self.crop_padding >= shorter:
            rule = f"crop_padding must be at most {shorter - 1} where crop_padding_mode is reflect and images are {images}"
            yield RuleError(rule, repair=f"write crop_padding: {shorter - 1}, or crop_padding_mode: zeros", field="crop_padding")
        if self.cutout > shorter:
            rule = f"cutout must be at most {shorter}, the shorter side of {images} images"
            yield RuleError(rule, repair=f"write cutout: {max(1, shorter // 2)}", field="cutout")
        if self.trivial_augment and channels not in (1, 3):
            rule = f"trivial_augment must be false for images of {channels} channels: its operations are for grey or RGB images"
            yield RuleError(rule, repair="write trivial_augment: false", field="trivial_augment")
