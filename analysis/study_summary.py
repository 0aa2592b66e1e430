"""What was run of a study: ``python -P -m analysis.study_summary STUDY --tracking-uri URI``.

Replicates by state, cells and seeds, cost, failures with their reasons, versions, commits and data. Reads MLflow alone.
"""

import argparse
import json
import sys
from pathlib import Path

import analysis.needs_studies
import studies.library_settings

from analysis.records.loading import load_recorded_study
from analysis.records.mlflow_store import NoStudyError
from analysis.reporting.formats.markdown import to_markdown
from analysis.reporting.formats.terminal import to_terminal
from analysis.reporting.report_files import OtherFileError, Page, write_files
from analysis.reporting.topics.overview import overview_data, overview_document
from analysis.statistics.warnings import data_warnings
from studies.credentials import mask_uri
from studies.plain_text import PlainConsole


def main() -> int:
    """Run the command line; the exit code is 0, or 2 if there is no such study."""
    parser = argparse.ArgumentParser(prog="python -P -m analysis.study_summary", description=__doc__)
    parser.add_argument("study", help="the study's name in MLflow")
    parser.add_argument("--tracking-uri", default="sqlite:///results/mlflow.db", help="its MLflow store (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=Path("results/reports"), help="folder for the file (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON for a script, and write no file")
    arguments = parser.parse_args()
    try:
        recorded = load_recorded_study(arguments.study, arguments.tracking_uri)
    except NoStudyError as error:
        print(f"error: {arguments.study} in {mask_uri(arguments.tracking_uri)}: {error}", file=sys.stderr)
        return 2
    warnings = [*recorded.warnings, *data_warnings(recorded.study, recorded.runs)]
    if arguments.json:
        print(json.dumps(overview_data(recorded, warnings), indent=2))
        return 0
    document = overview_document(recorded, warnings)
    file = arguments.output / arguments.study / "study_summary.md"
    try:
        write_files(file.parent, Page(file.name, ": what was run\n"), {file.name: to_markdown(document)})
    except OtherFileError as error:
        print(f"error: {error}: move it away, or name another folder with --output", file=sys.stderr)
        return 2
    console = PlainConsole()
    console.print(to_terminal(document))
    console.print(f"Written to {file}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
