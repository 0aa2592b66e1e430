"""Processes that train are told apart by their signs of life: alive, frozen, or still starting."""

import pytest

from studies.engine.execution.ray_session import heartbeats
from studies.engine.execution.ray_session.heartbeats import Heartbeats, _key


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """What is written on the head; every look of the driver counts."""
    notes: dict[str, bytes] = {}
    monkeypatch.setattr(heartbeats, "read_note", notes.get)
    monkeypatch.setattr(Heartbeats, "_looked_at", property(lambda _: -1e9, lambda *_: None), raising=False)
    return notes


def test_frozen_processes_are_found(notes: dict[str, bytes]) -> None:
    """After the looks that a deadline leaves; one that beats, and one that has not begun to, are left alone."""
    beats = Heartbeats(deadline_s=20)
    assert beats.patience_s == 20
    notes[_key("frozen")] = b"7"
    found = []
    for number in range(6):
        notes[_key("alive")] = str(number).encode()
        found.append(beats.silent(["frozen", "alive", "starting"]))
    assert found == [set()] * 4 + [{"frozen"}] * 2
    notes[_key("frozen")] = b"8"  # it was thawed
    assert beats.silent(["frozen"]) == set()


def test_a_process_that_is_new_is_given_its_time(notes: dict[str, bytes]) -> None:
    """What was known of an actor is forgotten with it."""
    beats = Heartbeats(deadline_s=1)
    assert beats.patience_s == 15  # less would be chance
    notes[_key("a")] = b"1"
    assert [bool(beats.silent(["a"])) for _ in range(3)] == [False] * 3
    assert beats.silent([]) == set()
    assert beats.silent(["a"]) == set()


def test_patience_has_an_end() -> None:
    """However long an epoch may take: three minutes."""
    assert Heartbeats(deadline_s=43_200).patience_s == 180
