"""TrivialAugment (Müller & Hutter 2021): one operation for every image, both it and its strength drawn uniformly.

The 14 operations, their 31 strengths and what they do to uint8 images are those of torchvision's ``TrivialAugmentWide`` with
nearest interpolation and black corners. All images of a batch are changed at once: where pixels come from when an image is moved,
and what becomes of a grey level, are tables that torchvision's own operations have filled.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.data.rotation import pixels_from

NUM_STRENGTHS = 31
GEOMETRY = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
LEVELS = ("Brightness", "Posterize", "Solarize")
BLENDS = ("Color", "Contrast", "Sharpness")
OPERATIONS = ("Identity", *GEOMETRY, *LEVELS, *BLENDS, "AutoContrast", "Equalize")
VARIANTS = 2 * NUM_STRENGTHS
"""Of every operation: its strengths, each with both signs; where the sign or the strength does nothing, some are the same."""


def draw(num_images: int, generator: torch.Generator) -> Tensor:
    """One number for every image, ``[B]``: operation · VARIANTS + strength · 2 + whether it is negative."""
    return torch.randint(0, len(OPERATIONS) * VARIANTS, (num_images,), generator=generator)


def trivial_augment_(images_BCHW: Tensor, drawn_B: Tensor) -> None:
    """Change uint8 images of one channel or three, channels last in memory, in their place: each as it was drawn for it.

    Every operation runs once, for all images that it was drawn for. ``kernels.cpu.compiled.image_operations`` has the same.
    """
    images_BHWC = images_BCHW.permute(0, 2, 3, 1)
    positions: dict[Callable[[Tensor, Tensor], Tensor], list[int]] = {}
    for position, number in enumerate((drawn_B // VARIANTS).tolist()):
        if change := _CHANGES.get(OPERATIONS[number]):
            positions.setdefault(change, []).append(position)
    for change, some in positions.items():
        which = torch.tensor(some)
        which_there = which.to(images_BHWC.device)
        changed = change(images_BHWC.index_select(0, which_there), drawn_B.index_select(0, which))
        images_BHWC.index_copy_(0, which_there, changed)


@functools.lru_cache(maxsize=8)
def tables_of_changes(height: int, width: int, *, is_used: bool) -> tuple[Any, ...]:
    """Places, levels and factors of blends, as arrays; none of them unless they are used, as torchvision takes a second."""
    if not is_used:
        return np.zeros((0, 0), np.uint32), np.zeros((0, 0), np.uint8), np.zeros(0, np.float32), np.zeros(0, np.float32)
    cpu = torch.device("cpu")
    places_RP = _places(height, width, cpu).numpy().astype(np.uint32)
    return places_RP, _levels(cpu).numpy(), *(factors.numpy() for factors in _blend_factors())


def strength(operation: str, variant: int) -> float:
    """The magnitude of an operation's variant: of the strength variant // 2, negative if the variant is odd."""
    number, negative = divmod(variant, 2)
    if operation == "Posterize":
        return float((8 - torch.arange(NUM_STRENGTHS) / ((NUM_STRENGTHS - 1) / 6)).round()[number])
    if operation == "Solarize":
        return float(torch.linspace(1.0, 0.0, NUM_STRENGTHS)[number])
    largest = {"TranslateX": 32.0, "TranslateY": 32.0, "Rotate": 135.0}.get(operation, 0.99)
    return float(torch.linspace(0.0, largest, NUM_STRENGTHS)[number]) * (-1 if negative else 1)


def _moved(images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
    """Shear, shift and rotation: every pixel is another one, or black."""
    _, height, width, _ = images_BHWC.shape
    device = images_BHWC.device
    return pixels_from(images_BHWC, _places(height, width, device).index_select(0, (drawn_B - VARIANTS).to(device)))


def _with_other_levels(images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
    """Brightness, posterisation and solarisation: a table of grey levels for every image."""
    rows_B = drawn_B - OPERATIONS.index(LEVELS[0]) * VARIANTS
    levels_BL = _levels(images_BHWC.device).index_select(0, rows_B.to(images_BHWC.device))
    return levels_BL.gather(1, images_BHWC.flatten(1).long()).view(images_BHWC.shape)


def _coloured(images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
    """Between the image and its grey one, or beyond."""
    grey_BHW1 = _grey(images_BHWC)
    return images_BHWC if images_BHWC.shape[3] == 1 else _blended(images_BHWC, grey_BHW1.float(), drawn_B)


def _contrasted(images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
    """Between the image and its mean grey level, or beyond."""
    return _blended(images_BHWC, _grey(images_BHWC).float().mean(dim=(1, 2, 3), keepdim=True), drawn_B)


def _sharpened(images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
    """Between the image and its blurred one, or beyond; the border stays as it is."""
    blurred = _functional().adjust_sharpness(images_BHWC.permute(0, 3, 1, 2), 0.0).permute(0, 2, 3, 1)
    _, rest = _ratios(drawn_B, images_BHWC.device)
    images = images_BHWC.float()
    return _added(images, blurred.float() - images, rest)


def _auto_contrasted(images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
    """Every channel stretched to all grey levels."""
    del drawn_B
    stretched: Tensor = _functional().autocontrast(images_BHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return stretched


def _equalised(images_BHWC: Tensor, drawn_B: Tensor) -> Tensor:
    """Every channel with about as many pixels of every grey level."""
    del drawn_B
    equal: Tensor = _functional().equalize(images_BHWC.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return equal


_CHANGES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    **dict.fromkeys(GEOMETRY, _moved),
    **dict.fromkeys(LEVELS, _with_other_levels),
    "Color": _coloured,
    "Contrast": _contrasted,
    "Sharpness": _sharpened,
    "AutoContrast": _auto_contrasted,
    "Equalize": _equalised,
}


def _grey(images_BHWC: Tensor) -> Tensor:
    """``[B, H, W, 1]``."""
    if images_BHWC.shape[3] == 1:
        return images_BHWC
    grey: Tensor = _functional().adjust_saturation(images_BHWC.permute(0, 3, 1, 2), 0.0)[:, :1].permute(0, 2, 3, 1)
    return grey


def _blended(images_BHWC: Tensor, others: Tensor, drawn_B: Tensor) -> Tensor:
    """Of ratio r, r · image + (1 - r) · other."""
    ratio, rest = _ratios(drawn_B, images_BHWC.device)
    return _added(images_BHWC * ratio, others, rest)


def _ratios(drawn_B: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """``_blend_factors`` of what was drawn, ``[B, 1, 1, 1]``."""
    ratios, rests = (factors.index_select(0, drawn_B % VARIANTS)[:, None, None, None] for factors in _blend_factors())
    return ratios.to(device), rests.to(device)


def _added(images: Tensor, others: Tensor, factors: Tensor) -> Tensor:
    """The sums image + factor · other as grey levels, rounded once, as PyTorch's vectorised sums are."""
    sums = (images.double() + factors.double() * others).float()
    return sums.clamp_(0, 255).to(torch.uint8)


def _functional() -> Any:
    from torchvision.transforms.v2 import functional  # takes a second, and few networks need it

    return functional


@functools.cache
def _blend_factors() -> tuple[Tensor, Tensor]:
    """1 + strength, and its difference to 1, of every variant; both rounded from float64 as torchvision's scalars are."""
    ratios = torch.tensor([1.0 + strength("Color", variant) for variant in range(VARIANTS)], dtype=torch.float64)
    return ratios.float(), (1 - ratios).float()


@functools.lru_cache(maxsize=8)
def _places(height: int, width: int, device: torch.device) -> Tensor:
    """From which pixel, counted from 1, each one comes under every variant of every operation of ``GEOMETRY``; 0 is outside."""
    numbers = torch.arange(1, height * width + 1, dtype=torch.float32).view(1, height, width)
    moved = [_move(numbers, operation, strength(operation, variant)) for operation in GEOMETRY for variant in range(VARIANTS)]
    return torch.stack(moved).flatten(1).to(torch.int32).to(device)


def _move(numbers_1HW: Tensor, operation: str, by: float) -> Tensor:
    functional = _functional()
    if operation == "Rotate":
        rotated: Tensor = functional.rotate(numbers_1HW, by)
        return rotated
    angle = math.degrees(math.atan(by))
    options: dict[str, dict[str, Sequence[float] | None]] = {
        "ShearX": {"shear": [angle, 0.0], "center": [0, 0]},
        "ShearY": {"shear": [0.0, angle], "center": [0, 0]},
        "TranslateX": {"translate": [int(by), 0]},
        "TranslateY": {"translate": [0, int(by)]},
    }
    affine = {"angle": 0.0, "scale": 1.0, "translate": [0, 0], "shear": [0.0, 0.0]} | options[operation]
    moved: Tensor = functional.affine(numbers_1HW, **affine)
    return moved


@functools.cache
def _levels(device: torch.device) -> Tensor:
    """What becomes of all grey levels under every variant of every operation of ``LEVELS``, ``[operations · VARIANTS, 256]``."""
    functional, levels = _functional(), torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    changes: dict[str, Callable[[float], Tensor]] = {
        "Brightness": lambda by: functional.adjust_brightness(levels, 1.0 + by),
        "Posterize": lambda by: functional.posterize(levels, int(by)),
        "Solarize": lambda by: functional.solarize(levels, 255 * by),
    }
    changed = [changes[operation](strength(operation, variant)) for operation in LEVELS for variant in range(VARIANTS)]
    return torch.stack(changed).flatten(1).to(device)
