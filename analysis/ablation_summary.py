"""The ablation summary of a study: ``python -P -m analysis.ablation_summary STUDY --tracking-uri URI``.

Reads MLflow alone, so it works on a colleague's study from any machine that reaches the store.
"""

import argparse
import sys
from pathlib import Path

import analysis.needs_studies
import studies.library_settings

from analysis.records.loading import NoStudyError, RecordedStudy, load_recorded_study
from analysis.reporting.document_model import Document
from analysis.reporting.figures.style import pdf, png, svg
from analysis.reporting.formats.html import to_html
from analysis.reporting.formats.latex import to_latex
from analysis.reporting.formats.markdown import to_markdown
from analysis.reporting.formats.parquet import TIDY_RECORDS, tidy_records
from analysis.reporting.formats.tables_csv import configurations_csv, effects_csv, replicates_csv
from analysis.reporting.formats.terminal import to_terminal
from analysis.reporting.report_files import SUMMARY, OtherFileError, write_files
from analysis.reporting.summary_document import paper_document, summary_document
from analysis.statistics.summary import Summary, summarise
from studies.credentials import mask_uri
from studies.plain_text import PlainConsole


def write_summary(recorded: RecordedStudy, folder: Path) -> tuple[Summary, Document]:
    """Write summary.md, summary.html, replicates.csv, and effects.csv (or configurations.csv if ranked) into ``folder``.

    Its folder ``figures`` gets every figure as SVG, PDF and PNG, its folder ``latex`` a table of all cells and one per outcome.

    Returns:
        The summary as data, and as the document that the files show.

    Raises:
        OtherFileError: A file there has the name of one of these, and is not of a summary; nothing was written.
    """
    summary = summarise(recorded.study, recorded.runs, recorded.warnings)
    document = summary_document(summary)
    files: dict[str, str | bytes] = {
        "summary.md": to_markdown(document),
        "summary.html": to_html(document),
        "replicates.csv": replicates_csv(recorded.runs),
        **({"configurations.csv": configurations_csv(summary)} if summary.rankings else {"effects.csv": effects_csv(summary)}),
        **{f"figures/{figure.name}.svg": svg(figure.figure) for figure in document.figures},
        **{f"figures/{figure.name}.pdf": pdf(figure.figure) for figure in document.figures},
        **{f"figures/{figure.name}.png": png(figure.figure) for figure in document.figures},
        **{f"latex/{name}": text for name, text in to_latex(paper_document(summary)).items()},
        **tidy_records(recorded.runs),
    }
    write_files(folder, SUMMARY, files, without=[name for name in TIDY_RECORDS if name not in files])
    return summary, document


def main() -> int:
    """Run the command line; the exit code is 0, or 2 if there is no such study."""
    parser = argparse.ArgumentParser(prog="python -P -m analysis.ablation_summary", description=__doc__)
    parser.add_argument("study", help="the study's name in MLflow")
    parser.add_argument("--tracking-uri", default="sqlite:///results/mlflow.db", help="its MLflow store (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=Path("results/reports"), help="folder for the files (default: %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        recorded = load_recorded_study(arguments.study, arguments.tracking_uri)
    except NoStudyError as error:
        print(f"error: {arguments.study} in {mask_uri(arguments.tracking_uri)}: {error}", file=sys.stderr)
        return 2
    try:
        _, document = write_summary(recorded, arguments.output / arguments.study)
    except OtherFileError as error:
        print(f"error: {error}: move it away, or name another folder with --output", file=sys.stderr)
        return 2
    console = PlainConsole()
    console.print(to_terminal(document))
    console.print(f"Written to {arguments.output / arguments.study}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
