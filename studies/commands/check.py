"""``spikesweep check``: is a study valid, what does it train, what does that cost, and what can it find out?"""

from typing import Annotated

import typer

from studies.commands.options import (
    JsonOption,
    NumCpusOption,
    SetOption,
    StorageOption,
    StudyArgument,
    TrackingOption,
    all_overrides,
    out,
    print_json,
    problems_exit_2,
)


def check(
    study: StudyArgument,
    overrides: SetOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    num_cpus: NumCpusOption = None,
    timing: Annotated[
        bool,
        typer.Option(
            help="Time a few training steps to predict how long the study takes, and look at the networks' first batches "
            "(default: yes).",
            show_default=False,
        ),
    ] = True,
    full: Annotated[bool, typer.Option("--full", help="Show every field of the config, and every cell.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Check a study and predict its cost; nothing is trained.

    Lists every problem of the file with its place, the rule, the value and a repair. Of a valid study it shows what the study
    sets other than the trainable's defaults, the cells that will be trained, the time and memory that they take on this
    machine, what the spiking networks do in their first batch, and the smallest effect that the design can detect. Warns of
    networks whose spikes do not reach their output layer. Writes nothing.

    With --json: name, question, trainables, design, factors, data, config, notes, num_cells, seeds, num_replicates,
    num_source_networks, num_source_networks_trained, cells, cells_are_a_sample, forecast, stored (bytes), first_batch (null with
    --no-timing),
    sensitivity, warnings.

    Exit codes: 0 the study is valid, 2 it is not.

    Example: spikesweep check quickstart --set seeds=12
    """
    from studies.engine.execution.preflight import open_study

    with problems_exit_2():
        loaded = open_study(study, all_overrides(overrides, storage, tracking_uri))
        # what takes seconds to import, and nobody waits for it who has to correct the file first
        from studies.commands.checking.check_page import as_data, page
        from studies.commands.checking.first_batches import starts_of
        from studies.commands.checking.forecast import forecast
        from studies.engine.execution.runner import notes_on_data
        from studies.engine.ledger.ledger import read_ledger
        from studies.engine.proposing.earlier_trials import read_known

        entries = read_ledger(loaded.stores.ledger, loaded.stores.name, loaded.space)
        warm, of_ledger = read_known(loaded, entries).warm_start, notes_on_data(loaded, entries)
    predicted, starts = (forecast(loaded, num_cpus), starts_of(loaded)) if timing else (None, None)
    if as_json:
        print_json(as_data(loaded, predicted, warm, of_ledger, starts=starts))
    else:
        out.print(page(loaded, predicted, warm, of_ledger, starts=starts, width=out.width, full=full))
