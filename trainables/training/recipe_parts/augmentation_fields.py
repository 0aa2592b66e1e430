"""The fields that say what is done to training images and their labels before they are learnt."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from trainables.data.augmentation import Augmentation, Flip, PaddingMode
from trainables.networks.layouts import ImageShape
from trainables.networks.rules import RuleError
from trainables.training.configs import setting


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

    label_smoothing: float = setting(0.0, at_least=0, below=1, before=0.0)
    """ε of label smoothing: the target of an image is 1 - ε for its own class and ε/K for each of the K classes beside, in every
    loss (Szegedy et al. 2016). 0 leaves targets at 0 and 1."""

    def augmentation(self) -> Augmentation:
        """What these fields come to."""
        return Augmentation(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Augmentation)})

    def inactive_augmentation(self) -> set[str]:
        """The fields that do nothing under the others' values."""
        return set() if self.crop_padding else {"crop_padding_mode"}

    def augmentation_problems(self, input_shape: ImageShape) -> Iterator[RuleError]:
        """The rules that are broken for images of ``input_shape``, as a network sees them."""
        most = min(input_shape[:2]) - 1
        if self.crop_padding_mode == "reflect" and self.crop_padding > most:
            height, width, _ = input_shape
            rule = f"crop_padding must be at most {most} where crop_padding_mode is reflect and images are {height}x{width}"
            yield RuleError(rule, repair=f"write crop_padding: {most}, or crop_padding_mode: zeros", field="crop_padding")
