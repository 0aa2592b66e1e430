"""Archives that somebody has made up: each is refused in one sentence, in bounded time and memory, and nothing is left of it."""

import copy
import hashlib
import json
import random
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from studies.cli import app
from studies.engine.archives import zip_format
from tests.new_stores import new_store

Files = dict[str, bytes]
Change = Callable[[Any], object]
RUNS = "runs/00001.jsonl"
MOST_SECONDS = 20
NUM_MUTATIONS = 400


@pytest.fixture(scope="module")
def files(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """What is in an archive of a real study, by name."""
    file = tmp_path_factory.mktemp("archive") / "moved.zip"
    result = command("export", "moved", str(file), "--storage", str(template))
    assert result.exit_code == 0, result.output
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def sealed(files: Files, file: Path) -> Path:
    """An archive of these files, with right digests."""
    others = {name: content for name, content in files.items() if name != "SHA256SUMS"}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in others.items())
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**others, "SHA256SUMS": sums.encode()}.items():
            archive.writestr(name, content)
    return file


def changed(
    files: Files, *, manifest: Callable[[Any], object] | None = None, run: Callable[[Any], object] | None = None
) -> Files:
    """The files, with changes to the manifest, and to the second run."""
    described, lines = json.loads(files["manifest.json"]), files[RUNS].splitlines()
    if manifest:
        manifest(described)
    if run:
        second = json.loads(lines[1])
        run(second)
        lines[1] = json.dumps(second).encode()
    return {**files, "manifest.json": json.dumps(described).encode(), RUNS: b"\n".join(lines) + b"\n"}


def without(files: Files, name: str) -> Files:
    return {other: content for other, content in files.items() if other != name}


HOSTILE: dict[str, tuple[Callable[[Files], Files], str]] = {
    "runs in words": (lambda files: changed(files, manifest=lambda m: m.update(num_runs="many")), "'num_runs' must be a whole"),
    "countless runs": (lambda files: changed(files, manifest=lambda m: m.update(num_runs=10**400)), "'num_runs'"),
    "a path as a study": (
        lambda files: changed(files, manifest=lambda m: m.update(study="../x")),
        "'study' must match the pattern",
    ),
    "a number as a study": (lambda files: changed(files, manifest=lambda m: m.update(study=5)), "'study' must be text"),
    "no experiment": (lambda files: changed(files, manifest=lambda m: m.update(experiment=[])), "'experiment'"),
    "odd tags": (lambda files: changed(files, manifest=lambda m: m["experiment"].update(tags={"a": 5})), "'experiment.tags.a'"),
    "a deep manifest": (lambda files: {**files, "manifest.json": b"[" * 100_000}, "no manifest.json of such an archive"),
    "a deep run": (lambda files: {**files, RUNS: files[RUNS] + b"[" * 1_000_000 + b"\n"}, "run 6: 'all of it' must be valid"),
    "a run that is none": (lambda files: {**files, RUNS: b"7\n"}, "run 1: 'all of it'"),
    "tags in a list": (lambda files: changed(files, run=lambda run: run.update(tags=[])), "run 2: 'tags' must be"),
    "a short point": (lambda files: changed(files, run=lambda run: run["metrics"].update(x=[[1, 2]])), "run 2: 'metrics.x.0"),
    "a late start": (lambda files: changed(files, run=lambda run: run.update(begun_at_ms=10**30)), "'begun_at_ms'"),
    "an odd status": (lambda files: changed(files, run=lambda run: run.update(status="DONE")), "'status' must be"),
    "a path as a key": (lambda files: changed(files, run=lambda run: run.update(key="../../x")), "'key' must match"),
    "another key": (
        lambda files: changed(files, run=lambda run: run.update(key="abc")),
        "is none of the study moved by its tags",
    ),
    "no id": (lambda files: changed(files, run=lambda run: run.update(run_id="")), "'run_id' must match"),
    "a model without fields": (lambda files: changed(files, run=lambda run: run.update(models=[{}])), "'models.0."),
    "a number as a data set": (lambda files: changed(files, run=lambda run: run.update(datasets=[1])), "'datasets.0'"),
    "an odd metric": (lambda files: changed(files, run=lambda run: run["metrics"].update({"../x": []})), "metrics.../x"),
    "of another study": (
        lambda files: changed(files, run=lambda run: run["tags"].update({"spikesweep.study": "other"})),
        "is none of the study moved by its tags",
    ),
    "a run twice": (lambda files: {**files, RUNS: files[RUNS] + files[RUNS].splitlines()[1]}, "is there twice"),
    "no study run": (lambda files: {**files, RUNS: b"\n".join(files[RUNS].splitlines()[1:])}, "the study's own is not the first"),
    "a run less": (lambda files: {**files, RUNS: b"\n".join(files[RUNS].splitlines()[:-1])}, "its manifest says 5"),
    "no record": (lambda files: without(files, "artifacts/study/study.json"), "lacks moved: study.json"),
    "a file that is a folder": (lambda files: {**files, "artifacts/study/study.json/x": b""}, "as a file and as a folder"),
    "a long name": (lambda files: {**files, "artifacts/" + 300 * "x": b""}, "must have plain paths"),
    "an absolute path": (lambda files: {**files, "/etc/x": b""}, "must have plain paths"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives(case: str, files: Files, tmp_path: Path) -> None:
    """One problem, exit code 2, and no store was made."""
    change, said = HOSTILE[case]
    file = sealed(change(files), tmp_path / "bad.zip")
    assert_refused(file, said)


def assert_refused(file: Path, said: str) -> None:
    begun = time.monotonic()
    result = command("import", str(file), "--storage", str(file.parent / "target"))
    assert time.monotonic() - begun < MOST_SECONDS
    assert (result.exit_code, type(result.exception)) == (2, SystemExit), result.output
    shown = " ".join(result.output.split())
    assert "error: 1 problem" in shown
    assert said in shown
    assert len(shown) < 2000
    assert {path.name for path in file.parent.iterdir()} == {file.name}


def test_bombs(files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is far larger than its archive is not unpacked, and no line is held in memory that is longer than a run's."""
    file = tmp_path / "bad.zip"
    monkeypatch.setattr(zip_format, "LARGEST_UNSUSPECTED", 1 << 20)
    assert_refused(sealed({**files, "artifacts/study/zeros": bytes(100 << 20)}, file), "times its size")
    monkeypatch.setattr(zip_format, "LARGEST_UNSUSPECTED", 1 << 30)
    monkeypatch.setattr(zip_format, "MOST_LINE_BYTES", 1 << 16)
    assert_refused(sealed({**files, RUNS: files[RUNS] + b" " * (1 << 20)}, file), "has a line of more than")
    monkeypatch.undo()
    assert_refused(sealed({**files, "manifest.json": bytes(17 << 20)}, file), "its manifest.json has more than 16 MiB")
    content = sealed(files, file).read_bytes()
    name = b"artifacts/study/study.json"
    with zipfile.ZipFile(file) as archive:
        size = archive.getinfo(name.decode()).file_size.to_bytes(4, "little")
    place = content.rindex(name) - 46 + 24  # of the declared size in the central directory
    assert content[place : place + 4] == size
    file.write_bytes(content[:place] + (7).to_bytes(4, "little") + content[place + 4 :])
    assert_refused(file, "an archive must be as it was written")


def test_links(files: Files, tmp_path: Path) -> None:
    """A link in an archive is refused, and so is one among the artifacts that are exported."""
    file = sealed(files, tmp_path / "bad.zip")
    link = zipfile.ZipInfo("artifacts/study/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert_refused(file, "and be no links")


EVIL: list[Any] = [None, True, -1, 0, 10**30, 1e308, [], [[]], [None] * 50, {}, {"": {}}]
EVIL += ["", "x" * 10_000, "../x", "\x00", "nan", "é\ud800"]


def mutated(content: Any, choices: random.Random) -> Any:
    """The content with something wrong at one place."""
    content = copy.deepcopy(content)
    node, places = content, []
    while isinstance(node, dict | list) and node:
        key = choices.choice(sorted(node) if isinstance(node, dict) else range(len(node)))
        places.append((node, key))
        node = node[key]
    owner, key = choices.choice(places)
    match choices.randrange(3):
        case 0:
            del owner[key]
        case 1 if isinstance(owner, dict):
            owner[choices.choice(["", "x" * 300, "a/../b", "study", "\n"])] = owner.pop(key)
        case _:
            owner[key] = choices.choice(EVIL)
    return content


@pytest.mark.slow
def test_mutated_archives(files: Files, tmp_path: Path) -> None:
    """Hundreds of mutations of a real archive, for a store that has the study and for one that has not: each is imported or
    refused, and a refused one leaves the store as it was.

    Every import has a store of its own: SQLite takes a file that is put in the place of one with as many changes for the same.
    """
    choices = random.Random(0)
    whole = sealed(files, tmp_path / "whole.zip")
    codes = set()
    for number in range(NUM_MUTATIONS):
        lines = files[RUNS].splitlines()
        place = choices.randrange(-1, len(lines))
        part = "manifest.json" if place < 0 else RUNS
        if place < 0:
            content = json.dumps(mutated(json.loads(files[part]), choices)).encode()
        else:
            lines[place] = json.dumps(mutated(json.loads(lines[place]), choices)).encode()
            content = b"\n".join(lines) + b"\n"
        target = tmp_path / str(number)
        new_store(target / "mlflow.db")
        if number % 4:
            assert command("import", str(whole), "--storage", str(target)).exit_code == 0
        before = (target / "mlflow.db").read_bytes()
        result = command("import", str(sealed({**files, part: content}, tmp_path / "bad.zip")), "--storage", str(target))
        assert result.exit_code in (0, 2), (number, result.output, result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit), (number, result.exception)
        assert result.exit_code == 0 or (target / "mlflow.db").read_bytes() == before, (number, result.output)
        shutil.rmtree(target)
        codes.add(result.exit_code)
    assert codes == {0, 2}
