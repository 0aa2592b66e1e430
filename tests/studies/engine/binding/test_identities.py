"""Identities are what a replicate is found by again: a digest that changes means that everything is trained again."""

import hashlib

import pytest

from studies.engine.definition.loading import load_study

DIGESTS = {
    "quickstart": (80, "00e877261100164a"),
    "converted_digits": (80, "ff9571b1db9f2a68"),
    "conversion_methods": (120, "8f5a02268153cb1a"),
    "pooling_placements": (240, "377beb454c863e8a"),
    "bitnet_learning_rule": (70, "8716ddbeeb823255"),
    "sparsity_regularisation": (70, "d6a7c71a2efbb093"),
    "surface_factorial": (1944, "ef0c379e0e45c313"),
}
"""Of shipped studies that need no download: how many replicates, and the digest of their identities."""


@pytest.mark.parametrize("name", DIGESTS)
def test_identities_do_not_change(name: str) -> None:
    """A change of code leaves every identity as it was; where one must change, CHANGELOG says so, and these digests follow."""
    identities = sorted(replicate.identity for replicate in load_study(name, []).replicates)
    assert (len(identities), hashlib.sha256("\n".join(identities).encode()).hexdigest()[:16]) == DIGESTS[name]
