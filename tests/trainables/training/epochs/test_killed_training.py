"""A real process that is killed while it trains for seconds and selects an epoch; another one ends what it began."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from trainables.training.checkpoints import CheckpointFolder

SECONDS = 2.0
NUM_BEFORE = 10
"""How many epochs the process that is killed reports; each takes some hundredths of a second."""
TRAIN = f"""
import sys, time
from pathlib import Path
from trainables import ann
from trainables.data.datasets import prepare

data, folder = sys.argv[1:]
config = ann.Config(
    data=data,
    layout="4 M 4",
    batch_size=16,
    validation_fraction=0.25,
    device="cpu",
    time_budget_s={SECONDS},
    selection="best_on_validation",
)
dataset = prepare(data, Path(data).parent)
start = time.monotonic()
for report in ann.train(config, seed=0, dataset=dataset, checkpoint_folder=folder):
    print(report.epoch, report.metrics["time/spent_s"], report.final, time.monotonic() - start, flush=True)
"""


class Line(NamedTuple):
    """What a process says of an epoch."""

    epoch: int
    spent_s: float
    final: bool
    clock_s: float


def line_of(text: str) -> Line:
    epoch, spent_s, final, clock_s = text.split()
    return Line(int(epoch), float(spent_s), final == "True", float(clock_s))


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.0, 0.013, 0.05])
def test_a_killed_training_goes_on_with_the_seconds_that_are_left(delay_s: float, tiny_npz: Path, tmp_path: Path) -> None:
    """Killed at any moment, its reports are repeated as they were, no second counts twice, none is missing to the budget, and the
    best epoch of both processes is the result."""
    folder = tmp_path / "run"
    command = [sys.executable, "-c", TRAIN, str(tiny_npz), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        before = [line_of(process.stdout.readline()) for _ in range(NUM_BEFORE)]
        time.sleep(delay_s)
        os.kill(process.pid, signal.SIGKILL)
        before += map(line_of, process.stdout)
    assert process.returncode == -signal.SIGKILL
    assert not CheckpointFolder(folder).finished_reports()
    assert before[-1].spent_s < SECONDS
    saved = CheckpointFolder(folder).load()
    assert saved is not None
    state, old = saved
    assert len(old) in (len(before), len(before) + 1)  # a checkpoint is written before its report is sent
    assert state["spent_s"] == pytest.approx(old[-1].metrics["time/spent_s"], abs=1e-3)

    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    after = [line_of(text) for text in output.splitlines()]
    assert [line.epoch for line in after] == list(range(1, len(after) + 1))
    assert [(line.epoch, line.spent_s) for line in after[: len(before)]] == [(line.epoch, line.spent_s) for line in before]
    assert [line.final for line in after] == [False] * (len(after) - 1) + [True]
    new = after[len(old) :]
    took = [line.spent_s - earlier.spent_s for earlier, line in zip(after[len(old) - 1 :], new, strict=False)]
    passed = [line.clock_s - earlier.clock_s for earlier, line in zip(after[len(old) - 1 :], new, strict=False)]
    assert all(0 < spent <= clock for spent, clock in zip(took, passed, strict=True))
    assert after[-1].spent_s >= SECONDS > after[-2].spent_s
    assert sum(took) >= SECONDS - old[-1].metrics["time/spent_s"]

    reports = CheckpointFolder(folder).finished_reports()
    last = reports[-1]
    accuracies = [report.metrics["val/accuracy"] for report in reports[:-1]] + [last.metrics["selection/last_val_accuracy"]]
    assert last.metrics["val/accuracy"] == max(accuracies)
    assert last.metrics["selection/epoch"] == accuracies.index(max(accuracies)) + 1
    assert CheckpointFolder(folder).weights()
