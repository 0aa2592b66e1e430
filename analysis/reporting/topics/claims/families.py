"""Which claims of a report are confirmatory: the contrasts of the primary outcome, over which one error is held."""

from analysis.statistics.data.outcomes import Outcome
from analysis.statistics.effects.contrasts import SIGNIFICANCE
from analysis.statistics.summary import Summary
from analysis.words import counted

ERROR = f"{100 * SIGNIFICANCE:g} %"
EXPLORATORY = "What follows is exploratory: the error that is held over the claims above does not cover it."


def family_in_words(summary: Summary, outcome: Outcome) -> str:
    """Whether the contrasts of an outcome are confirmatory, and which error is held over them; for the head of their table."""
    if outcome == summary.primary:
        return (
            f"Confirmatory: {outcome.name} is the primary outcome. Where no level differs, some verdict says otherwise in at "
            f"most {ERROR} of studies."
        )
    return "Exploratory: corrected within this table alone."


def claims_in_words(summary: Summary) -> list[str]:
    """What is confirmatory in this study, in a paragraph on the method."""
    if not summary.effects:
        return ["Claims: all are exploratory. The design ranks what it has tried, and no error is held over the ranks."]
    num_contrasts = sum(effect.is_contrast for effect in summary.effects[summary.primary])
    return [
        f"Claims: confirmatory are the {counted(num_contrasts, 'contrast')} of {summary.primary.name}, the primary outcome "
        f"(primary_outcome in the study file). Over them together the error is held: in at most {ERROR} of studies any of them "
        "is called higher or lower where there is no difference. All else is exploratory: other outcomes, test images, "
        "interactions, ranks, costs."
    ]
