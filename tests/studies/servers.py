"""Real servers for tests, on the loopback interface."""

import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def mlflow_server(
    folder: Path, port: int, store: str | None = None, *, num_workers: int = 1, login: tuple[str, str] | None = None
) -> Iterator[None]:
    """A real server on the loopback interface, killed (-9) at the end; its store is a file unless given, and it asks for a user
    and a password if given."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", str(num_workers), "--artifacts-destination", str(folder / "artifacts")]
    variables = {
        "MLFLOW_BACKEND_STORE_URI": store or f"sqlite:///{folder / 'server.db'}",  # no argument: it may hold a password
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # else it starts seven processes more
    }
    if login:
        command += ["--app-name", "basic-auth"]
        settings = {
            "database_uri": f"sqlite:///{folder / 'users.db'}",
            "admin_username": login[0],
            "default_permission": "NO_PERMISSIONS",
            "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
            "auth_cache_ttl_seconds": 600,  # else every request takes as long as a password's digest does
        }
        lines = [f"{name} = {value}" for name, value in settings.items()]
        (folder / "login.ini").write_text("\n".join(["[mlflow]", *lines, ""]))
        variables["MLFLOW_AUTH_CONFIG_PATH"] = str(folder / "login.ini")
        variables |= {"MLFLOW_AUTH_ADMIN_PASSWORD": login[1], "MLFLOW_FLASK_SERVER_SECRET_KEY": "of this test alone"}
    with (folder / "server.log").open("a") as log:
        server = subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=log, start_new_session=True)
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


@contextmanager
def slow_server(*, pause_s: float, headers_too: bool = False, piece: bytes = b"x", num_pieces: int = 10_000) -> Iterator[str]:
    """The address of a server that answers every request piece by piece, with a pause before each."""

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = len(piece) * num_pieces
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {size}\r\n\r\n".encode()
            with suppress(OSError):  # nobody reads any more
                for part in (head[i : i + 1] for i in range(len(head))) if headers_too else (head,):
                    self.wfile.write(part)
                    time.sleep(pause_s if headers_too else 0)
                for _ in range(num_pieces):
                    self.wfile.write(piece)
                    time.sleep(pause_s)

        do_POST = do_GET  # the base class fixes the name

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
