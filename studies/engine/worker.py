"""Inside a Ray actor: train one replicate after another, an epoch a step.

The actor is reused from replicate to replicate, so that torch is imported once.
"""

import traceback
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from ray import tune

from studies.engine.binding import load_trainable, make_config
from trainables.training.data import prepare
from trainables.training.reports import Report, TrainingError

ASSIGNMENT = "assignment"
"""The key of a trial's config that holds what ``StudyConductor`` in conductor.py says of a replicate, or of a parent."""
IDENTITY = "identity"
REPORT = "report"
FAILURE = "failure"


class ReplicateWorker(tune.Trainable):  # type: ignore[misc]  # Ray ships no types
    """Iterates ``train()`` of the replicate that it is assigned, and hands every report to the driver.

    An exception in training ends the replicate, with the reason, but neither the actor nor the study: it would come again.
    The exception are errors that the machine may have made (RuntimeError, which torch raises, OSError, MemoryError): they end
    the process, as its death would, and Ray repeats the replicate from its checkpoint in another.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Begin the assigned replicate."""
        self._identity: str = config[ASSIGNMENT]["identity"]
        self._reports: Iterator[Report] = _reports(config[ASSIGNMENT])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another replicate in the same process."""
        self.cleanup()  # of one that was stopped early
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One epoch."""
        try:
            report = next(self._reports)
        except (RuntimeError, OSError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  # whatever user code raises is this replicate's failure, not the study's
            return {FAILURE: {"reason": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}, "done": True}
        if report.final:
            self.cleanup()
        return {IDENTITY: self._identity, REPORT: report.as_dict(), "done": report.final}

    def cleanup(self) -> None:
        """Let go of the network and of the replicate's lock."""
        if isinstance(self._reports, Generator):
            self._reports.close()
        self._reports = iter(())


def _reports(assignment: dict[str, Any]) -> Iterator[Report]:
    trainable = load_trainable(assignment["trainable"])
    config = make_config(trainable.Config, assignment["config"])
    dataset = prepare(config.data, Path(assignment["data_folder"]))
    if dataset.digest != assignment["data_digest"]:
        raise TrainingError(f"the data {config.data} on this machine are not those that the study was checked with")
    folder = Path(assignment["checkpoint_folder"])
    yield from trainable.train(config, seed=assignment["seed"], dataset=dataset, checkpoint_folder=folder)
