"""Where a study ran: package versions, git commit, hardware."""

import importlib.metadata
import json
import os
import platform
import socket
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from studies.credentials import mask_credentials

PACKAGES = ("spikesweep", "torch", "torchvision", "ray", "optuna", "mlflow", "numpy")

COMMIT_VARIABLE = "SPIKESWEEP_COMMIT"
"""The environment variable that names the commit where the code has no git history, as in a job."""


@cache
def versions() -> dict[str, str]:
    """The installed versions by package; also Python's, and the platform."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


@cache
def git_commit() -> str:
    """The commit of the running code, with ``-dirty`` if tracked files differ from it. A job has the commit that it was submitted
    with; the text is empty outside of a git checkout.
    """
    here = Path(__file__).parent
    try:
        _git(here, "ls-files", "--error-unmatch", Path(__file__).name)  # installed beside another repository's code
        commit = _git(here, "rev-parse", "HEAD")
        return f"{commit}-dirty" if _git(here, "status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return os.environ.get(COMMIT_VARIABLE, "")


def write_environment(folder: Path, nodes: Sequence[Mapping[str, Any]]) -> None:
    """Write what is needed to set up the same again: packages.txt, hardware.json and, if the code was changed, changes.diff.

    Args:
        folder: The folder for these files.
        nodes: The resources of each node of the cluster; empty without a cluster.
    """
    (folder / "packages.txt").write_text(_packages(), encoding="utf-8")
    hardware = {**_hardware(), "nodes": list(nodes)}
    (folder / "hardware.json").write_text(json.dumps(hardware, indent=2), encoding="utf-8")
    if git_commit().endswith("-dirty"):
        changes = mask_credentials(_git(Path(__file__).parent, "diff", "HEAD"))
        (folder / "changes.diff").write_text(f"{changes}\n", encoding="utf-8")


@cache
def _packages() -> str:
    """Every installed package with its version, one a line."""
    packages = sorted({f"{each.name}=={each.version}" for each in importlib.metadata.distributions()}, key=str.lower)
    return "\n".join(packages) + "\n"


def _hardware() -> dict[str, Any]:
    """What the driver's machine has."""
    import torch  # noqa: PLC0415  # seconds, and only here

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "gpus": gpus,
    }


def _processor() -> str:
    """The processor's model, or what the platform module says."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
