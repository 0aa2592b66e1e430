"""``spikesweep report``: the ablation summary of a study, printed and written as a report."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from studies.commands.options import (
    JsonOption,
    SetOption,
    StorageOption,
    StudyArgument,
    TrackingOption,
    all_overrides,
    out,
    print_json,
    problems_exit_2,
    writing_into,
)

if TYPE_CHECKING:
    from studies.engine.definition.locations import Stores


def report(
    study: StudyArgument,
    overrides: SetOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the ablation summary, and write it as a report.

    The report is an HTML page with figures, and the same as Markdown, CSV, Parquet and LaTeX tables, in FOLDER/reports/STUDY.
    Reads the study's labels from its file, and all else from MLflow: with --tracking-uri, STUDY can be the name of a study that
    was run elsewhere.

    With --json: answer, verdicts, warnings, effects, configurations.

    Exit codes: 0 the report was written; 2 MLflow has no such study.

    Example: spikesweep report quickstart
    """
    from studies.engine.definition.lookup import find_study

    with problems_exit_2():
        content, stores = find_study(study, all_overrides(overrides, storage, tracking_uri))
        write_report(stores, content.labels_by_key, as_json=as_json)


def write_report(stores: "Stores", labels: Mapping[str, str], *, show: bool = True, as_json: bool = False) -> tuple[Path, str]:
    """Write the summary's files and print it; their folder, and the answer in short as Markdown.

    ``labels`` are those of the study's file today, which count before the recorded ones.

    Raises:
        StudyError: MLflow has no such study.
    """
    from analysis.ablation_summary import write_summary
    from analysis.records.loading import NoStudyError, load_recorded_study
    from analysis.reporting.formats.markdown import to_markdown_note
    from analysis.reporting.formats.tables_csv import configurations_rows, effects_rows
    from analysis.reporting.formats.terminal import to_terminal
    from studies.credentials import mask_uri
    from studies.engine.binding.recorded_configs import on_other_defaults
    from studies.engine.errors import not_recorded

    try:
        recorded = load_recorded_study(stores.name, stores.tracking_uri)
    except NoStudyError as error:
        raise not_recorded("report", f"{stores.name} in {mask_uri(stores.tracking_uri)} ({error})") from None
    older = on_other_defaults(recorded.study.trainable, recorded.runs)
    asked = replace(recorded.study, labels={**recorded.study.labels, **labels})
    recorded = replace(recorded, study=asked, warnings=[*recorded.warnings, *older])
    folder = _folder_of(stores)
    with writing_into(folder):
        summary, document = write_summary(recorded, folder)
    if as_json:
        tables = {"effects": effects_rows(summary), "configurations": configurations_rows(summary)}
        rows = {
            name: [dict(zip(header, map(str, row), strict=True)) for row in lines] for name, (header, *lines) in tables.items()
        }
        print_json({"answer": document.answer, "verdicts": document.verdicts, "warnings": document.warnings, **rows})
    elif show:
        out.print(to_terminal(document))
        files = ", ".join(sorted(file.name for file in folder.iterdir()))
        out.print(f"Written to {folder}: {files}", highlight=False, soft_wrap=True)
    return folder, to_markdown_note(document)


def check_report_folder(stores: "Stores") -> None:
    """See that a study's report would replace no file but an earlier report's.

    Raises:
        StudyError: It would.
    """
    from analysis.reporting.report_files import SUMMARY, SUMMARY_FILES, check_folder

    with writing_into(_folder_of(stores)):
        check_folder(_folder_of(stores), SUMMARY, SUMMARY_FILES)


def _folder_of(stores: "Stores") -> Path:
    return stores.storage / "reports" / stores.name
