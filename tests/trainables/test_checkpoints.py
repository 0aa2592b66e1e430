"""A replicate's folder and trained parents: one trainer at a time, whatever dies or is damaged on the way."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from trainables.training.checkpoints import CheckpointFolder, trained_once
from trainables.training.configs import identity_of
from trainables.training.data import Dataset, prepare
from trainables.training.parents import trained_parent
from trainables.training.recipe import Recipe
from trainables.training.reports import Report

NUM_EPOCHS = 4


def train(config: Recipe, *, seed: int, dataset: Dataset, checkpoint_folder: Path | None) -> Iterator[Report]:  # noqa: ARG001
    """A stand-in for a trainable: its weight counts the epochs, and every epoch that it computes is a line in a log."""

    def epochs(folder: CheckpointFolder | None) -> Iterator[Report]:
        weight, reports = torch.full((1000,), float(seed)), list[Report]()
        if folder and (checkpoint := folder.load()):
            state, reports = checkpoint
            weight = state["weight"]
            yield from reports
        for epoch in range(len(reports) + 1, config.epochs + 1):
            time.sleep(0.02)
            weight = weight + 1
            reports.append(Report(epoch, time.time_ns(), {"train/loss": 1 / epoch}, {}, config.epochs))
            if checkpoint_folder:
                with (checkpoint_folder.parent / "log").open("a") as log:
                    log.write(f"{epoch}\n")
            if folder and epoch == config.epochs:
                folder.finish(reports, {"weight": weight})
            elif folder:
                folder.save({"weight": weight}, reports)
            yield reports[-1]

    return trained_once(checkpoint_folder, epochs)


CONFIG = Recipe(epochs=NUM_EPOCHS)


def parent_of(child: Path, dataset: Dataset) -> tuple[dict[str, Tensor], list[Report]]:
    return trained_parent(train, CONFIG, trainable="stand_in", seed=3, dataset=dataset, checkpoint_folder=child)


def computed(store: Path) -> list[int]:
    """The epochs that were computed, by anybody, in order."""
    return [int(line) for line in (store / "log").read_text().split()]


@pytest.fixture(scope="module")
def dataset(tiny_npz: Path, data_folder: Path) -> Dataset:
    return prepare(str(tiny_npz), data_folder)


@pytest.fixture
def folder(tmp_path: Path, dataset: Dataset) -> Path:
    """Where the parent of every child in ``tmp_path`` lies."""
    return tmp_path / identity_of("stand_in", CONFIG, data_digest=dataset.digest, seed=3)


def test_a_parent_is_trained_once(folder: Path, dataset: Dataset, tmp_path: Path) -> None:
    """Every child gets the same weights and reports; only the first one trains; the folder is left without litter."""
    weights, reports = parent_of(tmp_path / "child1", dataset)
    again, same_reports = parent_of(tmp_path / "child2", dataset)
    assert weights["weight"].tolist() == again["weight"].tolist() == [3.0 + NUM_EPOCHS] * 1000
    assert reports == same_reports
    assert computed(tmp_path) == [1, 2, 3, 4]
    assert sorted(path.name for path in folder.iterdir()) == ["reports.json", "weights.pt"]


def test_a_parent_without_a_store(dataset: Dataset) -> None:
    """A child that is trained without a folder gets its parent all the same."""
    weights, reports = trained_parent(train, CONFIG, trainable="stand_in", seed=0, dataset=dataset, checkpoint_folder=None)
    assert float(weights["weight"][0]) == len(reports) == NUM_EPOCHS


def test_an_interrupted_parent_is_resumed(folder: Path, dataset: Dataset, tmp_path: Path) -> None:
    """What an earlier process computed is not computed again."""
    reports = train(CONFIG, seed=3, dataset=dataset, checkpoint_folder=folder)
    next(reports)
    next(reports)
    reports.close()  # type: ignore[attr-defined]  # a generator
    parent_of(tmp_path / "child", dataset)
    assert computed(tmp_path) == [1, 2, 3, 4]


@pytest.mark.parametrize("damage", ["truncated", "a bit", "garbage", "empty", "gone"])
def test_damaged_weights_are_trained_again(damage: str, folder: Path, dataset: Dataset, tmp_path: Path) -> None:
    """Weights that are not what was saved never reach a child; the parent is trained again, to the same weights."""
    weights, _ = parent_of(tmp_path / "child1", dataset)
    harm(folder / "weights.pt", damage)
    assert CheckpointFolder(folder).finished_reports() == []
    with pytest.raises(OSError, match="missing or damaged"):
        CheckpointFolder(folder).weights()
    again, _ = parent_of(tmp_path / "child2", dataset)
    assert torch.equal(again["weight"], weights["weight"])
    assert computed(tmp_path) == [1, 2, 3, 4] * 2


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_damaged_reports_are_made_again(damage: str, folder: Path, dataset: Dataset, tmp_path: Path) -> None:
    """A replicate whose reports cannot be read has not finished."""
    parent_of(tmp_path / "child1", dataset)
    harm(folder / "reports.json", damage)
    assert CheckpointFolder(folder).reports() == []
    parent_of(tmp_path / "child2", dataset)
    assert json.loads((folder / "reports.json").read_text())["reports"][-1]["epoch"] == NUM_EPOCHS


@pytest.mark.parametrize("damage", ["truncated", "a bit", "garbage", "empty"])
def test_a_damaged_checkpoint_counts_as_absent(damage: str, folder: Path, dataset: Dataset, tmp_path: Path) -> None:
    """Training starts over from its beginning, and ends as if nothing had happened."""
    reports = train(CONFIG, seed=3, dataset=dataset, checkpoint_folder=folder)
    next(reports)
    reports.close()  # type: ignore[attr-defined]  # a generator
    harm(folder / "checkpoint.pt", damage)
    weights, _ = parent_of(tmp_path / "child", dataset)
    assert float(weights["weight"][0]) == 3 + NUM_EPOCHS
    assert computed(tmp_path) == [1, 1, 2, 3, 4]


def harm(file: Path, damage: str) -> None:
    content = file.read_bytes()
    middle = len(content) // 2  # among the tensors' bytes
    damaged = {
        "truncated": content[:-30],
        "a bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "garbage": bytes(len(content)),
        "empty": b"",
    }
    file.unlink()
    if damage != "gone":
        file.write_bytes(damaged[damage])


def test_two_processes_that_want_the_same_parent(dataset: Dataset, tmp_path: Path, tiny_npz: Path, data_folder: Path) -> None:
    """One trains it, the other waits; if the one is killed (-9) in the middle, the other goes on from its checkpoint."""
    code = (
        "import sys; from pathlib import Path; from tests.trainables.test_checkpoints import *\n"
        "parent_of(Path(sys.argv[1]), prepare(sys.argv[2], Path(sys.argv[3])))"
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
