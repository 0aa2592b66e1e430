"""The fault campaign: a real study meets every kind of bad luck, goes on, and is compared with one that met none.

    python -m tests.benchmarks.faults [--short] [--json] [--only NAME …]

Every fault hits a study of the response surface (12 replicates of 8 epochs of a tenth of a second; the same numbers whenever
they are drawn) that runs as its users run it: ``spikesweep run`` on real Ray, ledger and MLflow. Then the same command is
given until the study is whole, and what the ledger, MLflow and the storage have is held against the undisturbed study
(``stored_studies.py``):

- lost: trials, runs, values (replicate, metric, step), tags, params, data sets, artifacts, states and reasons that are missing,
  or have another value, and those that should not be there;
- doubled: ledger trials or runs with one identity, and values that are there twice;
- left running: trials that are RUNNING in the ledger, and runs (the study's own too) in MLflow;
- outside storage: files that were made or changed in the current folder, in the home folder, or beside a study's storage.

``seconds to resume`` is from the command that goes on to the first epoch done after the fault: the start of Ray, mostly. At the
end drivers die after single writes (``crash_points.py``). Short is what CI runs: fewer injections of each kind, and 30 crash
points instead of all. The exit code is 1 if anything was lost, doubled or left running, or written outside of a storage.
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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import studies.library_settings

from tests.benchmarks.crash_points import crash_points
from tests.benchmarks.stored_studies import Stored, compare, files_in, stored_study, written_since
from tests.conftest import descendants, workers_of
from tests.studies.servers import free_port, mlflow_server

NUM_REPLICATES, NUM_EPOCHS, SECONDS_PER_EPOCH = 12, 8, 0.1
PATIENCE_S = 240.0
AT_ONCE = 4
"""Studies that meet their faults at the same time; most of that time they wait for processes to start."""
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
HARMS = ("lost", "doubled", "left_running", "outside_storage")
POINTS_IN_SHORT = 30
SERVERS = ("server", "artifacts")
"""How the names of an MLflow server's files begin."""
RUN = [sys.executable, "-m", "studies", "run"]


@dataclass
class Count:
    """One line of the table."""

    fault: str
    injected: int = 0
    lost: int = 0
    doubled: int = 0
    left_running: int = 0
    outside_storage: int = 0
    seconds_to_resume: list[float] = field(default_factory=list)
    seconds: float = 0.0
    """Of the whole case."""

    def line(self) -> str:
        """As it stands in the table."""
        resumed = f"{max(self.seconds_to_resume):.1f} at most" if self.seconds_to_resume else "–"
        harm = f"{self.lost:6} {self.doubled:8} {self.left_running:13} {self.outside_storage:8}"
        return f"{self.fault:24} {self.injected:8} {harm} {resumed:>18} {self.seconds:7.0f}"


class Case:
    """A study in a folder of its own, and the drivers that it has."""

    def __init__(self, folder: Path, *options: str, prefix: tuple[str, ...] = (), seen_at: Path | None = None) -> None:
        self.folder, self.options, self.prefix = folder, options, prefix
        self._seen_at = seen_at or folder
        """Where the drivers, whose commands begin with ``prefix``, see the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "faults.yaml").write_text(STUDY)
        self.storage = folder / "results"
        self.found: Stored | None = None
        """What the study has left, if it was to be read before the case is over."""
        self._log = tempfile.NamedTemporaryFile("a", prefix="spikesweep-faults-")  # noqa: SIM115  # where there is room

    def start(self, *options: str) -> "subprocess.Popen[str]":
        """A driver."""
        command = [*self.prefix, *RUN, str(self._seen_at / "faults.yaml"), "--storage", str(self._seen_at / "results")]
        command += ["--num-cpus", "2", *self.options, *options]
        return subprocess.Popen(command, stdout=self._log, stderr=self._log, text=True)

    def finish(self, *options: str) -> int:
        """A driver, to its end; its exit code."""
        return self.start(*options).wait(timeout=PATIENCE_S)

    def end(self, driver: "subprocess.Popen[str] | None" = None) -> None:
        """The last driver, to its end: the study is whole."""
        code = (driver or self.start()).wait(timeout=PATIENCE_S)
        if code:
            raise RuntimeError(f"exit code {code}\n{self.log()}")

    def log(self) -> str:
        return Path(self._log.name).read_text()

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

    def stored(self, tracking_uri: str | None = None) -> Stored:
        """What there is now."""
        return stored_study(self.storage, "faults", tracking_uri, [self._seen_at / "results"])

    def beside_storage(self) -> list[str]:
        """The files in the case's folder that no driver should have made: all but the study's, its storage's and a server's."""
        names = [file.relative_to(self.folder).parts[0] for file in files_in(self.folder)]
        return sorted({name for name in names if name not in ("faults.yaml", "results") and not name.startswith(SERVERS)})


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
    case.end()
    return case


def workers_killed(folder: Path, count: Count, num: int) -> Case:
    """SIGKILL of a process that trains, at random moments of one driver. One replicate may be hit three times before its next
    epoch, which is its failure, until ``--retry-failed``."""
    case, generator = Case(folder), random.Random(1)
    driver = case.start()
    case.await_epoch(driver)
    while count.injected < num and driver.poll() is None:
        if workers := workers_of(driver.pid):
            os.kill(generator.choice(workers), signal.SIGKILL)
            count.injected += 1
            count.seconds_to_resume.append(case.await_epoch(driver))
        time.sleep(generator.uniform(0, 0.3))
    if driver.wait(timeout=PATIENCE_S):
        assert "(3 attempts)" in case.log(), case.log()
        case.end(case.start("--retry-failed"))
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
        code = driver.wait(timeout=PATIENCE_S)
        assert code == 1, (code, case.log())
        assert "run the same command again to finish them" in case.log()
        count.injected += 1
    started_at = time.monotonic()
    driver = case.start()
    case.await_epoch(driver)
    count.seconds_to_resume.append(time.monotonic() - started_at)
    case.end(driver)
    return case


def truncated_checkpoints(folder: Path, count: Count, num: int) -> Case:
    """The newest checkpoints are cut short after a kill: the one before, or the beginning, is taken."""
    case = Case(folder)
    while count.injected < num:  # a driver may be killed just between two replicates
        driver = case.start()
        for _ in range(4):
            case.await_epoch(driver)
        driver.kill()
        driver.wait()
        for file in case.storage.glob("checkpoints/*/checkpoint.pt"):
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
            count.injected += 1
    case.end()
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
        case.end(driver)
        case.found = case.stored(f"http://127.0.0.1:{port}")
    return case


def hangs(folder: Path, count: Count, num: int) -> Case:
    """Replicates hang in their first epoch: after the deadline, three times, they have FAILED; later they are tried again."""
    case = Case(folder)
    few = ("--set", f"budget.replicates={num}")
    code = case.finish("--set", "config.seconds_per_epoch=3600", "--set", "deadline_s=1", *few, "--json")
    assert code == 1, case.log()
    assert "no epoch was done within the deadline of 1 s (3 attempts)" in case.log()
    count.injected += 3 * num
    case.end(case.start("--retry-failed"))
    return case


def two_drivers(folder: Path, count: Count, num: int) -> Case:
    """A second driver is refused, and told who the first one is; the first goes on."""
    case = Case(folder)
    driver = case.start("--set", "config.seconds_per_epoch=1")  # it has to outlast the others' start
    case.await_epoch(driver)
    for _ in range(num):
        assert case.finish() == 2, case.log()
        assert f"already run by process {driver.pid} on " in case.log()
        count.injected += 1
    case.end(driver)
    return case


def mounts_are_allowed() -> bool:
    """Whether this machine lets us make a file system of our own."""
    command = ["unshare", "--mount", "--map-root-user", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def small_disk(mebibytes: int) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """A file system of its own, seen from here, and the prefix of commands that see it at ``/mnt``."""
    mount = f"mount -t tmpfs -o size={mebibytes}m none /mnt && echo && sleep infinity"
    holder = subprocess.Popen(["unshare", "--mount", "--map-root-user", "sh", "-c", mount], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline(), "a file system of one's own is not allowed here"
        yield (
            Path("/proc", str(holder.pid), "root", "mnt"),
            ("nsenter", "--target", str(holder.pid), "--mount", "--user", f"--wd={Path.cwd()}"),
        )
    finally:
        for pid in descendants(holder.pid):
            os.kill(pid, signal.SIGKILL)
        holder.kill()
        holder.wait()


def disk_full(folder: Path, count: Count, num: int) -> Case:
    """No room for checkpoints, ledger and MLflow's store: the study halts, nothing has FAILED. Then a disk that is read-only."""
    with small_disk(24) as (disk, prefix):
        case = Case(disk, prefix=prefix, seen_at=Path("/mnt"))
        for _ in range(num):
            driver = case.start()
            for _ in range(3):
                case.await_epoch(driver)
            _fill(disk / "filler")
            code = driver.wait(timeout=PATIENCE_S)
            (disk / "filler").unlink()
            assert code == 1, (code, case.log())
            assert "finished epochs are kept" in case.log()
            subprocess.run([*prefix, "mount", "-o", "remount,ro", "/mnt"], check=True)
            assert case.finish() == 2, case.log()
            assert "must be in a folder that can be written" in case.log()
            subprocess.run([*prefix, "mount", "-o", "remount,rw", "/mnt"], check=True)
            count.injected += 2
        started_at = time.monotonic()
        driver = case.start()
        case.await_epoch(driver)
        count.seconds_to_resume.append(time.monotonic() - started_at)
        case.end(driver)
        shutil.copytree(disk, folder, dirs_exist_ok=True)
    return Case(folder, seen_at=Path("/mnt"))


def _fill(file: Path) -> None:
    try:
        with file.open("wb", buffering=0) as target:
            while target.write(bytes(2**16)):
                pass
    except OSError:
        pass


Fault = Callable[[Path, Count, int], Case]
FAULTS: dict[str, tuple[Fault, int, int]] = {
    "driver killed": (drivers_killed, 25, 2),
    "worker killed": (workers_killed, 10, 2),
    "interrupted": (interrupted, 4, 1),
    "checkpoint truncated": (truncated_checkpoints, 4, 1),
    "MLflow server away": (server_away, 3, 1),
    "hanging replicate": (hangs, 4, 1),
    "second driver": (two_drivers, 3, 0),
    "disk full, read-only": (disk_full, 3, 1),
}
"""With the number of injections asked for, and that of the short form, which leaves out those with 0."""


def inflict(name: str, folder: Path, expected: Stored, *, short: bool) -> Count:
    """One fault, and what is left of its study once it is whole."""
    fault, many, few = FAULTS[name]
    count, begun = Count(name), time.monotonic()
    case = fault(folder, count, few if short else many)
    harm = compare(case.found or case.stored(), expected)
    count.lost, count.doubled, count.left_running = len(harm.lost), len(harm.doubled), len(harm.left_running)
    outside = case.beside_storage()
    count.outside_storage = len(outside)
    if harm or outside:
        print(f"{name}: {harm}, outside of the storage: {outside}", file=sys.stderr)
    count.seconds = time.monotonic() - begun
    return count


@contextmanager
def elsewhere(folder: Path) -> Iterator[tuple[Path, Path]]:
    """This process, and those that it starts, have a current folder and a home folder of their own, both empty."""
    before, home, current = Path.cwd(), folder / "home", folder / "current"
    home.mkdir()
    current.mkdir()
    old_home = os.environ["HOME"]
    os.environ["HOME"] = str(home)
    os.chdir(current)
    try:
        yield home, current
    finally:
        os.chdir(before)
        os.environ["HOME"] = old_home


def campaign(names: list[str], *, short: bool, show: Callable[[str], None]) -> list[Count]:
    """Run it; one count a fault."""
    counts = []
    with tempfile.TemporaryDirectory(prefix="spikesweep-faults-") as folder, elsewhere(Path(folder)) as own_folders:
        undisturbed = Case(Path(folder, "undisturbed"))
        assert undisturbed.finish() == 0, undisturbed.log()
        expected = undisturbed.stored()
        assert len(expected.trials) == len(expected.runs) - 1 == NUM_REPLICATES
        before = files_in(*own_folders)  # the first driver has filled the caches of other libraries
        titles = ("fault", "injected", "lost", "doubled", "left running", "outside", "seconds to resume", "in all")
        show("{:24} {:>8} {:>6} {:>8} {:>13} {:>8} {:>18} {:>7}".format(*titles))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            cases = [(name, Path(folder, name.replace(" ", "-"))) for name in names if not short or FAULTS[name][2]]
            for count in pool.map(lambda case: inflict(case[0], case[1], expected, short=short), cases):
                counts.append(count)
                show(count.line())
        count = Count("all of them")
        outside = written_since(before, *own_folders)
        count.outside_storage = len(outside)
        show(f"{count.line()} {' '.join(outside)}")
    return [*counts, count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="fewer injections of each fault")
    parser.add_argument("--json", action="store_true", help="the table on standard error, one line of JSON on standard output")
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS), metavar="NAME", help=", ".join(FAULTS))
    arguments = parser.parse_args()
    if not mounts_are_allowed():
        print("no file system of one's own is allowed here: no full disk", file=sys.stderr)
        arguments.only = [name for name in arguments.only if not name.startswith("disk")]
    table = sys.stderr if arguments.json else sys.stdout
    counts = campaign(arguments.only, short=arguments.short, show=lambda line: print(line, file=table, flush=True))
    totals = {name: sum(getattr(count, name) for count in counts) for name in ("injected", *HARMS)}
    if len(arguments.only) > 1:
        crashes = crash_points(
            POINTS_IN_SHORT if arguments.short else None, lambda line: print(line, file=sys.stderr, flush=True)
        )
        totals = {name: totals.get(name, 0) + crashes.get(name, 0) for name in (*totals, "crash_points")}
    print(json.dumps(totals))
    sys.exit(1 if any(totals[name] for name in HARMS) else 0)


if __name__ == "__main__":
    main()
