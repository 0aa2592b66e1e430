"""``spikesweep compare``: two studies, or one before and after a change."""

from typing import Annotated

import typer

from studies.commands.options import (
    JsonOption,
    StorageOption,
    StudyArgument,
    TrackingOption,
    all_overrides,
    out,
    print_json,
    problems_exit_2,
    writing_into,
)


def compare(
    first: StudyArgument,
    second: StudyArgument,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    other_storage: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Storage of the second study, if it is another one.")
    ] = None,
    other_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="MLflow store of the second study, if it is another one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two studies, or one before and after a change.

    Says first how the two differ in recipe, versions, commit and data, then compares every cell or level that both have.
    Differences are the second study minus the first, paired where they share seeds. Reads MLflow alone, and writes the
    comparison into FOLDER/reports.

    With --json: studies, differences, verdicts, warnings, compared.

    Exit codes: 0 they were compared; 2 one of them is not in MLflow.

    Example: spikesweep compare quickstart quickstart --other-storage before
    """
    from analysis.compare_studies import load_comparison, write_comparison
    from analysis.records.mlflow_store import NoStudyError
    from analysis.reporting.formats.terminal import to_terminal
    from analysis.reporting.topics.comparison import comparison_data, comparison_document
    from studies.engine.definition.lookup import find_stores
    from studies.engine.errors import Problem, StudyError, not_recorded

    uri = other_uri or (None if other_storage else tracking_uri)
    with problems_exit_2():
        ours = find_stores(first, all_overrides(None, storage, tracking_uri))
        theirs = find_stores(second, all_overrides(None, other_storage or storage, uri))
        if (ours.name, ours.tracking_uri) == (theirs.name, theirs.tracking_uri):
            rule, repair = "STUDY must be two studies, or one in two stores", "name the other store: --other-storage, --other-uri"
            raise StudyError([Problem("STUDY", rule, f"{second} twice", repair)])
        try:
            comparison = load_comparison((ours.name, ours.tracking_uri), (theirs.name, theirs.tracking_uri))
        except NoStudyError as error:
            raise not_recorded("compare", str(error)) from None
        folder = ours.storage / "reports" / f"{theirs.name}_against_{ours.name}"
        with writing_into(folder):
            write_comparison(comparison, folder)
    if as_json:
        print_json(comparison_data(comparison))
        return
    out.print(to_terminal(comparison_document(comparison)))
    out.print(f"Written to {folder}: comparison.md, comparison.html, comparison.csv", highlight=False, soft_wrap=True)
