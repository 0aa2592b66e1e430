"""Where files of replicates lie: folders and object stores behave alike, and no message gives a key away."""

import errno
import fcntl
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import BUCKET, s3_uri
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.files import Location, beside, files_at, inside, without_keys


def write(content: bytes) -> Any:
    return lambda file: file.write(content)


def test_files_are_what_was_put_last(store: Location) -> None:
    """A file is read as it was put last, and is gone once it is deleted; what was never there is None, and no error to delete."""
    files = files_at(inside(store, "replicate"))
    assert files.read("a") is None
    files.delete("a")
    for content in (b"first", b"", b"second" * 10**6):
        files.put("a", write(content))
        assert files_at(inside(store, "replicate")).read("a") == content
    assert files_at(inside(store, "another")).read("a") is None
    files.delete("a", "b")
    assert files.read("a") is None


def test_a_file_is_kept_under_another_name(store: Location) -> None:
    """A kept file survives the next put of its name; to keep what is not there changes nothing."""
    files = files_at(store)
    files.put("old", write(b"old"))
    files.keep("new", "old")
    assert files.read("old") == b"old"
    files.put("new", write(b"1"))
    files.keep("new", "old")
    files.put("new", write(b"2"))
    assert (files.read("old"), files.read("new")) == (b"1", b"2")


def test_a_put_that_fails_changes_nothing(store: Location) -> None:
    """Where writing raises in the middle, the file is as it was, and nothing else is left."""

    def fail(file: IO[bytes]) -> None:
        file.write(b"half of it")
        raise KeyError("the other half")

    files = files_at(store)
    files.put("a", write(b"whole"))
    for name in "ab":
        with pytest.raises(KeyError):
            files.put(name, fail)
    assert (files.read("a"), files.read("b")) == (b"whole", None)
    if isinstance(store, Path):
        assert [path.name for path in store.iterdir()] == ["a"]


def test_a_file_uri_is_a_path(tmp_path: Path) -> None:
    """file:/// names a folder of this machine, whose lock and all else is a folder's."""
    files = files_at(f"file://{tmp_path}/with%20space")
    files.put("a", write(b"1"))
    assert (tmp_path / "with space" / "a").read_bytes() == b"1"
    assert files_at(str(tmp_path / "with space")).read("a") == b"1"
    with pytest.raises(ValueError, match="must name no host"):
        files_at("file://server/folder")


def test_places_beside_and_inside() -> None:
    """A location's neighbours are of its kind: a path's are paths, a URI's have its keys and its query."""
    assert beside(Path("/store/child"), "parent") == Path("/store/parent")
    assert beside("/store/what?/child", "parent") == Path("/store/what?/parent")
    assert inside(Path("/store"), "checkpoints", "child") == Path("/store/checkpoints/child")
    assert inside("s3://k:s@bucket/?region=x", "checkpoints", "child") == "s3://k:s@bucket/checkpoints/child?region=x"
    assert beside("s3://k:s@bucket/store/child?region=x", "parent") == "s3://k:s@bucket/store/parent?region=x"
    assert beside("gs://bucket/child/", "parent") == "gs://bucket/parent"


@given(st.text(min_size=1).map(lambda text: f"🔑{text}🔑"), st.booleans())
def test_keys_are_never_told(key: str, has_path: bool) -> None:
    """Whatever characters a key is made of, where a location is described there is none of it; the bucket is."""
    told = without_keys(f"s3://somebody:{key}@bucket{'/store' if has_path else ''}?region=us-east-1")
    assert told == ("s3://bucket/store" if has_path else "s3://bucket")


@pytest.mark.parametrize(
    "uri",
    [
        "s4://somebody:sesame@bucket/store",
        "s3://somebody:sesame@bucket/store?colour=sesame",
        "s3://somebody:ses/sesame@bucket",
        "s3://somebody:sesame@",
        "://somebody:sesame@bucket",
    ],
)
def test_uris_that_nobody_knows(uri: str) -> None:
    """A URI that cannot be understood is refused with the rule, and without its keys, in the error and in what led to it."""
    with pytest.raises(ValueError, match="a location must be a path or a URI that pyarrow knows") as raised:
        CheckpointFolder(uri)
    assert "sesame" not in str(raised.value)
    assert raised.value.__context__ is None


def test_errors_of_a_store_name_no_keys(s3_endpoint: str) -> None:
    """A bucket that is not there is an OSError, on which a worker tries again; weights that are missing are one, too."""
    uri = s3_uri(s3_endpoint)
    nowhere = files_at(uri.replace(f"@{BUCKET}/", "@nowhere/"))
    with pytest.raises(OSError, match="nowhere") as raised:
        nowhere.put("a", write(b"1"))
    assert "pass" not in str(raised.value)
    with pytest.raises(OSError, match=rf"s3://{BUCKET}/.*/weights\.pt is missing or damaged") as missing:
        CheckpointFolder(uri).weights()
    assert "pass" not in str(missing.value)


def test_a_shared_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system knows no locks nobody waits, and the lock file goes all the same; other errors are errors."""
    answers = iter([errno.ENOLCK, errno.ENOSYS, errno.EIO])

    def flock(*_: object) -> None:
        raise OSError(next(answers), "no")

    monkeypatch.setattr(fcntl, "flock", flock)
    files = files_at(tmp_path)
    for _ in range(2):
        with files.lock():
            pass
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OSError, match="no"), files.lock():
        pass
