"""Random numbers that depend on names alone, so that a resumed replicate draws what an undisturbed one would."""

import hashlib

import torch


def generator_for(*names: int | str) -> torch.Generator:
    """A CPU generator seeded by the digest of ``names``, e.g. ``generator_for(seed, "shuffle", epoch)``."""
    return torch.Generator().manual_seed(seed_for(*names))


def seed_for(*names: int | str) -> int:
    """The seed of ``generator_for``, for generators of another kind."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
