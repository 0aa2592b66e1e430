"""The scales on which an outcome is compared, and the way back from a shift on one of them to a difference in its own unit.

A test of paired differences takes them as symmetric about the shift. Near 0 and 1 accuracies are not: a seed can lose more
than it can win. On the logit scale they are nearly so, and counts and costs are on the logarithmic one. Levels whose
accuracies differ in spread alone may differ there in the mean, so that what is decided has to be decided on the plain scale, too.
"""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import special

from analysis.statistics.data.cell_by_seed import FloatArray

Scale = Literal["linear", "logit", "log"]
IMAGES_IF_UNKNOWN = 10_000
"""Images behind an accuracy for the half count of the logit, where their number is not known."""


def scales_for(scale: Scale, values: Sequence[float]) -> tuple[Scale, ...]:
    """The scales on which paired values are tested: the outcome's own, and for accuracies as they are, too.

    Only as they are where a value has no place on the outcome's scale: a count of 0, an adjusted mean outside of 0 to 1.
    """
    array = np.asarray(values, dtype=np.float64)
    is_off = (scale == "log" and (array <= 0).any()) or (scale == "logit" and ((array < 0) | (array > 1)).any())
    if is_off:
        return ("linear",)
    return ("logit", "linear") if scale == "logit" else (scale,)


def on_scale(scale: Scale, values: Sequence[float] | FloatArray, num_images: int | None = None) -> FloatArray:
    """The values on a scale; accuracies with half an image added to the right and to the wrong ones (Cox 1970)."""
    array = np.asarray(values, dtype=np.float64)
    if scale == "logit":
        num = num_images or IMAGES_IF_UNKNOWN
        return np.asarray(np.log((num * array + 0.5) / (num * (1 - array) + 0.5)))
    return np.log(array) if scale == "log" else array


def difference_of_means(scale: Scale, reference: Sequence[float], level: Sequence[float]) -> float:
    """The mean of the level minus that of its reference; on the log scale divided by that of the reference.

    So 0.2 is a fifth more; infinity where the reference has only zeros.
    """
    first, second = float(np.mean(reference)), float(np.mean(level))
    return _share(second - first, first) if scale == "log" else second - first


def shift_in_unit(unit: Scale, scale: Scale, shift: float, reference: Sequence[float], num_images: int | None = None) -> float:
    """What a shift on a scale is in the unit of ``difference_of_means``.

    Args:
        unit: The scale of the outcome.
        scale: That of the shift, which may be linear.
        shift: Level minus reference.
        reference: The reference's values. Accuracies are all shifted, as far as they can be, and the result is the mean of what
            that does to them.
        num_images: As for ``on_scale``.
    """
    if scale == "log":
        return float(np.expm1(shift))
    if scale == "linear":
        if unit == "logit":
            values = np.asarray(reference)
            limited = (float(values.min(initial=0.0)), float(values.max(initial=1.0)))
            return float(np.mean(np.clip(values + shift, *limited)) - np.mean(values))
        return _share(shift, float(np.mean(reference))) if unit == "log" else shift
    num = num_images or IMAGES_IF_UNKNOWN
    shares = special.expit(on_scale("logit", reference, num_images) + shift)
    shifted = np.clip((shares * (num + 1) - 0.5) / num, 0.0, 1.0)
    return float(np.mean(shifted) - np.mean(reference))


def shift_of(scale: Scale, difference: float, reference: Sequence[float], num_images: int | None = None) -> float:
    """The shift on the scale that makes such a difference of the reference's mean, in the unit of ``difference_of_means``."""
    if scale == "log":
        return float(np.log1p(difference))
    mean = np.array([np.mean(reference)])
    moved = np.clip(mean + difference, 0.0, 1.0) if scale == "logit" else mean + difference
    return float((on_scale(scale, moved, num_images) - on_scale(scale, mean, num_images))[0])


def _share(part: float, whole: float) -> float:
    if whole:
        return part / whole
    return math.copysign(math.inf, part) if part else 0.0
