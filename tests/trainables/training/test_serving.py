"""A trained network gives, outside of training, the scores that it was judged by."""

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainables import ann, bitnet, converted_snn
from trainables.data.datasets import Dataset, prepare
from trainables.training import serving
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.epoch_report import EpochReport
from trainables.training.loop import splits_of

SMALL = {"layout": "4 M 4", "epochs": 1, "batch_size": 32, "validation_fraction": 0.25}
RANDOM_INPUTS = {"time_steps": 4, "encoding": "poisson", "readout": "spikes", "finetune_epochs": 1, "train_neurons": True}
CASES: list[tuple[ModuleType, dict[str, Any]]] = [
    (bitnet, {**bitnet.PUBLISHED, "time_steps": 3, "image_downscale": 2}),
    (bitnet, {"time_steps": 3}),
    (bitnet, {"time_steps": 3, "normalisation": "batch_norm", "pool_on": "drive", "readout": "spikes", "ties": "lowest_class"}),
    (ann, {"batch_norm": True, "mean_per_pixel": True}),
    (ann, {"layout": "4 M 4 G", "first_layer": "whitening", "mean_per_pixel": True, "first_image_side": 6}),
    (converted_snn, {"layout": "4 M 4 G", "batch_norm": True, "first_layer": "whitening", "pool_before_activation": True}),
    (converted_snn, {"time_steps": 4, "batch_norm": True, "per": "channel", "bias_correction": True}),
    (converted_snn, RANDOM_INPUTS),
    (converted_snn, {"layout": "resnet20", "feature_scale": 0.25, "balance": "percentile", "time_steps": 3}),
    (bitnet, {"time_steps": 3, "readout": "spikes", "ties": "potential", "initial_membrane_potential": "dithered"}),
    (bitnet, {"time_steps": 2, "readout": "potential", "initial_membrane_potential": "learnt", "gradient_margin": 0.5}),
    (converted_snn, {"time_steps": 4, "readout": "spikes", "reset": "hard", "per": "channel", "ties": "potential"}),
]


def trained(
    module: ModuleType, options: dict[str, Any], data: Path, data_folder: Path, folder: Path
) -> tuple[EpochReport, Dataset]:
    """A stored model of a replicate that was trained with seed 3, its last report, and its data."""
    config, dataset = module.Config(**{**SMALL, **options}, data=str(data)), prepare(str(data), data_folder)
    checkpoints = folder / "checkpoints" / "replicate"
    *_, report = module.train(config, seed=3, dataset=dataset, checkpoint_folder=checkpoints, keep_weights=True)
    name = module.__name__.removeprefix("trainables.")
    described = serving.describe(name, config, 3, dataset.image_shape, dataset.num_classes)
    splits = splits_of(config, dataset, torch.device("cpu"))
    serving.store(folder / "model", described, CheckpointFolder(checkpoints).weights(), splits)
    return report, dataset


def accuracy(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    return int((scores.argmax(axis=1) == labels).sum()) / len(labels)


@pytest.mark.parametrize(("module", "options"), CASES)
def test_a_loaded_network_is_the_one_that_was_judged(
    module: ModuleType, options: dict[str, Any], tiny_npz: Path, data_folder: Path, tmp_path: Path
) -> None:
    """Shown the test images for t steps it is as accurate as accuracy_at_t says, at every t, random inputs included."""
    report, dataset = trained(module, options, tiny_npz, data_folder, tmp_path)
    classifier = serving._load_pyfunc(str(tmp_path / "model"))
    scores = classifier.predict({"images": dataset.test_images})
    assert scores.dtype == np.dtype("float32")
    assert scores.shape == (len(dataset.test_labels), 2)
    assert accuracy(scores, dataset.test_labels) == report.metrics["test/accuracy"]
    for t, expected in enumerate(report.curves["test/accuracy_at_t"], start=1):
        assert accuracy(classifier.predict(dataset.test_images, {"time_steps": t}), dataset.test_labels) == expected


def test_random_inputs_are_of_a_seed(tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """The replicate's own seed unless another is given; nothing but a spiking network has time steps."""
    _, dataset = trained(converted_snn, RANDOM_INPUTS, tiny_npz, data_folder, tmp_path)
    classifier = serving._load_pyfunc(str(tmp_path / "model"))
    own, again, other = (classifier.predict(dataset.test_images, {"seed": seed}) for seed in (3, None, 4))
    assert (own == again).all()
    assert (own != other).any()
    described = serving.describe("converted_snn", converted_snn.Config(encoding="poisson"), 3, (8, 8, 1), 2)
    assert described.default_params() == {"time_steps": 32, "seed": 3}
    assert serving.describe("bitnet", bitnet.Config(eval_time_steps=9), 3, (8, 8, 1), 2).default_params() == {"time_steps": 9}
    assert serving.describe("ann", ann.Config(), 3, (8, 8, 1), 2).default_params() == {}


def test_what_is_no_image_is_refused(tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """Images of another type or shape, no time step, and a config of another version are named, with the rule."""
    _, dataset = trained(bitnet, CASES[0][1], tiny_npz, data_folder, tmp_path)
    classifier = serving._load_pyfunc(str(tmp_path / "model"))
    right = dataset.test_images
    for images in (right.astype(np.float32), right[:, :4], right[0], right[:0]):
        with pytest.raises(ValueError, match=r"images must be uint8 \[B, 8, 8, 1\], B at least 1; got"):
            classifier.predict(images)
    with pytest.raises(ValueError, match="time_steps must be at least 1; got 0"):
        classifier.predict(dataset.test_images, {"time_steps": 0})
    described = serving.describe("bitnet", bitnet.Config(), 0, (8, 8, 1), 2)
    newer = dataclasses.replace(described, config={**described.config, "sparkle": 1})
    with pytest.raises(ValueError, match=r"loaded by the code that it came with; another version .*sparkle"):
        newer.task()
