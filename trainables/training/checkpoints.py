"""The folder of one replicate: its checkpoints while it trains, its reports (and weights) once it has finished.

``checkpoint.pt`` holds weights, optimiser and the reports so far (tensors and plain data: loaded weights-only, nothing is
unpickled), and ``checkpoint.previous.pt`` those of the epoch before. ``reports.json`` holds all reports of a finished replicate,
and the digest of ``weights.pt`` where a replicate keeps its weights; it takes the checkpoints' place. ``lock`` is
there while a process trains, or after one has died training.

A file that is damaged counts as absent: training starts from what is whole, and ends with the same result. Whenever a process
dies, one whole checkpoint is there once one was.
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trainables.training.epoch_report import EpochReport
from trainables.training.files import LOCK, Location, files_at

CHECKPOINT = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"
WEIGHTS = "weights.pt"
REPORTS = "reports.json"
IDENTITY = re.compile(r"[0-9a-f]{32}")
"""The names of replicates' folders."""


class CheckpointFolder:
    """Reads and writes one replicate's folder, or prefix of an object store; every file appears whole or not at all.

    Args:
        location: A path, or a URI (see ``storage``).

    Raises:
        ValueError: It is a URI of an unknown kind.
    """

    def __init__(self, location: Location) -> None:
        self._files = files_at(location)
        self._newest_is_damaged = False

    def lock(self) -> AbstractContextManager[None]:
        """Be the only process that trains this replicate: wait until no other does. The system frees the lock of a dead process.

        In an object store there are no locks: the driver has every replicate trained once at a time.
        """
        return self._files.lock()

    def finished_reports(self, *, weights_too: bool = True) -> list[EpochReport]:
        """All reports of a finished replicate; empty if it has not finished, or if what it left is damaged.

        Damage to its weights, where it kept some, counts only if ``weights_too``.
        """
        finished = self._finished() if weights_too else self._read_reports()
        return finished[0] if finished else []

    def reports(self) -> list[EpochReport]:
        """All reports there are, whether or not the replicate has finished."""
        if finished := self.finished_reports(weights_too=False):
            return finished
        checkpoint = self.load()
        return checkpoint[1] if checkpoint else []

    def weights(self) -> dict[str, Tensor]:
        """The weights that a finished replicate kept, on the CPU, as they were when it ended.

        Raises:
            OSError: There are none, or they are not those.
        """
        weights = self.kept_weights()
        if weights is None:
            raise OSError(f"{self._files.describe(WEIGHTS)} is missing or damaged")
        return weights

    def kept_weights(self) -> dict[str, Tensor] | None:
        """The weights that a finished replicate kept, on the CPU; None if it kept none, or if the file is missing or damaged."""
        finished = self._finished()
        if finished is None or finished[1] is None:
            return None
        weights: dict[str, Tensor] = torch.load(io.BytesIO(finished[1]), map_location="cpu", weights_only=True)
        return weights

    def _finished(self) -> tuple[list[EpochReport], bytes | None] | None:
        """Reports and the bytes of the weights of a finished replicate, verified."""
        if (found := self._read_reports()) is None:
            return None
        reports, digest = found
        if digest is None:
            return reports, None
        weights = self._files.read(WEIGHTS)
        return (reports, weights) if weights is not None and hashlib.sha256(weights).hexdigest() == digest else None

    def _read_reports(self) -> tuple[list[EpochReport], str | None] | None:
        """Reports of a finished replicate, and the digest of its weights if it kept them."""
        try:
            content = json.loads(self._files.read(REPORTS) or b"")
            return [EpochReport.from_dict(report) for report in content["reports"]], content["weights_sha256"]
        except (ValueError, KeyError, TypeError):
            return None

    def load(self) -> tuple[dict[str, Any], list[EpochReport]] | None:
        """The last state, on the CPU, with the reports up to it; None where there is none that is whole."""
        newest = _whole(self._files.read(CHECKPOINT))
        self._newest_is_damaged = newest is None
        return newest or _whole(self._files.read(PREVIOUS))

    def save(self, state: dict[str, Any], reports: Sequence[EpochReport]) -> None:
        """Keep the state after the last of ``reports``, and the one before."""
        if not self._newest_is_damaged:  # else the one before is all there is
            self._files.keep(CHECKPOINT, PREVIOUS)
        content = {"state": state, "reports": [report.as_dict() for report in reports]}
        self._files.put(CHECKPOINT, lambda file: torch.save(content, file))
        self._newest_is_damaged = False

    def finish(self, reports: Sequence[EpochReport], weights: dict[str, Tensor] | None = None) -> None:
        """Keep the reports of the finished replicate, and its weights if they are wanted; drop the checkpoints."""
        digest = None
        if weights is not None:  # first: reports.json says that all is there
            digest = self._save_weights({name: tensor.detach().cpu() for name, tensor in weights.items()})
        content = json.dumps({"reports": [report.as_dict() for report in reports], "weights_sha256": digest})
        self._files.put(REPORTS, lambda file: file.write(content.encode()))
        self._files.delete(CHECKPOINT, PREVIOUS)

    def remove_leftovers(self) -> None:
        """Remove what a process left that died here: checkpoints of a replicate that had finished, and files half written.

        Nothing is removed while a process trains the replicate.
        """
        if not self._files.may_have_leftovers():
            return
        with suppress(BlockingIOError), self._files.lock(wait=False):
            if self.finished_reports():
                self._files.delete(CHECKPOINT, PREVIOUS)

    def _save_weights(self, weights: dict[str, Tensor]) -> str:
        """Their file's digest."""
        stored = io.BytesIO()
        torch.save(weights, stored)
        self._files.put(WEIGHTS, lambda file: file.write(stored.getbuffer()))
        return hashlib.sha256(stored.getbuffer()).hexdigest()


def _whole(stored: bytes | None) -> tuple[dict[str, Any], list[EpochReport]] | None:
    """What a checkpoint's bytes hold; None where they are missing or damaged."""
    if stored is None:
        return None
    try:
        if zipfile.ZipFile(io.BytesIO(stored)).testzip() is not None:  # torch itself looks at no checksum
            return None
        content = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
        return content["state"], [EpochReport.from_dict(report) for report in content["reports"]]
    except Exception:  # noqa: BLE001  # damaged bytes raise whatever they happen to hit
        return None


def trained_once(
    checkpoint_folder: Location | None, train: Callable[[CheckpointFolder | None], Iterator[EpochReport]]
) -> Iterator[EpochReport]:
    """The reports of a replicate that ``train`` trains, which is called only where they are not there already.

    Whoever finds another training the same replicate waits, and then repeats its reports; in an object store, trains it too.
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
    folder.remove_leftovers()
    yield from finished


def remove_all_leftovers(checkpoints: Location) -> None:
    """Remove what processes that died have left in the folders of replicates (see ``CheckpointFolder.remove_leftovers``).

    In an object store, where nobody knows who has died, nothing is looked for.

    Args:
        checkpoints: Where the replicates' folders lie, each under its identity.
    """
    if isinstance(checkpoints, Path):
        for lock in checkpoints.glob(f"*/{LOCK}"):
            if IDENTITY.fullmatch(lock.parent.name):
                with suppress(OSError):  # it is the trainer of the replicate that has to tell
                    CheckpointFolder(lock.parent).remove_leftovers()
