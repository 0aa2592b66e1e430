"""The views of a study that MLflow's UI offers; test_mlflow_pages.py opens one."""

import base64
import json
import zlib
from typing import Any

from studies import run_record
from studies.engine.recording.mlflow_ui_internals import VIEW
from studies.engine.recording.saved_views import cells_key, replicates_key, saved_views
from studies.run_record import PlannedReplicate, StudyRecord


def study_of(factors: dict[str, Any], **asked: Any) -> StudyRecord:
    cells = [{name: levels[0] for name, levels in factors.items()}, {name: levels[-1] for name, levels in factors.items()}]
    replicates = [PlannedReplicate("", seed, cell) for cell in cells for seed in (0, 1)]
    content = {"name": "steps", "question": "?", "trainable": "bitnet", "design": "full_factorial", "baseline": cells[0], **asked}
    return StudyRecord(**content, factors=factors, seeds=[0, 1], replicates=replicates)


def state_of(text: str) -> dict[str, Any]:
    """As MLflow's UI reads it."""
    packed = json.loads(text)["state"].removeprefix("deflate;")
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return state


def test_replicates_are_listed_best_first() -> None:
    """The view of replicates keeps other studies' runs out, and is ordered by the first objective in its direction."""
    views = saved_views(study_of({"time_steps": [2, 8]}, objectives={"val/loss": "minimize"}), 0)
    state = state_of(views[VIEW + replicates_key("steps")])
    assert "tags.`spikesweep.study` = 'steps'" in state["searchFilter"]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`val/loss`", True)
    assert "params.`time_steps`" in state["selectedColumns"]


def test_cells_are_groups_that_stay_folded() -> None:
    """The view of cells groups by every factor, a factor that is a tag too, and every cell of the design is folded."""
    views = saved_views(study_of({"trainable": ["ann", "bitnet"], "time_steps": [2, 8]}), 0)
    state = state_of(views[VIEW + cells_key("steps")])
    assert [key["groupByData"] for key in state["groupBy"]["groupByKeys"]] == [run_record.TRAINABLE, "time_steps"]
    assert "params.`seed`" not in state["selectedColumns"]
    folded = {f"tag.{run_record.TRAINABLE}.ann,param.time_steps.2", f"tag.{run_record.TRAINABLE}.bitnet,param.time_steps.8"}
    assert state["groupsExpanded"] == dict.fromkeys(folded, False)


def test_a_search_has_no_cells_to_show() -> None:
    """The trials of an adaptive search are all different, so that it has the view of replicates alone."""
    assert list(saved_views(study_of({"lr": [0.1, 0.2]}, design="adaptive_search"), 0)) == [VIEW + replicates_key("steps")]


def test_no_view_is_longer_than_a_tag() -> None:
    """A view that MLflow would refuse is left out, and the other is there."""
    many = study_of({f"factor_{i * 7919 % 104729}": [i * 31 % 977, -i] for i in range(400)})
    assert all(len(text) <= run_record.LONGEST_TAG for text in saved_views(many, 0).values())
    assert len(saved_views(many, 0)) < 2
