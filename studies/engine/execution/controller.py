"""The conductor of a study: says what runs next and writes down what happened, first to the ledger, then to MLflow.

A parent that is not trained yet runs before the replicates that need it, which are held back meanwhile. It is nobody's
result: its folder is all that is kept of it.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from studies.engine.binding.replicates import Parent, Replicate
from studies.engine.definition.study import Study
from studies.engine.execution.budget import Halt, Meter, spent
from studies.engine.execution.progress import Display, Progress
from studies.engine.execution.resource_requests import Demand, Node, demand_of, runs_on_gpu
from studies.engine.execution.retries import MOST_BROKEN, Attempts, names_memory
from studies.engine.execution.worker import FAILED, OUT_OF_MEMORY, STORAGE
from studies.engine.ledger.driver_lock import StillHeld
from studies.engine.ledger.ledger import WITHDRAWN, Ledger, LedgerError
from studies.engine.proposing.proposals import Proposals
from studies.engine.recording.tracker import Tracker
from trainables.data.datasets import default_data_folder
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.files import Location, inside

MOST_HELD_IN_SEARCH = 4
"""A search is not asked for more while so many of its proposals wait for their parents: it would not learn from them."""
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_READINGS = 30.0
ANY_NODE = Node(memory_bytes=float("inf"), gpu_bytes=0)


def checkpoint_folder(study: Study, identity: str) -> Location:
    """Where a replicate keeps its checkpoints and, once finished, its reports."""
    return inside(study.stores.checkpoints, identity)


class StudyConductor:
    """Between the scheduler, which trains, and the proposals, the ledger, and the tracker."""

    def __init__(
        self,
        study: Study,
        proposals: Proposals,
        first: Replicate,
        ledger: Ledger,
        tracker: Tracker,
        progress: Progress,
        shown: Display,
        *,
        node: Node = ANY_NODE,
        still_held: StillHeld = lambda: True,
        retry_failed: bool = False,
    ) -> None:
        self._study, self._proposals, self._ledger, self._tracker = study, proposals, ledger, tracker
        self._progress, self._display, self._node = progress, shown, node
        self._still_held = still_held
        self._held = [first]
        """What has been proposed and not begun; it may wait for its parent."""
        self._again: list[Replicate | Parent] = []
        """What has to go on in another process."""
        self._in_flight: dict[str, Replicate | Parent] = {}
        self._demands: dict[str, Demand] = {}
        """Of what is in flight."""
        self._predicted: dict[str, int] = {}
        """Bytes, of what is in flight."""
        self._attempts: dict[str, Attempts] = {}
        self._to_prune: set[str] = set()
        self._trained: set[str] = set()
        """Identities that are known to be."""
        entries = ledger.entries()
        failed = [entry for entry in entries.items() if entry[1].state == TrialState.FAIL and entry[1].reason != WITHDRAWN]
        self._failures = {} if retry_failed else {identity: (entry.reason, "") for identity, entry in failed}
        """Reason and traceback by identity, of parents too."""
        self._planned = {replicate.identity for replicate in study.replicates}
        self._most_held = len(study.replicates) or MOST_HELD_IN_SEARCH
        self._meter = Meter.of(ledger.meter())
        self._looked_at = self._read_at = time.monotonic()
        self.halted: Halt | None = None
        """Why nothing more is begun, if so."""
        self._halt_is_told = False

    def next_assignment(self) -> dict[str, Any] | None:
        if self.halted and self.halted.pauses:
            return None
        if self._again:
            return self._assign(self._again.pop(0))
        if self.halted:
            return None
        for replicate in list(self._held):
            if assignment := self._advance(replicate):
                return assignment
        while len(self._held) < self._most_held and not self.halted and (proposal := self._proposals.next()):
            self._held.append(proposal)
            if assignment := self._advance(proposal):
                return assignment
        return None

    def _advance(self, replicate: Replicate) -> dict[str, Any] | None:
        """The assignment of a replicate that is held, or of its parent; None if neither can begin now."""
        parent = replicate.parent
        if replicate.identity in self._in_flight:  # as the parent of others, at this moment
            return None
        if parent is None or parent.identity in self._failures or self._is_trained(parent):
            if self._is_beyond_budget(replicate):
                return None
            self._held.remove(replicate)
            return self._start(replicate)
        if parent.identity not in self._in_flight and parent.identity not in self._planned:
            return self._assign(parent, replicate)
        return None

    def _is_beyond_budget(self, replicate: Replicate) -> bool:
        budget, entries = self._study.content.budget, self._ledger.entries()
        if budget is None or budget.replicates is None or replicate.identity in entries or len(entries) < budget.replicates:
            return False
        self.halt(Halt("budget", f"budget.replicates of {budget.replicates} is spent", pauses=False))
        return True

    def holds_back(self) -> bool:
        pauses = self.halted is not None and self.halted.pauses
        return not pauses and (bool(self._in_flight) or bool(self._again))

    def _is_trained(self, parent: Parent) -> bool:
        if parent.identity in self._in_flight or parent in self._again:
            return False
        if parent.identity not in self._trained:
            if not CheckpointFolder(checkpoint_folder(self._study, parent.identity)).finished_reports():
                return False
            self._trained.add(parent.identity)
        return True

    def _start(self, replicate: Replicate) -> dict[str, Any] | None:
        """The replicate's assignment; None if it has just failed, with its parent, or cannot be written down."""
        if not self._recorded(lambda: self._ledger.begin(replicate)):
            return None
        parent = replicate.parent
        if parent and parent.identity in self._failures:
            reason, traceback = self._failures[parent.identity]
            self._in_flight[replicate.identity] = replicate
            self._tracker.begin(replicate)
            self.failed(replicate.identity, FAILED, f"its parent failed: {reason}", traceback)
            return None
        return self._assign(replicate, replicate)

    def _assign(self, what: Replicate | Parent, replicate: Replicate | None = None) -> dict[str, Any]:
        """What a worker is told; ``replicate`` is the one that a parent is for, and not needed where it is known already."""
        self._in_flight[what.identity] = what
        attempts = self._attempts_of(what.identity)
        if replicate:
            configuration = self._study.binder.configuration(replicate.cell, replicate.tuned)
            asks = configuration if what is replicate else (configuration.parent or configuration)
            on_gpu = runs_on_gpu(self._study.resources, has_gpu=self._node.has_gpu)
            self._predicted[what.identity] = asks.footprint.memory_on(gpu=on_gpu)
        demand = demand_of(
            self._study.resources,
            self._predicted[what.identity],
            self._node,
            num_out_of_memory=attempts.num_out_of_memory,
        )
        self._demands[what.identity] = demand
        config = dict(what.config)
        if config["data"].endswith(".npz"):  # a worker's own folder is another
            config["data"] = str(Path(config["data"]).expanduser().resolve())
        if config["device"] == "auto" and not demand.gpus:  # Ray has reserved no GPU
            config["device"] = "cpu"
        return {
            "identity": what.identity,
            "trainable": what.trainable,
            "config": config,
            "seed": what.seed,
            "data_digest": what.data_digest,
            "data_folder": str(default_data_folder()),
            "checkpoint_folder": str(checkpoint_folder(self._study, what.identity)),
            "num_micro_batches": attempts.num_micro_batches,
            "keep_weights": self._study.content.log_models,
            "deadline_s": self._study.content.deadline_s,
            "log_system_metrics": self._study.content.log_system_metrics,
            "demand": demand.as_ray(),
        }

    def _attempts_of(self, identity: str) -> Attempts:
        if identity not in self._attempts:
            entry = self._ledger.entries().get(identity)
            self._attempts[identity] = Attempts(num_out_of_memory=entry.num_out_of_memory if entry else 0)
        return self._attempts[identity]

    def started(self, identity: str) -> None:
        what = self._in_flight.get(identity)
        if what is None:
            return
        self._attempts[identity].start()
        self._meter.start(identity, self._demands[identity].gpus)
        if isinstance(what, Replicate):
            self._tracker.begin(what)
        self._progress.running[identity] = what.title

    def should_stop(self, identity: str, report: dict[str, Any]) -> bool:
        what = self._in_flight.get(identity)
        if isinstance(what, Replicate):
            stop = self._proposals.reported(what, report["epoch"], report["metrics"])
            if stop and report["epoch"] < report["num_epochs"]:
                self._to_prune.add(identity)
        return identity in self._to_prune or (self.halted is not None and self.halted.pauses)

    def reported(self, identity: str, report: dict[str, Any]) -> None:
        what = self._in_flight.get(identity)
        if what is None:  # it has ended, and was started again
            return
        self._attempts[identity].hear(report["epoch"])
        final = report["epoch"] == report["num_epochs"]
        self._progress.running[identity] = f"{what.title} · epoch {report['epoch']}/{report['num_epochs']}"
        if isinstance(what, Parent):
            if final:
                self._trained.add(identity)
                self._end(what)
            return
        if final and not self._recorded(lambda: self._ledger.complete(identity, report["metrics"])):
            return
        self._tracker.report(what, report)
        if final:
            self._trained.add(identity)
            self._progress.consider(what.title, report["metrics"])
            self._end(what, TrialState.COMPLETE, metrics=report["metrics"])
        elif identity in self._to_prune:
            reason = f"stopped after epoch {report['epoch']} of {report['num_epochs']}: it fell behind"
            if self._recorded(lambda: self._ledger.prune(identity, reason)):
                self._end(what, TrialState.PRUNED, reason, metrics=report["metrics"])

    def failed(self, identity: str, kind: str, reason: str, traceback: str = "") -> None:
        what = self._in_flight.get(identity)
        if what is None:
            return
        if kind == STORAGE:
            self.halt(Halt("storage", f"a worker could not write to the storage ({reason})"))
        elif kind == OUT_OF_MEMORY:
            self._out_of_memory(what, reason, traceback)
        else:
            self._fail(what, reason, traceback)

    def broken(self, identity: str, error: str) -> None:
        what = self._in_flight.get(identity)
        if what is None or (self.halted and self.halted.pauses):
            return
        reason = error.splitlines()[-1]
        if names_memory(error):
            self._out_of_memory(what, reason, error)
            return
        attempts = self._attempts[identity]
        attempts.num_broken += 1
        if attempts.num_broken < MOST_BROKEN:
            self._repeat(what)
            return
        if attempts.is_late(self._study.content.deadline_s):
            reason = f"nothing was heard of it within its deadline of {self._study.content.deadline_s:g} s"
        self._fail(what, f"{reason} ({MOST_BROKEN} attempts)", error)

    def _out_of_memory(self, what: Replicate | Parent, reason: str, traceback: str) -> None:
        attempts = self._attempts[what.identity]
        if not attempts.can_be_smaller(what.config):
            self._fail(what, f"out of memory with one image at a time: {reason}", traceback)
            return
        attempts.num_out_of_memory += 1
        if isinstance(what, Parent) or self._recorded(
            lambda: self._ledger.ran_out_of_memory(what.identity, attempts.num_out_of_memory)
        ):
            self._repeat(what)

    def _repeat(self, what: Replicate | Parent) -> None:
        """It goes on in another process, before anything else is begun."""
        self._meter.stop(what.identity)
        del self._in_flight[what.identity]
        self._progress.running.pop(what.identity, None)
        self._again.append(what)

    def _fail(self, what: Replicate | Parent, reason: str, traceback: str) -> None:
        if isinstance(what, Parent) or self._recorded(lambda: self._ledger.fail(what.identity, reason)):
            self._failures[what.identity] = (reason, traceback)
            self._end(what, TrialState.FAIL, reason, traceback)

    def _end(
        self,
        what: Replicate | Parent,
        state: TrialState = TrialState.COMPLETE,
        reason: str = "",
        traceback: str = "",
        *,
        metrics: dict[str, float] | None = None,
    ) -> None:
        identity = what.identity
        seconds = self._meter.end(identity)
        del self._in_flight[identity]
        demand = self._demands.pop(identity, None)
        self._attempts.pop(identity, None)
        self._predicted.pop(identity, None)
        self._progress.running.pop(identity, None)
        if isinstance(what, Replicate):
            cost = {"cost/seconds": seconds, "cost/gpu_seconds": seconds * (demand.gpus if demand else 0)}
            self._tracker.end(what, state, reason, traceback, cost)
            self._proposals.ended(what, state, metrics or {})
            total = self._proposals.total()
            self._progress.ended(state, total=total)
            self._recorded(lambda: self._ledger.expect(total))
            self._tracker.update_record(self._proposals.planned, self._proposals.notes)
        self._display.refresh()

    def tick(self) -> None:
        if self.halted and not self._halt_is_told:
            self._halt_is_told = True
            what = "what is in training ends with its epoch" if self.halted.pauses else "what is in training goes on to its end"
            again = "; once more, and it ends now" if self.halted.kind == "interrupted" else ""
            self._display.say(f"{self.halted.words}: {what}{again}")
        now = time.monotonic()
        if now - self._looked_at >= SECONDS_BETWEEN_LOOKS:
            self._looked_at = now
            self._meter.read()
            if words := spent(self._study.content.budget, self._meter):
                self.halt(Halt("budget", words))
        if now - self._read_at >= SECONDS_BETWEEN_READINGS:
            self._read_at = now
            self._recorded(lambda: self._ledger.store_meter(self._meter.stored()))
            if not self._still_held():
                self.halt(Halt("storage", "the ledger's database was started anew, and another driver has taken the study"))
        self._display.refresh()

    def halt(self, halt: Halt) -> None:
        if self.halted is None or not self.halted.pauses:
            self.halted = halt

    def _recorded(self, write: Callable[[], None]) -> bool:
        """Write to the ledger; where that cannot be done, the study halts with everything as it was before."""
        try:
            write()
        except LedgerError as error:
            self.halt(Halt("storage", str(error)))
            return False
        return True

    def leave(self) -> None:
        """The scheduler has returned early: what is in flight stays RUNNING in the ledger, to be taken up again."""
        for what in [*self._in_flight.values(), *self._again]:
            if isinstance(what, Replicate) and (what.identity in self._progress.running or what in self._again):
                self._tracker.end(what, None, "interrupted; run the study again to finish it")
            self._meter.stop(what.identity)
        self._recorded(lambda: self._ledger.store_meter(self._meter.stored()))
