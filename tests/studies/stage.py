"""A stage for the controller: its ledger, its MLflow store and its display are real; the workers are the test."""

import dataclasses
import io

from optuna.trial import TrialState
from rich.console import Console

from studies.engine.definition.study import Study
from studies.engine.execution.controller import StudyController, checkpoint_folder
from studies.engine.execution.progress import Display, Progress
from studies.engine.ledger.ledger import open_ledger
from studies.engine.ledger.reading import count_replicates
from studies.engine.proposing.proposals import FixedProposals, StudyHistory
from studies.engine.recording.tracker import Tracker
from tests.new_stores import store_of
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.epoch_report import EpochReport


class Stage:
    """A study with its real ledger and MLflow store and its controller, played without workers."""

    def __init__(self, study: Study) -> None:
        self.study, self.ledger = study, open_ledger(study.stores.ledger, study.stores.name, study.space)
        proposals = FixedProposals(study.replicates, StudyHistory(self.ledger.entries(), lambda _: []))
        self.tracker = Tracker(store_of(study), study, study.replicates, [])
        self.progress = Progress(len(study.replicates))
        self.screen = io.StringIO()
        shown = Display(Console(file=self.screen, width=200), self.progress, None)
        first = proposals.next()
        assert first
        self.controller = StudyController(study, proposals, first, self.ledger, self.tracker, shown)

    def begin(self) -> str | None:
        """What a free worker is given."""
        assignment = self.controller.next_assignment()
        if assignment is None:
            return None
        self.controller.started(assignment["identity"])
        return str(assignment["identity"])

    def end(self, identity: str | None) -> None:
        """A worker finishes what it was given."""
        assert identity
        report = last_report()
        CheckpointFolder(checkpoint_folder(self.study, identity)).finish([report])
        self.controller.reported(identity, report.as_dict())

    def report(self, identity: str, epoch: int, num_epochs: int = 3) -> bool:
        """An epoch is done; whether the replicate stops with it."""
        report = dataclasses.replace(last_report(), epoch=epoch, num_epochs=num_epochs).as_dict()
        stops = self.controller.should_stop(identity, report)
        self.controller.reported(identity, report)
        return stops

    def states(self) -> dict[str, TrialState]:
        return {identity: entry.state for identity, entry in self.ledger.entries().items()}


def last_report() -> EpochReport:
    metrics = {"val/accuracy": 0.5, "sparsity/overall": 0.9}
    return EpochReport(1, 1_700_000_000_000, metrics, {}, 1, {"calibration": "abc"})


def list_ledger(ledger: str) -> dict[str, dict[str, int]]:
    """How many replicates each study of a ledger has in each state, by the study's name; empty if there is no ledger yet."""
    return {name: dict(counts.states) for name, counts in count_replicates(ledger).items()}
