"""Presets of analogue networks: those of the BITnet README's comparison table with both their recipes, and those that published
conversions start from.
"""

from collections.abc import Mapping

from trainables.published.recipes import (
    ABOUT_EQUAL,
    ABOUT_TEN_MINUTES,
    EQUAL,
    HUYVNPHAN,
    KUANGLIU,
    QCFS_ON_CIFAR10,
    QCFS_ON_CIFAR100,
    SENGUPTA,
    TEN_MINUTES,
    WEIAICUNZAI,
    Values,
)

_VGG: Values = {"batch_norm": True, "linear_dropout": 0.5}
_RESNET: Values = {"batch_norm": True}
_ZOO: Mapping[str, Values] = {
    "VGG11": {"layout": "vgg11", **_VGG},
    "VGG13": {"layout": "vgg13", **_VGG},
    "VGG16": {"layout": "vgg16", **_VGG},
    "VGG19": {"layout": "vgg19", **_VGG},
    "ResNet18": {"layout": "resnet18", **_RESNET},
    "ResNet34": {"layout": "resnet34", **_RESNET},
    "ResNet50": {"layout": "resnet50", **_RESNET},
    "ResNet101": {"layout": "resnet101", **_RESNET},
}
_HUYVNPHAN = {
    f"{name} of huyvnphan": {**values, **({"first_pool": True} if name.startswith("ResNet") else {}), **HUYVNPHAN}
    for name, values in _ZOO.items()
    if name != "ResNet101"
}
_WEIAICUNZAI = {f"{name} of weiaicunzai": {**values, **WEIAICUNZAI} for name, values in _ZOO.items()}
_EQUAL = {f"{name} at equal recipe": {**values, **EQUAL} for name, values in _ZOO.items()}

SENGUPTA_VGG16: Values = {"layout": "vgg16", "pool": "average", "dropout": 0.2, "bias": False}
SENGUPTA_RESNET20: Values = {"layout": "resnet20", "dropout": 0.2, "bias": False, "num_plain_convolutions": 3}
QCFS_VGG16: Values = {"layout": "vgg16", "pool": "average", "batch_norm": True, "activation": "qcfs"}

QCFS_LEVELS_ON_CIFAR10, QCFS_LEVELS_ON_CIFAR100 = 4, 8

_OF_QCFS = {
    "VGG16 of QCFS on CIFAR-10": {**QCFS_VGG16, "qcfs_levels": QCFS_LEVELS_ON_CIFAR10, **QCFS_ON_CIFAR10},
    "VGG16 of QCFS on CIFAR-100": {**QCFS_VGG16, "qcfs_levels": QCFS_LEVELS_ON_CIFAR100, **QCFS_ON_CIFAR100},
}
_OF_SENGUPTA = {
    "VGG16 of Sengupta with recipe": {**SENGUPTA_VGG16, **SENGUPTA},
    "ResNet20 of Sengupta with recipe": {**SENGUPTA_RESNET20, "initial_weights": "small_residual", **SENGUPTA},
}
_NETWORKS_OF_SENGUPTA = {
    "VGG16 of Sengupta": {**SENGUPTA_VGG16, "mean_per_pixel": True},
    "ResNet20 of Sengupta": {**SENGUPTA_RESNET20, "mean_per_pixel": True},
}
_BASELINE = {"Baseline": {"layout": "bitnet", "feature_scale": 4.0, "activation": "relu"}}
_EQUAL_ALONE = {"Equal recipe": EQUAL}

ABOUT_SENGUPTA = (
    "trained as in section 4.1 of Sengupta et al. 2019: SGD, 200 epochs, batches of 256, learning rate 0.05, divided by 10 "
    "after 81 and 122 epochs, weight decay 0.0001, dropout, no batch norms. Nesterov's momentum, crop and flip are those of "
    "facebookarchive/fb.resnet.torch, from which the paper's code is derived. Published: 91.7 % (VGG16) and 89.1 % "
    "(ResNet20) before the conversion."
)
ABOUT_QCFS = (
    "trained as in Bu et al. 2022 and its repository putshua/ANN_SNN_QCFS: SGD, 300 epochs, cosine, weight decay 0.0005, "
    "learning rate 0.1 (0.02 on CIFAR-100), crop, flip, Cutout of 16 (8) pixels, the epoch that is best on the test images. "
    "L is 4 as in the paper's table for CIFAR-10, and the repository's default 8 for CIFAR-100. Not the same here: the "
    "AutoAugment of CIFAR-10 is missing (trivial_augment: true is of a similar strength, but another policy), and λ starts "
    "at 2, not 8."
)

_GROUPS: list[tuple[str, Mapping[str, Values]]] = [
    ("The BITnet README's network with ReLU and softmax; its recipe is not published.", _BASELINE),
    ("The networks of Sengupta et al. 2019, with this tool's own recipe.", _NETWORKS_OF_SENGUPTA),
    (f"The networks of Sengupta et al. 2019, {ABOUT_SENGUPTA}", _OF_SENGUPTA),
    (
        "The CIFAR-10 networks of the repository huyvnphan/PyTorch_CIFAR10, whose numbers the BITnet README quotes: SGD, "
        "100 epochs, a rise over 30 % of the steps and a cosine, weight decay 0.01, the epoch that is best on the test "
        "images. Its ResNets have a max pool behind the first convolution. Not the same here: convolutions before batch "
        "norms have no biases, which would do nothing (the VGGs have 2,752 to 5,504 parameters fewer than published), and "
        "the weights of fully connected layers start larger.",
        _HUYVNPHAN,
    ),
    (
        "The CIFAR-100 networks of the repository weiaicunzai/pytorch-cifar100, whose numbers the BITnet README quotes as "
        "those of a public model zoo: SGD, 200 epochs, learning rate 0.1, times 0.2 after 60, 120 and 160 epochs, one epoch "
        "of warm-up, random rotation, the epoch that is best on the test images. The code has plain momentum, its README "
        "speaks of Nesterov's. Not the same here: convolutions before batch norms have no biases, and weights start as this "
        "tool draws them, not as PyTorch does. Its README has 39.0 million parameters for VGG19, which is the number for ten "
        "classes.",
        _WEIAICUNZAI,
    ),
    (
        "The repository kuangliu/pytorch-cifar, from which the BITnet README has its ResNet101 for CIFAR-10 (93.75 %): SGD, "
        "350 epochs, learning rate 0.1, divided by 10 after 150 and 250 epochs, as its README of that time says; the epoch "
        "that is best on the test images.",
        {"ResNet101 of kuangliu": {**_ZOO["ResNet101"], **KUANGLIU}},
    ),
    (f"VGG16 with quantised activations, {ABOUT_QCFS}", _OF_QCFS),
    (ABOUT_TEN_MINUTES, {"Ten minutes": TEN_MINUTES}),
    (ABOUT_EQUAL, {**_EQUAL_ALONE, **_EQUAL}),
]

PRESETS: Mapping[str, Values] = {name: values for _, group in _GROUPS for name, values in group.items()}
PRESET_SOURCES: Mapping[str, str] = {name: source for source, group in _GROUPS for name in group}
