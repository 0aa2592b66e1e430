"""Outcomes: the metrics that a study is judged on, its objectives and always accuracy and sparsity."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from analysis.statistics.data.estimates import COUNTS, EVERYWHERE, SHARES
from analysis.statistics.data.scales import Scale
from studies.label_texts import label_of
from studies.run_record import ACCURACY, SPARSITY, TEST_ACCURACY, Direction, RunRecord, StudyRecord

SPIKES = "spikes_per_neuron/overall"
NAMES = {
    ACCURACY: "validation accuracy",
    SPARSITY: "activation sparsity",
    TEST_ACCURACY: "test accuracy",
    SPIKES: "spikes per neuron and image",
}
ACCURACIES = (ACCURACY, TEST_ACCURACY)
FRACTIONS = (*ACCURACIES, "sparsity/")
"""Metrics that begin so are fractions, shown in percent; their differences in points."""
COSTS = ("spikes_per_neuron/", "ops/", "ops_input_each_step/", "cost/")
"""Metrics that begin so are counts and costs, which are compared as ratios."""


@dataclass(frozen=True)
class Outcome:
    """A metric of the replicates, its name in a report, and whether more or less of it is better."""

    metric: str
    name: str = field(compare=False)
    direction: Direction = "maximize"

    @property
    def is_fraction(self) -> bool:
        """Whether its values are shown in percent."""
        return self.metric.startswith(FRACTIONS)

    @property
    def is_accuracy(self) -> bool:
        """Whether its values are shares of images whose class is right."""
        return self.metric in ACCURACIES

    @property
    def is_ratio(self) -> bool:
        """Whether its differences are ratios: of counts and costs, where twice as much means the same at any size."""
        return self.scale == "log"

    @property
    def scale(self) -> Scale:
        """The scale on which it is compared: the logit of accuracies, the logarithm of counts and costs, else as it is."""
        if self.is_accuracy:
            return "logit"
        return "log" if self.metric.startswith(COSTS) else "linear"

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest value that it can have."""
        if self.is_fraction:
            return SHARES
        return COUNTS if self.is_ratio else EVERYWHERE

    def better_first(self, value: float) -> float:
        """A key that sorts the better values before the worse."""
        return -value if self.direction == "maximize" else value


ACCURACY_OUTCOME = Outcome(ACCURACY, NAMES[ACCURACY])
SPARSITY_OUTCOME = Outcome(SPARSITY, NAMES[SPARSITY])
TEST_OUTCOME = Outcome(TEST_ACCURACY, NAMES[TEST_ACCURACY])
SPIKES_OUTCOME = Outcome(SPIKES, NAMES[SPIKES], "minimize")


def objectives_of(study: StudyRecord) -> tuple[Outcome, ...]:
    """The study's objectives, primary first."""
    outcomes = (Outcome(metric, NAMES.get(metric, metric), direction) for metric, direction in study.objectives.items())
    return tuple(named(study, outcome) for outcome in outcomes)


def named(study: StudyRecord, outcome: Outcome) -> Outcome:
    """An outcome under the name that the study gives it in print."""
    return replace(outcome, name=label_of(study.labels, outcome.metric, outcome.name))


def has_several_objectives(study: StudyRecord) -> bool:
    """Whether the study is judged on more than one outcome, so that it has a Pareto front."""
    return len(study.objectives) > 1


def outcomes_of(study: StudyRecord) -> tuple[Outcome, ...]:
    """The study's objectives, primary first, then accuracy and sparsity unless they are among them."""
    always = (named(study, one) for one in (ACCURACY_OUTCOME, SPARSITY_OUTCOME) if one.metric not in study.objectives)
    return (*objectives_of(study), *always)


def compared_outcomes(study: StudyRecord, runs: Iterable[RunRecord]) -> tuple[Outcome, ...]:
    """The outcomes that levels are compared on: those of the study, and spikes where a replicate has counted them."""
    outcomes = outcomes_of(study)
    has_spikes = any(SPIKES in run.metrics for run in runs) and SPIKES not in study.objectives
    return (*outcomes, named(study, SPIKES_OUTCOME)) if has_spikes else outcomes
