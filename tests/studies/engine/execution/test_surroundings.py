"""What a driver says of the processes around it, and when it ends because of them."""

import io
import os
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from studies.engine.execution import runner
from studies.engine.execution.runner import _Surroundings


class EndedError(Exception):
    pass


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the driver sees: all is well until a test changes it."""

    def end(code: int) -> None:
        raise EndedError(code)

    monkeypatch.setattr(os, "_exit", end)
    monkeypatch.setattr(runner, "SECONDS_TO_ASK_LEDGER", 2.0)
    around = SimpleNamespace(lost=None, watchdog_ended=False, held_up="", asking_ledger_since=None, said=io.StringIO())
    surroundings = _Surroundings(
        watch=SimpleNamespace(trouble=lambda: around.lost),  # type: ignore[arg-type]
        watchdog=SimpleNamespace(replace_if_ended=lambda: around.watchdog_ended),  # type: ignore[arg-type]
        tracker=SimpleNamespace(held_up=lambda: around.held_up),  # type: ignore[arg-type]
        console=Console(file=around.said),
    )
    around.look = lambda: surroundings.look(around)  # type: ignore[arg-type]
    return around


def test_all_is_well(around: Any) -> None:
    """Nothing is said."""
    assert [around.look() for _ in range(9)] == [None] * 9
    assert around.said.getvalue() == ""


def test_mlflow_is_away_for_a_while(around: Any) -> None:
    """That is said once, and so is its end."""
    around.held_up = "connection refused"
    assert [around.look() for _ in range(3)] == [None] * 3
    around.held_up = ""
    around.look()
    assert around.said.getvalue().splitlines() == [
        "MLflow takes no records (connection refused): they wait, and the study goes on",
        "MLflow takes records again",
    ]


def test_the_watchdog_has_ended(around: Any) -> None:
    """It is replaced."""
    around.watchdog_ended = True
    assert around.look() is None
    assert around.said.getvalue() == "the watchdog process has ended; another one has been started\n"


def test_ray_is_lost(around: Any) -> None:
    """The study stops, for that reason."""
    around.lost = "Ray's process raylet (7) has ended"
    reason = around.look()
    assert (reason.kind, reason.words, reason.pauses) == ("ray", around.lost, True)


def test_a_ledger_that_is_frozen(around: Any) -> None:
    """The driver says so and ends at once; answers that only follow each other closely are no reason."""
    for number in range(20):
        around.asking_ledger_since = float(number)
        around.look()
    with pytest.raises(EndedError, match="1"):
        any(around.look() for _ in range(20))
    assert "the ledger's database is frozen: it has not answered for 2 s" in around.said.getvalue()
