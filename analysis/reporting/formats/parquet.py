"""Tidy records as Parquet: a row for every replicate, and one for every point of its accuracy against t; these as CSV too."""

import io
import itertools
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from analysis.reporting.formats.tables_csv import csv_text
from studies.run_record import Level, RunRecord, level_in_words

TIME = pa.timestamp("ms", tz="UTC")


TIDY_RECORDS = ("replicates.parquet", "curves.parquet", "curves.csv")


def tidy_records(runs: Sequence[RunRecord]) -> dict[str, bytes]:
    """The files of ``TIDY_RECORDS`` by name; those of curves only if there are curves."""
    records = {"replicates.parquet": _parquet(replicates_table(runs))}
    curves = [(run.identity, t, accuracy) for run in runs for t, accuracy in enumerate(run.accuracy_at_t, 1)]
    if not curves:
        return records
    names, kinds = ("identity", "t", "accuracy"), (pa.string(), pa.int64(), pa.float64())
    arrays = [pa.array(column, kind) for column, kind in zip(zip(*curves, strict=True), kinds, strict=True)]
    table = pa.table(dict(zip(names, arrays, strict=True)))
    return {**records, "curves.parquet": _parquet(table), "curves.csv": csv_text([names, *curves]).encode()}


def _parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content)
    return content.getvalue()


def replicates_table(runs: Sequence[RunRecord]) -> pa.Table:
    """A row for every replicate, with the columns of replicates.csv, its code and data, and the times at which it ran.

    A factor is of booleans, whole numbers or floating ones where all its levels are, and null where it is inactive; else of
    texts, in which the level null is called so. Metrics that a replicate lacks are null; NaN stays NaN.
    """
    plain = {
        "identity": pa.array([run.identity for run in runs], pa.string()),
        "run_id": pa.array([run.run_id for run in runs], pa.string()),
        "role": pa.array([run.role for run in runs], pa.string()),
    }
    factors = {name: _levels([run.levels for run in runs], name) for name in _names(run.levels for run in runs)}
    tuned = {f"tuned.{name}": _levels([run.tuned for run in runs], name) for name in _names(run.tuned for run in runs)}
    state = {
        "seed": pa.array([run.seed for run in runs], pa.int64()),
        "status": pa.array([run.status for run in runs], pa.string()),
        "reason": pa.array([run.reason for run in runs], pa.string()),
        "begun_at": pa.array([_time(run.begun_at_ms) for run in runs], TIME),
        "ended_at": pa.array([_time(run.ended_at_ms) for run in runs], TIME),
        "data_digest": pa.array([run.data_digest for run in runs], pa.string()),
        "git_commit": pa.array([run.git_commit for run in runs], pa.string()),
    }
    metrics = {
        name: pa.array([run.metrics.get(name) for run in runs], pa.float64()) for name in _names(run.metrics for run in runs)
    }
    return pa.table({**plain, **factors, **tuned, **state, **metrics})


def _names(mappings: Iterable[Iterable[str]]) -> list[str]:
    return sorted(set(itertools.chain.from_iterable(mappings)))


def _levels(mappings: Sequence[Any], name: str) -> pa.Array:
    """One factor's levels, typed as they are."""
    levels: list[Level] = [mapping[name] for mapping in mappings if name in mapping]
    kind = _kind(levels)
    if kind is None:
        return pa.array([level_in_words(mapping[name]) if name in mapping else None for mapping in mappings], pa.string())
    return pa.array([mapping.get(name) for mapping in mappings], kind)


def _kind(levels: Sequence[Level]) -> pa.DataType | None:
    """The type that all levels have; None where that is text, or none."""
    kinds = {type(level) for level in levels}
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds in ({float}, {int, float}) else None


def _time(milliseconds: int) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
