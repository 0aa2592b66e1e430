"""Presets of conversions: published methods, and these with the network and the training that they were published with."""

from collections.abc import Mapping

from trainables.published.analogue import (
    ABOUT_QCFS,
    ABOUT_SENGUPTA,
    QCFS_LEVELS_ON_CIFAR10,
    QCFS_LEVELS_ON_CIFAR100,
    QCFS_VGG16,
    SENGUPTA_RESNET20,
    SENGUPTA_VGG16,
)
from trainables.published.recipes import (
    ABOUT_EQUAL,
    ABOUT_TEN_MINUTES,
    EQUAL,
    QCFS_ON_CIFAR10,
    QCFS_ON_CIFAR100,
    SENGUPTA,
    TEN_MINUTES,
    Values,
)

_QCFS: Values = {"activation": "qcfs", "balance": "qcfs", "initial_membrane_potential": 0.5}
_SPIKE_NORM: Values = {"encoding": "poisson", "reset": "hard", "balance": "spike_norm", "time_steps": 2500}

_METHODS: Mapping[str, Values] = {
    "Data norm": {"balance": "max", "reset": "soft", "encoding": "constant"},
    "RMP": {"balance": "percentile", "percentile": 99.9, "reset": "soft", "encoding": "poisson"},
    "QCFS": _QCFS,
    "Spike-Norm": {"pool": "average", "dropout": 0.2, "bias": False, "mean_per_pixel": True, **_SPIKE_NORM},
}
_OF_SENGUPTA = {
    "Spike-Norm of VGG16": {**SENGUPTA_VGG16, **_SPIKE_NORM, **SENGUPTA},
    "Spike-Norm of ResNet20": {**SENGUPTA_RESNET20, "initial_weights": "small_residual", **_SPIKE_NORM, **SENGUPTA},
}
_OF_QCFS = {
    "QCFS of VGG16 on CIFAR-10": {
        **QCFS_VGG16,
        **_QCFS,
        "qcfs_levels": QCFS_LEVELS_ON_CIFAR10,
        "time_steps": 64,
        **QCFS_ON_CIFAR10,
    },
    "QCFS of VGG16 on CIFAR-100": {
        **QCFS_VGG16,
        **_QCFS,
        "qcfs_levels": QCFS_LEVELS_ON_CIFAR100,
        "time_steps": 64,
        **QCFS_ON_CIFAR100,
    },
}

_GROUPS: list[tuple[str, Mapping[str, Values]]] = [
    (
        "Published methods, for any network and recipe: Diehl et al. 2015 (Data norm), Han et al. 2020 (RMP), Bu et al. "
        "2022 (QCFS), Sengupta et al. 2019 (Spike-Norm).",
        _METHODS,
    ),
    (f"Spike-Norm of the networks of Sengupta et al. 2019, {ABOUT_SENGUPTA}", _OF_SENGUPTA),
    (f"QCFS of VGG16, {ABOUT_QCFS}", _OF_QCFS),
    (ABOUT_TEN_MINUTES, {"Ten minutes": {**TEN_MINUTES, **_QCFS, "time_steps": 4}}),
    (ABOUT_EQUAL, {"Equal recipe": EQUAL}),
]

PRESETS: Mapping[str, Values] = {name: values for _, group in _GROUPS for name, values in group.items()}
PRESET_SOURCES: Mapping[str, str] = {name: source for source, group in _GROUPS for name in group}
