"""What differs between two studies beside their results: settings, config, versions, code, data."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.records.loading import RecordedStudy
from analysis.reporting import formatting
from analysis.words import distinct, first_of
from studies.run_record import RunRecord, level_in_words

ABSENT = "–"
MOST_VALUES = 5
MACHINE = ("device", "num_threads", "backend", "precision")
"""Facts of a replicate: sums are rounded in another order where they are not the same."""


@dataclass(frozen=True)
class Difference:
    """A fact, setting or config field and its value in each of two studies, in words."""

    what: str
    first: str
    second: str


def differences(first: RecordedStudy, second: RecordedStudy) -> list[Difference]:
    """The data, the code, the settings and every config field that are not the same in both."""
    pairs = zip(_facts(first), _facts(second), strict=True)
    found = [(what, one, other) for (what, one), (_, other) in pairs]
    ours, theirs = _config(first), _config(second)
    for field in dict.fromkeys([*ours, *theirs]):
        if field in first.study.factors and field in second.study.factors:
            continue  # whose levels are said already
        found.append((field, ours.get(field, ABSENT), theirs.get(field, ABSENT)))
    ours, theirs = _packages(first.runs), _packages(second.runs)
    found += [(package, ours.get(package, ABSENT), theirs.get(package, ABSENT)) for package in dict.fromkeys([*ours, *theirs])]
    return [Difference(*entry) for entry in found if entry[1] != entry[2]]


def _facts(recorded: RecordedStudy) -> Iterator[tuple[str, str]]:
    """Name and value of each, the same names in the same order for every study."""
    study, runs = recorded.study, recorded.runs
    yield "data digest", _distinct(run.data_digest for run in runs)
    yield "commit", _distinct(run.git_commit for run in runs)
    for fact in MACHINE:
        yield fact.replace("_", " "), _distinct(run.facts.get(fact, "") for run in runs)
    yield "trainable", study.trainable
    yield "design", study.design.replace("_", " ")
    yield "seeds", ", ".join(map(str, study.seeds))
    yield "objectives", formatting.setting(study.objectives)
    yield "baseline", formatting.setting(study.baseline)
    yield (
        "factors",
        "; ".join(f"{name}: {study.ranges.get(name) or formatting.setting(list(of))}" for name, of in study.factors.items()),
    )
    yield "tuned", formatting.setting(study.tuning.get("parameters", {}))


def _config(recorded: RecordedStudy) -> dict[str, str]:
    """Every field of the configs with the values that it has."""
    values: dict[str, dict[str, None]] = {}
    for run in recorded.runs:
        for field, value in run.config.items():
            values.setdefault(field, {})[_in_words(value)] = None
    factors = recorded.study.factors
    return {field: f"a factor: {_in_order(found)}" if field in factors else _in_order(found) for field, found in values.items()}


def _in_words(value: Any) -> str:
    return formatting.setting(value) if isinstance(value, Mapping | list) else level_in_words(value)


def _packages(runs: Sequence[RunRecord]) -> dict[str, str]:
    values: dict[str, dict[str, None]] = {}
    for text in dict.fromkeys(run.versions for run in runs if run.versions):
        try:
            found = json.loads(text).items()
        except (ValueError, AttributeError):  # set by hand
            continue
        for package, version in found:
            values.setdefault(package, {})[str(version)] = None
    return {package: _in_order(found) for package, found in values.items()}


def _in_order(values: Iterable[str]) -> str:
    return first_of(sorted(values), MOST_VALUES)


def _distinct(texts: Iterable[str]) -> str:
    return _in_order(distinct(texts)) or ABSENT
