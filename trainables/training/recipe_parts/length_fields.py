"""How long a training is, and which of its epochs is the result: fields that every trained network has."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainables.networks.rules import RuleError
from trainables.training.configs import setting
from trainables.training.regularisers import Pruning

Selection = Literal["last", "best_on_validation", "best_on_test"]


@dataclass(frozen=True, kw_only=True)
class LengthFields:
    """The length of a training, in epochs or in seconds, and the choice among its epochs."""

    epochs: int = setting(10, at_least=1, section="training")
    """How many times the training images are passed over. Without effect where time_budget_s says how long training is."""

    time_budget_s: float | None = setting(None, above=0, before=None)
    """For how many seconds the network is trained, in place of a number of epochs; null trains for epochs. The steps of the
    optimiser and the evaluations between them count; reading the data, writing checkpoints and the last look at the test images
    do not. The schedule of the learning rate is laid over these seconds. An epoch is still a pass over the training images, of
    which the last one is cut, and one step is taken in any case. How many epochs that is depends on the machine and on what else
    it does (time/epochs has it), so that such a training cannot be repeated to the digit, nor compared at equal epochs."""

    selection: Selection = setting("last", before="last")
    """Which epoch's weights are the result: those of the last one; of the one that is most accurate on the validation images
    (best_on_validation); or on the test images (best_on_test), which are then looked at after every epoch. Of equally accurate
    epochs it is the first. All numbers of a run are those of its selected epoch (selection/epoch). Many published accuracies are
    best_on_test; they are optimistic, and whatever shows such a result says so. It serves to measure by how much. A network that
    is trained first (of a converted SNN, or in pre-training) is selected in the same way."""

    def most_epochs(self) -> float:
        """The epochs of the longest training that the config asks for, its source network's among them; infinite in seconds."""
        return math.inf if self.time_budget_s is not None else self.epochs

    def inactive_length(self) -> set[str]:
        """The fields that do nothing: epochs under a time budget, and a selection among one epoch."""
        inactive = {"epochs"} if self.time_budget_s is not None else set[str]()
        return inactive | ({"selection"} if self.most_epochs() == 1 else set())

    @property
    def active_selection(self) -> Selection:
        """How an epoch is selected, where there is more than one."""
        return "last" if "selection" in self.inactive_length() else self.selection

    def length_problems(self) -> Iterator[RuleError]:
        """The rules that the length of training and the selection of an epoch break together with other fields."""
        if self.time_budget_s is not None and getattr(self, "schedule", "") == "step":
            rule = "time_budget_s must be null where schedule is step, as lr_milestones are epochs"
            yield RuleError(rule, repair="write time_budget_s: null, or schedule: cosine", field="time_budget_s")
        if not isinstance(self, Pruning) or self.prune == "none":
            return
        if self.time_budget_s is not None:
            rule = "time_budget_s must be null where filters are pruned, as prune_epochs counts epochs"
            yield RuleError(rule, repair="write time_budget_s: null, or prune: none", field="time_budget_s")
        if self.selection != "last":
            rule = "selection must be last where filters are pruned, as an earlier epoch has more of them"
            yield RuleError(rule, repair="write selection: last, or prune: none", field="selection")
