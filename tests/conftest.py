"""What all tests share: a data folder of their own, Ray and MLflow kept quiet, an image set small enough to train in a second."""

import atexit
import gc
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two tests run at a time, each with its processes: threads would wait for threads

import studies.library_settings

settings.register_profile("patient", deadline=None)  # never a timed test
settings.load_profile("patient")
ROOT = Path(__file__).parent.parent
SPIKESWEEP = [sys.executable, "-m", "studies"]
PATIENCE_S = 240
BUCKET = "bucket"
FROZEN = {"modules": 0}
"""How many there were when the garbage collector was last told to leave them out."""
atexit.register(gc.unfreeze)  # else Triton tells of objects that are left at the end

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.hookimpl(trylast=True)
def pytest_runtest_setup() -> None:
    """Every training begins with a garbage collection, which would look through all that tests import, for most of a second:
    what is there before a test is left out of it, if it is much more than at the last time.
    """
    if len(sys.modules) > 1.05 * FROZEN["modules"]:
        gc.collect()
        gc.freeze()
        FROZEN["modules"] = len(sys.modules)


@pytest.fixture(scope="session", autouse=True)
def clean_root() -> Iterator[None]:
    """The suite leaves nothing in the root of the repository but hidden folders: no ``mlflow.db``, no ``mlruns``."""
    before = set(ROOT.iterdir())
    yield
    others = (".", "__pycache__", "results", "site")  # a study or the site may be made there at the same time, by a person
    new = [file.name for file in set(ROOT.iterdir()) - before if not file.name.startswith(others)]
    assert not new, f"tests have left these in {ROOT}: {', '.join(sorted(new))}"


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every test, and every process that it starts, prepares its data here."""
    folder = tmp_path_factory.mktemp("data")
    os.environ["SPIKESWEEP_DATA"] = str(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    return folder


@pytest.fixture(scope="session")
def tiny_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own arrays: 8x8 grey images of two classes (bright left half, bright right half) with noise."""
    generator = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for split, num in (("train", 96), ("test", 32)):
        labels = generator.integers(0, 2, num)
        images = generator.integers(0, 60, (num, 8, 8, 1))
        for image, label in zip(images, labels, strict=True):
            image[:, 4 * label : 4 * label + 4] += 150
        arrays |= {f"{split}_images": images.astype(np.uint8), f"{split}_labels": labels}
    path = tmp_path_factory.mktemp("npz") / "halves.npz"
    np.savez(path, allow_pickle=False, **arrays)
    return path


@pytest.fixture
def tiny_study(tiny_npz: Path, tmp_path: Path) -> Path:
    """A study file of 3 cells x 2 seeds whose replicates train in about a second."""
    path = tmp_path / "tiny.yaml"
    path.write_text(
        f"""\
question: Does it run?
trainable: bitnet
config:
  data: {tiny_npz}
  validation_fraction: 0.25
  epochs: 3
  batch_size: 32
  layout: 64 M 64
baseline: {{time_steps: 4, feature_scale: 0.0625}}
factors:
  time_steps: [2, 4]
  feature_scale: [0.0625, 0.125]
seeds: 2
storage: {tmp_path / "results"}
"""
    )
    return path


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """The address of an S3 server on this machine, with an empty bucket called ``bucket``."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"{host}:{port}"
    urllib.request.urlopen(urllib.request.Request(f"http://{endpoint}/{BUCKET}", method="PUT")).close()
    yield endpoint
    server.stop()


def s3_uri(endpoint: str) -> str:
    """A prefix that nobody else has."""
    return f"s3://somebody:pass%2Fword@{BUCKET}/{uuid4().hex}?region=us-east-1&endpoint_override=http%3A%2F%2F{endpoint}"


def run(study: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``spikesweep run`` to its end."""
    command = [*SPIKESWEEP, "run", str(study), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


@pytest.fixture
def start() -> Iterator[Start]:
    """``spikesweep run`` in the background; killed, if it still runs, when the test ends."""
    drivers = []

    def start_driver(study: Path, *arguments: str) -> subprocess.Popen[str]:
        command = [*SPIKESWEEP, "run", str(study), *arguments]
        drivers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return drivers[-1]

    yield start_driver
    for driver in drivers:
        driver.kill()
        driver.communicate()


def wait_for(storage: Path, pattern: str, num: int, driver: subprocess.Popen[str]) -> None:
    """Until so many files of the study exist."""
    deadline = time.monotonic() + PATIENCE_S
    while len(list(storage.glob(pattern))) < num:
        assert time.monotonic() < deadline
        assert driver.poll() is None, driver.communicate()[0]
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    """The processes that a process started, and those that they started."""
    children = [int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in read_if_there(task).split()]
    return children + [pid for child in children for pid in descendants(child)]


WORKERS = ("ray::ReplicateWorker", "ray::ResourceTrainable")
"""How the command lines of processes that train begin: ours, and what Tune makes of it; Ray shows either."""


def workers_of(pid: int) -> list[int]:
    """The processes of a driver that train."""
    return [child for child in descendants(pid) if read_if_there(Path(f"/proc/{child}/cmdline")).startswith(WORKERS)]


def read_if_there(file: Path) -> str:
    """Its text; none if its process has just ended."""
    try:
        return file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
