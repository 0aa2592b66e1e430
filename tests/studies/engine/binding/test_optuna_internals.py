"""Optuna's private parts are as studies use them, and a change of one is told with its name."""

import re

import optuna
import pytest
from optuna.samplers import NSGAIISampler, QMCSampler, TPESampler
from optuna.trial import TrialState, create_trial

from studies.engine.binding import optuna_internals
from studies.engine.binding.optuna_internals import (
    QMC_POSITION,
    RELATIVE_PARAMS,
    check,
    notes_of_study,
    notes_of_trial,
    open_trial,
    set_note_of_study,
    set_note_of_trial,
    trial_id_of,
)
from studies.engine.binding.samplers import GENERATION, OrderedNSGAIISampler


def other_signature(_trial_id: int, _key: str) -> None:
    """As a storage's method might be in a later version."""


@pytest.mark.parametrize(
    ("owner", "attribute", "replacement", "part"),
    [
        (optuna.storages.BaseStorage, "set_trial_system_attr", other_signature, "BaseStorage.set_trial_system_attr"),
        (NSGAIISampler, "_GENERATION_KEY", "generation", "NSGAIISampler._GENERATION_KEY"),
        (optuna_internals, "_SEARCH_SPACE", "_no_such_space", "TPESampler._no_such_space"),
        (optuna_internals, "_SIGNATURES", ((TPESampler, "no_such_method", ("self",)),), "TPESampler.no_such_method"),
    ],
)
def test_a_change_is_told_by_name(
    monkeypatch: pytest.MonkeyPatch, owner: object, attribute: str, replacement: object, part: str
) -> None:
    """The error names what is missing or different, the installed version, and what to install."""
    monkeypatch.setattr(owner, attribute, replacement)
    with pytest.raises(RuntimeError, match=re.escape(part)) as caught:
        check()
    assert f"Optuna {optuna.__version__}" in str(caught.value)
    assert optuna_internals.CHECKED_FOR in str(caught.value)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_notes_are_read_and_written() -> None:
    """Samplers' notes with studies and trials, which Optuna keeps beside what users note."""
    study = optuna.create_study(sampler=QMCSampler(seed=1))
    trial = study.ask()
    set_note_of_study(study, "of study", 3)
    set_note_of_trial(trial, "of trial", "x")
    assert notes_of_study(study)["of study"] == 3
    assert notes_of_trial(trial)["of trial"] == "x"


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_samplers_note_under_these_names() -> None:
    """QMC its position, TPE what it drew, NSGA-II the generation."""
    names = {}
    for sampler in (QMCSampler(seed=1), TPESampler(seed=1, n_startup_trials=1, multivariate=True), OrderedNSGAIISampler(seed=1)):
        study = optuna.create_study(sampler=sampler)
        for _ in range(3):
            trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
            names[type(sampler)] = [*notes_of_study(study), *notes_of_trial(trial)]
            study.tell(trial, trial.params["x"])
    assert any(name.startswith(QMC_POSITION) for name in names[QMCSampler])
    assert any(RELATIVE_PARAMS in name for name in names[TPESampler])
    assert GENERATION in names[OrderedNSGAIISampler]


def test_a_running_trial_is_opened() -> None:
    """A trial that was added as running takes reports and its result like one that was asked for."""
    study = optuna.create_study()
    study.add_trial(create_trial(state=TrialState.RUNNING))
    trial = open_trial(study, study.trials[0])
    trial.report(0.5, 1)
    study.tell(trial, 0.25)
    assert trial_id_of(study.trials[0]) == trial_id_of(trial)
    assert (study.trials[0].value, study.trials[0].intermediate_values) == (0.25, {1: 0.5})
