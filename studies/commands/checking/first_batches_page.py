"""What ``spikesweep check`` shows of the first batches of a study's networks, as tables for a person and as data for a script."""

from collections.abc import Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from studies.commands.checking.first_batches import Start, Starts, by_trouble, named_cell, percentage
from studies.commands.checking.tables import plain_table
from studies.commands.options import counted
from studies.engine.definition.study import Study
from studies.plain_text import visible

MOST_STARTS_SHOWN = 3
"""Configurations whose first batch is shown, those that will learn least."""


def starts_data(starts: Starts) -> dict[str, Any]:
    """The first batches as data for ``--json``."""
    looked_at = [
        {"levels": start.levels, "trainable": start.trainable, "time_steps": start.config.time_steps, "found": start.found}
        for start in starts.looked_at
    ]
    return {**vars(starts), "looked_at": looked_at}


def starts_tables(study: Study, starts: Starts, *, full: bool) -> Iterator[RenderableType]:
    """What the first batches do: of the configurations that will learn least, or of all of them, layer by layer."""
    yield Text(visible(_starts_in_words(starts)), "dim")
    ordered = by_trouble(starts)
    if full:
        yield from [_layers_table(study, start) for start in ordered]
    elif ordered:
        table = plain_table("cell", *(titles := ("silent images", "at t=1", "dead units", "cut off", "gradient")))
        for start in ordered[:MOST_STARTS_SHOWN]:
            found = start.found
            shares = (found.silent_images, found.silent_images_at_1, found.dead_units, found.cut_off, found.output_gradient)
            table.add_row(visible(named_cell(study, start.levels) + _steps_in_words(start)), *map(_share, shares))
        _align_right(table, len(titles))
        yield table
        if len(ordered) > MOST_STARTS_SHOWN:
            yield Text(f"… and {len(ordered) - MOST_STARTS_SHOWN:,} more, by layer: --full")
    for failure in starts.failures:
        yield Text(visible(f"not looked at: {failure}"), "dim")


def _starts_in_words(starts: Starts) -> str:
    """Which first batches were looked at, e.g. ``first batch, before training (seed 0): 8 of 8 configurations``."""
    words = []
    if starts.num_configurations:
        num, images = len(starts.looked_at), max((start.found.num_images for start in starts.looked_at), default=0)
        words.append(f"{num} of {counted(starts.num_configurations, 'configuration')}, at most {counted(images, 'image')} each")
    if num := starts.num_after_source_networks:
        words.append(f"{counted(num, 'configuration')}: known after their source network is trained")
    return f"first batch, before training (seed {starts.seed}): {'; '.join(words)}"


def _steps_in_words(start: Start) -> str:
    return "" if start.is_whole else f" (t ≤ {start.found.time_steps} of {start.config.time_steps})"


def _layers_table(study: Study, start: Start) -> Table:
    found = start.found
    title = f"{named_cell(study, start.levels)}{_steps_in_words(start)}"
    table = plain_table("layer", *(titles := ("rate at t=1", "rate", "dead units", "cut off", "gradient")))
    table.title, table.title_justify, table.title_style = visible(title), "left", "bold"
    for layer in found.layers:
        rates = ["–" if rate is None else f"{rate:.3f}" for rate in (layer.rate_at_1, layer.rate)]
        table.add_row(layer.layer, *rates, *map(_share, (layer.dead_units, layer.cut_off, layer.weights_with_gradient)))
    _align_right(table, len(titles))
    silent, at_1 = _share(found.silent_images), _share(found.silent_images_at_1)
    table.caption, table.caption_justify = f"silent images: {silent}, at t=1 {at_1}", "left"
    return table


def _align_right(table: Table, num_columns: int) -> None:
    for column in table.columns[-num_columns:]:
        column.justify, column.no_wrap = "right", True


def _share(share: float | None) -> str:
    return "–" if share is None else percentage(share)
