"""When an archived run and the run of a store contradict each other; test_archives.py has the replicates."""

import json

import pytest

from studies import run_record
from studies.engine.archives.archived_run import STUDY_KEY, ArchivedRun
from studies.engine.archives.differences import compare_runs

DESIGN = {"name": "moved", "factors": {"a": [1, 2]}, "tuning": {}}


def study_run(design: str) -> ArchivedRun:
    tags = {run_record.DESIGN: design}
    return ArchivedRun(
        key=STUDY_KEY, run_id="1", name="moved", status="FINISHED", begun_at_ms=1, ended_at_ms=2, tags=tags, params={}
    )


@pytest.mark.parametrize(
    ("there", "is_same"),
    [
        (json.dumps(DESIGN), True),
        (json.dumps({**DESIGN, "tuning_bounds": {}}), True),  # of a later version, whose records have more fields
        (json.dumps({**DESIGN, "factors": {"a": [1, 3]}}), False),
        ("cut short {", False),
    ],
)
def test_designs_are_compared_field_by_field(there: str, is_same: bool) -> None:
    """A study that another version has gone on with is the same study, unless a field that both know differs."""
    difference = compare_runs(study_run(json.dumps(DESIGN)), study_run(there))
    assert difference.contradictions == (() if is_same else ("the study's design",))
    assert difference.missing is None
