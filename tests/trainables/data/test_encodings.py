"""Encodings: what an image becomes over the time steps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainables.data.encodings import SignedPoisson
from trainables.networks.network import ConstantCurrent

IMAGES_BCHW = torch.rand(5, 2, 3, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
INDICES_B = torch.tensor([7, 3, 11, 0, 2])


def poisson(images_BCHW: Tensor, indices_B: Tensor, time_steps: int, *names: int | str) -> Tensor:
    return SignedPoisson(images_BCHW, indices_B, *names)(0, time_steps)


def test_constant_current() -> None:
    """The image is the input of every step, given once."""
    inputs = ConstantCurrent(IMAGES_BCHW)
    assert inputs.num_images == 5
    assert torch.equal(inputs(0, 3), IMAGES_BCHW[None])
    assert torch.equal(inputs(3, 5), IMAGES_BCHW[None])


def test_poisson_spikes_have_the_image_as_their_mean() -> None:
    """Spikes are in {-1, 0, 1} with the pixel's sign, and their mean over many steps is the image."""
    spikes_TBN = poisson(IMAGES_BCHW, INDICES_B, 4000)
    assert set(spikes_TBN.flatten().tolist()) == {-1, 0, 1}
    assert bool((spikes_TBN * IMAGES_BCHW >= 0).all())
    assert float((spikes_TBN.mean(dim=0) - IMAGES_BCHW).abs().max()) < 5 * 0.5 / 4000**0.5  # 5 standard deviations


def test_poisson_at_the_bounds() -> None:
    """Pixels of -1, 0 and 1 spike at every step, never, and at every step."""
    images_BCHW = torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 1, 1, 3)
    assert poisson(images_BCHW, torch.tensor([0]), 50).mean(dim=0).flatten().tolist() == [-1, 0, 1]


@given(st.permutations(range(5)), st.integers(1, 5))
def test_poisson_does_not_depend_on_the_batch(order: list[int], num: int) -> None:
    """An image's spikes are the same whichever images stand beside it, in whatever order."""
    chosen = torch.tensor(order[:num])
    expected = poisson(IMAGES_BCHW, INDICES_B, 6, 1, "train")[:, chosen]
    assert torch.equal(poisson(IMAGES_BCHW[chosen], INDICES_B[chosen], 6, 1, "train"), expected)


def test_poisson_depends_on_its_names() -> None:
    """Another image, another seed, another purpose and another time step each have draws of their own."""
    images_BCHW = torch.full((2, 1, 8, 8), 0.5)
    one, other = poisson(images_BCHW, torch.tensor([0, 1]), 2, 0, "train").unbind(dim=1)
    assert not torch.equal(one, other)
    assert not torch.equal(one[0], one[1])
    for names in [(1, "train"), (0, "test"), (0, "train", 2)]:
        assert not torch.equal(poisson(images_BCHW, torch.tensor([0, 1]), 2, *names)[:, 0], one)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_poisson_in_pieces(lengths: list[int]) -> None:
    """The steps asked for in pieces are those asked for at once."""
    inputs = SignedPoisson(IMAGES_BCHW, INDICES_B, 4)
    pieces, start = [], 0
    for length in lengths:
        pieces.append(inputs(start, length))
        start += length
    assert torch.equal(torch.cat(pieces), poisson(IMAGES_BCHW, INDICES_B, start, 4))


def test_steps_out_of_order_are_refused() -> None:
    """Steps that were shown, or that lie ahead, cannot be asked for."""
    inputs = SignedPoisson(IMAGES_BCHW, INDICES_B)
    inputs(0, 3)
    for start in (0, 4):
        with pytest.raises(ValueError, match=f"in order: expected 3, got {start}"):
            inputs(start, 1)
