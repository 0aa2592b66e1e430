"""Presets: every one is a study that can be run, and the networks have their published numbers of parameters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from studies.engine.binding.trainable_modules import all_presets, load_trainable, preset_sources
from studies.engine.definition.loading import load_study
from trainables import ann, bitnet, converted_snn
from trainables.published.recipes import EQUAL

PRESETS = all_presets()
EVERY = [(trainable, preset) for trainable, offered in PRESETS.items() for preset in offered]
HUYVNPHAN = {
    "VGG11": 28.150,
    "VGG13": 28.334,
    "VGG16": 33.647,
    "VGG19": 38.959,
    "ResNet18": 11.174,
    "ResNet34": 21.282,
    "ResNet50": 23.521,
}
"""Millions of parameters for ten classes, from its README."""
WEIAICUNZAI = {
    "VGG11": 28.5,
    "VGG13": 28.7,
    "VGG16": 34.0,
    "VGG19": 39.3,
    "ResNet18": 11.2,
    "ResNet34": 21.3,
    "ResNet50": 23.7,
    "ResNet101": 42.7,
}
"""For a hundred classes, from its README, which has 39.0 for VGG19: the number for ten classes."""
BITNETS = {
    "BITnet6 on CIFAR-10": 25_701_130,
    "BITnet6 Max on CIFAR-10": 40_052_170,
    "BITnet6 on CIFAR-100": 28_650_340,
    "BITnet6 Max on CIFAR-100": 43_738_660,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Images of the shapes of CIFAR-10, CIFAR-100 and Tiny-ImageNet, a few of each class."""
    folder = tmp_path_factory.mktemp("images")
    files = {}
    for name, classes, side in (("cifar10", 10, 32), ("cifar100", 100, 32), ("tiny_imagenet", 200, 64)):
        files[name] = folder / f"{name}.npz"
        labels = (np.arange(5 * classes) % classes).astype(np.uint8)
        pixels = np.zeros((5 * classes, side, side, 3), np.uint8)
        pixels[:, 0, 0, 0] = np.arange(5 * classes) % 256
        np.savez(
            files[name],
            train_images=pixels,
            train_labels=labels,
            test_images=pixels[:classes],
            test_labels=labels[:classes],
        )
    return files


def data_of(preset: str) -> str:
    """The data set that a preset is for, by its name or the data that it names."""
    return "tiny_imagenet" if preset.endswith("Tiny-ImageNet") else "cifar100" if "CIFAR-100" in preset else "cifar10"


def built(trainable: str, values: dict[str, Any], num_classes: int) -> Any:
    """The network of a preset, without memory; of a conversion, its source network."""
    shape = (64, 64, 3) if values.get("layout") == "bitnet_64px" else (32, 32, 3)
    with torch.device("meta"):
        if trainable == "bitnet":
            return bitnet.build(bitnet.Config(**values), shape, num_classes)
        config = converted_snn.source_network(converted_snn.Config(**values)) if trainable == "converted_snn" else None
        return ann.build(config or ann.Config(**values), shape, num_classes)


def num_parameters(network: Any) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("trainable", "preset"), EVERY)
def test_every_preset_is_a_valid_study(trainable: str, preset: str, images: dict[str, Path], tmp_path: Path) -> None:
    """A study that says no more than the preset and its data is valid, its configs have the preset's values, and the network has
    as many parameters as its source says.

    The VGGs of huyvnphan have biases before their batch norms, which ours leave out: one for every channel of a convolution.
    """
    data = PRESETS[trainable][preset].get("data", data_of(preset))
    study_file = tmp_path / "mine.yaml"
    study_file.write_text(
        f"question: Is it as published?\ntrainable: {trainable}\npreset: {preset}\n"
        f"config: {{data: {images[data]}}}\n"
        "baseline: {split_seed: 0}\nfactors: {split_seed: [0, 1]}\nseeds: 1\n"
    )
    values = PRESETS[trainable][preset]
    replicate, _ = load_study(str(study_file)).replicates
    config = replicate.recipe
    for name, value in (values | {"data": str(images[data])}).items():
        field = type(config).__dataclass_fields__[name]
        canonical = field.metadata["canonical"]
        assert getattr(config, name) == (canonical(value) if canonical else value), name
    network = built(trainable, dict(values), {"cifar10": 10, "cifar100": 100, "tiny_imagenet": 200}[data])
    model, _, source = preset.partition(" of ")
    if source == "huyvnphan":
        biases = sum(ann.Config(**values).scaled_channels()) if model.startswith("VGG") else 0
        assert f"{(num_parameters(network) + biases) / 1e6:.3f}" == f"{HUYVNPHAN[model]:.3f}"
    elif source == "weiaicunzai":
        assert f"{num_parameters(network) / 1e6:.1f}" == f"{WEIAICUNZAI[model]:.1f}"
    elif source == "kuangliu":
        assert f"{num_parameters(network) / 1e6:.1f}" == "42.5"
    elif preset in BITNETS:
        assert num_parameters(network) == BITNETS[preset]
    elif "ResNet20" in preset:
        assert round(num_parameters(network) / 1e6, 2) == 0.27 + 0.01  # two more convolutions of 16 channels, 1x1 shortcuts


def test_every_preset_says_where_it_is_from() -> None:
    """No preset is without a source, and no source is of a preset that is not offered."""
    for trainable, offered in PRESETS.items():
        sources = preset_sources(load_trainable(trainable))
        assert "" not in sources
        assert sorted(name for names in sources.values() for name in names) == sorted(offered)


def test_presets_of_stored_studies_keep_their_values() -> None:
    """A preset's values are part of the identities of all replicates that were trained with it."""
    published = {
        "initial_membrane_potential": 0.0,
        "normalisation": "none",
        "readout": "spikes",
        "ties": "lowest_class",
        "gradient_margin": 0.0,
        "lr": 5e-3,
    }
    sengupta = {"pool": "average", "dropout": 0.2, "bias": False, "mean_per_pixel": True}
    earlier: dict[str, dict[str, dict[str, Any]]] = {
        "ann": {
            "Baseline": {"layout": "bitnet", "feature_scale": 4.0, "activation": "relu"},
            "VGG16 of Sengupta": {"layout": "vgg16", **sengupta},
            "ResNet20 of Sengupta": {
                "layout": "resnet20",
                "dropout": 0.2,
                "bias": False,
                "num_plain_convolutions": 3,
                "mean_per_pixel": True,
            },
        },
        "bitnet": {
            "BITnet6": {"layout": "bitnet", "feature_scale": 4.0, "time_steps": 50, **published},
            "BITnet6 Max": {"layout": "bitnet", "feature_scale": 5.0, "time_steps": 50, **published},
        },
        "converted_snn": {
            "Data norm": {"balance": "max", "reset": "soft", "encoding": "constant"},
            "RMP": {"balance": "percentile", "percentile": 99.9, "reset": "soft", "encoding": "poisson"},
            "QCFS": {"activation": "qcfs", "balance": "qcfs", "initial_membrane_potential": 0.5},
            "Spike-Norm": {**sengupta, "encoding": "poisson", "reset": "hard", "balance": "spike_norm", "time_steps": 2500},
        },
    }
    for trainable, presets in earlier.items():
        assert {name: PRESETS[trainable][name] for name in presets} == presets


def test_the_equal_recipe_is_one_for_all() -> None:
    """All networks of a comparison have it, no field of it is a network's, and nothing of it looks at the test images."""
    for trainable in ("ann", "bitnet", "converted_snn"):
        assert PRESETS[trainable]["Equal recipe"] == EQUAL
        for name, values in PRESETS[trainable].items():
            if "equal recipe" in name:
                assert values.items() >= EQUAL.items()
    assert EQUAL["selection"] == "last"
    assert "lr" not in EQUAL
