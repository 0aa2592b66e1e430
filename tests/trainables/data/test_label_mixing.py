"""MixUp and CutMix: images and targets as torchvision mixes them, with shares from a Beta distribution."""

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from trainables.data.label_mixing import likeliest, mix, mixed, paste_, shares_of_classes

LABELS = torch.tensor([0, 3, 1, 1, 2, 0])
IMAGES = torch.randn(6, 3, 8, 12, generator=torch.Generator().manual_seed(0))


def with_params(transform: v2.Transform, **params: object) -> tuple[Tensor, Tensor]:
    """Torchvision's images and targets at shares that are given."""
    given = {"labels": LABELS, "batch_size": 6, **params}
    return transform.transform(IMAGES, given), transform.transform(LABELS, given)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_mixup_is_that_of_torchvision(share: float) -> None:
    """The same images and targets at the same λ."""
    images, targets = with_params(v2.MixUp(num_classes=4), lam=share)
    torch.testing.assert_close(mixed(IMAGES, share), images)
    torch.testing.assert_close(mixed(shares_of_classes(LABELS, 4), share), targets)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize(("row", "column"), [(4, 6), (0, 11), (7, 0)])
def test_cutmix_is_that_of_torchvision(share: float, row: int, column: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same images and targets at the same λ and centre, the share that is cut off at the border included."""
    transform, drawn = v2.CutMix(num_classes=4), iter([column, row])
    monkeypatch.setattr(transform, "_dist", type("Given", (), {"sample": lambda *_: torch.tensor(share, dtype=torch.float64)})())
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor([next(drawn)]))
    params = transform.make_params([IMAGES])
    images, targets = with_params(transform, **params)
    ours = IMAGES.clone()
    kept = paste_(ours, share, row, column)
    assert torch.equal(ours, images)
    assert kept == pytest.approx(params["lam_adjusted"])
    torch.testing.assert_close(mixed(shares_of_classes(LABELS, 4), kept), targets)


def own_share(batch: int, *, mixup: float = 0.0, cutmix: float = 0.0) -> float:
    """λ of a batch, from its targets: that of the second image, whose label no neighbour has."""
    _, targets = mix(IMAGES.clone(), shares_of_classes(LABELS, 4), mixup=mixup, cutmix=cutmix, names=(0, "mix", 1, batch))
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(6))
    return float(targets[1, 3])


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_shares_have_a_beta_distribution(alpha: float) -> None:
    """λ has the mean 1/2 and the variance 1/(4(2α + 1)) of Beta(α, α)."""
    shares = torch.tensor([own_share(batch, mixup=alpha) for batch in range(1500)])
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.04)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.12)


def test_one_of_both_is_drawn() -> None:
    """With α of both above 0, about half of the batches are those of MixUp, the others have pixels of one image or the other."""
    kinds = []
    for batch in range(400):
        images, _ = mix(IMAGES.clone(), shares_of_classes(LABELS, 4), mixup=1.0, cutmix=1.0, names=(0, "mix", 1, batch))
        kinds.append(bool(((images == IMAGES) | (images == IMAGES.roll(1, 0))).all()))
    assert 150 < sum(kinds) < 250
    one, again, other = (
        mix(IMAGES.clone(), shares_of_classes(LABELS, 4), mixup=1.0, cutmix=1.0, names=(0, batch)) for batch in (3, 3, 4)
    )
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1], again[1])
    assert not torch.equal(one[1], other[1])


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_larger_share_is_the_class(smoothing: float) -> None:
    """At λ above 1/2 the class is an image's own, below that of the one before it; of labels it is the label."""
    shares = shares_of_classes(LABELS, 4, smoothing)
    assert torch.equal(likeliest(mixed(shares, 0.7)), LABELS)
    assert torch.equal(likeliest(mixed(shares, 0.2)), LABELS.roll(1))
    assert torch.equal(likeliest(LABELS), LABELS)
