"""Which epoch's weights are the result of a training, and by how much another choice would look better or worse."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from trainables.networks.network import Network
from trainables.training.epoch_report import EpochReport
from trainables.training.epochs.judging import NOTHING_JUDGED, TEST_ACCURACY, Judge, Judgement
from trainables.training.recipe_parts.length_fields import Selection

SELECTED = "selected"
SELECTED_CORRECT = "selected_correct"
FACT = "selection"
"""The name of the fact that says how an epoch was selected, where it is not the last one."""
ON_TEST = "selected on the test images: optimistic"
"""What everything says that shows a result of ``best_on_test``."""
OF_THE_MACHINE = ("time/", "memory/")
JUDGED_BY: Mapping[Selection, str] = {"best_on_validation": "val/accuracy", "best_on_test": TEST_ACCURACY}


class SelectedEpoch:
    """The epoch that is the result so far, and its weights, of a training that selects one.

    Args:
        selection: How it is selected.
        first: The first epoch that may be; before it a network is only prepared.
        state: A checkpoint's, which may have the weights of the epoch that was selected among its reports.
    """

    def __init__(self, selection: Selection, first: int, state: Mapping[str, Any]) -> None:
        self._selection, self._first = selection, first
        self._weights: dict[str, Tensor] | None = state.get(SELECTED)
        self._correct: dict[str, str] = state.get(SELECTED_CORRECT, {})

    @property
    def run_facts(self) -> dict[str, str]:
        """What a run says of its selection; nothing where the last epoch is the result."""
        if self._selection == "last":
            return {}
        return {FACT: f"{self._selection}, {ON_TEST}" if self._selection == "best_on_test" else self._selection}

    def needs_test(self, epoch: int) -> bool:
        """Whether an epoch has to be judged on the test images."""
        return self._selection == "best_on_test" and epoch >= self._first

    def consider(self, reports: Sequence[EpochReport], weights: Mapping[str, Tensor], correct: Mapping[str, str]) -> None:
        """Copy the weights of the newest epoch if it is the best so far, and keep which images it judged right."""
        if self._selection != "last" and self.of(reports) is reports[-1]:
            self._weights = {name: tensor.detach().clone() for name, tensor in weights.items()}
            self._correct = dict(correct)

    def of(self, reports: Sequence[EpochReport]) -> EpochReport:
        """The report of the selected epoch; the first of those that are equally accurate."""
        return self._best(reports, self._selection)

    def _best(self, reports: Sequence[EpochReport], selection: Selection) -> EpochReport:
        candidates = reports[self._first - 1 :]
        if selection == "last" or not candidates:
            return reports[-1]
        return max(candidates, key=lambda report: report.metrics[JUDGED_BY[selection]])  # max takes the first

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it; a selection itself follows from the reports."""
        return {} if self._weights is None else {SELECTED: self._weights, SELECTED_CORRECT: self._correct}

    def result(self, reports: Sequence[EpochReport], network: Network, judge: Judge) -> EpochReport:
        """The last report with the numbers of the selected epoch, but for those that tell of the machine, and with those of the
        epochs that another selection would have taken.

        Args:
            reports: All of them; the last one, or every one where the test images select, has the accuracy on the test images.
            network: Gets the weights of the selected epoch.
            judge: Judges ``network``.
        """
        last, selected = reports[-1], self.of(reports)
        if self._selection == "last":
            return last
        others = {
            "selection/epoch": float(selected.epoch),
            "selection/last_val_accuracy": last.metrics["val/accuracy"],
            "selection/last_test_accuracy": last.metrics[TEST_ACCURACY],
        }
        if self._selection == "best_on_test":
            best = self._best(reports, "best_on_validation")
            others["selection/best_on_validation_test_accuracy"] = best.metrics[TEST_ACCURACY]
        numbers = Judgement(selected.metrics, selected.curves, self._correct)
        if selected is not last:
            assert self._weights is not None
            network.load_state_dict(self._weights)
            numbers |= judge.on_test() if TEST_ACCURACY not in selected.metrics else NOTHING_JUDGED
        of_epoch = {name: value for name, value in numbers.metrics.items() if not name.startswith(OF_THE_MACHINE)}
        of_machine = {name: value for name, value in last.metrics.items() if name.startswith(OF_THE_MACHINE)}
        metrics = of_epoch | of_machine | others
        return dataclasses.replace(last, metrics=metrics, curves=numbers.curves, correct=numbers.correct)


def num_looks_at_test(selection: Selection, epochs: int) -> int:
    """How often the test images are judged in a training of this number of epochs, at most."""
    return {"last": 1, "best_on_validation": min(2, max(1, epochs)), "best_on_test": max(1, epochs)}[selection]
