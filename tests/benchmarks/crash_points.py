"""The crash points of a study: its driver dies after the n-th write, for one n after the other, and the same command goes on.

    python -m tests.benchmarks.crash_points [--points NUMBER] [--json]

A write is an fsync, a rename, an append to the ledger's journal, a commit of MLflow's database, or a file among MLflow's
artifacts. The driver dies by SIGKILL, so nothing is cleaned up, and only after every second point does a watchdog correct
what it left. After every third point the storage is moved, after every third copied. Then the study is run to its end, and
what it has left is held against an undisturbed study, as ``stored_studies.py`` does it; outside of its storage, of which the
original of a copy is a part, no file may have been written.

The study is small and has all that a replicate can be: one that completes after it ran out of memory, with a model, a data set
and accuracy at t; one that is pruned; two that fail. Its driver is the real one (``run_study``, with ledger, controller,
tracker, worker and checkpoints) without Ray: it trains in its own process, one epoch after the other, and the writer has
written all before the next. So every run of it has the same writes in the same order. A process that has imported everything
forks one for every driver: a point takes about a second.
"""

import argparse
import functools
import gc
import io
import itertools
import json
import math
import os
import pickle
import shutil
import signal
import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import studies.library_settings

import numpy as np
import sqlalchemy
import sqlalchemy.orm
import torch
from rich.console import Console

from analysis.records.loading import load_recorded_study
from analysis.reporting.formats.tables_csv import replicates_csv
from studies import run_record
from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.execution import controller as controller_module
from studies.engine.execution import runner
from studies.engine.execution import worker as worker_module
from studies.engine.execution.controller import ANY_NODE, StudyController
from studies.engine.execution.worker import ASSIGNMENT, FAILURE, OUT_OF_MEMORY, REPORT, ReplicateWorker
from studies.engine.ledger.journal import Journal
from studies.engine.proposing.proposals import FixedProposals
from studies.engine.recording import tracker
from studies.engine.recording.mlflow_store import connect
from tests.benchmarks.stored_studies import Stored, compare, files_in, stored_study, written_since

NAME = "crashes"
STUDY = """\
question: Where may a driver die?
trainable: bitnet
config: {{data: {data}, validation_fraction: 0.25, epochs: 2, batch_size: 16, layout: 4 M 4, time_steps: 2, backend: torch}}
baseline: {{lr: 0.005}}
factors: {{lr: [0.005, 1.0e+38]}}
seeds: 2
"""
AT_ONCE = 2
OURS = tuple(f"{Path(__file__).parents[2] / name}{os.sep}" for name in ("studies", "trainables", "analysis"))


@dataclass(frozen=True)
class Write:
    """One write of a driver: its kind, and the function of ours that asked for it."""

    kind: str
    place: str


@dataclass(frozen=True)
class Left:
    """What a study leaves whose driver died."""

    stored: Stored
    """Once it is whole."""
    outside: list[str]
    """Files outside of its storage that were written."""
    too_early: list[str]
    """What MLflow called finished before all of it was there."""


@dataclass
class Writes:
    """Counts the writes of this process, and ends it after one of them."""

    die_after: int | None = None
    seen: list[Write] = field(default_factory=list)

    def happened(self, kind: str) -> None:
        """A write has been done."""
        self.seen.append(Write(kind, _place(sys._getframe(2))))
        if len(self.seen) == self.die_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Hear of every write from now on, for as long as this process lives."""
        self._after(os, "fsync", "fsync")
        self._after(os, "replace", "rename")
        self._after(os, "rename", "rename")
        self._after(shutil, "copyfile", "artifact")
        self._after(Journal, "append_logs", "append")
        sqlalchemy.event.listen(sqlalchemy.orm.Session, "after_flush", lambda session, _: session.info.update(wrote=True))
        sqlalchemy.event.listen(sqlalchemy.orm.Session, "after_commit", self._after_commit)

    def _after(self, owner: Any, name: str, kind: str) -> None:
        write = getattr(owner, name)

        def written(*arguments: Any, **options: Any) -> Any:
            result = write(*arguments, **options)
            self.happened(kind)
            return result

        setattr(owner, name, written)

    def _after_commit(self, session: sqlalchemy.orm.Session) -> None:
        if session.info.pop("wrote", False):
            self.happened("commit")


def _place(frame: FrameType | None) -> str:
    """The innermost function of ours on the stack."""
    while frame and not frame.f_code.co_filename.startswith(OURS):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}" if frame else "elsewhere"


def drive(study: Study) -> runner.RunOutcome:
    """Run a study, or what is left of it, without Ray."""
    console = Console(file=io.StringIO())
    report = study.stores.storage / "reports" / NAME

    def write_report() -> tuple[Path, str]:
        recorded = load_recorded_study(NAME, study.stores.tracking_uri)
        report.mkdir(parents=True, exist_ok=True)
        (report / "replicates.csv").write_text(replicates_csv(recorded.runs))
        (report / "summary.md").write_text(f"{len(recorded.runs)} replicates\n")
        return report, f"{len(recorded.runs)} replicates"

    return runner.run_study(study, console, address=None, num_cpus=1, retry_failed=False, write_report=write_report)


def train_here(controller: StudyController, _: object) -> None:
    """Train what the controller assigns, in this process, with the steps of the real worker."""
    while assignment := controller.next_assignment():
        identity = assignment["identity"]
        controller.started(identity)
        controller._tracker.flush(60)
        worker = ReplicateWorker.__new__(ReplicateWorker)
        worker.setup({ASSIGNMENT: assignment})
        is_done = False
        while not is_done:
            result = worker.step()
            is_done = result["done"]
            if FAILURE in result:
                controller.failed(identity, **result[FAILURE])
            else:
                report = json.loads(result[REPORT])
                is_done |= controller.should_stop(identity, report)
                controller.reported(identity, report)
                if _runs_out_of_memory(assignment) and not is_done:
                    controller.failed(identity, OUT_OF_MEMORY, "RuntimeError: out of memory")
                    is_done = True
            controller._tracker.flush(60)
        worker.cleanup()
        controller.tick()


def _runs_out_of_memory(assignment: Mapping[str, Any]) -> bool:
    return bool(assignment["seed"] == 0 and assignment["num_micro_batches"] == 1)


class Prepared:
    """A process that has imported everything, with a template of the study's folder: its data, and an empty MLflow store.

    Args:
        folder: For everything that the studies write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        torch.set_num_threads(1)
        generator = np.random.default_rng(0)
        self._data = folder / "images.npz"
        arrays = {
            f"{split}_{what}": generator.integers(0, 255 if what == "images" else 2, shape).astype(np.uint8)
            for split in ("train", "test")
            for what, shape in (("images", (32, 4, 4, 1)), ("labels", (32,)))
        }
        np.savez(self._data, allow_pickle=False, **arrays)
        for owner, name, stand_in in (
            (runner, "ray_session", lambda *_: nullcontext()),
            (runner, "check_feasible", lambda _: None),
            (runner, "nodes", list),
            (runner, "largest_node", lambda: ANY_NODE),
            (runner, "run_replicates", train_here),
            (runner, "watched", lambda _: nullcontext()),
            (worker_module, "start_heartbeats", lambda: None),
            (tracker, "SECONDS_BETWEEN_RECORDS", math.inf),  # how many writes there are must not depend on time
            (controller_module, "SECONDS_BETWEEN_READINGS", math.inf),
            (FixedProposals, "reported", lambda _, replicate, *__: replicate.seed == 1),
        ):
            setattr(owner, name, stand_in)
        self._template = folder / "template"
        connect(f"sqlite:///{self._template / 'mlflow.db'}")
        drive(self._study(folder / "first"))  # whatever is imported late
        gc.collect()
        gc.freeze()  # else every collection of a forked process looks through, and copies, all that was imported

    def _study(self, folder: Path) -> Study:
        """The study with a storage in this folder, which is made."""
        shutil.copytree(self._template, folder / "results")
        file = folder / f"{NAME}.yaml"
        file.write_text(STUDY.format(data=self._data))
        return load_study(str(file), [f"storage={folder / 'results'}"])

    def undisturbed(self) -> tuple[Stored, list[Write]]:
        """What a study leaves that no driver dies of, and its writes."""
        folder = self._folder / "undisturbed"
        study = self._study(folder)

        def run() -> list[Write]:
            writes = Writes()
            writes.watch()
            assert drive(study).num_left == 0
            return writes.seen

        writes: list[Write] = Fork(run).result()
        return stored_study(study.stores.storage, NAME), writes

    def crash_all(self, numbers: Sequence[int]) -> list[Left | None]:
        """What ``crash`` returns for each of these writes."""
        return [self.crash(number) for number in numbers]

    def crash(self, number: int) -> Left | None:
        """What a study leaves whose driver dies after this write; None if it had no such write."""
        folder = self._folder / f"{number:04}"
        first = self._study(folder)

        def die() -> None:
            _live_in(folder)
            Writes(number).watch()
            drive(first)

        def go_on() -> Stored:
            _live_in(folder)
            if number % 2:
                tracker.end_runs_of_killed_driver(connect(study.stores.tracking_uri), NAME)
            outcome = drive(study)
            assert outcome.num_left == 0, outcome
            assert outcome.num_complete == 1, outcome
            assert not outcome.undelivered, outcome
            return stored_study(storage, NAME, seen_at=[first.stores.storage])

        try:
            if not Fork(die).was_killed():
                return None
            shutil.rmtree(folder / "tmp")  # what a process that was killed cannot remove
            too_early = _finished_too_early(first.stores.storage)
            storage = _moved(first.stores.storage, number)
            study = load_study(first.file, [f"storage={storage}"])
            before = files_in(folder)
            stored: Stored = Fork(go_on).result()
            written = written_since(before, folder)
            return Left(stored, [file for file in written if storage not in Path(file).parents], too_early)
        finally:
            shutil.rmtree(folder)


def _finished_too_early(storage: Path) -> list[str]:
    """The kinds of runs that are FINISHED in MLflow although what is written before that is not there."""
    with closing(sqlite3.connect(storage / "mlflow.db")) as database:
        tags = "(SELECT value FROM tags WHERE tags.run_uuid = runs.run_uuid AND key = '{}')"
        asked = f"SELECT run_uuid, {tags.format(run_record.KIND)}, {tags.format(run_record.CURVE)} FROM runs"
        finished = database.execute(f"{asked} WHERE status = 'FINISHED'").fetchall()
    early = []
    for run_id, kind, curve in finished:
        artifacts = storage / "artifacts" / run_id / "artifacts"
        last = artifacts / ("report/summary.md" if kind == run_record.KIND_STUDY else "model/MLmodel")
        if not last.exists() or (kind != run_record.KIND_STUDY and not curve):
            early.append(f"the {kind}'s run is FINISHED too early")
    return early


def _moved(storage: Path, number: int) -> Path:
    """A storage that is moved after every third crash, and copied after every third."""
    place = storage.with_name(("results", "moved", "copied")[number % 3])
    if place.name == "moved":
        storage.rename(place)
    elif place.name == "copied":
        shutil.copytree(storage, place)
    return place


def _live_in(folder: Path) -> None:
    """Let the current folder, the home folder and the temporary folder be ones in this folder."""
    for name in ("current", "home", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    os.chdir(folder / "current")
    os.environ |= {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    tempfile.tempdir = None


class Fork:
    """A function that runs in a process of its own."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._answer = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the object
        self._pid = os.fork()
        if not self._pid:
            try:
                content = (True, work())
            except BaseException:  # noqa: BLE001  # told by the parent
                content = (False, traceback.format_exc())
            self._answer.write(pickle.dumps(content))
            self._answer.flush()
            os._exit(0)

    def was_killed(self) -> bool:
        """Wait for its end, and say whether it was killed.

        Raises:
            RuntimeError: The function has raised something.
        """
        _, status = os.waitpid(self._pid, 0)
        if os.WIFSIGNALED(status):
            return True
        self._answer.seek(0)
        is_well, self._result = pickle.loads(self._answer.read())
        if not is_well:
            raise RuntimeError(self._result)
        return False

    def result(self) -> Any:
        """Wait for its end; what the function returned.

        Raises:
            RuntimeError: The function has raised something, or the process was killed.
        """
        if self.was_killed():
            raise RuntimeError("the process was killed")
        return self._result


def spread(writes: list[Write], number: int) -> list[int]:
    """So many points: the first and the last write of every kind at every place as far as they go, the others evenly spread."""
    if number >= len(writes):
        return list(range(1, len(writes) + 1))
    first = {write: point for point, write in reversed(list(enumerate(writes, 1)))}
    last = {write: point for point, write in enumerate(writes, 1)}
    chosen = list(dict.fromkeys([*sorted(first.values()), *sorted(last.values(), reverse=True)]))
    if len(chosen) > number:
        step = len(chosen) / number
        chosen = [chosen[int(place * step)] for place in range(number)]
    others = [point for point in range(1, len(writes) + 1) if point not in chosen]
    step = len(others) / (number - len(chosen)) if len(chosen) < number else 0
    return sorted([*chosen, *(others[int(place * step)] for place in range(number - len(chosen)))])


@contextmanager
def prepared() -> Iterator[Prepared]:
    """A ``Prepared`` in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="spikesweep-crashes-") as folder:
        os.environ["SPIKESWEEP_DATA"] = str(Path(folder, "data"))
        yield Prepared(Path(folder))
        gc.unfreeze()


def crash_points(number: int | None, show: Callable[[str], None]) -> dict[str, int]:
    """Kill drivers at so many points, or at all; how many points, and how much was harmed, in the words of ``faults.py``."""
    totals = {"crash_points": 0, "lost": 0, "doubled": 0, "left_running": 0, "outside_storage": 0}
    with prepared() as process:
        expected, writes = process.undisturbed()
        points = spread(writes, number or len(writes))
        shares = [points[first::AT_ONCE] for first in range(AT_ONCE)]
        forks = [Fork(functools.partial(process.crash_all, share)) for share in shares]
        found = [zip(share, fork.result(), strict=True) for share, fork in zip(shares, forks, strict=True)]
    for point, left in sorted(itertools.chain(*found), key=lambda each: each[0]):
        if left is None:
            continue
        harm = compare(left.stored, expected)
        harm.lost += left.too_early
        harm.doubled += [f"attempts of {identity}" for identity in left.stored.attempts - expected.attempts]
        totals["crash_points"] += 1
        totals["outside_storage"] += len(left.outside)
        for name in ("lost", "doubled", "left_running"):
            totals[name] += len(getattr(harm, name))
        if harm or left.outside:
            show(f"after write {point}, {writes[point - 1]}: {harm}, outside of the storage: {left.outside}")
    return totals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, help="how many points, spread over the study (default: all)")
    parser.add_argument("--json", action="store_true", help="the harm on standard error, one line of JSON on standard output")
    arguments = parser.parse_args()
    out = sys.stderr if arguments.json else sys.stdout
    totals = crash_points(arguments.points, lambda line: print(line, file=out, flush=True))
    print(json.dumps(totals))
    sys.exit(1 if any(number for name, number in totals.items() if name != "crash_points") else 0)


if __name__ == "__main__":
    main()
