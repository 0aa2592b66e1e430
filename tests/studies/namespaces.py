"""A small world of one's own for Ray: it binds every interface, and in here there is the loopback alone."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import ray

from tests.conftest import PATIENCE_S, WORKERS, descendants, read_if_there

NAMESPACE = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
"""All processes end with the first."""
_BEGIN = "mkdir -p /tmp/ray && mount -t tmpfs none /tmp/ray && ip link set lo up && echo && sleep infinity & wait"
"""Ray's sessions, and its note of the newest cluster, are a namespace's own."""
BESIDE_PYTHON = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
"""As in an activated environment: ``ray``, and the ``python`` of a job."""


def namespaces_are_allowed() -> bool:
    """Whether this machine lets us make them."""
    try:
        return subprocess.run([*NAMESPACE, "ip", "link", "set", "lo", "up"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


needs_namespaces = pytest.mark.skipif(not namespaces_are_allowed(), reason="needs the right to make network namespaces")


@dataclass(frozen=True)
class Namespace:
    """A network and process namespace; ``pid`` is its first process, as seen from outside."""

    pid: int
    variables: Mapping[str, str] = field(default_factory=dict)
    folder: Path = field(default_factory=Path.cwd)
    """Where its commands run, and take our code from."""

    def start(self, *command: str | Path, **variables: str) -> "subprocess.Popen[str]":
        """A process in here, its output together."""
        inside = ["nsenter", "--target", str(self.pid), "--net", "--pid", "--mount", f"--wd={self.folder}", *map(str, command)]
        environment = {**os.environ, **BESIDE_PYTHON, **self.variables, **variables}
        return subprocess.Popen(inside, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def run(self, *command: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        """A process in here, to its end."""
        process = self.start(*command, **variables)
        output, _ = process.communicate(timeout=PATIENCE_S)
        return subprocess.CompletedProcess(command, process.returncode, output)

    def check(self, *command: str | Path, **variables: str) -> str:
        """The output of a process that must succeed."""
        done = self.run(*command, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def spikesweep(self, *arguments: str | Path, **variables: str) -> "subprocess.CompletedProcess[str]":
        """A command of ours, to its end."""
        return self.run(sys.executable, "-m", "studies", *arguments, **variables)

    def processes(self, *names: str) -> set[int]:
        """All in here whose command line begins with one of these, as seen from outside."""
        ours = _namespace_of(self.pid)
        pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
        return {pid for pid in pids if _command_line(pid).startswith(names) and _namespace_of(pid) == ours}

    def workers(self) -> set[int]:
        """The processes that train."""
        return self.processes(*WORKERS)

    def raylets(self) -> set[int]:
        """Ray's own, one a node."""
        return self.processes(f"{Path(ray.__file__).parent}/core/src/ray/raylet/raylet")

    def signal_workers(self, number: signal.Signals) -> None:
        """Send a signal to the processes that train."""
        workers = self.workers()
        assert workers
        for pid in workers:
            os.kill(pid, number)


def _command_line(pid: int) -> str:
    return read_if_there(Path(f"/proc/{pid}/cmdline"))


def _namespace_of(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except FileNotFoundError:  # it has just ended
        return ""


@contextmanager
def namespace(home: Path) -> Iterator[Namespace]:
    """A fresh one, with a home folder of its own, so that Ray's token is nobody else's."""
    init = subprocess.Popen([*NAMESPACE, "bash", "-c", _BEGIN], stdout=subprocess.PIPE)
    try:
        assert init.stdout is not None
        assert init.stdout.readline()
        yield Namespace(descendants(init.pid)[0], {"HOME": str(home)})
    finally:
        init.kill()
        init.wait()


@contextmanager
def joined(head: Namespace, names: tuple[str, str], addresses: tuple[str, str]) -> Iterator[Namespace]:
    """Another network namespace with the same processes, joined to the first by a cable (veth) with an address at each end."""
    near, far = names
    init = head.start("unshare", "--net", "--mount", "bash", "-c", _BEGIN)
    try:
        assert init.stdout is not None
        assert init.stdout.readline()
        other = Namespace(next(pid for pid in descendants(init.pid) if is_bash(pid)), head.variables)
        enter = ["nsenter", "--target", str(head.pid), "--net"]
        subprocess.run([*enter, *f"ip link add {near} type veth peer name {far} netns {other.pid}".split()], check=True)
        for end, name, address in ((head, near, addresses[0]), (other, far, addresses[1])):
            end.check("ip", "address", "add", f"{address}/24", "dev", name)
            end.check("ip", "link", "set", name, "up")
        yield other
    finally:
        init.kill()
        init.wait()


def is_bash(pid: int) -> bool:
    """Whether a process is a shell."""
    return Path(f"/proc/{pid}/comm").read_text().strip() == "bash"


def wait_until_files(storage: Path, pattern: str, num: int, process: "subprocess.Popen[str] | None" = None) -> None:
    """Until so many files of a study exist."""
    deadline = time.monotonic() + PATIENCE_S
    while len(list(storage.glob(pattern))) < num:
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
