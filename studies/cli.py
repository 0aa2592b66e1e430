"""The command line, and the one place that knows all four folders: it runs a study with the engine and reports it with analysis.

Exit codes: 0 all is well; 1 the study is not whole (replicates failed or are left); 2 something is wrong with the input,
and nothing was begun. Heavy imports stand inside the commands, so that ``--help`` is quick.
"""

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import studies.library_settings

import typer

from studies.commands.options import (
    JsonOption,
    NumCpusOption,
    RetryFailedOption,
    SetOption,
    StorageOption,
    StudyArgument,
    TrackingOption,
    all_overrides,
    err,
    out,
    print_json,
    problems_exit_2,
)
from studies.commands.reproduce import trial
from studies.commands.ui import ui
from studies.credentials import mask_credentials
from studies.engine.errors import Problem, StudyError

if TYPE_CHECKING:
    from studies.engine.definition.locations import Stores
    from studies.engine.definition.study import Study


app = typer.Typer(
    help="Ablations of spiking networks: one YAML file in, an answer with intervals out.\n\n"
    "Start with: spikesweep run quickstart",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command("list")
def list_studies(storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """List the studies shipped, and the studies in the ledger with their state."""
    from studies.engine.binding.trainable_modules import all_presets
    from studies.engine.definition.locations import LEDGERS, shipped_studies
    from studies.engine.definition.yaml_documents import read_document
    from studies.engine.ledger.ledger import list_ledger

    folder = Path(storage or "results").resolve()
    with problems_exit_2():
        shipped = {name: str(read_document(file).data.get("question", "")) for name, file in shipped_studies().items()}
        journals = sorted((folder / LEDGERS).glob("*.journal"))
        recorded = {name: counts for file in journals for name, counts in list_ledger(str(file)).items()}
    presets = all_presets()
    if as_json:
        print_json({"shipped": shipped, "presets": presets, "ledger": recorded})
        return
    out.print("Shipped studies", style="bold")
    for name, question in shipped.items():
        out.print(f"  {name}: {question}", highlight=False)
    if presets:
        out.print("Presets", style="bold")
    for trainable, offered in presets.items():
        out.print(f"  {trainable}: {', '.join(offered)}", highlight=False)
    out.print(f"In the ledgers of {folder}", style="bold", highlight=False)
    for name, counts in recorded.items():
        out.print(f"  {name}: {_counts_in_words(counts)}", highlight=False)
    if not recorded:
        out.print("  none yet", style="dim")


@app.command()
def check(
    study: StudyArgument,
    overrides: SetOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    num_cpus: NumCpusOption = None,
    timing: Annotated[bool, typer.Option(help="Time a few training steps to predict how long it all takes.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Validate a study, and say what it would train, what that costs, and what effects it can detect; nothing is begun."""
    from studies.commands.check import as_data, page
    from studies.commands.forecast import forecast
    from studies.engine.proposing.warm_start import read_warm_start

    with problems_exit_2():
        loaded = _load(study, overrides, storage, tracking_uri)
        warm = read_warm_start(loaded)
    predicted = forecast(loaded, num_cpus) if timing else None
    if as_json:
        print_json(as_data(loaded, predicted, warm))
    else:
        out.print(page(loaded, predicted, warm))


@app.command()
def run(
    study: StudyArgument,
    overrides: SetOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="A Ray cluster to run on (auto: the one of this machine).")
    ] = None,
    num_cpus: NumCpusOption = None,
    retry_failed: RetryFailedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run a study, or finish what is left of it, and print the ablation summary.

    Safe to repeat: whatever ended the last run, finished replicates are not trained again, and those in flight go on from
    their last checkpoint.
    """
    from studies.commands.check import parents_in_words
    from studies.engine.execution.budget import what_to_do
    from studies.engine.execution.runner import num_trained_parents, run_study

    with problems_exit_2():
        loaded = _load(study, overrides, storage, tracking_uri)
        console = err if as_json else out
        if loaded.parents:
            console.print(parents_in_words(loaded), highlight=False)
        outcome = run_study(
            loaded,
            console,
            address=address,
            num_cpus=num_cpus,
            retry_failed=retry_failed,
            write_report=lambda: _report(loaded.stores, show=not as_json),
        )
    if as_json:
        counts = {
            "num_replicates": outcome.num_replicates,
            "num_complete": outcome.num_complete,
            "num_pruned": outcome.num_pruned,
            "num_left": outcome.num_left,
            "halted": dataclasses.asdict(outcome.halted) if outcome.halted else None,
            "num_parents": len(loaded.parents),
            "num_parents_trained": num_trained_parents(loaded),
        }
        print_json({**counts, "failures": dict(outcome.failures), "undelivered": list(outcome.undelivered)})
    again = "run the same command again to"
    if outcome.num_left:
        err.print(f"{outcome.num_left} replicates are left: {what_to_do(outcome.halted)}", style="yellow", soft_wrap=True)
    if outcome.num_failed:
        err.print(f"{outcome.num_failed} replicates failed; --retry-failed trains them again", style="red")
    if outcome.undelivered:
        reasons = "; ".join(dict.fromkeys(outcome.undelivered))
        err.print(f"{len(outcome.undelivered)} records did not reach MLflow ({reasons}): {again} deliver them", style="yellow")
    raise typer.Exit(0 if outcome.is_whole else 1)


@app.command()
def submit(
    study: StudyArgument,
    address: Annotated[str, typer.Option(metavar="URL", help="The cluster's dashboard, http://HEAD:8265.")],
    overrides: SetOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME", help="Give the job this variable of your environment.")
    ] = None,
    retry_failed: RetryFailedOption = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show what the job prints, and exit as it does.")] = False,
) -> None:
    """Run a study as a job of a Ray cluster, with the code that is here; the job needs this machine no more.

    STUDY is checked here first, and then as by run. Its storage must be one that all nodes share.
    """
    from studies.commands.submit import follow_to_its_end
    from studies.engine.definition.loading import load_study
    from studies.engine.execution import ray_jobs

    changes = all_overrides(overrides, storage, tracking_uri)
    with problems_exit_2():
        loaded = load_study(study, changes)
        ray_jobs.check_portable(loaded, changes)
        variables = ray_jobs.job_variables(env or [], loaded)
        client = ray_jobs.connect_jobs(address)
        job = ray_jobs.submit_study(client, loaded, changes, ["--retry-failed"] * retry_failed, variables)
    out.print(f"{loaded.stores.name} is job {job} of {address}", highlight=False, soft_wrap=True)
    for purpose, command in ray_jobs.next_commands(job, address, study, changes).items():
        out.print(f"  {purpose + ':':8}{command}", highlight=False, soft_wrap=True)
    if follow:
        raise typer.Exit(follow_to_its_end(client, job))


@app.command()
def status(study: StudyArgument, overrides: SetOption = None, storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """Count a study's replicates by state, and name the best so far; works while it runs."""
    from studies.engine.execution.status import standing
    from studies.run_record import ACCURACY

    with problems_exit_2():
        found = standing(study, all_overrides(overrides, storage, None))
    best = found.best
    if as_json:
        accuracy = {ACCURACY: best.values[ACCURACY]} if best else {}
        as_data = {"levels": best.levels, "tuned": best.tuned, "seed": best.seed, **accuracy} if best else None
        print_json(
            {
                "name": found.name,
                "num_replicates": found.num_replicates,
                "states": found.states,
                "best": as_data,
                "failures": found.failures,
            }
        )
        return
    out.print(f"{found.name}: {found.num_replicates} replicates: {_counts_in_words(found.states)}", highlight=False)
    if best:
        words = f"best so far {100 * best.values[ACCURACY]:.2f} % validation accuracy: {best.title}"
        out.print(words, highlight=False, soft_wrap=True)
    for title, reason in found.failures.items():
        out.print(f"failed: {title}: {reason}", style="red", highlight=False, soft_wrap=True)


@app.command()
def report(
    study: StudyArgument,
    overrides: SetOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the ablation summary, and write it as Markdown, CSV and an HTML page with figures.

    Reads MLflow alone: with --tracking-uri, STUDY can be the name of a study that was run elsewhere.
    """
    from studies.engine.definition.lookup import find_stores

    with problems_exit_2():
        _report(find_stores(study, all_overrides(overrides, storage, tracking_uri)), as_json=as_json)


@app.command()
def compare(
    first: StudyArgument,
    second: StudyArgument,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    other_storage: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="The storage of the second study, if it is another one.")
    ] = None,
    other_uri: Annotated[
        str | None, typer.Option(metavar="URI", help="The MLflow store of the second study, if it is another one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two studies, or one before and after a change: what differs, and every cell or level that both have.

    Reads MLflow alone. Differences are the second minus the first, paired where they share seeds.
    """
    from analysis.reporting.formats.document import document_terminal
    from analysis.reporting.topics.comparison import comparison_data, comparison_document
    from studies.commands.compare import compare_studies

    uri = other_uri or (None if other_storage else tracking_uri)
    of_first, of_second = all_overrides(None, storage, tracking_uri), all_overrides(None, other_storage or storage, uri)
    with problems_exit_2():
        comparison, folder = compare_studies(first, second, of_first, of_second)
    if as_json:
        print_json(comparison_data(comparison))
        return
    out.print(document_terminal(comparison_document(comparison, is_narrow=True)))
    out.print(f"Written to {folder}: comparison.md, comparison.html, comparison.csv", highlight=False, soft_wrap=True)


@app.command("export")
def export_study(
    study: StudyArgument,
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="The archive to write.")],
    overrides: SetOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.zip if it is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a study's runs into a file, with metrics, parameters, tags, data sets, models and artifacts.

    Reads MLflow alone: STUDY can be the name of a study that was run elsewhere, as for report.
    """
    from studies.commands.transfer import export_to

    with problems_exit_2():
        moved = export_to(study, all_overrides(overrides, storage, tracking_uri), file, err if as_json else out, replace=force)
    if as_json:
        print_json(dataclasses.asdict(moved))


@app.command("import")
def import_study(
    file: Annotated[Path, typer.Argument(metavar="FILE.zip", help="An archive that export has written.")],
    overrides: SetOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the runs of an exported study into another MLflow store, each unless it is there.

    Safe to repeat: whatever ended the last import, the same command goes on, and doubles nothing.
    """
    from studies.commands.transfer import InterruptedImportError, import_from

    with problems_exit_2():
        try:
            moved = import_from(file, all_overrides(overrides, storage, tracking_uri), err if as_json else out)
        except InterruptedImportError as error:
            err.print(f"the import stopped ({error}): run the same command again to go on", style="red", soft_wrap=True)
            raise typer.Exit(1) from None
    if as_json:
        print_json(dataclasses.asdict(moved))


app.command()(trial)


app.command()(ui)


@app.command()
def schema(
    space: Annotated[bool, typer.Option("--space", help="Of the files of search_spaces instead.")] = False,
) -> None:
    """Print the JSON Schema of study files, for editors."""
    from studies.engine.definition.json_schema import space_schema, study_schema

    print_json(space_schema() if space else study_schema())


def _load(study: str, overrides: Sequence[str] | None, storage: str | None, tracking_uri: str | None) -> "Study":
    from studies.engine.execution.preflight import open_study

    return open_study(study, all_overrides(overrides, storage, tracking_uri))


def _report(stores: "Stores", *, show: bool = True, as_json: bool = False) -> tuple[Path, str]:
    """Write the summary's files and print it; their folder, and the findings as Markdown."""
    from analysis.ablation_summary import write_summary
    from analysis.records.loading import NoStudyError, load_recorded_study
    from analysis.reporting.formats.markdown import findings
    from analysis.reporting.formats.terminal import configurations_csv, effects_csv, terminal, verdicts

    try:
        recorded = load_recorded_study(stores.name, stores.tracking_uri)
    except NoStudyError as error:
        rule, repair = "a report needs a study that MLflow has", "run it first, or name its store with --tracking-uri"
        value = f"{stores.name} in {mask_credentials(f'{stores.tracking_uri} ({error})')}"
        raise StudyError([Problem("STUDY", rule, value, repair)]) from None
    folder = stores.storage / "reports" / stores.name
    summary = write_summary(recorded, folder)
    if as_json:
        tables = {"effects": effects_csv(summary), "configurations": configurations_csv(summary)}
        rows = {name: list(csv.DictReader(io.StringIO(text))) for name, text in tables.items()}
        print_json({"verdicts": list(verdicts(summary)), "warnings": list(summary.warnings), **rows})
    elif show:
        out.print(terminal(summary))
        files = ", ".join(sorted(file.name for file in folder.iterdir()))
        out.print(f"Written to {folder}: {files}", highlight=False, soft_wrap=True)
    return folder, findings(summary)


def _counts_in_words(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {state.lower()}" for state, count in counts.items()) or "nothing yet"


if __name__ == "__main__":
    app()
