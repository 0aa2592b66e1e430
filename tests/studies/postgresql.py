"""A PostgreSQL of one's own, on the loopback interface, with a password; and an MLflow server that keeps its runs there."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.studies.servers import free_port, mlflow_server

USER = "spikesweep"
PASSWORD = "xyzzy-8-plugh"
PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: int(folder.parent.name), default=None)
"""Where Debian has the newest one's."""

needs_postgresql = pytest.mark.skipif(PROGRAMS is None, reason="needs PostgreSQL in /usr/lib/postgresql")


@dataclass(frozen=True)
class Database:
    """A running server with the empty databases ``ledger`` and ``mlflow``."""

    folder: Path
    port: int

    def url(self, name: str, *, password: bool = True) -> str:
        """SQLAlchemy's URL of a database."""
        user = f"{USER}:{PASSWORD}" if password else USER
        return f"postgresql+psycopg://{user}@127.0.0.1:{self.port}/{name}"

    def control(self, *arguments: str) -> None:
        """``pg_ctl``, until it is done."""
        options = f"-h 127.0.0.1 -p {self.port} -k {self.folder}"
        log = str(self.folder / "log")
        _run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", log, "-o", options, *arguments)


@contextmanager
def postgresql() -> Iterator[Database]:
    """A server in a folder of its own that any user may enter: PostgreSQL refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="spikesweep-postgresql-"))
    try:
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (folder, folder / "password"):
                shutil.chown(path, "nobody")
        access = ("--encoding", "UTF8", "-U", USER, "--pwfile", str(folder / "password"), "--auth", "scram-sha-256")
        _run("initdb", "-D", str(folder / "data"), "--no-sync", *access)
        database = Database(folder, free_port())
        database.control("start")
        try:
            for name in ("ledger", "mlflow"):
                _run("createdb", "-h", "127.0.0.1", "-p", str(database.port), "-U", USER, name)
            yield database
        finally:
            database.control("stop", "-m", "immediate")
    finally:
        shutil.rmtree(folder)


@contextmanager
def mlflow_on(database: Database, folder: Path) -> Iterator[str]:
    """The URL of a real MLflow server with one worker, as docs/clusters.md has it; killed (-9) at the end."""
    port = free_port()
    with mlflow_server(folder, port, database.url("mlflow")):
        yield f"http://127.0.0.1:{port}"


def _run(program: str, *arguments: str) -> None:
    assert PROGRAMS
    user = "nobody" if os.geteuid() == 0 else None
    environment = {**os.environ, "PGPASSWORD": PASSWORD, "LC_ALL": "C"}
    command = [str(PROGRAMS / program), *arguments]
    subprocess.run(command, user=user, group=user and "nogroup", env=environment, cwd="/", check=True, stdout=subprocess.DEVNULL)
