"""The folder of one replicate: its last checkpoint while it trains, its reports once it has finished.

``checkpoint.pt`` holds weights, optimiser and the reports so far (tensors and plain data: loaded weights-only, nothing is
unpickled). ``reports.json`` holds all reports of a finished replicate; it takes the checkpoint's place.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from trainables.training.reports import Report


class CheckpointFolder:
    """Reads and writes one replicate's folder; every file appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._checkpoint = folder / "checkpoint.pt"
        self._reports = folder / "reports.json"

    def finished_reports(self) -> list[Report]:
        """All reports of a finished replicate; empty if it has not finished."""
        if not self._reports.exists():
            return []
        return [Report(**report) for report in json.loads(self._reports.read_text())]

    def reports(self) -> list[Report]:
        """All reports there are, whether or not the replicate has finished."""
        if finished := self.finished_reports():
            return finished
        checkpoint = self.load(torch.device("cpu"))
        return checkpoint[1] if checkpoint else []

    def load(self, device: torch.device) -> tuple[dict[str, Any], list[Report]] | None:
        """The last state with the reports up to it; None where there is none."""
        if not self._checkpoint.exists():
            return None
        content = torch.load(self._checkpoint, map_location=device, weights_only=True)
        return content["state"], [Report(**report) for report in content["reports"]]

    def save(self, state: dict[str, Any], reports: Sequence[Report]) -> None:
        """Keep the state after the last of ``reports``."""
        temporary = self._temporary(self._checkpoint)
        torch.save({"state": state, "reports": [report.as_dict() for report in reports]}, temporary)
        _put_in_place(temporary, self._checkpoint)

    def finish(self, reports: Sequence[Report]) -> None:
        """Keep the reports of the finished replicate, drop the checkpoint."""
        temporary = self._temporary(self._reports)
        temporary.write_text(json.dumps([report.as_dict() for report in reports]))
        _put_in_place(temporary, self._reports)
        self._checkpoint.unlink(missing_ok=True)

    @staticmethod
    def _temporary(target: Path) -> Path:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target.with_name(f"{target.name}.{os.getpid()}.tmp")


def _put_in_place(temporary: Path, target: Path) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(target)
