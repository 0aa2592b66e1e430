"""``spikesweep status``: how far a study is, by its ledger; quick, and right while it runs."""

from studies.commands.options import (
    JsonOption,
    SetOption,
    StorageOption,
    StudyArgument,
    all_overrides,
    counts_in_words,
    out,
    print_json,
    problems_exit_2,
)
from studies.plain_text import visible


def status(study: StudyArgument, overrides: SetOption = None, storage: StorageOption = None, as_json: JsonOption = False) -> None:
    """Show how far along a study is, and its best replicate.

    Counts replicates by state (planned, running, complete, pruned, failed), and gives the reason of every failure. Can be
    called while the study runs.

    With --json: name, num_replicates, states, best, failures, notes.

    Exit codes: 0 the study was found, whatever its state; 2 the input is wrong.

    Example: spikesweep status quickstart
    """
    from studies.engine.execution.status import study_status
    from studies.run_record import ACCURACY

    with problems_exit_2():
        found = study_status(study, all_overrides(overrides, storage, None))
    if as_json:
        print_json(found)
        return
    out.print(f"{found.name}: {found.num_replicates} replicates: {counts_in_words(found.states)}", highlight=False)
    if found.best:
        words = f"best so far {100 * found.best.values[ACCURACY]:.2f} % validation accuracy: {visible(found.best.title)}"
        out.print(words, highlight=False, soft_wrap=True)
    for title, reason in found.failures.items():
        out.print(visible(f"failed: {title}: {reason}"), style="red", highlight=False, soft_wrap=True)
    for note in found.notes:
        out.print(visible(note), style="yellow", highlight=False, soft_wrap=True)
