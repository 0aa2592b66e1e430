"""The worker: trains one replicate after another inside a Ray actor, one epoch per step of Ray Tune.

The actor is reused from replicate to replicate, so that torch is imported once.
"""

import atexit
import dataclasses
import errno
import faulthandler
import gc
import json
import socket
import traceback
from collections.abc import Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from ray import tune

from studies.engine.binding.trainable_modules import load_trainable, make_config
from studies.engine.execution.ray_session.heartbeats import start_heartbeats
from studies.engine.execution.system_metrics import SystemMetrics
from trainables.data.datasets import prepare
from trainables.networks.rules import RuleError
from trainables.training.epoch_report import EpochReport
from trainables.training.memory_peak import is_out_of_memory

ASSIGNMENT = "assignment"
"""The key of a trial's config that holds what ``StudyController.next_assignment`` says of a replicate, or of a source network."""
IDENTITY = "identity"
REPORT = "report"
"""An ``EpochReport`` as JSON."""
FAILURE = "failure"

STDERR = 2
"""The file descriptor; Ray replaces ``sys.stderr``."""
FAILED, OUT_OF_MEMORY, STORAGE, DATA = "failed", "out of memory", "storage", "data"
"""Kinds of failure: an error of the replicate itself, too little memory, a storage that cannot be written to, other data than
those that the study was checked with."""
STORAGE_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG}
"""A full disk or one that is read-only: the same would happen to any other replicate."""


class OtherDataError(Exception):
    """The data set on this machine is not the one that the study was checked with, or cannot be read."""


class ReplicateWorker(tune.Trainable):  # type: ignore[misc]  # Ray ships no types
    """Iterates ``train()`` of the replicate that it is assigned, and hands every report to the driver.

    An error in training ends the replicate, with a kind and a reason, but neither the worker nor the study. Errors that the
    machine may be to blame for (an OSError, or a RuntimeError such as torch raises) are raised again: they end the worker's
    process, and the driver gives the replicate to another one. An epoch that takes longer than the study's deadline ends the
    process too, even if it hangs outside of Python.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Begin the assigned replicate; Ray Tune calls this in a new process."""
        start_heartbeats()
        assignment = config[ASSIGNMENT]
        self._identity: str = assignment["identity"]
        self._deadline_s: float = assignment["deadline_s"]
        self._reports: Iterator[EpochReport] = _reports(assignment)
        if assignment["log_system_metrics"]:
            self._reports = _with_system_metrics(self._reports)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another replicate in the same process; always possible."""
        self.cleanup()  # of one that was stopped early
        _leave_modules_out_of_collections()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Train one epoch: its report, or the failure of the replicate."""
        faulthandler.dump_traceback_later(self._deadline_s, exit=True, file=STDERR)
        try:
            report = next(self._reports)
        except Exception as error:
            kind = _kind(error)
            if kind is None:
                raise
            reason = f"{type(error).__name__}: {error}"
            failure = {"kind": kind, "reason": reason, "traceback": traceback.format_exc()}
            self.cleanup()
            return {IDENTITY: self._identity, FAILURE: failure, "done": True}
        finally:
            faulthandler.cancel_dump_traceback_later()
        if report.final:
            self.cleanup()
        # as text, since Tune keeps statistics of every number that it sees for as long as the study lasts
        return {IDENTITY: self._identity, REPORT: json.dumps(report.as_dict()), "done": report.final}

    def cleanup(self) -> None:
        """Free the network and the lock of the replicate's checkpoint folder."""
        if isinstance(self._reports, Generator):
            self._reports.close()
        self._reports = iter(())


@cache
def _leave_modules_out_of_collections() -> None:
    """Once a process has trained a replicate, it has imported what it ever will: some 5,000 modules. Every replicate begins with
    a garbage collection, so that its memory can be measured, and to look through all of them takes half a second.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # else Triton tells of objects that are left at the end


def _kind(error: Exception) -> str | None:
    """The kind of failure that an error means; None if the machine may be to blame, and another process may not meet it."""
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, OtherDataError):
        return DATA
    if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
        return STORAGE
    return None if isinstance(error, RuntimeError | OSError) else FAILED


def _with_system_metrics(reports: Iterator[EpochReport]) -> Generator[EpochReport]:
    with SystemMetrics() as metrics:
        for report in reports:
            yield dataclasses.replace(report, metrics={**report.metrics, **metrics.take()})


def _reports(assignment: dict[str, Any]) -> Iterator[EpochReport]:
    trainable = load_trainable(assignment["trainable"])
    config = make_config(trainable.Config, assignment["config"])
    try:
        dataset = prepare(config.data, Path(assignment["data_folder"]))
    except RuleError as broken:
        raise OtherDataError(f"{broken} (on {socket.gethostname()})") from None
    if dataset.digest != assignment["data_digest"]:
        digests = f"digest {dataset.digest[:8]}, not {assignment['data_digest'][:8]}"
        words = f"the data {config.data} on {socket.gethostname()} are not those that the study was checked with ({digests})"
        raise OtherDataError(words)
    yield from trainable.train(
        config,
        seed=assignment["seed"],
        dataset=dataset,
        checkpoint_folder=assignment["checkpoint_folder"],
        num_micro_batches=assignment["num_micro_batches"],
        keep_weights=assignment["keep_weights"],
    )
