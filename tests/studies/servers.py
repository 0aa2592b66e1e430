"""Real servers for tests, on the loopback interface."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def mlflow_server(folder: Path, port: int) -> Iterator[None]:
    """A real server on the loopback interface, killed (-9) at the end."""
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "server.log").open("a") as log:
        quick = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # else it starts seven processes more
        server = subprocess.Popen([*command, "--workers", "1"], stdout=log, stderr=log, env=quick, start_new_session=True)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        else:
            raise TimeoutError((folder / "server.log").read_text())
        yield
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # a session of its own
        server.wait()
