"""What was run: counts, the grid, cost, failures; the tidy records as Parquet."""

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analysis import study_summary
from analysis.records.loading import RecordedStudy
from analysis.reporting.formats.markdown import to_markdown
from analysis.reporting.formats.parquet import tidy_records
from analysis.reporting.topics.overview import overview_data, overview_document
from analysis.statistics.overview import overview
from studies.run_record import ACCURACY, RunRecord
from tests.analysis.examples import rows, run_of, study_of
from tests.analysis.mlflow_stores import write
from tests.new_stores import new_client

HOUR_MS = 3_600_000


def mixed_runs() -> list[RunRecord]:
    """A finished, a failed, a pruned and a missing replicate of one cell, and three finished of another."""
    common: dict[str, Any] = {"versions": '{"torch": "2.15.0"}', "git_commit": "abc", "data_digest": "d", "run_id": "r"}
    times: dict[str, Any] = {"begun_at_ms": HOUR_MS, "ended_at_ms": 2 * HOUR_MS}
    done = [replace(run_of({"a": 2}, i), metrics={"cost/seconds": 60.0 * (i + 1)}, **times, **common) for i in range(3)]
    return [
        replace(run_of({"a": 1}, 0), begun_at_ms=HOUR_MS // 2, ended_at_ms=HOUR_MS, **common),
        replace(run_of({"a": 1}, 1, status="FAILED"), reason="TrainingError: nan", **common),
        replace(run_of({"a": 1}, 2, status="PRUNED"), reason="epoch 3", **common),
        replace(run_of({"a": 1}, 3, status="MISSING"), reason="never begun"),
        *done,
        replace(run_of({"a": 2}, 9, role="tuning", tuned={"lr": 0.1}), **common),
    ]


def recorded() -> RecordedStudy:
    runs = mixed_runs()
    return RecordedStudy(study_of("one_factor_at_a_time", {"a": [1, 2]}, runs), runs)


def test_everything_is_counted() -> None:
    """By role and state, by seed, by reason; cost and durations in all and each, of those that have them."""
    found = overview(mixed_runs())
    assert found.states == {"cell": {"finished": 4, "failed": 1, "pruned": 1, "missing": 1}, "tuning": {"finished": 1}}
    assert [line.states for line in found.grid] == [
        {0: "finished", 1: "failed", 2: "pruned", 3: "missing"},
        {0: "finished", 1: "finished", 2: "finished"},
    ]
    cost = found.durations["cost/seconds"]
    assert (cost.num_values, cost.total, cost.smallest, cost.median, cost.largest) == (3, 360, 60, 120, 180)
    assert found.durations["duration_s"].total == 3.5 * 3600
    assert (found.begun_at_ms, found.ended_at_ms) == (HOUR_MS // 2, 2 * HOUR_MS)
    assert [(reason, len(runs)) for reason, runs in found.failures.items()] == [("TrainingError: nan", 1)]
    assert found.provenance == {"data digest": {"d": 7}, "commit": {"abc": 7}, "torch": {"2.15.0": 7}}


def test_the_grid_shows_every_replicate() -> None:
    """A sign for every seed of every cell: what was not asked for is not what is missing."""
    text = to_markdown(overview_document(recorded(), ["Odd."]))
    assert "| a=1 | ✓FP– | 1 of 4 |" in text
    assert "| a=2 | ✓✓✓· | 3 of 3 |" in text
    assert "| TrainingError: nan | 1 | a=1 · seed 1 |" in text
    assert "**Odd.**" in text
    assert "| training | 3 | 6:00 | 1:00 | 2:00 | 3:00 |" in text


def test_a_study_without_runs_has_an_overview() -> None:
    """Nothing has begun: it says so, and is whole."""
    runs = [run_of({"a": 1}, 0, status="MISSING")]
    study = RecordedStudy(study_of("one_factor_at_a_time", {"a": [1, 2]}, runs), runs)
    assert "| a=1 | – | 0 of 1 |" in to_markdown(overview_document(study, []))
    assert overview_data(study, [])["begun_at"] == ""


def test_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what was run and writes it as Markdown; with --json it prints plain data."""
    client = new_client(tmp_path)
    study = recorded()
    write(client, study.study, study.runs, tmp_path / "artifacts")
    arguments = ["study_summary", "demo", "--tracking-uri", client.tracking_uri, "--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    assert study_summary.main() == 0
    assert "Cells and seeds" in capsys.readouterr().out
    assert "✓FP–" in (tmp_path / "demo" / "study_summary.md").read_text()
    monkeypatch.setattr("sys.argv", [*arguments, "--json"])
    assert study_summary.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert found["states"]["cell"] == {"finished": 4, "failed": 1, "pruned": 1, "missing": 1}


def test_tidy_records_are_typed() -> None:
    """Levels keep their types; a level null is a word beside texts, an inactive factor is null; times are times, NaN is NaN."""
    runs = [
        replace(run_of({"a": 1, "b": 0.5, "c": True, "d": None}, 0, float("nan")), begun_at_ms=HOUR_MS),
        replace(run_of({"a": 2, "b": 1, "c": False, "d": "x"}, 1), tuned={"lr": 0.1}),
        run_of({"a": 3}, 2, status="MISSING"),
    ]
    table = pq.read_table(io.BytesIO(tidy_records(runs)["replicates.parquet"]))
    kinds = {name: str(table.schema.field(name).type) for name in ("a", "b", "c", "d", "tuned.lr", "seed", ACCURACY, "begun_at")}
    assert list(kinds.values()) == ["int64", "double", "bool", "string", "double", "int64", "double", "timestamp[ms, tz=UTC]"]
    columns = table.to_pydict()
    assert (columns["b"], columns["c"], columns["d"]) == ([0.5, 1.0, None], [True, False, None], ["null", "x", None])
    assert columns["begun_at"] == [datetime(1970, 1, 1, 1, tzinfo=UTC), None, None]
    assert str(columns[ACCURACY]) == "[nan, 0.5, None]"


def test_curves_are_long() -> None:
    """A row a time step of every replicate that has a curve, in both formats; no file where there is none."""
    runs = [run_of({"a": 1}, 0, 0.5), run_of({"a": 1}, 1, status="MISSING")]
    records = tidy_records(runs)
    expected = {"identity": [runs[0].identity] * 2, "t": [1, 2], "accuracy": [0.25, 0.5]}
    assert pq.read_table(io.BytesIO(records["curves.parquet"])).to_pydict() == expected
    assert [line["accuracy"] for line in rows(records["curves.csv"].decode())] == ["0.25", "0.5"]
    assert list(tidy_records(runs[1:])) == ["replicates.parquet"]
