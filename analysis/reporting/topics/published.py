"""Published numbers as reference: where they match a study, and how their recipe differs from its own."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import PurePath
from typing import Any

import yaml

from analysis.reporting import formatting
from analysis.reporting.document_model import Column, Row, Table, estimate_column
from analysis.statistics.data.cells import estimate, finite_values, group_by_levels
from analysis.statistics.data.outcomes import TEST_OUTCOME, named
from analysis.statistics.summary import Summary
from studies.run_record import ACCURACY, TEST_ACCURACY, RunRecord, StudyRecord, level_in_words

UNKNOWN = "not stated"
USUAL: Mapping[str, Any] = {"image_downscale": 1, "num_train_images": None, "epochs": UNKNOWN}
"""Config fields that are compared with every published number, and what these had unless their recipe says otherwise."""


@dataclass(frozen=True)
class Published:
    """The published accuracy of one network on one data set; see published.yaml."""

    model: str
    source: str
    data: str
    trainables: Sequence[str]
    layouts: Sequence[str]
    accuracy: float
    """Percent."""
    config: Mapping[str, Any] = field(default_factory=dict)
    sparsity: Mapping[str, float] = field(default_factory=dict)
    """Percent, by layer."""
    seeds: str = UNKNOWN
    recipe: Mapping[str, Any] = field(default_factory=dict)


@cache
def published_numbers() -> tuple[Published, ...]:
    """All published numbers that ship with the project."""
    text = resources.files("analysis.reporting.topics").joinpath("published.yaml").read_text(encoding="utf-8")
    return tuple(_published(content) for content in yaml.safe_load(text))


def _published(content: Mapping[str, Any]) -> Published:
    by_layer = {f"layer{number}": percent for number, percent in enumerate(content.get("sparsity", ()), start=1)}
    return Published(**{**content, "sparsity": by_layer})


def matches(study: StudyRecord, runs: Sequence[RunRecord]) -> list[Published]:
    """The published numbers for which a replicate has the same data set, trainable and network."""
    networks = {_network(study, run) for run in runs if run.config and run.role != "tuning"}
    return [found for found in published_numbers() if any(_is_of(found, network) for network in networks)]


def _network(study: StudyRecord, run: RunRecord) -> tuple[tuple[str, Any], ...]:
    """Trainable, data set, layout, and the other fields that published numbers are matched by."""
    data = PurePath(str(run.config.get("data", ""))).stem
    trainable = run.levels.get("trainable", study.trainable)
    others = [(name, run.config.get(name)) for name in _matched_fields()]
    return (("trainable", trainable), ("data", data), ("layout", run.config.get("layout")), *others)


@cache
def _matched_fields() -> tuple[str, ...]:
    return tuple(sorted({name for found in published_numbers() for name in found.config}))


def _is_of(found: Published, network: Sequence[tuple[str, Any]]) -> bool:
    values = dict(network)
    return (
        values["trainable"] in found.trainables
        and values["data"] == found.data
        and values["layout"] in found.layouts
        and all(values[name] == value for name, value in found.config.items())
    )


def published_tables(summary: Summary) -> list[Table]:
    """A row for every number that matches, beside the study's own best cell of that network; no table where none does."""
    found = matches(summary.study, summary.runs)
    if not found:
        return []
    caption = (
        "For orientation only: the recipes differ, and the published values are single numbers without an interval. “Here” is, "
        "of this study's cells with the same data set and network, the one with the best validation accuracy."
    )
    columns = [
        Column("published", is_text=True),
        Column("accuracy %"),
        Column("here, test accuracy % (95 %)"),
        Column("seeds"),
        Column("difference in recipe", is_text=True, is_long=True),
        Column("source", is_text=True),
    ]
    return [Table("Published numbers", caption, columns, [_row(summary, one) for one in found], is_detail=True)]


def _row(summary: Summary, found: Published) -> Row:
    runs = [run for run in summary.asked if run.config and _is_of(found, _network(summary.study, run))]
    cells = [cell for cell in group_by_levels(runs).values() if finite_values(cell, ACCURACY)]
    best = max(cells, key=lambda cell: _mean(finite_values(cell, ACCURACY)), default=[])
    here = estimate(finite_values(best, TEST_ACCURACY), TEST_OUTCOME.limits)
    differences = "; ".join(_differences(found, runs))
    seeds = str(here.num_values) if here else formatting.NONE
    name = f"{found.model}, published"
    return Row(
        [name, f"{found.accuracy:.2f}", formatting.value(TEST_OUTCOME, here), seeds, differences, found.source], "published"
    )


def _mean(values: Mapping[int, float]) -> float:
    return sum(values.values()) / len(values)


def _differences(found: Published, runs: Sequence[RunRecord]) -> Iterator[str]:
    """Field by field: what it had, and what these replicates had, where that is not the same."""
    configs = [run.config for run in runs]
    usual = {name: value for name, value in USUAL.items() if name not in found.recipe}
    for name, theirs in {**found.recipe, **usual}.items():
        ours = list(dict.fromkeys(_value(config, name) for config in configs))
        if ours != [theirs]:
            yield f"{name} {_in_words(name, theirs)}, here {', '.join(_in_words(name, value) for value in ours)}"
    yield f"seeds {found.seeds}, here {len({run.seed for run in runs})}"


def _value(config: Mapping[str, Any], name: str) -> Any:
    """Of a config field; of time_steps those of the evaluation."""
    if name == "time_steps":
        return config.get("eval_time_steps") or config.get("time_steps")
    return config.get(name)


def _in_words(name: str, value: Any) -> str:
    return "all" if name == "num_train_images" and value is None else level_in_words(value)


def with_published(summary: Summary, table: Table) -> Table:
    """A table that has a column of test accuracies, with the published ones beneath its rows; others as they are."""
    titles = [column.title for column in table.columns]
    test_title = estimate_column(named(summary.study, TEST_OUTCOME)).title
    if test_title not in titles:
        return table
    place = titles.index(test_title)
    rows: list[Row] = []
    for found in matches(summary.study, summary.runs):
        cells = [formatting.NONE] * len(titles)
        cells[0], cells[1], cells[-1], cells[place] = "published", found.model, "published", f"{found.accuracy:.2f}"
        rows.append(Row(cells, "published" if rows else "published first", only="wide"))
    return replace(table, rows=[*table.rows, *rows])
