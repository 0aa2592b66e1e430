"""Curves of two backends are compared as they should be, and the benchmark's smallest form runs."""

import dataclasses
from pathlib import Path

import pytest

from tests.benchmarks.learning_curves import RECIPE, compared, drawn, told, trained
from trainables.data.datasets import prepare


def test_comparison_is_right() -> None:
    """The largest difference of means is found with its epoch and the seeds' deviation there, and where ranges overlap."""
    first, second = [[0.1, 0.5], [0.3, 0.7]], [[0.2, 0.8], [0.4, 0.9]]
    found = compared(first, second)
    assert found["differences"] == pytest.approx([0.1, 0.25])
    assert (found["its_epoch"], found["largest_difference"]) == (2, pytest.approx(0.25))
    assert found["in_standard_deviations"] == pytest.approx(0.25 / ((0.02 + 0.005) / 2) ** 0.5)
    assert (found["epochs_whose_ranges_overlap"], found["epochs"]) == (1, 2)
    assert found["last_paired_difference"] == pytest.approx(0.25)
    assert found["its_95_interval"] == pytest.approx([0.25 - 12.706 * 0.05, 0.25 + 12.706 * 0.05], abs=1e-3)


def test_smallest_form_runs(tmp_path: Path) -> None:
    """Both backends train the same recipe with the same seeds, and a second call takes what the first has stored."""
    tiny = {"data": "digits", "layout": "8 M", "image_downscale": 1, "num_train_images": 64, "flip": False, "epochs": 2}
    recipe = {**RECIPE, **tiny}
    dataset = prepare("digits", tmp_path)
    small = dataclasses.replace(dataset, test_images=dataset.test_images[:16], test_labels=dataset.test_labels[:16])
    results = trained(recipe, small, tmp_path / "storage", seeds=(0, 1))
    accuracies = [results["curves"][backend]["val/accuracy"] for backend in ("torch", "event_driven")]
    assert [len(curve) for curves in accuracies for curve in curves] == [2] * 4
    assert results["epochs"] == 2
    assert trained(recipe, small, tmp_path / "storage", seeds=(0, 1)) == results
    assert "CIFAR-10 images of 32x32 in 2 epochs" in told(recipe, results)
    assert len(drawn(results["curves"]).axes) == 2
