"""The folder of one replicate: its last checkpoint while it trains, its reports (and weights) once it has finished.

``checkpoint.pt`` holds weights, optimiser and the reports so far (tensors and plain data: loaded weights-only, nothing is
unpickled). ``reports.json`` holds all reports of a finished replicate, and the digest of ``weights.pt`` where a replicate
keeps its weights for others; it takes the checkpoint's place. ``lock`` is there while somebody trains, or died training.

A file that is damaged counts as absent: training starts from what is whole, and ends with the same result.
"""

import fcntl
import hashlib
import io
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.training.reports import Report

SECONDS_BETWEEN_TRIES = 0.1


class CheckpointFolder:
    """Reads and writes one replicate's folder; every file appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._checkpoint = folder / "checkpoint.pt"
        self._weights = folder / "weights.pt"
        self._reports = folder / "reports.json"
        self._lock = folder / "lock"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only one to train this replicate: wait until nobody else does. The system frees a dead holder's lock."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with self._lock.open("w") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    time.sleep(SECONDS_BETWEEN_TRIES)
                    continue
                if not _is_at(self._lock, file.fileno()):  # the last holder removed it after we had opened it
                    continue
                try:
                    yield
                finally:
                    self._lock.unlink(missing_ok=True)
                return

    def finished_reports(self) -> list[Report]:
        """All reports of a finished replicate; empty if it has not finished, or if what it left is damaged."""
        finished = self._finished()
        return finished[0] if finished else []

    def reports(self) -> list[Report]:
        """All reports there are, whether or not the replicate has finished."""
        if finished := self.finished_reports():
            return finished
        checkpoint = self.load()
        return checkpoint[1] if checkpoint else []

    def weights(self) -> dict[str, Tensor]:
        """The weights that a finished replicate kept, on the CPU, as they were when it ended.

        Raises:
            OSError: There are none, or they are not those.
        """
        finished = self._finished()
        if finished is None or finished[1] is None:
            raise OSError(f"{self._weights} is missing or damaged")
        weights: dict[str, Tensor] = torch.load(io.BytesIO(finished[1]), map_location="cpu", weights_only=True)
        return weights

    def _finished(self) -> tuple[list[Report], bytes | None] | None:
        """Reports and the bytes of the weights of a finished replicate, verified."""
        try:
            content = json.loads(self._reports.read_bytes())
            reports = [Report(**report) for report in content["reports"]]
            digest = content["weights_sha256"]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        if digest is None:
            return reports, None
        try:
            weights = self._weights.read_bytes()
        except FileNotFoundError:
            return None
        return (reports, weights) if hashlib.sha256(weights).hexdigest() == digest else None

    def load(self) -> tuple[dict[str, Any], list[Report]] | None:
        """The last state, on the CPU, with the reports up to it; None where there is none that is whole."""
        try:
            stored = self._checkpoint.read_bytes()
        except FileNotFoundError:
            return None
        try:
            if zipfile.ZipFile(io.BytesIO(stored)).testzip() is not None:  # torch itself looks at no checksum
                return None
            content = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
            return content["state"], [Report(**report) for report in content["reports"]]
        except Exception:  # noqa: BLE001  # damaged bytes raise whatever they happen to hit
            return None

    def save(self, state: dict[str, Any], reports: Sequence[Report]) -> None:
        """Keep the state after the last of ``reports``."""
        self._save_tensors({"state": state, "reports": [report.as_dict() for report in reports]}, self._checkpoint)

    def finish(self, reports: Sequence[Report], weights: dict[str, Tensor] | None = None) -> None:
        """Keep the reports of the finished replicate, and its weights if others need them; drop the checkpoint."""
        digest = None
        if weights is not None:  # first: reports.json says that all is there
            self._save_tensors({name: tensor.detach().cpu() for name, tensor in weights.items()}, self._weights)
            digest = hashlib.sha256(self._weights.read_bytes()).hexdigest()
        temporary = self._temporary(self._reports)
        temporary.write_text(json.dumps({"reports": [report.as_dict() for report in reports], "weights_sha256": digest}))
        _put_in_place(temporary, self._reports)
        self._checkpoint.unlink(missing_ok=True)

    def _save_tensors(self, content: dict[str, Any], target: Path) -> None:
        temporary = self._temporary(target)
        torch.save(content, temporary)
        _put_in_place(temporary, target)

    @staticmethod
    def _temporary(target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.with_name(f"{target.name}.{os.getpid()}.tmp")


def trained_once(
    checkpoint_folder: Path | None, train: Callable[[CheckpointFolder | None], Iterator[Report]]
) -> Iterator[Report]:
    """The reports of a replicate that ``train`` trains, which is called only where they are not there already.

    Whoever finds another training the same replicate waits, and then repeats its reports.
    """
    if checkpoint_folder is None:
        yield from train(None)
        return
    folder = CheckpointFolder(checkpoint_folder)
    if not (finished := folder.finished_reports()):
        with folder.lock():
            if not (finished := folder.finished_reports()):
                yield from train(folder)
                return
    yield from finished


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is (still) the one at a path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _put_in_place(temporary: Path, target: Path) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(target)
