"""TrivialAugment on batches: every operation and strength as torchvision has it, for one image after the other."""

import functools

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from tests.trainables.data.made_images import levels_of
from trainables.data.augmented_images import Drawn
from trainables.data.randomness import generator_for
from trainables.data.trivial_augment import BLENDS, OPERATIONS, VARIANTS, draw, strength


def photographs(channels: int, height: int, width: int) -> Tensor:
    """A smooth image with a little noise, a dark one, a constant one, and noise of all grey levels, ``[4, C, H, W]``."""
    generator = torch.Generator().manual_seed(channels + height)
    noise = torch.randint(0, 256, (1, channels, height, width), dtype=torch.uint8, generator=generator)
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 5, width), indexing="ij")
    smooth = 127 + 100 * torch.sin(x + y * torch.arange(1, channels + 1)[:, None, None])
    smooth = (smooth + noise[0] / 16).clamp(0, 255).to(torch.uint8)
    return torch.cat([smooth[None], smooth[None] // 5, torch.full_like(noise, 77), noise])


def changed(images: Tensor, drawn: Tensor) -> Tensor:
    """By the compiled operations and as on a GPU, which must agree."""
    return levels_of(images, Drawn(changes_B=drawn))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 16, 8), (1, 5, 2)], ids=str)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_strength_is_that_of_torchvision(operation: str, shape: tuple[int, int, int]) -> None:
    """Each operation at all its strengths and both signs gives the same uint8 pixels as torchvision's, image by image.

    Where an image's numbers do not fill PyTorch's vectors, the last of them are rounded otherwise there: torchvision's blends of
    an image of one grey level have two. That is the one difference, of one grey level.
    """
    transform, number = v2.TrivialAugmentWide(), OPERATIONS.index(operation)
    magnitudes, signed = transform._AUGMENTATION_SPACE[operation]  # a test may look
    images = photographs(*shape)
    batch = images.repeat(VARIANTS, 1, 1, 1)
    drawn = (number * VARIANTS + torch.arange(VARIANTS)).repeat_interleave(len(images))
    ours = changed(batch, drawn).reshape(VARIANTS, *images.shape)
    for variant in range(VARIANTS):
        magnitude = 0.0
        if (values := magnitudes(31, *shape[1:])) is not None:
            magnitude = float(values[variant // 2]) * (-1 if signed and variant % 2 else 1)
            assert strength(operation, variant) == magnitude
        apply = functools.partial(
            transform._apply_image_or_video_transform,
            transform_id=operation,
            magnitude=magnitude,
            interpolation=transform.interpolation,
            fill={},
        )
        for image, result in zip(images, ours[variant], strict=True):
            most = 1 if operation in BLENDS and image.numel() % 16 else 0
            assert (result.int() - apply(image).int()).abs().max() <= most, magnitude


def test_the_operations_are_those_of_torchvision() -> None:
    """None is missing, and all are drawn about equally often, with every strength and sign."""
    assert set(OPERATIONS) == set(v2.TrivialAugmentWide._AUGMENTATION_SPACE)
    drawn = draw(100_000, generator_for(1, "test"))
    counts = torch.bincount(drawn, minlength=len(OPERATIONS) * VARIANTS)
    assert len(counts) == len(OPERATIONS) * VARIANTS
    assert counts.min() > 60
    assert counts.max() < 180


def test_images_do_not_change_one_another() -> None:
    """An image becomes the same alone and in any batch."""
    images, drawn = torch.cat([photographs(3, 16, 16)] * 10), draw(40, generator_for(2, "test"))
    results = changed(images, drawn)
    order = torch.randperm(40, generator=generator_for(3, "test"))
    assert torch.equal(changed(images[order], drawn[order]), results[order])
    for number in range(0, 40, 3):
        assert torch.equal(changed(images[number, None], drawn[number, None])[0], results[number])
    assert not torch.equal(results, images)
