"""Presets of BITnets: the networks of the BITnet README, and its commands."""

from collections.abc import Mapping
from typing import Any

from trainables.published.recipes import ABOUT_EQUAL, EQUAL, Values

PUBLISHED: Mapping[str, Any] = {
    "initial_membrane_potential": 0.0,
    "normalisation": "none",
    "readout": "spikes",
    "ties": "lowest_class",
    "gradient_margin": 0.0,
    "lr": 5e-3,
}
"""The neuron, start and read-out of the BITnet README, which need many time steps; see docs/few_steps.md."""

_BITNET6: Values = {"layout": "bitnet", "feature_scale": 4.0, "time_steps": 50, **PUBLISHED}
_BITNET6_MAX: Values = {"layout": "bitnet", "feature_scale": 5.0, "time_steps": 50, **PUBLISHED}

_NETWORKS = {"BITnet6": _BITNET6, "BITnet6 Max": _BITNET6_MAX}
_COMMANDS = {
    "BITnet6 on CIFAR-10": {**_BITNET6, "data": "cifar10", "batch_size": 32},
    "BITnet6 Max on CIFAR-10": {**_BITNET6_MAX, "data": "cifar10", "batch_size": 16},
    "BITnet6 on CIFAR-100": {**_BITNET6, "data": "cifar100", "eval_time_steps": 200, "batch_size": 32},
    "BITnet6 Max on CIFAR-100": {**_BITNET6_MAX, "data": "cifar100", "eval_time_steps": 210, "batch_size": 16},
    "BITnet6 on Tiny-ImageNet": {**_BITNET6, "layout": "bitnet_64px", "eval_time_steps": 200, "batch_size": 32},
}

_GROUPS: list[tuple[str, Mapping[str, Values]]] = [
    ("The networks of the BITnet README (P. Reddy), with its neuron, start and read-out; this tool's own recipe.", _NETWORKS),
    (
        "The BITnet README's commands: the time steps of its evaluations (50, 200, 210) and its batch sizes. They are "
        "commands that judge trained networks, as the training is not published: optimiser, learning rate, epochs and "
        "augmentation are this tool's defaults. The networks are trained with 50 time steps; with 36, the README has 0.38 "
        "points less on CIFAR-10 and 1.79 on CIFAR-100 (time_steps: 36). Published: 94.37 and 94.62 (Max) on CIFAR-10, "
        "75.93 and 77.15 (Max) on CIFAR-100, 59.10 on Tiny-ImageNet, of which data must name an .npz file of 64x64 images.",
        _COMMANDS,
    ),
    (ABOUT_EQUAL, {"Equal recipe": EQUAL, "BITnet6 at equal recipe": {**_BITNET6, **EQUAL}}),
]

PRESETS: Mapping[str, Values] = {name: values for _, group in _GROUPS for name, values in group.items()}
PRESET_SOURCES: Mapping[str, str] = {name: source for source, group in _GROUPS for name in group}
