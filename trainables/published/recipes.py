"""How published networks were trained, as far as the fields of a recipe can say it; the presets are made of these.

Repositories and papers hold no validation images back. A validation split cannot be empty here, so that one training image in 50
is kept from training.
"""

from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]

CROP_AND_FLIP: Values = {"crop_padding": 4, "flip": True}

HUYVNPHAN: Values = {
    "data": "cifar10",
    "validation_fraction": 0.02,
    **CROP_AND_FLIP,
    "epochs": 100,
    "batch_size": 256,
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": True,
    "lr": 0.01,
    "weight_decay": 0.01,
    "schedule": "cosine",
    "warmup_fraction": 0.3,
    "lr_start": 1e-6,
    "lr_end": 1e-6,
    "selection": "best_on_test",
}
"""huyvnphan/PyTorch_CIFAR10: train.py and module.py (d8e861b), schduler.py (f5d8beda), data.py (0d8e71c3)."""

WEIAICUNZAI: Values = {
    "data": "cifar100",
    "validation_fraction": 0.02,
    **CROP_AND_FLIP,
    "rotation": 15.0,
    "epochs": 200,
    "batch_size": 128,
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": False,
    "lr": 0.1,
    "weight_decay": 5e-4,
    "schedule": "step",
    "lr_milestones": "60 120 160",
    "lr_factor": 0.2,
    "warmup_fraction": 0.005,
    "lr_start": 0.0025,
    "selection": "best_on_test",
}
"""weiaicunzai/pytorch-cifar100: train.py (a3056670), utils.py (02b14efc), conf/global_settings.py (c14857ba)."""

KUANGLIU: Values = {
    "data": "cifar10",
    "validation_fraction": 0.02,
    **CROP_AND_FLIP,
    "epochs": 350,
    "batch_size": 128,
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": False,
    "lr": 0.1,
    "weight_decay": 5e-4,
    "schedule": "step",
    "lr_milestones": "150 250",
    "lr_factor": 0.1,
    "selection": "best_on_test",
}
"""kuangliu/pytorch-cifar: README.md (00166a38), which has the schedule of its table, and main.py."""

SENGUPTA: Values = {
    "data": "cifar10",
    "validation_fraction": 0.02,
    "mean_per_pixel": True,
    **CROP_AND_FLIP,
    "epochs": 200,
    "batch_size": 256,
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": True,
    "lr": 0.05,
    "weight_decay": 1e-4,
    "schedule": "step",
    "lr_milestones": "81 122",
    "lr_factor": 0.1,
}
"""Sengupta et al. 2019, section 4.1. Nesterov's momentum, crop and flip are those of facebookarchive/fb.resnet.torch (train.lua,
19d7dea4), which the paper's implementation is derived from."""

QCFS_ON_CIFAR10: Values = {
    "data": "cifar10",
    "validation_fraction": 0.02,
    **CROP_AND_FLIP,
    "cutout": 16,
    "epochs": 300,
    "batch_size": 200,
    "optimizer": "sgd",
    "momentum": 0.9,
    "nesterov": False,
    "lr": 0.1,
    "weight_decay": 5e-4,
    "schedule": "cosine",
    "selection": "best_on_test",
}
"""Bu et al. 2022, and putshua/ANN_SNN_QCFS: main_train.py (34bc728b), Preprocess/getdataloader.py (83be9932)."""

QCFS_ON_CIFAR100: Values = {**QCFS_ON_CIFAR10, "data": "cifar100", "cutout": 8, "lr": 0.02}
"""The same for CIFAR-100."""

EQUAL: Values = {
    **CROP_AND_FLIP,
    "epochs": 100,
    "batch_size": 128,
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "schedule": "one_cycle",
    "selection": "last",
}
"""One recipe for every trainable. The learning rate is left to the trainable's default, or to tuning, because the same number
means different things to different networks."""

TEN_MINUTES: Values = {
    "batch_norm": True,
    "batch_norm_scale": 0.5,
    "batch_norm_momentum": 0.3,
    "pool_before_activation": True,
    "activation": "qcfs",
    "qcfs_levels": 4,
    "first_layer": "whitening",
    "initial_weights": "dirac",
    "flip": "alternating",
    "crop_padding": 2,
    "crop_padding_mode": "reflect",
    "label_smoothing": 0.1,
    "batch_size": 128,
    "optimizer": "sgd",
    "lr": 0.1,
    "weight_decay": 5e-4,
    "one_cycle_shape": "linear",
    "warmup_fraction": 0.2,
    "precision": "bfloat16",
}
"""The recipe of the study cifar10_ten_minutes, without its network and its length; most parts are from KellerJordan/cifar10-
airbench (lib_airbench93.py, 096d14d)."""

ABOUT_TEN_MINUTES = (
    "What trains a network for CIFAR-10 in a few minutes, and lets it be converted to four time steps: the study "
    "cifar10_ten_minutes without its layout and its length. It is this tool's own recipe, of parts that are mostly from "
    "KellerJordan/cifar10-airbench."
)

ABOUT_EQUAL = (
    "The same training for every trainable, for comparisons at equal recipe. It is this tool's own, no published one. The "
    "test images are looked at once, after the last epoch. The learning rate is not part of it: tune it with equal effort "
    "for each network."
)
