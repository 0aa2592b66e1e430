"""The classes of a data set: how many images of each there are to train, validate and test with, and the rules on them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from trainables.data.datasets import NO_IMAGES, Dataset, split_indices
from trainables.data.npz_files import Array
from trainables.networks.rules import RuleError

MOST_SPLITS = 64
"""Ways to split data sets whose counts are kept; most configurations of a study share one."""
MOST_NAMED = 12
"""Classes, or rows of classes, that a message names."""


@dataclass(frozen=True, eq=False)
class ClassCounts:
    """How many images of each class there are, by the class's number, in each part of a data set."""

    train: Array
    validation: Array
    test: Array

    def lacking(self, part: str) -> list[int]:
        """The classes that have no image in a part."""
        return [int(number) for number in np.flatnonzero(getattr(self, part) == 0)]


@lru_cache(MOST_SPLITS)
def class_counts(dataset: Dataset, *, validation_fraction: float, split_seed: int, num_train_images: int | None) -> ClassCounts:
    """The counts of a data set that is split in this way (see ``datasets.split_indices``).

    Raises:
        RuleError: The images cannot be split so.
    """
    train, validation = split_indices(
        len(dataset.train_labels),
        validation_fraction=validation_fraction,
        split_seed=split_seed,
        num_train_images=num_train_images,
    )

    def counted(labels: Array) -> Array:
        return np.bincount(labels, minlength=dataset.num_classes)

    return ClassCounts(
        counted(dataset.train_labels[train]), counted(dataset.train_labels[validation]), counted(dataset.test_labels)
    )


@lru_cache(MOST_SPLITS)
def data_problem(
    dataset: Dataset,
    data: str,
    *,
    validation_fraction: float,
    split_seed: int,
    num_train_images: int | None,
    num_classes: int | None,
) -> RuleError | None:
    """The rule that a data set, split in this way, breaks, if it does: every class must have training images, and there must be
    two or more, unless ``num_classes`` confirms how many there are.

    Args:
        dataset: The data set.
        data: What the config calls it, for the message.
        validation_fraction: Of the config, as the others.
        split_seed: See ``validation_fraction``.
        num_train_images: See ``validation_fraction``.
        num_classes: See ``validation_fraction``.
    """
    try:
        counts = class_counts(
            dataset, validation_fraction=validation_fraction, split_seed=split_seed, num_train_images=num_train_images
        )
    except RuleError as broken:
        return broken.with_traceback(None)
    if dataset.name == NO_IMAGES:
        return None
    if num_classes is not None:
        return _problem_of_number(dataset, data, num_classes)
    if lacking := counts.lacking("train"):
        return _problem_of_lacking(dataset, data, counts, lacking, is_subset=num_train_images is not None)
    if dataset.num_classes == 1:
        rule = "there must be two classes or more"
        value = f"all train_labels and test_labels of {data} are 0"
        return RuleError(rule, value, f"save the labels of every class, or {_confirmation(dataset)}", "data")
    return None


def _confirmation(dataset: Dataset) -> str:
    return f"confirm that this is meant with config: {{num_classes: {dataset.num_classes}}}"


def _problem_of_number(dataset: Dataset, data: str, num_classes: int) -> RuleError | None:
    if num_classes == dataset.num_classes:
        return None
    largest = dataset.num_classes - 1
    where = [f"{name} ({num:,} images)" for name, num in _labelled(dataset, [largest]).items() if num]
    rule = "num_classes must be one more than the largest label: the network has an output for each class"
    value = f"num_classes {num_classes}, and the largest label of {data} is {largest}, in {' and '.join(where)}"
    repair = f"write num_classes: {dataset.num_classes}, or leave it out, or correct the labels"
    return RuleError(rule, value, repair, "num_classes")


def _problem_of_lacking(
    dataset: Dataset, data: str, counts: ClassCounts, lacking: Sequence[int], *, is_subset: bool
) -> RuleError:
    """Some classes have no image to train with: nobody has any, or the split gave them to the other parts."""
    in_file = np.bincount(dataset.train_labels, minlength=dataset.num_classes)
    only_split = all(in_file[number] for number in lacking)
    elsewhere = [number for number in lacking if counts.validation[number] or counts.test[number]]
    value = f"{data} has no training image of {_classes_in_words(lacking)}; its largest label is {dataset.num_classes - 1:,}"
    if elsewhere:
        others = f"{int(counts.validation[elsewhere].sum()):,} validation and {int(counts.test[elsewhere].sum()):,} test images"
        value += f"; {_classes_in_words(elsewhere)} {'has' if len(elsewhere) == 1 else 'have'} {others}"
    present = np.flatnonzero(in_file + np.bincount(dataset.test_labels, minlength=dataset.num_classes))
    rule = "every class from 0 to the largest label must have images to train with"
    if only_split:
        what = "num_train_images" if is_subset else "validation_fraction"
        return RuleError(rule, value, f"change {what}, add images of the class, or {_confirmation(dataset)}", what)
    return RuleError(rule, value, f"{_repair_of_labels(dataset, present)}, or {_confirmation(dataset)}", "data")


def _repair_of_labels(dataset: Dataset, present: Array) -> str:
    lowest, largest = int(present[0]), int(present[-1])
    if lowest and largest - lowest == len(present) - 1:
        return f"subtract {lowest} from train_labels and test_labels before saving"
    if len(present) > 1 and present[-2] + 1 == len(present) - 1 and present[-2] + 1 < largest:
        num = sum(_labelled(dataset, [largest]).values())
        return f"leave the {num:,} images of label {largest} out if it means that they have no class"
    if len(present) == dataset.num_classes:
        return "save training images of every class"
    return "number the classes from 0 without gaps, alike in train_labels and test_labels"


def _labelled(dataset: Dataset, numbers: Sequence[int]) -> dict[str, int]:
    """How many images of these classes each array of labels has."""
    arrays = {"train_labels": dataset.train_labels, "test_labels": dataset.test_labels}
    return {name: int(np.isin(labels, numbers).sum()) for name, labels in arrays.items()}


def _classes_in_words(numbers: Sequence[int]) -> str:
    """Classes by their numbers, those in a row as one: ``class 0``, ``classes 3, 10 to 254``."""
    rows = list(_in_rows(numbers))
    shown = ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in rows[:MOST_NAMED])
    num_more = sum(last - first + 1 for first, last in rows[MOST_NAMED:])
    more = f" and {num_more:,} {'other' if num_more == 1 else 'others'}" if num_more else ""
    return f"{'class' if len(numbers) == 1 else 'classes'} {shown}{more}"


def _in_rows(numbers: Iterable[int]) -> Iterable[tuple[int, int]]:
    row: tuple[int, int] | None = None
    for number in numbers:
        if row and number == row[1] + 1:
            row = (row[0], number)
            continue
        if row:
            yield row
        row = (number, number)
    if row:
        yield row


def class_warnings(data: str, counts: ClassCounts) -> list[str]:
    """What a person should know of the classes before training: those that are not validated or tested, or have one image."""
    lacking = {part: [number for number in counts.lacking(part) if counts.train[number]] for part in ("validation", "test")}
    said = [
        f"{data} has no {part} image of {_classes_in_words(numbers)}, whose {part} accuracy is not known"
        for part, numbers in lacking.items()
        if numbers
    ]
    if single := [int(number) for number in np.flatnonzero(counts.train == 1)]:
        said.append(f"{data} has one training image of {_classes_in_words(single)}")
    return said


def counts_in_words(counts: ClassCounts) -> str:
    """How many images of each class each part has: ``training 97 to 112, validation 10, test 35 to 40``."""
    parts = {"training": counts.train, "validation": counts.validation, "test": counts.test}
    ranges = {part: (int(found.min()), int(found.max())) for part, found in parts.items()}
    return ", ".join(f"{part} {low:,}" + (f" to {high:,}" if high > low else "") for part, (low, high) in ranges.items())
