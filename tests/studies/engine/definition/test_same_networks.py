"""Configurations that make the same network: a design refuses them, random designs and searches have each network once."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from optuna.trial import TrialState

from studies.engine.binding.configurations import Configuration
from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.errors import StudyError
from studies.engine.proposing.adaptive_search import SearchProposals, WarmStart
from studies.engine.proposing.proposals import StudyHistory
from trainables import bitnet
from trainables.training.epoch_report import EpochReport

BITNET = {"trainable": "bitnet", "layout": "64 M 64", "feature_scale": 0.0625, "time_steps": 4}
ANN = {"trainable": "ann", "layout": "64 M 64", "feature_scale": 0.0625}
CONVERTED = {**ANN, "trainable": "converted_snn", "time_steps": 4}

SAME: list[tuple[dict[str, Any], str, list[Any]]] = [
    (BITNET, "feature_scale", [0.0625, 0.0626, 0.065]),
    (BITNET, "num_train_images", [None, 72]),
    (BITNET, "validation_fraction", [0.25, 0.251]),
    (BITNET, "batch_size", [72, 100]),
    (BITNET, "batch_size", [71, 72]),
    ({**BITNET, "gradient": "rate_collapsed"}, "time_groups", ["dyadic", 3]),
    (BITNET, "rate_target", [0.1, "0.1", "0.10 0.1"]),
    ({**BITNET, "prune": "l1"}, "prune_fraction", [0.5, 0.51]),
    ({**BITNET, "prune": "l1", "prune_fraction": 0.01}, "prune_epochs", [1, 2]),
    ({**ANN, "layout": "resnet20"}, "feature_scale", [0.0625, 0.063]),
    ({**ANN, "pool": "average"}, "layout", ["64 M 64", "64 A 64"]),
    (CONVERTED, "calibration_images", [72, 256]),
    (CONVERTED, "feature_scale", [0.0625, 0.065]),
]
"""Of 96 images, of which a quarter is set aside, and channels that come to 4: a config, a field, and levels of it."""
DIFFERENT: list[tuple[dict[str, Any], str, list[Any]]] = [
    (BITNET, "feature_scale", [0.0625, 0.075]),
    (BITNET, "num_train_images", [None, 71]),
    (BITNET, "validation_fraction", [0.25, 0.26]),
    (BITNET, "batch_size", [70, 71, 35]),
    ({**BITNET, "gradient": "rate_collapsed"}, "time_groups", ["dyadic", 2, 4]),
    (BITNET, "rate_target", [0.1, "0.1 0.2", None]),
    ({**BITNET, "prune": "l1"}, "prune_fraction", [0.5, 0.7]),
    ({**ANN, "layout": "resnet20"}, "feature_scale", [0.0625, 0.09]),
    ({**ANN, "pool": "layout"}, "layout", ["64 M 64", "64 A 64"]),
    (CONVERTED, "calibration_images", [71, 72]),
]
IDS = [f"{config['trainable']} {field} {levels}" for config, field, levels in SAME]


def write(folder: Path, npz: Path, config: dict[str, Any], **parts: Any) -> Path:
    fields = {"data": str(npz), "validation_fraction": 0.25, "epochs": 2, **config}
    trainable = fields.pop("trainable")
    for name in parts["factors"]:
        fields.pop(name, None)
    study = {"question": "?", "trainable": trainable, "config": fields, "seeds": 2, "storage": str(folder), **parts}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def configurations(folder: Path, npz: Path, config: dict[str, Any], field: str, levels: list[Any]) -> list[Configuration]:
    """Those of the levels, of a search, which does not refuse them."""
    design = {"name": "adaptive_search", "num_trials": 2}
    study = load_study(str(write(folder, npz, config, factors={field: levels}, design=design)))
    return [study.binder.configuration(cell) for cell in study.space.cells()]


@pytest.mark.parametrize(("config", "field", "levels"), SAME, ids=IDS)
def test_a_design_refuses_levels_that_make_one_network(
    config: dict[str, Any], field: str, levels: list[Any], tmp_path: Path, tiny_npz: Path
) -> None:
    """One problem, at the factor, with all the levels that are one and what to do."""
    path = write(tmp_path, tiny_npz, config, factors={field: levels}, baseline={field: levels[0]})
    with pytest.raises(StudyError) as caught:
        load_study(str(path))
    (problem,) = caught.value.problems
    assert problem.path == f"factors.{field}"
    assert f"these levels of {field} make no difference" in problem.rule
    assert problem.value.count(f"{field}=") == len(levels)
    assert "keep one of these levels" in problem.repair


@pytest.mark.parametrize(
    ("config", "factors", "cause", "repair"),
    [
        (ANN, {"nesterov": [True, False]}, "nesterov has no effect where optimizer is adamw", "write optimizer: sgd"),
        (
            ANN,
            {"linear_dropout": [0.1, 0.2]},
            "linear_dropout has no effect where layout is 64 M 64",
            "write layout: 64 M 64 F64",
        ),
        (ANN, {"batch_norm_momentum": [0.1, 0.3]}, "where batch_norm is false", "write batch_norm: true"),
        (
            {**ANN, "time_budget_s": 5.0},
            {"lr_start": [0.1, 0.2], "warmup_fraction": [0, 0.5]},
            "where warmup_fraction is 0",
            "when:",
        ),
        (
            BITNET,
            {"drive_std": [0.5, 1.0], "normalisation": ["none", "batch_norm"]},
            "where normalisation is none",
            "when: {norm",
        ),
        (BITNET, {"surrogate": ["arctan", "triangle"]}, "where gradient is straight_through", "write gradient: surrogate"),
        (
            CONVERTED,
            {"finetune_lr": [0.1, 0.2]},
            "finetune_lr has no effect where finetune_epochs is 0",
            "write finetune_epochs: 1",
        ),
    ],
)
def test_a_level_without_effect_has_a_cause(
    config: dict[str, Any], factors: dict[str, list[Any]], cause: str, repair: str, tmp_path: Path, tiny_npz: Path
) -> None:
    """It is told which field takes the effect away, and what to write: a value, or a condition where that is a factor, too."""
    baseline = {name: levels[0] for name, levels in factors.items()}
    with pytest.raises(StudyError) as caught:
        load_study(str(write(tmp_path, tiny_npz, config, factors=factors, baseline=baseline)))
    (problem,) = caught.value.problems
    assert cause in problem.rule
    assert repair in problem.repair
    assert "keep one of these levels" in problem.repair


@pytest.mark.parametrize(("config", "field", "levels"), DIFFERENT)
def test_levels_that_make_different_networks_are_taken(
    config: dict[str, Any], field: str, levels: list[Any], tmp_path: Path, tiny_npz: Path
) -> None:
    """Nothing that is trained differently counts as the same."""
    path = write(tmp_path, tiny_npz, config, factors={field: levels}, baseline={field: levels[0]})
    assert len(load_study(str(path)).cells) == len(levels)


def test_the_widest_network_has_a_resolved_layout() -> None:
    """A scaled channel count may have more digits than a study file may write."""
    config = bitnet.Config(layout="99999 99999", feature_scale=999.0, prune="l1")
    assert config.resolved(100)["layout"] == "99899001 99899001"


def assert_same_training(found: list[Configuration]) -> None:
    """What is called the same is the same: every report and every metric of a replicate."""
    assert len({configuration.training for configuration in found}) == 1
    assert len({configuration.identity for configuration in found}) == len(found)
    first, last = (list(each.module.train(each.config, seed=1, dataset=each.dataset)) for each in (found[0], found[-1]))
    assert [_learnt(report) for report in first] == [_learnt(report) for report in last]


def _learnt(report: EpochReport) -> dict[str, float]:
    """The metrics that do not depend on the machine."""
    return {name: value for name, value in report.metrics.items() if not name.startswith(("time/", "memory/"))}


@pytest.mark.parametrize(("config", "field", "levels"), SAME[:1], ids=IDS[:1])
def test_they_train_the_same(config: dict[str, Any], field: str, levels: list[Any], tmp_path: Path, tiny_npz: Path) -> None:
    """Two configurations that are called the same have the same results to the last digit."""
    assert_same_training(configurations(tmp_path, tiny_npz, config, field, levels))


@pytest.mark.slow
@pytest.mark.parametrize(("config", "field", "levels"), SAME[1:], ids=IDS[1:])
def test_all_of_them_train_the_same(
    config: dict[str, Any], field: str, levels: list[Any], tmp_path: Path, tiny_npz: Path
) -> None:
    """So it is with every field of the kind."""
    assert_same_training(configurations(tmp_path, tiny_npz, config, field, levels))


SCALES = {"feature_scale": {"low": 0.055, "high": 0.1}}
"""Of 64 channels: 4, 5 or 6."""


def test_a_random_design_has_every_network_once(tmp_path: Path, tiny_npz: Path) -> None:
    """Of a range that makes three networks, three cells may be asked for, each of them another network."""
    design = {"name": "random", "num_cells": 3}
    study = load_study(str(write(tmp_path, tiny_npz, BITNET, factors=SCALES, design=design)))
    assert {round(64 * float(str(cell["feature_scale"]))) for cell in study.cells} == {4, 5, 6}


def searched(study: Study) -> SearchProposals:
    """A search whose replicates all end at once."""
    assert study.search
    proposals = SearchProposals(study, study.search, StudyHistory({}, lambda _: []), WarmStart())
    while replicate := proposals.next():
        proposals.finished(replicate, TrialState.COMPLETE, {"val/accuracy": float(str(replicate.cell["feature_scale"]))})
    return proposals


@pytest.mark.parametrize("factors", [SCALES, {"feature_scale": [0.0625, 0.0626, 0.08, 0.081, 0.1]}])
def test_a_search_proposes_every_network_once(factors: dict[str, Any], tmp_path: Path, tiny_npz: Path) -> None:
    """It ends when there is no other network, and says so."""
    design = {"name": "adaptive_search", "num_trials": 12, "sampler": "random"}
    study = load_study(str(write(tmp_path, tiny_npz, BITNET, factors=factors, design=design)))
    expected = (
        []
        if factors is SCALES
        else [
            "Of feature_scale the levels 0.0625, 0.0626 make one network, which is trained once.",
            "Of feature_scale the levels 0.08, 0.081 make one network, which is trained once.",
        ]
    )
    assert list(study.notes) == expected
    proposals = searched(study)
    scales = [float(str(replicate.cell["feature_scale"])) for replicate in proposals.planned()]
    assert sorted(round(64 * scale) for scale in scales) == [4, 5, 6]
    assert "The search ended after 3 trials" in proposals.notes()[-1]


@pytest.mark.parametrize(
    ("levels", "rule"),
    [
        ("[0.3, 0.30000000000000004]", "levels must differ by more than rounding"),
        ("[0.1, 1e-1, 0.3]", "at least 2 distinct levels"),
        ("[0.1, .1]", "at least 2 distinct levels"),
        ("[1, 1.0]", "two spellings of one value are one level"),
    ],
)
def test_two_spellings_of_a_number_are_one_level(levels: str, rule: str, tmp_path: Path) -> None:
    """However a number is written, it is one level; numbers that differ by rounding are told."""
    path = tmp_path / "s.yaml"
    path.write_text(f"question: '?'\ntrainable: response_surface\nfactors: {{a: {levels}}}\nbaseline: {{a: 0.3}}\nseeds: 2\n")
    with pytest.raises(StudyError) as caught:
        load_study(str(path))
    assert any(rule in problem.rule for problem in caught.value.problems)
