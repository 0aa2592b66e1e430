"""How long a training is, and which of its epochs is the result: fields that every trained network has."""

import math
from dataclasses import dataclass
from typing import Literal

from trainables.training.configs import setting

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
    best_on_test: they are optimistic, and best_on_test is there to measure by how much. Everything that shows such a result says
    so. A network that is trained first (of a converted SNN, or in pre-training) is selected in the same way."""

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

    @property
    def selects_on_test(self) -> bool:
        """Whether the test images choose the epoch that is the result."""
        return self.active_selection == "best_on_test"
