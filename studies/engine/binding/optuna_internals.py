"""What spikesweep uses of Optuna beside its public interface. No other module of ``studies`` touches Optuna's private parts.

``CHECKED_FOR`` names the versions for which this module was written and tested; pyproject.toml asks for the same ones. The
private parts are looked at when this module is imported. Where Optuna has changed one, ``check`` raises an error that names
the installed version and the part, so that a study stops before it runs and not in its middle.
"""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, create_trial

if TYPE_CHECKING:
    from optuna.study._frozen import FrozenStudy

optuna.logging.set_verbosity(optuna.logging.ERROR)  # it announces every study, also the one that check makes

CHECKED_FOR = "optuna>=5.0,<6"
"""The versions for which this module was checked, as pyproject.toml has them."""

QMC_POSITION = "qmc:"
"""How the notes begin in which QMC keeps, with the study, its position in the sequence."""
RELATIVE_PARAMS = ":relative_params:"
"""Part of the names of the notes in which TPE and GP keep what they drew for a running trial."""

_SEARCH_SPACE = "_search_space"
_SIGNATURES: tuple[tuple[type, str, tuple[str, ...]], ...] = (
    (Trial, "__init__", ("self", "study", "trial_id")),
    (BaseStorage, "get_study_system_attrs", ("self", "study_id")),
    (BaseStorage, "set_study_system_attr", ("self", "study_id", "key", "value")),
    (BaseStorage, "get_trial_system_attrs", ("self", "trial_id")),
    (BaseStorage, "set_trial_system_attr", ("self", "trial_id", "key", "value")),
    (BaseStorage, "set_trial_user_attr", ("self", "trial_id", "key", "value")),
    (BaseStorage, "set_trial_state_values", ("self", "trial_id", "state", "values")),
    (BaseStorage, "create_new_trial", ("self", "study_id", "template_trial")),
    (NSGAIISampler, "get_parent_population", ("self", "study", "generation")),
)
"""Methods that are called with these arguments, or overridden."""


def storage_of(study: Study) -> BaseStorage:
    """The storage of an Optuna study. Its methods read or write one thing; a study's own methods read whole trials again."""
    return study._storage  # noqa: SLF001


def study_id_of(study: "Study | FrozenStudy") -> int:
    """The number by which the storage knows a study."""
    return study._study_id  # noqa: SLF001


def trial_id_of(trial: Trial | FrozenTrial) -> int:
    """The number by which the storage knows a trial; it is unique in the storage, where ``trial.number`` is so in a study."""
    return trial._trial_id  # noqa: SLF001


def open_trial(study: Study, trial: FrozenTrial) -> Trial:
    """A running trial that was added to a study rather than asked for, such that values can be reported to it."""
    return Trial(study, trial_id_of(trial))


def notes_of_study(study: Study) -> Mapping[str, Any]:
    """What samplers have noted with a study (Optuna's system attributes)."""
    return storage_of(study).get_study_system_attrs(study_id_of(study))


def set_note_of_study(study: Study, name: str, note: Any) -> None:
    """Write a sampler's note with a study."""
    storage_of(study).set_study_system_attr(study_id_of(study), name, note)


def notes_of_trial(trial: Trial) -> Mapping[str, Any]:
    """What samplers have noted with a trial (Optuna's system attributes)."""
    return storage_of(trial.study).get_trial_system_attrs(trial_id_of(trial))


def set_note_of_trial(trial: Trial, name: str, note: Any) -> None:
    """Write a sampler's note with a trial."""
    storage_of(trial.study).set_trial_system_attr(trial_id_of(trial), name, note)


def generation_note(sampler: type[NSGAIISampler]) -> str:
    """The name of the note in which a genetic sampler keeps a trial's generation."""
    return f"{sampler.__name__}:generation"


def pass_on_search_space(old: BaseSampler, new: BaseSampler) -> None:
    """Give a new sampler what the old one worked out of the space that all trials share; some samplers work out nothing.

    Working it out means reading every trial, and the result does not depend on the sampler's seed.
    """
    if hasattr(old, _SEARCH_SPACE):
        setattr(new, _SEARCH_SPACE, getattr(old, _SEARCH_SPACE))


def check() -> None:
    """Look whether the installed Optuna has all private parts that this module uses, as it expects them.

    Raises:
        RuntimeError: A part is missing or different; the message names the installed version and the part.
    """
    storage = InMemoryStorage()
    study_id = storage.create_new_study([StudyDirection.MINIMIZE], study_name="check")
    study = Study(study_name="check", storage=storage, sampler=TPESampler(seed=0))
    _expect("Study._storage", getattr(study, "_storage", None) is storage)
    _expect("Study._study_id", getattr(study, "_study_id", None) == study_id)
    _expect("FrozenTrial._trial_id", hasattr(create_trial(value=0.0), "_trial_id"))
    _expect("Trial._trial_id", hasattr(study.ask(), "_trial_id"))
    for owner, method, parameters in _SIGNATURES:
        found = tuple(inspect.signature(getattr(owner, method)).parameters) if hasattr(owner, method) else ()
        _expect(f"{owner.__name__}.{method}({', '.join(parameters)})", found == parameters)
    for sampler in (TPESampler(), NSGAIISampler()):
        _expect(f"{type(sampler).__name__}.{_SEARCH_SPACE}", hasattr(sampler, _SEARCH_SPACE))
    _expect("NSGAIISampler._GENERATION_KEY", getattr(NSGAIISampler, "_GENERATION_KEY", "") == generation_note(NSGAIISampler))
    for owner in (TPESampler, GPSampler):
        key = getattr(inspect.getmodule(owner), "_RELATIVE_PARAMS_KEY", "")
        _expect(f"_RELATIVE_PARAMS_KEY of {owner.__name__}", f"{key}:".endswith(RELATIVE_PARAMS))


def _expect(part: str, is_as_expected: bool) -> None:
    if not is_as_expected:
        raise RuntimeError(
            f"spikesweep relies on Optuna's {part}, which Optuna {optuna.__version__} lacks or has changed. "
            f"Install {CHECKED_FOR}, or adapt studies/engine/binding/optuna_internals.py."
        )


check()
