"""``spikesweep list``: the studies there are and how far each one is; ``spikesweep schema``: what a study file may hold."""

from pathlib import Path
from typing import Annotated

import typer

from studies.commands.options import JsonOption, StorageOption, counts_in_words, out, print_json, problems_exit_2


def list_studies(storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """List studies and how far each one is.

    Example: spikesweep list --storage results
    """
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
        out.print(f"  {name}: {counts_in_words(counts)}", highlight=False)
    if not recorded:
        out.print("  none yet", style="dim")


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
