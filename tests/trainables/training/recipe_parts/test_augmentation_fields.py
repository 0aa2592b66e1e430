"""The fields of augmentation: their rules, with repairs that hold, and which of them do nothing."""

import dataclasses
from typing import Any

import pytest

from trainables import ann, bitnet, converted_snn
from trainables.networks.layouts import ImageShape

SHAPE = (8, 12, 3)


@pytest.mark.parametrize("trainable", [ann, bitnet, converted_snn])
@pytest.mark.parametrize(
    ("changes", "shape", "field", "repair", "mended"),
    [
        (
            {"crop_padding": 8, "crop_padding_mode": "reflect"},
            SHAPE,
            "crop_padding",
            "write crop_padding: 7",
            {"crop_padding": 7},
        ),
        (
            {"crop_padding": 4, "crop_padding_mode": "reflect", "image_downscale": 2},
            SHAPE,
            "crop_padding",
            "3",
            {"crop_padding": 3},
        ),
        ({"cutout": 9}, SHAPE, "cutout", "write cutout: 4", {"cutout": 4}),
        ({"trivial_augment": True}, (8, 12, 2), "trivial_augment", "write trivial_augment: false", {"trivial_augment": False}),
        ({"mixup": 0.2, "batch_size": 1}, SHAPE, "mixup", "write mixup: 0, or batch_size: 2", {"batch_size": 2}),
        ({"cutmix": 0.2, "batch_size": 1}, SHAPE, "cutmix", "write cutmix: 0, or batch_size: 2", {"cutmix": 0.0}),
    ],
)
def test_what_cannot_be_is_refused(
    trainable: Any, changes: dict[str, Any], shape: ImageShape, field: str, repair: str, mended: dict[str, Any]
) -> None:
    """Padding without a mirror image, a square larger than the image, channels that are no colours, a batch without a pair."""
    config = trainable.Config(layout="4 M 4", **changes)
    (problem,) = trainable.problems(config, shape)
    assert problem.field == field
    assert repair in problem.repair
    assert not list(trainable.problems(dataclasses.replace(config, **mended), shape))


def test_the_widest_that_can_be() -> None:
    """A mirror image as large as it can be, a square as large as the image, grey images are allowed."""
    config = ann.Config(layout="4 M 4", crop_padding=7, crop_padding_mode="reflect", cutout=8, trivial_augment=True)
    for channels in (1, 3):
        assert not list(ann.problems(config, (8, 12, channels)))


def test_a_source_network_has_the_same_augmentation() -> None:
    """What is converted, or started from, is trained on images and targets as the config says."""
    fields: dict[str, Any] = {"flip": "alternating", "cutout": 2, "mixup": 0.2, "label_smoothing": 0.1}
    for config in (converted_snn.Config(**fields), bitnet.Config(pretrain_epochs=1, **fields)):
        trainable: Any = converted_snn if isinstance(config, converted_snn.Config) else bitnet
        source = trainable.source_network(config)
        assert source.augmentation() == config.augmentation()
