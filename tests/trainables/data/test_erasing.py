"""Cutout and random erasing: which pixels are erased, and how often, as torchvision has it."""

import statistics

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from tests.trainables.data.made_images import made, splits_of_images
from trainables.data.augmented_images import Drawn
from trainables.data.erasing import NUM_DRAWN, rectangles
from trainables.data.randomness import generator_for


def drawn_for(num: int, map_size: tuple[int, int], *, cutout: int = 0, random_erasing: float = 0.0) -> Tensor:
    uniform = torch.rand(NUM_DRAWN, num, dtype=torch.float64, generator=generator_for(num, *map_size)).numpy()
    return rectangles(uniform, map_size, cutout=cutout, random_erasing=random_erasing)


def erased(images: Tensor, drawn: Tensor) -> Tensor:
    """Images of 0 and 1, erased by the compiled operation and as on a GPU, which must agree."""
    levels = (255 * images).to(torch.uint8)
    return made(splits_of_images(levels), torch.arange(len(images)), Drawn(rectangles_R4B=drawn))


def test_squares_are_cut_off_at_the_border() -> None:
    """Every pixel is the centre of some square, which has its side unless it reaches over the border; the rest stays."""
    drawn = drawn_for(4000, (6, 7), cutout=4)
    images = torch.ones(4000, 2, 6, 7)
    results = erased(images, drawn)
    assert torch.equal(images, torch.ones_like(images))
    centres = set()
    for result, (top, bottom, left, right) in zip(results, drawn[0].T.tolist(), strict=True):
        expected = torch.ones(2, 6, 7)
        expected[:, max(top, 0) : bottom, max(left, 0) : right] = 0
        assert torch.equal(result, expected)
        assert (bottom - top, right - left) == (4, 4)
        centres.add((top + 2, left + 2))
    assert centres == {(y, x) for y in range(6) for x in range(7)}
    sizes = {int((result[0] == 0).sum()) for result in results}
    assert sizes == {a * b for a in (2, 3, 4) for b in (2, 3, 4)}


def of_torchvision(num: int, map_size: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """Top, left, height and width of the rectangles that torchvision draws."""
    transform, image = v2.RandomErasing(), torch.zeros(1, *map_size)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        drawn = [transform.make_params([image]) for _ in range(num)]
    return [(p["i"], p["j"], p["h"], p["w"]) for p in drawn if p["v"] is not None]


@pytest.mark.parametrize("map_size", [(32, 32), (8, 14)])
def test_rectangles_are_drawn_as_by_torchvision(map_size: tuple[int, int]) -> None:
    """Heights, widths, places and areas have torchvision's means and spreads; all lie inside."""
    top, bottom, left, right = drawn_for(6000, map_size, random_erasing=1.0)[1]
    ours = [tuple(row) for row in torch.stack([top, left, bottom - top, right - left], dim=1).tolist() if row[2]]
    theirs = of_torchvision(3000, map_size)
    assert len(ours) / 6000 == pytest.approx(len(theirs) / 3000, abs=0.01)
    assert all(t >= 0 and x >= 0 and t + h <= map_size[0] and x + w <= map_size[1] for t, x, h, w in ours)
    assert all(h < map_size[0] and w < map_size[1] for _, _, h, w in ours)
    for of_us, of_them in zip(
        *(zip(*[(*row, row[2] * row[3]) for row in rows], strict=True) for rows in (ours, theirs)), strict=True
    ):
        spread = statistics.stdev(of_them)
        assert statistics.mean(of_us) == pytest.approx(statistics.mean(of_them), abs=0.1 * spread)
        assert statistics.stdev(of_us) == pytest.approx(spread, rel=0.1)


def test_a_rectangle_is_erased_with_the_probability() -> None:
    """A third of the images keep all pixels at probability 2/3; what is erased is 0, everything else is as it was."""
    images = torch.ones(3000, 1, 16, 16)
    drawn = drawn_for(3000, (16, 16), random_erasing=2 / 3)
    results = erased(images, drawn)
    is_whole = (results == 1).flatten(1).all(dim=1)
    assert float(is_whole.float().mean()) == pytest.approx(1 / 3, abs=0.03)
    for number in range(0, 3000, 100):
        top, bottom, left, right = drawn[1, :, number].tolist()
        expected: Tensor = v2.functional.erase(images[number], top, left, bottom - top, right - left, torch.zeros(1, 1, 1))
        assert torch.equal(results[number], expected)


def test_images_too_small_for_any_rectangle_stay() -> None:
    """Of one pixel there is no smaller rectangle: nothing is erased."""
    images = torch.ones(50, 3, 1, 1)
    assert torch.equal(erased(images, drawn_for(50, (1, 1), random_erasing=1.0)), images)


def test_both_are_erased() -> None:
    """A square and a rectangle of one image, each drawn as it is alone."""
    images = torch.ones(60, 2, 9, 9)
    one, other, both = (
        erased(images, drawn_for(60, (9, 9), **parts))
        for parts in ({"cutout": 3}, {"random_erasing": 1.0}, {"cutout": 3, "random_erasing": 1.0})
    )
    assert torch.equal(both, one * other)
    assert not torch.equal(both, one)
