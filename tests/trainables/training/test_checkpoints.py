"""A replicate's folder and trained source networks: one trainer at a time, whatever dies or is damaged, in folders and in S3."""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pyarrow import fs
from torch import Tensor

from trainables.data.datasets import Dataset, prepare
from trainables.training.checkpoints import CheckpointFolder, remove_all_leftovers, trained_once
from trainables.training.configs import identity_of
from trainables.training.epoch_report import EpochReport
from trainables.training.files import Location, beside, files_at, inside
from trainables.training.pretraining import trained_source_network
from trainables.training.recipe import Recipe

NUM_EPOCHS = 4


def train(config: Recipe, *, seed: int, checkpoint_folder: Location | None, **unused: object) -> Iterator[EpochReport]:  # noqa: ARG001
    """A stand-in for a trainable: its weight counts the epochs, and every epoch that it computes is a line in a log."""

    def epochs(folder: CheckpointFolder | None) -> Iterator[EpochReport]:
        weight, reports = torch.full((1000,), float(seed)), list[EpochReport]()
        if folder and (checkpoint := folder.load()):
            state, reports = checkpoint
            weight = state["weight"]
            yield from reports
        for epoch in range(len(reports) + 1, config.epochs + 1):
            time.sleep(0.02)
            weight = weight + 1
            reports.append(EpochReport(epoch, time.time_ns(), {"train/loss": 1 / epoch}, {}, config.epochs))
            if checkpoint_folder:
                write_to_log(beside(checkpoint_folder, ""), epoch)
            if folder and epoch == config.epochs:
                folder.finish(reports, {"weight": weight})
            elif folder:
                folder.save({"weight": weight}, reports)
            yield reports[-1]

    return trained_once(checkpoint_folder, epochs)


def write_to_log(store: Location, epoch: int) -> None:
    lines = (files_at(store).read("log") or b"") + f"{epoch}\n".encode()
    files_at(store).put("log", lambda file: file.write(lines))


CONFIG = Recipe(epochs=NUM_EPOCHS)


def source_of(child: Location, dataset: Dataset) -> tuple[dict[str, Tensor], list[EpochReport]]:
    return trained_source_network(train, CONFIG, trainable="stand_in", seed=3, dataset=dataset, checkpoint_folder=child)


def computed(store: Location) -> list[int]:
    """The epochs that were computed, by anybody, in order."""
    return [int(line) for line in (files_at(store).read("log") or b"").split()]


def names(location: Location) -> list[str]:
    """Of all files there, in order."""
    if isinstance(location, Path):
        return sorted(path.name for path in location.iterdir())
    store, prefix = fs.FileSystem.from_uri(location)
    return sorted(found.base_name for found in store.get_file_info(fs.FileSelector(prefix)))


@pytest.fixture(scope="module")
def dataset(tiny_npz: Path, data_folder: Path) -> Dataset:
    return prepare(str(tiny_npz), data_folder)


@pytest.fixture
def folder(store: Location, dataset: Dataset) -> Location:
    """Where the source network of every child in ``store`` lies."""
    return inside(store, identity_of("stand_in", CONFIG, data_digest=dataset.digest, seed=3))


def test_a_source_network_is_trained_once(folder: Location, dataset: Dataset, store: Location) -> None:
    """Every child gets the same weights and reports; only the first one trains; the folder is left without litter."""
    weights, reports = source_of(inside(store, "child1"), dataset)
    again, same_reports = source_of(inside(store, "child2"), dataset)
    assert weights["weight"].tolist() == again["weight"].tolist() == [3.0 + NUM_EPOCHS] * 1000
    assert reports == same_reports
    assert computed(store) == [1, 2, 3, 4]
    assert names(folder) == ["reports.json", "weights.pt"]


def test_a_source_network_without_a_store(dataset: Dataset) -> None:
    """A child that is trained without a folder gets its source network all the same."""
    weights, reports = trained_source_network(
        train, CONFIG, trainable="stand_in", seed=0, dataset=dataset, checkpoint_folder=None
    )
    assert float(weights["weight"][0]) == len(reports) == NUM_EPOCHS


def test_an_interrupted_source_network_is_resumed(folder: Location, dataset: Dataset, store: Location) -> None:
    """What an earlier process computed is not computed again."""
    train_for(2, folder, dataset)
    source_of(inside(store, "child"), dataset)
    assert computed(store) == [1, 2, 3, 4]


@pytest.mark.parametrize("damage", ["truncated", "a bit", "garbage", "empty", "gone"])
def test_damaged_weights_are_trained_again(damage: str, folder: Location, dataset: Dataset, store: Location) -> None:
    """Weights that are not what was saved never reach a child; the source network is trained again, to the same weights. Its
    reports are still there for whoever wants no more."""
    weights, reports = source_of(inside(store, "child1"), dataset)
    harm(folder, "weights.pt", damage)
    assert CheckpointFolder(folder).finished_reports() == []
    assert CheckpointFolder(folder).reports() == CheckpointFolder(folder).finished_reports(weights_too=False) == reports
    assert CheckpointFolder(folder).kept_weights() is None
    with pytest.raises(OSError, match="missing or damaged"):
        CheckpointFolder(folder).weights()
    again, _ = source_of(inside(store, "child2"), dataset)
    assert torch.equal(again["weight"], weights["weight"])
    assert computed(store) == [1, 2, 3, 4] * 2


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_damaged_reports_are_made_again(damage: str, folder: Location, dataset: Dataset, store: Location) -> None:
    """A replicate whose reports cannot be read has not finished."""
    source_of(inside(store, "child1"), dataset)
    harm(folder, "reports.json", damage)
    assert CheckpointFolder(folder).reports() == []
    source_of(inside(store, "child2"), dataset)
    assert json.loads(files_at(folder).read("reports.json") or b"")["reports"][-1]["epoch"] == NUM_EPOCHS


@pytest.mark.parametrize("damage", ["truncated", "a bit", "garbage", "empty", "gone"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    damage: str, folder: Location, dataset: Dataset, store: Location
) -> None:
    """One epoch is computed again, to the same weights, however often it happens; nothing is left at the end."""
    train_for(3, folder, dataset)
    for _ in range(2):
        harm(folder, "checkpoint.pt", damage)
        train_for(3, folder, dataset)
    weights, _ = source_of(inside(store, "child"), dataset)
    assert float(weights["weight"][0]) == 3 + NUM_EPOCHS
    assert computed(store) == [1, 2, 3, 3, 3, 4]
    assert names(folder) == ["reports.json", "weights.pt"]


@pytest.mark.parametrize("damage", ["truncated", "a bit", "garbage", "empty"])
def test_damaged_checkpoints_count_as_absent(damage: str, folder: Location, dataset: Dataset, store: Location) -> None:
    """Where none is whole, training starts over from its beginning, and ends as if nothing had happened."""
    train_for(2, folder, dataset)
    harm(folder, "checkpoint.pt", damage)
    harm(folder, "checkpoint.previous.pt", damage)
    assert CheckpointFolder(folder).reports() == []
    weights, _ = source_of(inside(store, "child"), dataset)
    assert float(weights["weight"][0]) == 3 + NUM_EPOCHS
    assert computed(store) == [1, 2, 1, 2, 3, 4]


def train_for(num_epochs: int, folder: Location, dataset: Dataset) -> None:
    """And stop there."""
    reports = train(CONFIG, seed=3, dataset=dataset, checkpoint_folder=folder)
    list(itertools.islice(reports, num_epochs))
    reports.close()  # type: ignore[attr-defined]  # a generator


def harm(folder: Location, name: str, damage: str) -> None:
    files = files_at(folder)
    content = files.read(name)
    assert content is not None
    middle = len(content) // 2  # among the tensors' bytes
    damaged = {
        "truncated": content[:-30],
        "a bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "garbage": bytes(len(content)),
        "empty": b"",
    }
    files.delete(name)
    if damage != "gone":
        files.put(name, lambda file: file.write(damaged[damage]))


KILLED_WHILE_SAVING = """
import itertools, os, signal, sys, torch
from pathlib import Path
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.epoch_report import EpochReport

def save(folder, epoch):
    checkpoints = CheckpointFolder(folder)
    checkpoints.load()
    reports = [EpochReport(e, 0, {}, {}, 9) for e in range(1, epoch + 1)]
    checkpoints.save({"weight": torch.full((1000,), float(epoch))}, reports)

def saves(folder, epoch, killed_before):
    process = os.fork()
    if process == 0:
        numbers = itertools.count()
        def watch(event, arguments):
            if event in ("open", "os.rename", "os.remove") and str(folder) in str(arguments[0]):
                if next(numbers) == killed_before:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(watch)
        save(folder, epoch)
        os._exit(0)
    return os.waitpid(process, 0)[1] == 0

for damaged in (False, True):
    for killed_before in itertools.count():
        folder = Path(sys.argv[1]) / f"{damaged}{killed_before}"
        save(folder, 1)
        save(folder, 2)
        if damaged:
            (folder / "checkpoint.pt").write_bytes(b"damaged")
        survived = saves(folder, 3, killed_before)
        num_leftovers = len(list(folder.glob("*.tmp")))
        state, reports = CheckpointFolder(folder).load()
        assert float(state["weight"][0]) == len(reports)
        with CheckpointFolder(folder).lock():
            pass
        assert not list(folder.glob("*.tmp"))
        print("damaged" if damaged else "whole", len(reports), num_leftovers)
        if survived:
            break
"""


def test_killed_while_saving(tmp_path: Path) -> None:
    """Killed (-9) before any system call of a save, one whole checkpoint is there, even where the newest one was damaged before;
    what was half written goes with the next lock.
    """
    command = [sys.executable, "-c", KILLED_WHILE_SAVING, str(tmp_path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    # before: reading, renaming to the one before, opening the new one, renaming it, the end
    assert [line for line in lines if line.startswith("whole")] == ["whole 2 0"] * 3 + ["whole 2 1", "whole 3 0"]
    # before: reading both, opening, renaming, the end
    assert [line for line in lines if line.startswith("damaged")] == ["damaged 1 0"] * 3 + ["damaged 1 1", "damaged 3 0"]


def test_two_processes_that_want_the_same_source_network(
    dataset: Dataset, tmp_path: Path, tiny_npz: Path, data_folder: Path
) -> None:
    """One trains it, the other waits; if the one is killed (-9) in the middle, the other goes on from its checkpoint."""
    code = (
        "import sys; from pathlib import Path; from tests.trainables.training.test_checkpoints import *\n"
        "source_of(Path(sys.argv[1]), prepare(sys.argv[2], Path(sys.argv[3])))"
    )
    commands = [[sys.executable, "-c", code, str(tmp_path / child), str(tiny_npz), str(data_folder)] for child in "ab"]
    both = [subprocess.Popen(command) for command in commands]
    assert [process.wait(60) for process in both] == [0, 0]
    assert computed(tmp_path) == [1, 2, 3, 4]

    (tmp_path / "log").unlink()
    identity = identity_of("stand_in", CONFIG, data_digest=dataset.digest, seed=3)
    (tmp_path / identity / "reports.json").unlink()
    first = subprocess.Popen(commands[0])
    while not (tmp_path / "log").exists():
        time.sleep(0.005)
    second = subprocess.Popen(commands[1])
    first.kill()
    first.wait()
    assert second.wait(60) == 0
    assert computed(tmp_path)[-1] == NUM_EPOCHS
    assert len(computed(tmp_path)) <= NUM_EPOCHS + 1  # the epoch in which it was killed


def test_the_lock(tmp_path: Path) -> None:
    """While one holds it, another waits; a file that a dead holder left behind is no hindrance."""
    (tmp_path / "lock").touch()
    folder = CheckpointFolder(tmp_path)
    waiter = (
        "import sys; from pathlib import Path; from trainables.training.checkpoints import CheckpointFolder\n"
        "print('up', flush=True)\n"
        "with CheckpointFolder(Path(sys.argv[1])).lock(): print('in')"
    )
    with folder.lock():
        process = subprocess.Popen([sys.executable, "-c", waiter, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
    assert process.communicate(timeout=60)[0] == "in\n"
    assert process.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("weights", [True, False])
def test_killed_between_the_reports_and_the_removal_of_the_checkpoints(weights: bool, store: Location) -> None:
    """Whoever asks for the finished replicate next removes them, and gets the same reports."""
    folder = inside(store, "0" * 32)
    reports = [EpochReport(epoch, 0, {"train/loss": 1.0}, {}, 2) for epoch in (1, 2)]
    checkpoints = CheckpointFolder(folder)
    for epoch in (1, 2):
        checkpoints.save({"weight": torch.zeros(10)}, reports[:epoch])
    left = {name: files_at(folder).read(name) or b"" for name in ("checkpoint.pt", "checkpoint.previous.pt")}
    checkpoints.finish(reports, {"weight": torch.zeros(10)} if weights else None)
    for name, content in left.items():
        files_at(folder).put(name, lambda file, content=content: file.write(content))  # type: ignore[misc]
    if isinstance(folder, Path):
        (folder / "lock").touch()  # the system has freed it
    assert list(trained_once(folder, lambda _: pytest.fail("it is trained again"))) == reports
    assert names(folder) == ["reports.json", *(["weights.pt"] if weights else [])]


def test_what_the_next_driver_removes(tmp_path: Path) -> None:
    """Of replicates whose trainer has died: checkpoints if they have finished, and what is half written; nothing of those in
    training, and nothing of anybody else.
    """
    finished, begun, in_training, theirs = (tmp_path / name for name in ("a" * 32, "b" * 32, "c" * 32, "mine"))
    half = f"checkpoint.pt.{'0' * 32}.tmp"
    for folder in (finished, begun, in_training, theirs):
        CheckpointFolder(folder).save({}, [])
        for name in ("lock", half, "notes.tmp"):
            (folder / name).touch()
    CheckpointFolder(finished).finish([EpochReport(1, 0, {}, {}, 1)])
    (finished / "checkpoint.pt").touch()
    with files_at(in_training).lock():
        (in_training / half).touch()
        remove_all_leftovers(tmp_path)
        assert names(in_training) == ["checkpoint.pt", half, "lock", "notes.tmp"]
    assert names(finished) == ["notes.tmp", "reports.json"]
    assert names(begun) == ["checkpoint.pt", "notes.tmp"]
    assert names(theirs) == ["checkpoint.pt", half, "lock", "notes.tmp"]
    remove_all_leftovers(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
