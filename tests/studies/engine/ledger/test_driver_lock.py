"""The lock of a study: under a name of its own, beside what a user keeps in the folder, and beside that of an earlier version."""

import dataclasses
import fcntl
import os
from pathlib import Path

import pytest

from studies.engine.definition.loading import load_study
from studies.engine.definition.locations import Stores
from studies.engine.errors import StudyError
from studies.engine.ledger.driver_lock import only_driver

TOKEN = b"a file of mine, without a line end"


@pytest.fixture(name="stores")
def stores_of_uv(tiny_study: Path, tmp_path: Path) -> Stores:
    """Of a study whose lock was once called uv.lock, with its ledger in a project of the user."""
    ledger = tmp_path / "project" / "uv.journal"
    ledger.parent.mkdir()
    return load_study(str(tiny_study), ["name=uv", f"ledger={ledger}"]).stores


def hidden(stores: Stores) -> Path:
    (lock,) = Path(stores.ledger).parent.glob(".*.spikesweep-lock")
    return lock


def test_a_file_of_the_user_is_left_alone(stores: Stores) -> None:
    """A study called uv neither changes uv.lock nor waits for the program that has locked it."""
    theirs = Path(stores.ledger).with_name("uv.lock")
    theirs.write_bytes(TOKEN)
    with theirs.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            only_driver(stores),
            pytest.raises(StudyError, match=f"already run by process {os.getpid()} on "),
            only_driver(stores),
        ):
            pass
    assert theirs.read_bytes() == TOKEN
    with only_driver(stores):  # the lock that was left is taken again
        pass
    assert sorted(file.name for file in theirs.parent.iterdir()) == [hidden(stores).name, "uv.lock"]


def test_a_driver_of_an_earlier_version(stores: Stores) -> None:
    """One that runs keeps the study; one that starts later finds its own lock taken, which keeps what it holds."""
    earlier = Path(stores.ledger).with_name("uv.lock")
    earlier.write_text("process 12 on lab3\n")
    with earlier.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StudyError, match="already run by process 12 on lab3"), only_driver(stores):
            pass
    with only_driver(stores), earlier.open("a+") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    assert earlier.read_text() == "process 12 on lab3\n"


@pytest.mark.parametrize("kind", ["text", "link", "pipe", "folder"])
def test_what_is_no_lock(kind: str, stores: Stores, tmp_path: Path) -> None:
    """Whatever else has the name of the lock is refused, and stays as it is."""
    with only_driver(stores):
        lock = hidden(stores)
    lock.unlink()
    (tmp_path / "notes").write_bytes(TOKEN)
    if kind == "text":
        lock.write_bytes(TOKEN)
    elif kind == "link":
        lock.symlink_to(tmp_path / "notes")
    elif kind == "pipe":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    with pytest.raises(StudyError, match="a study's lock must be a file that spikesweep can make"), only_driver(stores):
        pass
    assert kind != "text" or lock.read_bytes() == TOKEN
    assert (tmp_path / "notes").read_bytes() == TOKEN


def test_two_ledgers_in_a_folder(stores: Stores) -> None:
    """Studies of one name in two ledgers of a folder are two studies."""
    others = dataclasses.replace(stores, ledger=f"{stores.ledger}2")
    database = dataclasses.replace(stores, ledger=f"sqlite:///{stores.ledger}.db")
    with only_driver(stores), only_driver(others), only_driver(database):
        pass
    assert len(list(Path(stores.ledger).parent.glob(".*.spikesweep-lock"))) == 3
    assert not Path(f"{stores.ledger}.db").exists()
