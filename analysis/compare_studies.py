"""Two studies compared: ``python -P -m analysis.compare_studies A B --tracking-uri URI [--other-uri URI]``.

What differs between them; then what both have, cell by cell or level by level, paired where they share seeds. Reads MLflow alone.
"""

import argparse
import json
import sys
from pathlib import Path

import analysis.needs_studies
import studies.library_settings

from analysis.records.loading import load_recorded_study
from analysis.records.mlflow_store import NoStudyError
from analysis.reporting.formats.html import to_html
from analysis.reporting.formats.markdown import to_markdown
from analysis.reporting.formats.tables_csv import comparison_csv
from analysis.reporting.formats.terminal import to_terminal
from analysis.reporting.report_files import OtherFileError, html_page, write_files
from analysis.reporting.topics.comparison import (
    COLUMNS,
    StudyComparison,
    compare,
    comparison_data,
    comparison_document,
    comparison_rows,
)
from studies.credentials import mask_uri
from studies.plain_text import PlainConsole

StudyInStore = tuple[str, str]
"""A study's name, and the URI of its MLflow store."""


def load_comparison(first: StudyInStore, second: StudyInStore) -> StudyComparison:
    """Read two studies, each from its store, and compare them.

    Raises:
        NoStudyError: One of them cannot be read, or they are the same; the message names it.
    """
    if first == second:
        raise NoStudyError(f"two studies are needed, but both are {first[0]} in {mask_uri(first[1])}")
    recorded = []
    for name, uri in (first, second):
        try:
            recorded.append(load_recorded_study(name, uri))
        except NoStudyError as error:
            raise NoStudyError(f"{name} in {mask_uri(uri)}: {error}") from None
    return compare(*recorded)


def write_comparison(comparison: StudyComparison, folder: Path) -> None:
    """Write comparison.md, comparison.html and comparison.csv into ``folder``.

    Raises:
        OtherFileError: A file there has one of these names, and is not of a comparison; nothing was written.
    """
    document = comparison_document(comparison)
    files = {
        "comparison.md": to_markdown(document),
        "comparison.html": to_html(document),
        "comparison.csv": comparison_csv(COLUMNS, comparison_rows(comparison)),
    }
    write_files(folder, html_page("comparison.html"), files)


def main() -> int:
    """Run the command line; the exit code is 0, or 2 if one of the studies cannot be read."""
    parser = argparse.ArgumentParser(prog="python -P -m analysis.compare_studies", description=__doc__)
    parser.add_argument("first", help="a study's name in MLflow")
    parser.add_argument("second", help="another's, or the same one's in another store")
    parser.add_argument("--tracking-uri", default="sqlite:///results/mlflow.db", help="their MLflow store (default: %(default)s)")
    parser.add_argument("--other-uri", help="the MLflow store of the second, if it is another one")
    parser.add_argument(
        "--output", type=Path, default=Path("results/reports"), help="folder for the files (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON for a script")
    arguments = parser.parse_args()
    other_uri = arguments.other_uri or arguments.tracking_uri
    try:
        comparison = load_comparison((arguments.first, arguments.tracking_uri), (arguments.second, other_uri))
    except NoStudyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = arguments.output / f"{arguments.second}_against_{arguments.first}"
    try:
        write_comparison(comparison, folder)
    except OtherFileError as error:
        print(f"error: {error}: move it away, or name another folder with --output", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(comparison_data(comparison), indent=2))
        return 0
    console = PlainConsole()
    console.print(to_terminal(comparison_document(comparison)))
    console.print(f"Written to {folder}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
