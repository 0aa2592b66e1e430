"""``spikesweep list``: the studies there are and how far each one is; ``spikesweep schema``: what a study file may hold."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from studies.commands.options import JsonOption, StorageOption, all_overrides, out, print_json, problems_exit_2
from studies.plain_text import visible

if TYPE_CHECKING:
    from rich.table import Table

    from studies.engine.definition.file_model import StudyFile

SHORTEST_QUESTION = 24
"""Columns that the question has at least; what would take them from it is left out of the table."""
DESIGNS = {
    "one_factor_at_a_time": "one at a time",
    "leave_one_out": "leave one out",
    "full_factorial": "factorial",
    "fractional_factorial": "fractional",
    "random": "random",
    "adaptive_search": "search",
}
"""The names of designs in the table."""


@dataclass(frozen=True)
class ListedStudy:
    """What ``spikesweep list`` says of a study."""

    study: str
    """What commands take as STUDY."""
    question: str = ""
    design: str = ""
    trainables: Sequence[str] = ()
    num_replicates: int | None = None
    """As the study's last run knew, or as its file says; None where neither does."""
    at_most: bool = False
    """Whether constraints may leave some of them out."""
    states: Mapping[str, int] = field(default_factory=dict)
    """How many replicates of the study are in which state; none before it was run."""

    @property
    def progress(self) -> str:
        """E.g. ``56/80``: replicates that have ended well, of all."""
        total = "?" if self.num_replicates is None else f"{'≤' if self.at_most else ''}{self.num_replicates}"
        failed = self.states.get("FAIL", 0)
        return f"{self._num_done}/{total}" + (f", {failed} failed" if failed else "")

    @property
    def style(self) -> str:
        """The colour of the progress."""
        if self.states.get("FAIL"):
            return "red"
        if not self.states:
            return "dim"
        return "green" if self._num_done == self.num_replicates else "yellow"

    @property
    def _num_done(self) -> int:
        return self.states.get("COMPLETE", 0) + self.states.get("PRUNED", 0)


def list_studies(
    storage: StorageOption = None,
    presets: Annotated[bool, typer.Option("--presets", help="List the presets of each trainable instead.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List studies and how far along each one is.

    Lists the shipped studies, the study files of this folder, and what else has been run into the storage folder. Progress is
    the number of replicates that are done, of all that the study asks for. A narrow terminal shows fewer columns; --json has
    everything.

    With --json: studies (each with study, question, design, trainables, num_replicates, at_most, states), presets.

    Exit codes: 0 the studies were listed; 2 a ledger of the storage cannot be read.

    Example: spikesweep list --storage results
    """
    if presets or as_json:
        from rich.padding import Padding
        from rich.text import Text

        from studies.engine.binding.trainable_modules import all_presets, load_trainable, preset_sources

        offered = all_presets()
    if presets and not as_json:
        for trainable in offered:
            out.print(trainable, highlight=False)
            for source, named in preset_sources(load_trainable(trainable)).items():
                out.print(Padding(", ".join(named), (0, 0, 0, 2)), highlight=False)
                out.print(Padding(Text(source, "dim"), (0, 0, 0, 4)))
        return
    with problems_exit_2():
        studies = list(_find_studies(storage))
    if as_json:
        print_json({"studies": studies, "presets": offered})
    else:
        out.print(_table(studies, out.width))


def _find_studies(storage: str | None) -> Iterator[ListedStudy]:
    """Shipped studies, those of files in this folder, and the others that the storage's ledgers have."""
    from studies.engine.definition.locations import LEDGERS, shipped_studies
    from studies.engine.definition.lookup import find_stores, find_study
    from studies.engine.definition.replicate_counts import is_upper_bound, num_replicates
    from studies.engine.errors import StudyError
    from studies.engine.ledger.reading import StudyCounts, count_replicates
    from studies.engine.ledger.storage import file_of

    seen = set()
    overrides = all_overrides(None, storage, None)
    folder = find_stores("quickstart", overrides).storage  # where any study is, unless its file names another storage
    for study in [*shipped_studies(), *_study_files()]:
        try:
            content, stores = find_study(study, overrides)
        except StudyError:
            yield ListedStudy(study, f"not valid: spikesweep check {study}")
            continue
        try:
            counts = count_replicates(stores.ledger) if file_of(stores.ledger) else {}  # a server would have to be waited for
        except StudyError:
            if content.ledger is None:  # the storage's own
                raise
            yield ListedStudy(study, f"its ledger cannot be read: spikesweep status {study}")
            continue
        recorded = counts.get(stores.name, StudyCounts(None, {}))
        seen.add((stores.ledger, stores.name))
        yield ListedStudy(
            study=study,
            question=content.question,
            design=content.design.name,
            trainables=_trainables(content),
            num_replicates=recorded.num_replicates or num_replicates(content),
            at_most=recorded.num_replicates is None and is_upper_bound(content),
            states=recorded.states,
        )
    for journal in sorted((folder / LEDGERS).glob("*.journal")):
        for name, recorded in count_replicates(str(journal)).items():
            if (str(journal), name) not in seen:
                yield ListedStudy(name, num_replicates=recorded.num_replicates, states=recorded.states)


def _study_files() -> list[str]:
    """The YAML files of this folder that ask a question."""
    from studies.engine.definition.yaml_documents import read_document
    from studies.engine.errors import StudyError

    files = []
    for file in sorted(Path().glob("*.yaml")):
        try:
            if "question" in read_document(file).data:
                files.append(file.name)
        except StudyError:  # not YAML, or nothing that we read
            continue
    return files


def _trainables(content: "StudyFile") -> list[str]:
    entry = content.factors.get("trainable")
    if entry is None:
        return [content.trainable] if content.trainable else []
    return [str(level) for level in (entry if isinstance(entry, list) else entry.levels or [])]


def _table(studies: Sequence[ListedStudy], width: int) -> "Table":
    """A line each: the study and its progress; as much of the rest as the width has room for."""
    from rich.table import Table
    from rich.text import Text

    columns = {
        "study": [Text(visible(each.study), "bold") for each in studies],
        "done": [Text(each.progress, each.style) for each in studies],
        "design": [Text(DESIGNS.get(each.design, "")) for each in studies],
        "trainable": [Text(visible(", ".join(each.trainables))) for each in studies],
    }
    widths = {title: max(len(title), *(len(cell) for cell in cells)) for title, cells in columns.items()}
    left = width
    for title in tuple(columns):
        if title in ("study", "done") or left >= widths[title] + 2 + SHORTEST_QUESTION:
            left -= widths[title] + 2
        else:
            del columns[title]
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in columns:
        table.add_column(title, no_wrap=True, min_width=widths[title], justify="right" if title == "done" else "left")
    if left >= SHORTEST_QUESTION // 2:
        columns["question"] = [Text(visible(each.question)) for each in studies]
        table.add_column("question", no_wrap=True, overflow="ellipsis", max_width=left)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def schema(
    space: Annotated[
        bool, typer.Option("--space", help="The schema of search-space files (search_spaces/*.yaml) instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of study files, for editors.

    Editors with a YAML language server complete keys and underline mistakes where the first line of a study file is
    # yaml-language-server: $schema=study.schema.json

    Example: spikesweep schema > study.schema.json
    """
    from studies.engine.definition.json_schema import space_schema, study_schema

    print_json(space_schema() if space else study_schema())
