"""The controller of a study: it says what is trained next, and records what happened, in the ledger first and then in MLflow.

A source network that is not trained yet is trained before the replicates that need it, which wait meanwhile. It is not itself
a result of the study: nothing but its checkpoint folder is kept of it.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from optuna.trial import TrialState

from studies.engine.binding.replicates import Replicate, SourceNetwork
from studies.engine.definition.study import Study
from studies.engine.execution.budget import CostMeter, StopReason, hours_used_up, replicates_used_up
from studies.engine.execution.progress import Display
from studies.engine.execution.resource_requests import Node, request_for, runs_on_gpu
from studies.engine.execution.retries import MAX_DEATHS, InFlight, names_memory
from studies.engine.execution.worker import DATA, OUT_OF_MEMORY, STORAGE
from studies.engine.ledger.driver_lock import StillHeld
from studies.engine.ledger.ledger import WITHDRAWN, Ledger, LedgerEntry, LedgerError, ReplicateEnd
from studies.engine.proposing.proposals import Proposals
from studies.engine.recording.tracker import Tracker
from trainables.data.datasets import default_data_folder
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.epochs.time_budget import PROGRESS
from trainables.training.files import Location, inside

MAX_WAITING_IN_SEARCH = 4
"""A search is asked for no more while this number of its proposals wait for their source networks, since it would not learn
from them."""
SECONDS_BETWEEN_LOOKS = 1.0
"""Between looks at the budget."""
SECONDS_BETWEEN_READINGS = 30.0
"""Between writes of the cost to the ledger."""
SECONDS_OF_GRACE = 60.0
"""How long a process may take to end itself after its deadline, before the driver ends it."""
ANY_NODE = Node(memory_bytes=float("inf"), gpu_bytes=0)


def checkpoint_folder(study: Study, identity: str) -> Location:
    """Where a replicate or source network keeps its checkpoints and, once it is complete, its reports."""
    return inside(study.stores.checkpoints, identity)


class Failure(NamedTuple):
    """Why an item failed."""

    reason: str
    traceback: str


class SourceNetworks:
    """Which source networks are trained, and which have failed.

    Args:
        study: The study whose replicates have these source networks.
        entries: Of the ledger, by identity. A replicate that failed earlier counts as a failed source network of others.
        retry_failed: Whether earlier failures are forgotten.
    """

    def __init__(self, study: Study, entries: Mapping[str, LedgerEntry], *, retry_failed: bool) -> None:
        self._study = study
        self._planned = {replicate.identity for replicate in study.replicates}
        self._trained: set[str] = set()
        self._failures: dict[str, Failure] = {}
        for identity, entry in entries.items():
            if entry.state == TrialState.FAIL and entry.reason != WITHDRAWN and not retry_failed:
                self._failures[identity] = Failure(entry.reason, entry.end.traceback if entry.end else "")

    def is_planned(self, source: SourceNetwork) -> bool:
        """Whether the study asks for the same network as a replicate of its own, and so trains it anyway."""
        return source.identity in self._planned

    def is_trained(self, source: SourceNetwork) -> bool:
        """Whether the source network's checkpoint folder holds all of its reports and its weights, whoever trained it."""
        if source.identity not in self._trained:
            if not CheckpointFolder(checkpoint_folder(self._study, source.identity)).finished_reports():
                return False
            self._trained.add(source.identity)
        return True

    def failure_of(self, source: SourceNetwork) -> Failure | None:
        """Why the source network failed, if it did."""
        return self._failures.get(source.identity)

    def add_trained(self, identity: str) -> None:
        """Note that an item has been trained to its end."""
        self._trained.add(identity)

    def add_failed(self, identity: str, reason: str, traceback: str) -> None:
        """Note that an item has failed."""
        self._failures[identity] = Failure(reason, traceback)


class StudyController:
    """Decides what a study trains next, and records what happens; Ray Tune calls it, from the driver's one thread.

    Items are replicates and source networks; Ray Tune knows them by their identity. Of an item that is not in training,
    reports and failures are ignored: they come from a process that has been replaced.

    Args:
        study: The study that is run.
        proposals: What the study asks for, in order.
        first: The first proposal, which the driver has taken already to see whether there is anything to train.
        ledger: Where states are recorded first. If it cannot be written to, the study stops, and no state has changed.
        tracker: Writes to MLflow what the ledger has.
        display: Shows the progress.
        node: The most that a node of the cluster has; no replicate is given more.
        still_held: Tells whether this driver still has the study's lock.
        retry_failed: Whether the failures of earlier drivers are forgotten.
    """

    def __init__(
        self,
        study: Study,
        proposals: Proposals,
        first: Replicate,
        ledger: Ledger,
        tracker: Tracker,
        display: Display,
        *,
        node: Node = ANY_NODE,
        still_held: StillHeld = lambda: True,
        retry_failed: bool = False,
    ) -> None:
        self._study, self._proposals, self._ledger, self._tracker = study, proposals, ledger, tracker
        self._display, self._progress, self._node, self._still_held = display, display.progress, node, still_held
        self._source_networks = SourceNetworks(study, ledger.entries(), retry_failed=retry_failed)
        self._meter = CostMeter.from_stored(ledger.meter())
        self._waiting = [first]
        """Replicates that were proposed and have not begun; some wait for their source network."""
        self._max_waiting = len(study.replicates) or MAX_WAITING_IN_SEARCH
        self._in_flight: dict[str, InFlight] = {}
        """What a worker has, or is about to get, by identity."""
        self._again: list[InFlight] = []
        """What goes on in another process, before anything else begins."""
        self._to_prune: set[str] = set()
        self._looked_at = self._read_at = time.monotonic()
        self.stop_reason: StopReason | None = None
        """Why nothing more begins; None while the study runs as it should."""
        self._stop_is_told = False
        self.asking_ledger_since: float | None = None
        """When the ledger was asked what it has not answered yet (monotonic seconds); None if it has answered."""

    @property
    def _is_paused(self) -> bool:
        return self.stop_reason is not None and self.stop_reason.pauses

    def next_assignment(self) -> dict[str, Any] | None:
        """What the next free worker is told to train (see ``worker.py``); None if nothing can begin now.

        What a dead process left comes first, then replicates that waited for their source network, then new proposals. In
        place of the first replicate whose source network is not trained yet, the source network is assigned.
        """
        if self._is_paused:
            return None
        if self._again:
            return self._assign(self._again.pop(0))
        if self.stop_reason:
            return None
        for replicate in list(self._waiting):
            if assignment := self._advance(replicate):
                return assignment
        while len(self._waiting) < self._max_waiting and not self.stop_reason and (proposal := self._proposals.next()):
            self._waiting.append(proposal)
            if assignment := self._advance(proposal):
                return assignment
        return None

    def is_waiting(self) -> bool:
        """Whether more may begin once something in training has finished; if not, and nothing can begin now, the study ends."""
        return not self._is_paused and (bool(self._in_flight) or bool(self._again))

    def started(self, identity: str) -> None:
        """A worker has begun to train this item."""
        flight = self._in_flight.get(identity)
        if flight is None:
            return
        flight.start()
        self._meter.start(identity, flight.gpus)
        if flight.replicate:
            self._tracker.begin(flight.replicate, self._ledger.entries()[identity].begun_at_ms)
        self._progress.running[identity] = flight.item.title

    def should_stop(self, identity: str, report: dict[str, Any]) -> bool:
        """Whether this item is to stop with this report, since it is pruned or the study is paused.

        Ray Tune asks this before it calls ``reported``.
        """
        flight = self._in_flight.get(identity)
        if flight and flight.replicate:
            stop = self._proposals.reported(flight.replicate, report["epoch"], report["metrics"])
            if stop and report["epoch"] != report["num_epochs"]:
                self._to_prune.add(identity)
        return identity in self._to_prune or self._is_paused

    def reported(self, identity: str, report: dict[str, Any]) -> None:
        """An epoch of this item is done; ``report`` is an ``EpochReport`` as a dict. With its last epoch it is complete."""
        flight = self._in_flight.get(identity)
        if flight is None:
            return
        epoch, num_epochs = report["epoch"], report["num_epochs"]
        flight.reported(epoch)
        self._progress.running[identity] = f"{flight.item.title} · {_progress_in_words(report)}"
        if flight.replicate:
            self._record_report(flight, flight.replicate, report)
        elif epoch == num_epochs:
            self._finish(flight, TrialState.COMPLETE, self._end_of(flight))

    def failed(self, identity: str, kind: str, reason: str, traceback: str = "") -> None:
        """Training has raised an error; ``kind`` is FAILED, OUT_OF_MEMORY, STORAGE or DATA of ``worker.py``.

        With FAILED the item fails; with OUT_OF_MEMORY it is tried again in smaller parts; with STORAGE or DATA the study stops.
        """
        flight = self._in_flight.get(identity)
        if flight is None:
            return
        if kind == STORAGE:
            self.stop(StopReason("storage", f"a worker could not write to the storage ({reason})"))
        elif kind == DATA:
            self.stop(StopReason("data", reason.removeprefix("OtherDataError: ")))
        elif kind == OUT_OF_MEMORY:
            self._retry_smaller(flight, reason, traceback)
        else:
            self._fail(flight, reason, traceback)

    def process_died(self, identity: str, error: str) -> None:
        """The process of this item has died, or has raised an error that another process may not meet.

        The item goes on in another process, from its last checkpoint. After ``MAX_DEATHS`` without a new epoch it fails.
        """
        flight = self._in_flight.get(identity)
        if flight is None or self._is_paused:
            return
        reason = error.splitlines()[-1]
        if names_memory(error):
            self._retry_smaller(flight, reason, error)
            return
        flight.num_deaths += 1
        if flight.num_deaths < MAX_DEATHS:
            self._retry(flight)
            return
        if flight.is_late(self._study.content.deadline_s):
            reason = f"no epoch was done within the deadline of {self._study.content.deadline_s:g} s"
        self._fail(flight, f"{reason} ({MAX_DEATHS} attempts)", error)

    def stop(self, reason: StopReason) -> None:
        """Begin nothing more, for this reason; the first reason that pauses the study is kept."""
        if not self._is_paused:
            self.stop_reason = reason

    @property
    def deadline_s(self) -> float:
        """How long an item may train without a report, as the study file says."""
        return self._study.content.deadline_s

    def is_overdue(self, identity: str) -> bool:
        """Whether the process of an item should have ended itself a while ago, since it has reported nothing for so long."""
        flight = self._in_flight.get(identity)
        return flight is not None and identity in self._progress.running and flight.is_late(self.deadline_s + SECONDS_OF_GRACE)

    def tell_why_stopped(self) -> None:
        """Tell the person at the terminal, once, why nothing more begins."""
        if self.stop_reason and not self._stop_is_told:
            self._stop_is_told = True
            self._display.say(self.stop_reason.announcement())

    def tick(self) -> None:
        """Do what is due from time to time: look at the budget, store the cost, see to the lock, refresh the display."""
        self.tell_why_stopped()
        now = time.monotonic()
        if now - self._looked_at >= SECONDS_BETWEEN_LOOKS:
            self._looked_at = now
            self._meter.read()
            if reason := hours_used_up(self._study.content.budget, self._meter):
                self.stop(reason)
        if now - self._read_at >= SECONDS_BETWEEN_READINGS:
            self._read_at = now
            self._recorded(lambda: self._ledger.store_meter(self._meter.stored()))
            self.asking_ledger_since = now
            is_held = self._still_held()
            self.asking_ledger_since = None
            if not is_held:
                words = "the ledger's database was restarted, and another driver has taken over the study"
                self.stop(StopReason("storage", words))
        self._display.refresh()

    def close(self) -> None:
        """Record the end of this driver. What was in training stays RUNNING in the ledger, for the next driver to resume."""
        for flight in [*self._in_flight.values(), *self._again]:
            if flight.replicate and (flight.identity in self._progress.running or flight in self._again):
                self._tracker.end(flight.replicate, None, "interrupted; run the study again to finish it")
            self._meter.pause(flight.identity)
        self._in_flight.clear()  # what a process that was left behind still reports is ignored
        self._again.clear()
        self._recorded(lambda: self._ledger.store_meter(self._meter.stored()))

    def _advance(self, replicate: Replicate) -> dict[str, Any] | None:
        """The assignment of a replicate that waits, or of its source network; None if neither can begin now."""
        source = replicate.source_network
        if replicate.identity in self._in_flight:  # as the source network of another replicate
            return None
        if source and not self._source_networks.failure_of(source):
            if source.identity in self._in_flight:
                return None
            if not self._source_networks.is_trained(source):
                return None if self._source_networks.is_planned(source) else self._assign(self._flight(source, replicate))
        entries = self._ledger.entries()
        if replicate.identity not in entries and (reason := replicates_used_up(self._study.content.budget, len(entries))):
            self.stop(reason)
            return None
        self._waiting.remove(replicate)
        return self._begin(replicate)

    def _begin(self, replicate: Replicate) -> dict[str, Any] | None:
        """The replicate's assignment; None if the ledger cannot be written, or if it fails since its source network has
        failed.
        """
        if not self._recorded(lambda: self._ledger.begin(replicate)):
            return None
        if replicate.source_network and (failure := self._source_networks.failure_of(replicate.source_network)):
            flight = self._in_flight[replicate.identity] = InFlight(replicate)
            self._tracker.begin(replicate, self._ledger.entries()[replicate.identity].begun_at_ms)
            self._fail(flight, f"its source network failed: {failure.reason}", failure.traceback)
            return None
        return self._assign(self._flight(replicate, replicate))

    def _flight(self, item: Replicate | SourceNetwork, replicate: Replicate) -> InFlight:
        """The record of an item that begins; ``replicate`` is the item, or the one whose source network it is."""
        configuration = self._study.binder.configuration(replicate.cell, replicate.tuned)
        if item is not replicate:
            configuration = configuration.source_network or configuration
        on_gpu = runs_on_gpu(self._study.resources, has_gpu=self._node.has_gpu)
        entry = self._ledger.entries().get(item.identity)
        return InFlight(
            item,
            predicted_bytes=configuration.footprint.memory_on(gpu=on_gpu),
            num_out_of_memory=entry.num_out_of_memory if entry else 0,
        )

    def _assign(self, flight: InFlight) -> dict[str, Any]:
        """Put an item in flight: what its worker is told."""
        self._in_flight[flight.identity] = flight
        flight.request = request = request_for(
            self._study.resources, flight.predicted_bytes, self._node, num_out_of_memory=flight.num_out_of_memory
        )
        item, content, config = flight.item, self._study.content, dict(flight.item.config)
        if config["data"].endswith(".npz"):  # a worker runs in a folder of its own
            config["data"] = str(Path(config["data"]).expanduser().resolve())
        if config["device"] == "auto" and not request.gpus:  # Ray has reserved no GPU
            config["device"] = "cpu"
        return {
            "identity": item.identity,
            "trainable": item.trainable,
            "config": config,
            "seed": item.seed,
            "data_digest": item.data_digest,
            "data_folder": str(default_data_folder()),
            "checkpoint_folder": str(checkpoint_folder(self._study, item.identity)),
            "num_micro_batches": flight.num_micro_batches,
            "keep_weights": content.log_models,
            "deadline_s": content.deadline_s,
            "log_system_metrics": content.log_system_metrics,
            "resources": request.as_ray(),
        }

    def _record_report(self, flight: InFlight, replicate: Replicate, report: dict[str, Any]) -> None:
        identity, epoch, num_epochs, metrics = replicate.identity, report["epoch"], report["num_epochs"], report["metrics"]
        end = self._end_of(flight)
        if epoch == num_epochs and not self._recorded(lambda: self._ledger.complete(identity, metrics, end)):
            return
        self._tracker.report(replicate, report)
        if epoch == num_epochs:
            self._progress.consider(replicate.title, metrics)
            self._finish(flight, TrialState.COMPLETE, end, metrics=metrics)
        elif identity in self._to_prune:
            of_all = f" of {num_epochs}" if num_epochs else ""
            reason = f"stopped early after epoch {epoch}{of_all}, by the study's pruner"
            if self._recorded(lambda: self._ledger.prune(identity, reason, end)):
                self._finish(flight, TrialState.PRUNED, end, reason, metrics=metrics)

    def _retry_smaller(self, flight: InFlight, reason: str, traceback: str) -> None:
        """Try an item that ran out of memory again: with twice the memory, and half as many images at a time."""
        if not flight.can_be_smaller():
            self._fail(flight, f"out of memory with one image at a time: {reason}", traceback)
            return
        flight.num_out_of_memory += 1
        write = self._ledger.ran_out_of_memory
        if not flight.replicate or self._recorded(lambda: write(flight.identity, flight.num_out_of_memory)):
            self._retry(flight)

    def _retry(self, flight: InFlight) -> None:
        """Go on with an item in another process, before anything else begins."""
        self._meter.pause(flight.identity)
        del self._in_flight[flight.identity]
        self._progress.running.pop(flight.identity, None)
        self._again.append(flight)

    def _fail(self, flight: InFlight, reason: str, traceback: str) -> None:
        end = self._end_of(flight, traceback)
        if not flight.replicate or self._recorded(lambda: self._ledger.fail(flight.identity, reason, end)):
            self._finish(flight, TrialState.FAIL, end, reason)

    def _end_of(self, flight: InFlight, traceback: str = "") -> ReplicateEnd:
        """What is to be recorded of an item that ends now."""
        seconds = self._meter.seconds_of(flight.identity)
        return ReplicateEnd.now({"cost/seconds": seconds, "cost/gpu_seconds": seconds * flight.gpus}, traceback)

    def _finish(
        self,
        flight: InFlight,
        state: TrialState,
        end: ReplicateEnd,
        reason: str = "",
        *,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """An item is complete, pruned or failed; if it is a replicate, the ledger has its state already."""
        identity, replicate = flight.identity, flight.replicate
        if state == TrialState.COMPLETE:
            self._source_networks.add_trained(identity)
        elif state == TrialState.FAIL:
            self._source_networks.add_failed(identity, reason, end.traceback)
        self._meter.finish(identity)
        del self._in_flight[identity]
        self._progress.running.pop(identity, None)
        if replicate:
            self._tracker.end(replicate, state, reason, end)
            self._proposals.finished(replicate, state, metrics or {})
            total = self._proposals.total()
            self._progress.finished(state, total=total)
            self._recorded(lambda: self._ledger.expect(total))
            self._tracker.update_record(self._proposals.planned, self._proposals.notes)
        self._display.refresh()

    def _recorded(self, write: Callable[[], None]) -> bool:
        """Write to the ledger; if that is not possible, stop the study, with everything as it was before."""
        self.asking_ledger_since = time.monotonic()
        try:
            write()
        except LedgerError as error:
            self.stop(StopReason("storage", str(error)))
            return False
        finally:
            self.asking_ledger_since = None
        return True


def _progress_in_words(report: Mapping[str, Any]) -> str:
    """How far an item is: its epoch of all, or in training for a number of seconds, the share of them that is spent."""
    if report["num_epochs"]:
        return f"epoch {report['epoch']}/{report['num_epochs']}"
    return f"epoch {report['epoch']}, {report['metrics'].get(PROGRESS, 0):.0%} of its time"
