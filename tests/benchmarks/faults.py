"""The fault campaign: a real study meets every kind of bad luck, goes on, and is compared with one that met none.

    python -m tests.benchmarks.faults [--short] [--json] [--only NAME …]

Every fault hits a study of the response surface (12 replicates of 8 epochs of a tenth of a second; the same numbers whenever
they are drawn) that runs as its users run it: ``spikesweep run`` on real Ray, ledger and MLflow. Then the same command is
given until the study is whole, and what the ledger and MLflow have is held against the undisturbed study:

- lost: trials, runs, and values (replicate, metric, step) that are missing, or have another value;
- doubled: ledger trials or runs with one identity, and values that are there twice;
- left running: trials that are RUNNING in the ledger, and runs (the study's own too) in MLflow.

``seconds to resume`` is from the command that goes on to the first epoch done after the fault: the start of Ray, mostly. Short is
what CI runs: fewer injections of each kind. The exit code is 1 if anything
was lost, doubled or left running.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from studies.engine.environment import settle_libraries

settle_libraries()

from mlflow import MlflowClient  # noqa: E402  # after the settings
from optuna.storages import JournalStorage  # noqa: E402

from studies.engine.journal import Journal  # noqa: E402
from tests.conftest import descendants, read_if_there  # noqa: E402
from tests.studies.servers import free_port, mlflow_server  # noqa: E402

NUM_REPLICATES, NUM_EPOCHS, SECONDS_PER_EPOCH = 12, 8, 0.1
PATIENCE_S = 120.0
STUDY = f"""\
question: What does bad luck do to a study?
trainable: response_surface
config: {{epochs: {NUM_EPOCHS}, seconds_per_epoch: {SECONDS_PER_EPOCH}}}
baseline: {{a: 0, b: 0}}
factors: {{a: [-1, 0], b: [0, 1]}}
design: full_factorial
seeds: {NUM_REPLICATES // 4}
resources: {{cpus: 1, gpus: 0, memory_gib: 0.25}}
"""
RUN = [sys.executable, "-m", "studies", "run"]


@dataclass(frozen=True)
class Stored:
    """What a study has left in its ledger and in MLflow."""

    trials: Counter[str]
    """Ledger trials by identity."""
    runs: Counter[str]
    values: dict[tuple[str, str, int], list[float]]
    """By identity, metric and step."""
    num_running: int


@dataclass
class Count:
    """One line of the table."""

    fault: str
    injected: int = 0
    lost: int = 0
    doubled: int = 0
    left_running: int = 0
    seconds_to_resume: list[float] = field(default_factory=list)


class Case:
    """A study in a folder of its own, and the drivers that it has."""

    def __init__(self, folder: Path, *options: str, prefix: tuple[str, ...] = ()) -> None:
        self.folder, self.options, self.prefix = folder, options, prefix
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "faults.yaml").write_text(STUDY)
        self.storage = folder / "results"

    def start(self, *options: str) -> "subprocess.Popen[str]":
        """A driver."""
        command = [*self.prefix, *RUN, str(self.folder / "faults.yaml"), "--storage", str(self.storage), "--num-cpus", "2"]
        log = (self.folder / "log").open("a")
        return subprocess.Popen([*command, *self.options, *options], stdout=log, stderr=log, text=True)

    def finish(self, *options: str) -> int:
        """A driver, to its end; its exit code."""
        return self.start(*options).wait(timeout=PATIENCE_S)

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def num_checkpoints(self) -> int:
        """Epochs that are on disk, by their files' times: a number that grows with every epoch."""
        return sum(file.stat().st_mtime_ns for file in self.storage.glob("checkpoints/*/*.*") if file.exists())

    def await_epoch(self, driver: "subprocess.Popen[str]") -> float:
        """Wait for the next epoch to be done; the seconds until then."""
        start, before = time.monotonic(), self.num_checkpoints()
        self.wait(lambda: self.num_checkpoints() != before, driver)
        return time.monotonic() - start

    def await_finished(self, num: int, driver: "subprocess.Popen[str]") -> None:
        """Wait for so many replicates to be finished."""
        self.wait(lambda: len(list(self.storage.glob("checkpoints/*/reports.json"))) >= num, driver)

    def wait(self, until: Callable[[], bool], driver: "subprocess.Popen[str]") -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not until():
            if driver.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the driver did not get there\n{self.log()}")
            time.sleep(0.02)

    def workers(self, driver: "subprocess.Popen[str]") -> list[int]:
        """The processes that train."""
        names = ("ray::ReplicateWorker", "ray::ResourceTrainable")  # ours, and what Tune makes of it
        return [pid for pid in descendants(driver.pid) if read_if_there(Path(f"/proc/{pid}/cmdline")).startswith(names)]

    def stored(self, tracking_uri: str | None = None) -> Stored:
        """What there is now."""
        storage = JournalStorage(Journal(self.storage / "ledgers" / "faults.journal"))
        trials = [trial for study in storage.get_all_studies() for trial in storage.get_all_trials(study._study_id)]
        client = MlflowClient(tracking_uri or f"sqlite:///{self.storage / 'mlflow.db'}")
        runs = client.search_runs([client.get_experiment_by_name("faults").experiment_id], max_results=1000)
        children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
        values: dict[tuple[str, str, int], list[float]] = {}
        for run in children:
            for metric in run.data.metrics:
                if not metric.startswith("cost/"):
                    for point in client.get_metric_history(run.info.run_id, metric):
                        key = (run.data.tags["spikesweep.identity"], metric, point.step)
                        values.setdefault(key, []).append(point.value)
        running = [trial for trial in trials if not trial.state.is_finished()]
        return Stored(
            trials=Counter(trial.user_attrs["identity"] for trial in trials),
            runs=Counter(run.data.tags["spikesweep.identity"] for run in children),
            values=values,
            num_running=len(running) + sum(run.info.status == "RUNNING" for run in runs),
        )


def compare(found: Stored, undisturbed: Stored, count: Count) -> None:
    """Add to a count what is lost, doubled and left running."""
    for ours, theirs in ((found.trials, undisturbed.trials), (found.runs, undisturbed.runs)):
        count.lost += len(theirs.keys() - ours.keys())
        count.doubled += sum(number - 1 for number in ours.values())
    count.lost += sum(found.values.get(key, [])[:1] != values for key, values in undisturbed.values.items())
    count.doubled += sum(len(values) - 1 for values in found.values.values())
    count.left_running += found.num_running


def drivers_killed(folder: Path, count: Count, num: int) -> Case:
    """SIGKILL of the driver at random moments, between its start and its end."""
    case, generator = Case(folder), random.Random(0)
    while count.injected < num:
        driver = case.start()
        begun = time.monotonic()
        if count.injected % 5:  # every fifth one dies anywhere, in Ray's start too
            case.await_epoch(driver)
            count.seconds_to_resume.append(time.monotonic() - begun)
            time.sleep(generator.uniform(0, 0.2))
        else:
            time.sleep(generator.uniform(0.5, 6))
        if driver.poll() is not None:
            break  # it is whole already
        driver.kill()
        driver.wait()
        count.injected += 1
    return case


def workers_killed(folder: Path, count: Count, num: int) -> Case:
    """SIGKILL of a process that trains, at random moments of one driver."""
    case, generator = Case(folder), random.Random(1)
    driver = case.start()
    case.await_epoch(driver)
    while count.injected < num and driver.poll() is None:
        if workers := case.workers(driver):
            os.kill(generator.choice(workers), signal.SIGKILL)
            count.injected += 1
            count.seconds_to_resume.append(case.await_epoch(driver))
        time.sleep(generator.uniform(0, 0.3))
    driver.wait(timeout=PATIENCE_S)
    return case


def interrupted(folder: Path, count: Count, num: int) -> Case:
    """Ctrl-C once, and twice: exit code 1 with a word on how to go on, no run left RUNNING."""
    case = Case(folder)
    for number in range(num):
        driver = case.start()
        case.await_epoch(driver)
        for _ in range(1 + number % 2):
            driver.send_signal(signal.SIGINT)
            time.sleep(0.3)
        assert driver.wait(timeout=PATIENCE_S) == 1
        assert "run the same command again to finish them" in case.log()
        count.injected += 1
        started_at = time.monotonic()
        if number < num - 1:
            continue
        driver = case.start()
        case.await_epoch(driver)
        count.seconds_to_resume.append(time.monotonic() - started_at)
        driver.wait(timeout=PATIENCE_S)
    return case


def truncated_checkpoints(folder: Path, count: Count, num: int) -> Case:
    """The newest checkpoints are cut short after a kill: the one before, or the beginning, is taken."""
    case = Case(folder)
    for _ in range(num):
        driver = case.start()
        for _ in range(4):
            case.await_epoch(driver)
        driver.kill()
        driver.wait()
        for file in case.storage.glob("checkpoints/*/checkpoint.pt"):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
            count.injected += 1
    return case


def server_away(folder: Path, count: Count, num: int) -> Case:
    """The MLflow server is killed in mid-study and comes back a while later; the study never waits for it."""
    port = free_port()
    case = Case(folder, "--tracking-uri", f"http://127.0.0.1:{port}")
    with ExitStack() as stack:
        for _ in range(num):
            with mlflow_server(folder, port):
                driver = case.start()
                case.await_epoch(driver)
            count.injected += 1
            for _ in range(8):
                case.await_epoch(driver)  # while nobody answers
            if count.injected < num:
                driver.kill()
                driver.wait()
            else:
                time.sleep(max(0.0, 60.0 if num > 1 else 0.0))
        stack.enter_context(mlflow_server(folder, port))
        driver.wait(timeout=PATIENCE_S)
        assert case.finish() == 0, case.log()
    case.options = ("--tracking-uri", f"sqlite:///{folder / 'server.db'}")
    return case


def hangs(folder: Path, count: Count, num: int) -> Case:
    """Every replicate hangs in its first epoch: after its deadline, three times, it has FAILED; later it is tried again."""
    case = Case(folder)
    code = case.finish("--set", "config.seconds_per_epoch=3600", "--set", "deadline_s=1", "--set", "seeds=1", "--json")
    assert code == 1, case.log()
    assert "nothing was heard of it within its deadline of 1 s (3 attempts)" in case.log()
    count.injected += 12  # 4 replicates, 3 attempts each
    assert case.finish("--set", "seeds=1", "--retry-failed") == 0, case.log()
    return case


def two_drivers(folder: Path, count: Count, num: int) -> Case:
    """A second driver is refused, and told who the first one is; the first goes on."""
    case = Case(folder)
    driver = case.start()
    case.await_epoch(driver)
    for _ in range(num):
        assert case.finish() == 2
        assert f"already run by process {driver.pid} on " in case.log()
        count.injected += 1
    driver.wait(timeout=PATIENCE_S)
    return case


@contextmanager
def small_disk(mebibytes: int) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A file system of its own, seen from here, and the prefix of commands that see it at ``/mnt``."""
    mount = f"mount -t tmpfs -o size={mebibytes}m none /mnt && echo && sleep infinity"
    holder = subprocess.Popen(["unshare", "--mount", "--map-root-user", "sh", "-c", mount], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline(), "a file system of one's own is not allowed here"
        yield (
            Path(f"/proc/{holder.pid}/root/mnt"),
            ("nsenter", "--target", str(holder.pid), "--mount", "--user", f"--wd={Path.cwd()}"),
        )
    finally:
        for pid in descendants(holder.pid):
            os.kill(pid, signal.SIGKILL)
        holder.kill()
        holder.wait()


def disk_full(folder: Path, count: Count, num: int) -> Case:
    """No room for checkpoints, ledger and MLflow's store; then nothing may be written at all: the study halts, nothing FAILS."""
    with small_disk(24) as (disk, prefix):
        inside = Case(disk)
        inside.prefix, inside.folder = prefix, disk
        command_storage, inside.storage = Path("/mnt/results"), disk / "results"
        for number in range(2 * num):
            driver = _start_inside(inside, command_storage)
            for _ in range(3):
                inside.await_epoch(driver)
            if number % 2:
                _mount(prefix, "ro")
            else:
                _fill(disk / "filler")
            code = driver.wait(timeout=PATIENCE_S)
            if number % 2:
                _mount(prefix, "rw")
            (disk / "filler").unlink(missing_ok=True)
            assert code == 1, (code, inside.log())
            count.injected += 1
        started_at = time.monotonic()
        driver = _start_inside(inside, command_storage)
        inside.await_epoch(driver)
        count.seconds_to_resume.append(time.monotonic() - started_at)
        driver.wait(timeout=PATIENCE_S)
        assert _start_inside(inside, command_storage).wait(timeout=PATIENCE_S) == 0
        shutil.copytree(disk, folder, dirs_exist_ok=True)
    return Case(folder)


def _start_inside(case: Case, storage: Path) -> "subprocess.Popen[str]":
    command = [*case.prefix, *RUN, "/mnt/faults.yaml", "--storage", str(storage), "--num-cpus", "2"]
    log = (Path(tempfile.gettempdir()) / f"faults-{os.getpid()}.log").open("a")
    return subprocess.Popen(command, stdout=log, stderr=log, text=True)


def _fill(file: Path) -> None:
    try:
        with file.open("wb", buffering=0) as target:
            while target.write(bytes(2**16)):
                pass
    except OSError:
        pass


def _mount(prefix: tuple[str, ...], how: str) -> None:
    subprocess.run([*prefix, "mount", "-o", f"remount,{how}", "/mnt"], check=True)


Fault = Callable[[Path, Count, int], Case]
FAULTS: dict[str, tuple[Fault, int, int]] = {
    "driver killed": (drivers_killed, 25, 3),
    "worker killed": (workers_killed, 10, 2),
    "interrupted": (interrupted, 4, 2),
    "checkpoint truncated": (truncated_checkpoints, 4, 1),
    "MLflow server away": (server_away, 3, 1),
    "hanging replicate": (hangs, 1, 1),
    "second driver": (two_drivers, 3, 1),
    "disk full, read-only": (disk_full, 3, 1),
}
"""With the number of injections asked for, and that of the short form."""


def campaign(names: list[str], *, short: bool, show: Callable[[str], None]) -> list[Count]:
    """Run it; one count a fault."""
    counts = []
    with tempfile.TemporaryDirectory(prefix="spikesweep-faults-") as folder:
        undisturbed = Case(Path(folder, "undisturbed"))
        assert undisturbed.finish() == 0, undisturbed.log()
        expected = undisturbed.stored()
        assert len(expected.trials) == len(expected.runs) == NUM_REPLICATES
        show(f"{'fault':24} {'injected':>8} {'lost':>6} {'doubled':>8} {'left running':>13} {'seconds to resume':>18}")
        for name in names:
            fault, many, few = FAULTS[name]
            count = Count(name)
            case = fault(Path(folder, name.replace(" ", "-")), count, few if short else many)
            code = case.finish()
            assert code == 0, f"{name}: exit code {code}\n{case.log()}"
            compare(case.stored(case.options[1] if case.options else None), expected, count)
            counts.append(count)
            seconds = f"{max(count.seconds_to_resume):.1f} at most" if count.seconds_to_resume else "–"
            show(f"{name:24} {count.injected:8} {count.lost:6} {count.doubled:8} {count.left_running:13} {seconds:>18}")
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer injections of each fault")
    parser.add_argument("--json", action="store_true", help="the table on standard error, one line of JSON on standard output")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS), metavar="NAME", help=", ".join(FAULTS))
    arguments = parser.parse_args()
    table = sys.stderr if arguments.json else sys.stdout
    counts = campaign(arguments.only, short=arguments.short, show=lambda line: print(line, file=table, flush=True))
    totals = {name: sum(getattr(count, name) for count in counts) for name in ("injected", "lost", "doubled", "left_running")}
    print(json.dumps(totals))
    sys.exit(1 if any(totals[name] for name in ("lost", "doubled", "left_running")) else 0)


if __name__ == "__main__":
    main()
