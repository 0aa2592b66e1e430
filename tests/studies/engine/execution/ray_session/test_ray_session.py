"""Where a Ray of one's own keeps its files, and what is said if it cannot start."""

import errno
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
import ray

from studies.engine.errors import StudyError
from studies.engine.execution.ray_session import ray_session as module
from studies.engine.execution.ray_session.ray_session import ray_session


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder; its path is too long for sockets."""
    place = tmp_path / ("long" * 20)
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    return place


def test_a_long_temporary_folder(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link to it is short enough; the files lie in the temporary folder; others can read neither; both go at the end."""
    monkeypatch.setattr(module, "SHORT_PLACES", (str(tmp_path / "missing"), "/tmp"))
    with ExitStack() as stack:
        folder = module._folder_of_ray(stack)
        assert len(str(folder)) <= module.LONGEST_FOLDER
        (folder / "file").write_text("of Ray")
        (written,) = place.rglob("file")
        assert written.parents[1].stat().st_mode & 0o777 == 0o700
        assert folder.parents[1].stat().st_mode & 0o777 == 0o700
    assert not folder.parents[1].exists()
    assert not list(place.iterdir())


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ["No space left on device", "set TMPDIR to a folder that has some"]),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x"),
            ["Permission denied", "set TMPDIR to a folder that can be written"],
        ),
        (OSError(errno.EMFILE, "Too many open files"), ["Too many open files", "ulimit -n 4096"]),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), ["temporarily unavailable", "ulimit -u"]),
        (Exception("The current node timed out during startup.\nMore"), ["The current node timed out during startup.", "memory"]),
    ],
)
def test_a_ray_that_does_not_start(error: Exception, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason and its repair; the address, which nobody gave, is not blamed."""

    def init(*_: object, _temp_dir: str, **__: object) -> None:
        logs = Path(_temp_dir, "session_1", "logs")
        logs.mkdir(parents=True)
        (logs / "raylet.err").write_text("all is well\n(raylet) Check failed: fork\n")
        raise error

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(StudyError) as raised, ray_session(None, 1):
        pass
    (problem,) = raised.value.problems
    assert problem.where == "ray"
    assert "raylet.err: (raylet) Check failed: fork" in problem.value
    assert all(word in str(problem) for word in words)
    assert "--address" not in str(problem)


def test_a_temporary_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, before anything is started."""
    monkeypatch.setenv("RAY_TMPDIR", "/proc/no such folder")
    with pytest.raises(StudyError, match=r"no such folder(.|\n)*set TMPDIR"), ray_session(None, 1):
        pass
