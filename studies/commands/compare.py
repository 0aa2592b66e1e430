"""``spikesweep compare``: two studies, each found as every command finds one, compared by the analysis."""

from collections.abc import Sequence
from pathlib import Path

from analysis.compare_studies import load_comparison, write_comparison
from analysis.records.mlflow_store import NoStudyError
from analysis.reporting.topics.comparison import Comparison
from studies.credentials import mask_credentials
from studies.engine.definition.lookup import find_stores
from studies.engine.errors import Problem, StudyError


def compare_studies(first: str, second: str, of_first: Sequence[str], of_second: Sequence[str]) -> tuple[Comparison, Path]:
    """The comparison of two studies under their overrides, and the folder where its files are now.

    Raises:
        StudyError: One of them cannot be read, or they are the same.
    """
    ours, theirs = find_stores(first, of_first), find_stores(second, of_second)
    try:
        comparison = load_comparison((ours.name, ours.tracking_uri), (theirs.name, theirs.tracking_uri))
    except NoStudyError as error:
        rule, repair = "compare needs two studies that MLflow has", "run them first, or name their stores (--help)"
        raise StudyError([Problem("STUDY", rule, mask_credentials(str(error)), repair)]) from None
    folder = ours.storage / "reports" / f"{theirs.name}_against_{ours.name}"
    write_comparison(comparison, folder)
    return comparison, folder
