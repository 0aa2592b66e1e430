"""The ablation summary of a study: ``python -m analysis.ablation_summary STUDY --tracking-uri URI``.

Reads MLflow alone, so it works on a colleague's study from any machine that reaches the store.
"""

import argparse
import sys
from pathlib import Path

import studies.library_settings

from rich.console import Console

from analysis.records.loading import NoStudyError, RecordedStudy, load_recorded_study
from analysis.reporting.figures.all_figures import gallery
from analysis.reporting.figures.style import png, svg
from analysis.reporting.formats import html, terminal
from analysis.reporting.formats.latex import latex_files
from analysis.reporting.formats.markdown import markdown
from analysis.reporting.formats.parquet import write_tidy_records
from analysis.statistics.summary import Summary, summarise
from studies.credentials import mask_credentials


def write_summary(recorded: RecordedStudy, folder: Path) -> Summary:
    """Write summary.md, summary.html, replicates.csv, and effects.csv (or configurations.csv if ranked) into ``folder``.

    Its folder ``figures`` gets every figure as SVG and PNG, its folder ``latex`` a table per outcome.
    """
    summary = summarise(recorded.study, recorded.runs, recorded.remarks)
    plates = gallery(summary)
    for name in ("figures", "latex"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "summary.md").write_text(markdown(summary, plates), encoding="utf-8")
    (folder / "summary.html").write_text(html.page(summary, plates), encoding="utf-8")
    for plate in plates:
        (folder / "figures" / f"{plate.name}.svg").write_text(svg(plate.figure), encoding="utf-8")
        (folder / "figures" / f"{plate.name}.png").write_bytes(png(plate.figure))
    for name, text in latex_files(summary).items():
        (folder / "latex" / name).write_text(text, encoding="utf-8")
    if summary.rankings:
        (folder / "configurations.csv").write_text(terminal.configurations_csv(summary), encoding="utf-8")
    else:
        (folder / "effects.csv").write_text(terminal.effects_csv(summary), encoding="utf-8")
    (folder / "replicates.csv").write_text(terminal.replicates_csv(recorded.runs), encoding="utf-8")
    write_tidy_records(recorded.runs, folder)
    return summary


def main() -> int:
    """The command line; 0, or 2 where there is no such study."""
    parser = argparse.ArgumentParser(prog="python -m analysis.ablation_summary", description=__doc__)
    parser.add_argument("study", help="the study's name in MLflow")
    parser.add_argument("--tracking-uri", default="sqlite:///results/mlflow.db", help="its MLflow store (default: %(default)s)")
    parser.add_argument(
        "--output", type=Path, default=Path("results/reports"), help="folder for the files (default: %(default)s)"
    )
    arguments = parser.parse_args()
    try:
        recorded = load_recorded_study(arguments.study, arguments.tracking_uri)
    except NoStudyError as error:
        print(f"error: {arguments.study} in {mask_credentials(arguments.tracking_uri)}: {error}", file=sys.stderr)
        return 2
    summary = write_summary(recorded, arguments.output / arguments.study)
    console = Console()
    console.print(terminal.terminal(summary))
    console.print(f"Written to {arguments.output / arguments.study}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
