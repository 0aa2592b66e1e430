"""Outcomes: the metrics that a study is judged on, its objectives and always accuracy and sparsity."""

from dataclasses import dataclass

from studies.run_record import ACCURACY, SPARSITY, TEST_ACCURACY, Direction, StudyRecord

NAMES = {ACCURACY: "validation accuracy", SPARSITY: "activation sparsity", TEST_ACCURACY: "test accuracy"}
FRACTIONS = (ACCURACY, TEST_ACCURACY, "sparsity/")
"""Metrics that begin so are fractions, shown in percent; their differences in points."""


@dataclass(frozen=True)
class Outcome:
    """A metric of the replicates, its name in a report, and whether more or less of it is better."""

    metric: str
    name: str
    direction: Direction = "maximize"

    @property
    def is_fraction(self) -> bool:
        """Whether its values are shown in percent."""
        return self.metric.startswith(FRACTIONS)

    def better_first(self, value: float) -> float:
        """A key that sorts the better values before the worse."""
        return -value if self.direction == "maximize" else value


ACCURACY_OUTCOME = Outcome(ACCURACY, NAMES[ACCURACY])
SPARSITY_OUTCOME = Outcome(SPARSITY, NAMES[SPARSITY])


def objectives_of(study: StudyRecord) -> tuple[Outcome, ...]:
    """The study's objectives, primary first."""
    return tuple(Outcome(metric, NAMES.get(metric, metric), direction) for metric, direction in study.objectives.items())


def has_several_objectives(study: StudyRecord) -> bool:
    """Whether the study is judged on more than one outcome, so that it has a Pareto front."""
    return len(study.objectives) > 1


def outcomes_of(study: StudyRecord) -> tuple[Outcome, ...]:
    """The study's objectives, primary first, then accuracy and sparsity unless they are among them."""
    always = (outcome for outcome in (ACCURACY_OUTCOME, SPARSITY_OUTCOME) if outcome.metric not in study.objectives)
    return (*objectives_of(study), *always)
