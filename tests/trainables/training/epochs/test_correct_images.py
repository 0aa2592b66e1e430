"""The bits of the images that a network has judged right: what they say, and that they outlive an interruption."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analysis.statistics.data.image_correctness import right_images
from studies.run_record import ACCURACY, TEST_ACCURACY, RunRecord, correct_of, correct_tags
from trainables import ann, bitnet
from trainables.data.datasets import prepare
from trainables.training.epoch_report import EpochReport
from trainables.training.epochs.correct_images import num_characters, packed


def run_with(correct: dict[str, str], accuracy: float) -> RunRecord:
    metrics = {ACCURACY: accuracy, TEST_ACCURACY: accuracy}
    return RunRecord("identity", 0, {}, "FINISHED", metrics=metrics, data_digest="data", correct=correct)


@pytest.mark.parametrize("num_images", [1, 7, 8, 9, 359, 10_000, 50_000])
def test_what_is_written_is_what_is_read(num_images: int) -> None:
    """The text, cut into tags as every MLflow server takes, gives the analysis the same bits; it is as long as foretold."""
    correct_N = torch.rand(num_images, generator=torch.Generator().manual_seed(num_images)) < 0.9
    text = packed(correct_N, torch.arange(num_images))
    assert len(text) == num_characters(num_images)
    tags = correct_tags({"test": text})
    assert max(map(len, tags.values())) <= 5000
    found = right_images(run_with(correct_of(tags), float(correct_N.double().mean())), TEST_ACCURACY)
    assert found
    assert np.array_equal(found.correct_N, correct_N.numpy())


def test_other_images_are_told_apart() -> None:
    """Sets of as many images that are others, or stand in another order, have another digest; equal ones the same."""
    correct_N = torch.ones(3, dtype=torch.bool)
    texts = [packed(correct_N, torch.tensor(indices)) for indices in ([0, 1, 2], [0, 1, 3], [2, 1, 0], [0, 1, 2])]
    assert len(set(texts)) == 3
    assert texts[0] == texts[3]


@pytest.mark.parametrize("trainable", [ann, bitnet])
def test_the_last_report_has_them(trainable: Any, tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """They give the accuracies of the report, on the validation and the test images; a training that was interrupted ends with
    the same ones, and repeats them.
    """
    options = {"layout": "4 M 4", "epochs": 2, "batch_size": 16, "validation_fraction": 0.25, "device": "cpu", "backend": "torch"}
    config = trainable.Config(data=str(tiny_npz), **options)
    dataset = prepare(config.data, data_folder)
    first, last = trainable.train(config, seed=0, dataset=dataset)
    assert not first.correct
    assert last.correct.keys() == {"validation", "test"}
    run = RunRecord("identity", 0, {}, "FINISHED", metrics=last.metrics, correct=last.correct)
    for metric in (ACCURACY, TEST_ACCURACY):
        found = right_images(run, metric)
        assert found
        assert found.correct_N.mean() == pytest.approx(last.metrics[metric])
    list(itertools.islice(trainable.train(config, seed=0, dataset=dataset, checkpoint_folder=tmp_path), 1))
    for _ in range(2):
        *_, again = trainable.train(config, seed=0, dataset=dataset, checkpoint_folder=tmp_path)
        assert again.correct == last.correct


def test_reports_of_earlier_versions_have_none() -> None:
    """A report that was stored before there were bits is read, and has none."""
    stored = EpochReport(1, 0, {}, {}, 1).as_dict()
    del stored["correct"]
    assert EpochReport.from_dict(stored).correct == {}
