"""Studies that train for a number of seconds: what promises equal epochs is refused, with the rule and a repair."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.errors import StudyError

SEARCH = {"name": "adaptive_search", "num_trials": 10, "finalists": 0}
TUNING = {"parameters": {"epochs": [1, 2]}, "num_trials": 2, "seed": 9}


def load(npz: Path, config: dict[str, Any], factors: dict[str, Any], **parts: Any) -> Study:
    baseline = {} if parts.get("design") else {"baseline": {name: levels[0] for name, levels in factors.items()}}
    fields = {"data": str(npz), "validation_fraction": 0.25, "layout": "4 M 4", **config}
    study = {"question": "?", "trainable": "bitnet", "config": fields, "factors": factors, "seeds": 2, **baseline, **parts}
    path = npz.parent / "lengths.yaml"
    path.write_text(yaml.safe_dump(study))
    return load_study(str(path))


@pytest.mark.parametrize(
    ("config", "factors", "parts", "path", "rule", "value", "repair"),
    [
        (
            {"time_budget_s": 5},
            {"epochs": [1, 2]},
            {},
            "factors.epochs",
            "epochs must not vary where time_budget_s is the length of training: they have no effect there",
            "1, 2",
            "remove epochs from the factors, or write time_budget_s: null",
        ),
        (
            {"pretrain_time_budget_s": 5},
            {"pretrain_epochs": [1, 2]},
            {},
            "factors.pretrain_epochs",
            "pretrain_epochs must not vary where pretrain_time_budget_s is the length of pre-training",
            "1, 2",
            "remove pretrain_epochs from the factors, or write pretrain_time_budget_s: null",
        ),
        (
            {"time_budget_s": 5},
            {"time_steps": [2, 4]},
            {"tuning": TUNING},
            "tuning.parameters.epochs",
            "epochs must not vary where time_budget_s is the length of training: they have no effect there",
            "2, 1",
            "remove epochs from the factors, or write time_budget_s: null",
        ),
        (
            {},
            {"time_budget_s": [None, 5]},
            {},
            "factors.time_budget_s",
            "time_budget_s must be null for all cells or for none: else neither their seconds nor their epochs are equal",
            "null, 5",
            "give seconds alone, or write time_budget_s: null",
        ),
        (
            {"time_budget_s": 5},
            {"time_steps": [2, 4]},
            {"design": {**SEARCH, "pruner": "median"}},
            "design.pruner",
            "a search must have no pruner where time_budget_s is the length of training: its epochs are not comparable",
            "median",
            "remove pruner from the design, or write time_budget_s: null",
        ),
        (
            {"time_budget_s": 0},
            {"time_steps": [2, 4]},
            {},
            "config.time_budget_s",
            "time_budget_s must be greater than 0",
            "0",
            "For how many seconds",
        ),
        (
            {"selection": "best"},
            {"time_steps": [2, 4]},
            {},
            "config.selection",
            "selection must be 'last', 'best_on_validation' or 'best_on_test'",
            "'best'",
            "Which epoch's weights",
        ),
    ],
)
def test_what_promises_equal_epochs_is_refused(
    tiny_npz: Path,
    config: dict[str, Any],
    factors: dict[str, Any],
    parts: dict[str, Any],
    path: str,
    rule: str,
    value: str,
    repair: str,
) -> None:
    """One problem is told, where it is, with the rule, the value and a repair."""
    with pytest.raises(StudyError) as error:
        load(tiny_npz, config, factors, **parts)
    (problem,) = error.value.problems
    assert problem.path.rpartition(" ")[2] == path
    assert (problem.rule, problem.value) == (rule, value)
    assert repair in problem.repair


@pytest.mark.parametrize(
    ("config", "factors", "parts"),
    [
        ({"time_budget_s": 5}, {"time_steps": [2, 4]}, {}),
        ({"time_budget_s": 5, "epochs": 3}, {"selection": ["last", "best_on_validation", "best_on_test"]}, {}),
        ({}, {"time_budget_s": [5, 10.5]}, {}),
        ({"time_budget_s": 5}, {"time_steps": [2, 4]}, {"design": SEARCH}),
        ({}, {"time_steps": [2, 4]}, {"design": {**SEARCH, "pruner": "median"}}),
        ({"pretrain_time_budget_s": 5}, {"time_steps": [2, 4]}, {"design": {**SEARCH, "pruner": "median"}}),
        ({}, {"pretrain_time_budget_s": [None, 5]}, {}),
    ],
)
def test_what_does_not_is_valid(tiny_npz: Path, config: dict[str, Any], factors: dict[str, Any], parts: dict[str, Any]) -> None:
    """Cells may be compared at equal seconds, seconds may vary, and so may the selection of an epoch."""
    study = load(tiny_npz, config, factors, **parts)
    assert len({replicate.identity for replicate in study.replicates}) == len(study.replicates)
