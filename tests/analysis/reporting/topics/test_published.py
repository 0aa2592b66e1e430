"""Published numbers appear where data set, trainable and network are the study's own, and nowhere else."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from analysis.reporting.document_model import Table
from analysis.reporting.summary_document import tables
from analysis.reporting.topics.published import matches, published_numbers, published_tables
from analysis.reporting.topics.spiking import spiking_tables
from analysis.statistics.summary import Summary, summarise
from tests.analysis.examples import all_outputs, run_of, study_of

BITNET = {
    "data": "cifar10",
    "layout": "64 64 M 128 M 256 512 M",
    "feature_scale": 0.125,
    "time_steps": 8,
    "eval_time_steps": 50,
    "epochs": 6,
    "num_train_images": 3000,
    "image_downscale": 2,
}


def summary_of(config: Mapping[str, Any], trainable: str = "bitnet") -> Summary:
    """A study whose replicates all have this config and six layers."""
    found = [run_of({"a": a}, seed, 0.5 + a / 10) for a in (0, 1) for seed in range(3)]
    layers = {f"sparsity/layer{i}": 0.8 for i in range(1, 7)}
    runs = [replace(run, config=config, metrics={**run.metrics, **layers}) for run in found]
    return summarise(study_of("one_factor_at_a_time", {"a": [0, 1]}, runs, trainable=trainable), runs)


def table(summary: Summary, title: str) -> Table:
    return next(table for table in tables(summary) if table.title == title).fitted("wide")


def models(summary: Summary) -> list[str]:
    return [found.model for found in matches(summary.study, summary.runs)]


def test_the_same_network_on_the_same_data_matches() -> None:
    """Under either spelling of the layout, and for a named file of the data; the width is a difference of the recipe."""
    for config in (BITNET, {**BITNET, "layout": "bitnet"}, {**BITNET, "data": "/images/cifar10.npz"}):
        assert models(summary_of(config)) == ["BITnet6", "BITnet6 Max"]


@pytest.mark.parametrize(
    ("change", "trainable"),
    [
        ({"data": "digits"}, "bitnet"),
        ({"layout": "64 64 A 128 A 256 512 A"}, "bitnet"),
        ({}, "converted_snn"),
        ({"layout": "vgg16", "batch_norm": False, "bias": True}, "ann"),
    ],
)
def test_another_network_or_data_set_has_none(change: Mapping[str, Any], trainable: str) -> None:
    """Neither table nor row mentions anything published then."""
    summary = summary_of({**BITNET, **change}, trainable)
    assert models(summary) == []
    assert published_tables(summary) == []
    assert "published" not in all_outputs(summary)


def test_without_configs_nothing_matches() -> None:
    """Records of an older version have none."""
    assert models(summary_of({})) == []


def test_the_conversion_method_is_part_of_the_match() -> None:
    """Spike-Norm's number stands beside Spike-Norm alone."""
    config = {"data": "cifar10", "layout": "resnet20", "balance": "spike_norm"}
    assert models(summary_of(config, "converted_snn")) == ["ResNet-20, Spike-Norm"]
    assert models(summary_of({**config, "balance": "max"}, "converted_snn")) == ["ResNet-20, data norm"]


def test_a_trainable_may_be_a_factor() -> None:
    """What a replicate trains is then among its levels."""
    runs = [replace(run_of({"trainable": name}, 0), config=BITNET | {"activation": "relu"}) for name in ("bitnet", "ann")]
    study = study_of("one_factor_at_a_time", {"trainable": ["bitnet", "ann"]}, runs, trainable="bitnet, ann")
    assert [found.model for found in matches(study, runs)] == ["BITnet6", "BITnet6 Max", "the same network, ReLU and softmax"]


def test_differences_in_recipe_are_named() -> None:
    """What the published number had and what the study has, or that it is not stated; steps are those of the evaluation."""
    row = table(summary_of(BITNET), "Published numbers").rows[0]
    assert row.cells[:4] == ["BITnet6, published", "94.37", "59.00 (59.00 to 59.00)", "3"]
    assert row.cells[4] == (
        "feature_scale 4, here 0.125; image_downscale 1, here 2; num_train_images all, here 3000; "
        "epochs not stated, here 6; seeds not stated, here 3"
    )
    assert row.cells[5] == "Reddy, BITnet README"
    spike_norm = {"data": "cifar10", "layout": "resnet20", "balance": "spike_norm", "time_steps": 2500}
    (row,) = table(summary_of(spike_norm, "converted_snn"), "Published numbers").rows
    assert row.cells[4].endswith("; seeds one network, 5 stochastic runs, here 3")
    assert "time_steps" not in row.cells[4]


def test_rows_are_marked_as_published() -> None:
    """In the table of accuracies under test accuracy, and in that of sparsity layer by layer."""
    summary = summary_of(BITNET)
    accuracy = table(summary, "Validation accuracy")
    place = [column.title for column in accuracy.columns].index("test accuracy % (95 %)")
    assert [(row.cells[0], row.cells[1], row.cells[place]) for row in accuracy.rows[-2:]] == [
        ("published", "BITnet6", "94.37"),
        ("published", "BITnet6 Max", "94.62"),
    ]
    by_layer = next(table for table in spiking_tables(summary) if table.title == "Sparsity by layer")
    assert by_layer.rows[-2].cells == ["BITnet6, published", "90.35", "92.38", "96.48", "94.11", "98.56", "90.78", "–"]


def test_published_numbers_are_whole() -> None:
    """Every entry has a source, percentages, and a network that no other entry of the same data and method shares."""
    numbers = published_numbers()
    keys = [(one.model, one.data, one.source) for one in numbers]
    assert len(set(keys)) == len(keys)
    assert all(one.source and one.layouts and one.trainables for one in numbers)
    assert all(50 < one.accuracy < 100 and all(85 < zeros < 100 for zeros in one.sparsity.values()) for one in numbers)
