"""Identities are what a replicate is found by again: a digest that changes means that everything is trained again."""

import hashlib
from collections.abc import Sequence

import pytest

from studies.engine.definition.loading import load_study
from trainables import bitnet

DIGESTS = {
    "quickstart": (80, "6ead3ec6d2d5e0c2"),
    "converted_digits": (80, "ff9571b1db9f2a68"),
    "conversion_methods": (120, "8f5a02268153cb1a"),
    "pooling_placements": (240, "ae5d7d9d4135a214"),
    "bitnet_learning_rule": (70, "98fcd2b73388bcea"),
    "sparsity_regularisation": (70, "faeb2cfb5eaa15b5"),
    "surface_factorial": (1944, "ef0c379e0e45c313"),
}
"""Of shipped studies that need no download: how many replicates, and the digest of their identities."""

DIGESTS_OF_PUBLISHED = {
    "quickstart": (80, "00e877261100164a"),
    "pooling_placements": (240, "377beb454c863e8a"),
    "bitnet_learning_rule": (70, "8716ddbeeb823255"),
    "sparsity_regularisation": (70, "d6a7c71a2efbb093"),
}
"""Of the same studies of BITnets with the published neuron, start and read-out, which were the defaults once."""

TRAINING_STEPS_ON_DIGITS = ["data=digits", "validation_fraction=0.25", "num_train_images=500", "image_downscale=1"]
"""Values of config with which the study of CIFAR-10 needs no download."""


@pytest.mark.parametrize("name", DIGESTS)
def test_identities_do_not_change(name: str) -> None:
    """A change of code leaves every identity as it was; where one must change, CHANGELOG says so, and these digests follow."""
    assert _digest(name) == DIGESTS[name]


@pytest.mark.parametrize("name", DIGESTS_OF_PUBLISHED)
def test_published_networks_keep_the_identities_of_earlier_defaults(name: str) -> None:
    """Who sets what were the defaults finds what was trained with them."""
    published = [f"{field}={value}" for field, value in bitnet.PUBLISHED.items()]
    assert _digest(name, published) == DIGESTS_OF_PUBLISHED[name]


def test_training_steps_keeps_its_identities() -> None:
    """Its preset has the published values, which were the defaults when it had none."""
    assert _digest("training_steps", TRAINING_STEPS_ON_DIGITS) == (16, "c6f54344cf46ac9d")


def _digest(name: str, config: Sequence[str] = ()) -> tuple[int, str]:
    """How many replicates a shipped study has, and the digest of their identities."""
    replicates = load_study(name, [f"config.{setting}" for setting in config]).replicates
    identities = sorted(replicate.identity for replicate in replicates)
    return len(identities), hashlib.sha256("\n".join(identities).encode()).hexdigest()[:16]
