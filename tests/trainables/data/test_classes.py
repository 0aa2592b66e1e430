"""Which classes the parts of a data set have: what is refused, what num_classes confirms, what is said."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainables.data.classes import class_counts, class_warnings, counts_in_words, data_problem
from trainables.data.datasets import Dataset, prepare
from trainables.networks.rules import RuleError

SPLIT: dict[str, Any] = {"validation_fraction": 0.25, "split_seed": 0, "num_train_images": None}
TWELVE = np.arange(48) % 12


def dataset_of(train: Any, test: Any) -> Dataset:
    """A data set of black images with these labels."""
    train, test = np.asarray(train, np.int64), np.asarray(test, np.int64)
    images = [np.zeros((len(labels), 1, 1, 1), np.uint8) for labels in (train, test)]
    return Dataset("made", "digest", 1 + int(max(train.max(), test.max())), images[0], train, images[1], test)


def problem_of(train: Any, test: Any, num_classes: int | None = None, **split: Any) -> RuleError | None:
    return data_problem(dataset_of(train, test), "mine.npz", num_classes=num_classes, **{**SPLIT, **split})


THREE = np.arange(60) % 3
WRONG: dict[str, tuple[Any, Any, str, str, int]] = {
    "from 1": (THREE + 1, THREE + 1, "no training image of class 0; its largest label is 3", "subtract 1 from train_labels", 4),
    "a gap": (2 * THREE, 2 * THREE, "no training image of classes 1, 3; its largest label is 4", "number the classes from 0", 5),
    "255": (
        np.where(THREE == 1, np.where(np.arange(60) < 30, 255, 1), THREE),
        THREE,
        "no training image of classes 3 to 254; its largest label is 255",
        "leave the 10 images of label 255 out",
        256,
    ),
    "one class": (0 * THREE, 0 * THREE, "all train_labels and test_labels of mine.npz are 0", "labels of every class", 1),
    "tested alone": (THREE % 2, THREE, "class 2 has 0 validation and 20 test images", "training images of every class", 3),
    "validated alone": ([0, 1] * 6 + [2], THREE, "no training image of class 2", "change validation_fraction", 3),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_labels_are_refused_or_confirmed(name: str) -> None:
    """With which classes, how many images, a repair; the number of classes says that it is meant."""
    train, test, value, repair, num_classes = WRONG[name]
    seed = next(s for s in range(99) if _is_validated(s)) if name == "validated alone" else 0
    found = problem_of(train, test, split_seed=seed)
    assert found
    assert value in found.value
    assert "mine.npz" in found.value
    assert repair in found.repair
    assert f"num_classes: {num_classes}" in found.repair
    assert problem_of(train, test, num_classes, split_seed=seed) is None
    (wrong,) = [problem_of(train, test, num_classes + 1, split_seed=seed)]
    assert wrong
    assert wrong.field == "num_classes"
    assert f"num_classes {num_classes + 1}, and the largest label of mine.npz is {num_classes - 1}" in wrong.value


def _is_validated(split_seed: int) -> bool:
    """Whether this seed puts the last of 13 images among those to validate with."""
    return 12 not in np.random.Generator(np.random.PCG64(split_seed)).permutation(13)[3:]


def test_few_training_images_may_lack_a_class() -> None:
    """Then the field that chose them is named."""
    found = problem_of(TWELVE, TWELVE, num_train_images=6)
    assert found
    assert found.field == "num_train_images"
    assert "change num_train_images" in found.repair


def test_right_labels() -> None:
    """They are no problem; a number of classes that is not theirs is."""
    assert problem_of(TWELVE, TWELVE) is None
    assert problem_of(TWELVE, TWELVE, 12) is None
    assert problem_of(TWELVE, TWELVE, 10)


def test_counts_and_warnings(data_folder: Path) -> None:
    """How many images of a class each part has; classes that a part lacks, and that one image teaches, are told."""
    digits = prepare("digits", data_folder)
    counts = class_counts(digits, **SPLIT)
    assert counts.train.sum() == 1078
    assert (counts.train + counts.validation).tolist() == np.bincount(digits.train_labels).tolist()
    assert counts.test.tolist() == np.bincount(digits.test_labels).tolist()
    assert class_warnings("digits", counts) == []
    assert counts_in_words(counts) == "training 99 to 115, validation 30 to 42, test 27 to 47"
    few = class_counts(dataset_of([0] * 20 + [1, 1], [0]), validation_fraction=0.1, split_seed=0, num_train_images=None)
    said = class_warnings("mine.npz", few)
    assert "mine.npz has no test image of class 1, whose test accuracy is not known" in said
    assert any("validation image of class 1" in words or "one training image of class 1" in words for words in said)
