"""spikesweep as it is installed from a wheel, started in a folder whose files have the names of its packages and of Python's."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.conftest import PATIENCE_S, ROOT, wait_for
from tests.studies.servers import free_port

pytestmark = pytest.mark.slow

HOSTILE = "import pathlib; pathlib.Path(__file__ + '.executed').touch(); raise SystemExit('hostile')\n"
STUDY = """\
question: Does it run anywhere?
trainable: response_surface
config: {epochs: 3, seconds_per_epoch: 0.2}
baseline: {a: 0}
factors: {a: [0, 1]}
seeds: 1
resources: {cpus: 1, gpus: 0, memory_gib: 0.25}
"""
MODULES = ("json", "logging", "analysis", "search_spaces", "ray", "mlflow", "uvicorn", "pickle")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of an environment that has a wheel of spikesweep, and what it needs from this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("search_spaces", "trainables", "studies", "analysis"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, folder / "source")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, folder / "source"], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (packages / "others.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "--python", folder / "venv", "install", "--no-deps", "--no-index", wheel], check=True)
    return folder / "venv" / "bin"


@pytest.fixture
def hostile_folder(tmp_path: Path) -> Path:
    """A study among files that must not be executed."""
    for name in MODULES:
        (tmp_path / f"{name}.py").write_text(HOSTILE)
    for name in ("studies", "trainables"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(HOSTILE)
    (tmp_path / "anywhere.yaml").write_text(STUDY)
    return tmp_path


def in_folder(folder: Path, *command: str | Path) -> str:
    done = subprocess.run(command, cwd=folder, env=bare(), capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def bare() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def assert_nothing_was_executed(folder: Path) -> None:
    assert not list(folder.rglob("*.executed"))


def test_a_study_in_a_hostile_folder(installed: Path, hostile_folder: Path) -> None:
    """It is checked, trained and reported, and the scripts of the analysis run as documented."""
    in_folder(hostile_folder, installed / "spikesweep", "check", "anywhere.yaml")
    assert "2 of 2 replicates finished" in in_folder(hostile_folder, installed / "spikesweep", "run", "anywhere.yaml")
    in_folder(hostile_folder, installed / "spikesweep", "report", "anywhere.yaml")
    script = ("-P", "-m", "analysis.ablation_summary", "anywhere", "--output", "elsewhere")
    assert "2 of 2 replicates finished" in in_folder(hostile_folder, installed / "python", *script)
    assert_nothing_was_executed(hostile_folder)


def test_the_watchdog_and_the_interface_in_a_hostile_folder(installed: Path, hostile_folder: Path) -> None:
    """The watchdog ends the runs of a driver that was killed, and MLflow's server starts."""
    long = ("--set", "config.seconds_per_epoch=2")
    driver = subprocess.Popen(
        [str(installed / "spikesweep"), "run", "anywhere.yaml", *long],
        cwd=hostile_folder,
        env=bare(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for(hostile_folder / "results", "checkpoints/*/checkpoint.pt", 1, driver)
    driver.kill()
    driver.communicate()
    client = MlflowClient(f"sqlite:///{hostile_folder}/results/mlflow.db")
    experiment = client.get_experiment_by_name("anywhere").experiment_id
    until = time.monotonic() + PATIENCE_S
    while "RUNNING" in {run.info.status for run in client.search_runs([experiment])}:
        assert time.monotonic() < until
        time.sleep(0.5)
    port = free_port()
    command = [str(installed / "spikesweep"), "ui", "anywhere.yaml", "--port", str(port)]
    server = subprocess.Popen(command, cwd=hostile_folder, env=bare(), stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        while True:
            assert server.poll() is None
            assert time.monotonic() < until + PATIENCE_S
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
    finally:
        os.killpg(server.pid, signal.SIGKILL)  # a session of its own
        server.wait()
    assert_nothing_was_executed(hostile_folder)
