"""What a person sees while a study runs: a live display on a terminal, otherwise a line of text now and then."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from optuna.trial import TrialState
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from studies.plain_text import visible
from studies.run_record import ACCURACY

SECONDS_BETWEEN_LINES = 15.0
SECONDS_BETWEEN_FRAMES = 0.25


@dataclass
class Progress:
    """How far a study is, and how fast it goes.

    Attributes:
        total: Replicates that the study will have in all, as far as is known.
        num_done: Replicates that are complete, or pruned as the study wants it.
        num_failed: Replicates that have failed.
        running: Title and epoch of each item in training, by identity.
        best: The highest validation accuracy of a complete replicate so far, with its title.
    """

    total: int
    num_done: int = 0
    num_failed: int = 0
    running: dict[str, str] = field(default_factory=dict)
    best: tuple[float, str] | None = None
    _started_at: float = field(default_factory=time.monotonic)
    _num_finished_here: int = 0

    def count(self, state: TrialState) -> None:
        """Count a replicate that has this state."""
        self.num_done += state in (TrialState.COMPLETE, TrialState.PRUNED)
        self.num_failed += state == TrialState.FAIL

    def finished(self, state: TrialState, *, total: int) -> None:
        """Count a replicate that this driver has trained, and note how many there will be in all as far as is known now."""
        self._num_finished_here += 1
        self.total = total
        self.count(state)

    def consider(self, title: str, metrics: Mapping[str, float]) -> None:
        """Note a complete replicate if it is the best so far."""
        if ACCURACY in metrics and (self.best is None or metrics[ACCURACY] > self.best[0]):
            self.best = (metrics[ACCURACY], visible(title))

    @property
    def remaining_s(self) -> float | None:
        """Seconds that are left at the pace of this driver; None until it has trained a replicate."""
        if not self._num_finished_here:
            return None
        pace_s = (time.monotonic() - self._started_at) / self._num_finished_here
        return pace_s * (self.total - self.num_done - self.num_failed)

    def line(self) -> str:
        """The whole progress in one line of text."""
        counts = f"{self.num_done}/{self.total} done, {len(self.running)} running, {self.num_failed} failed"
        best = f"best {100 * self.best[0]:.2f} % ({self.best[1]})" if self.best else "no result yet"
        return f"{counts} · {best} · {clock(self.remaining_s)} left"


def clock(seconds: float | None) -> str:
    """A duration as h:mm:ss or m:ss; a question mark if it is not known."""
    if seconds is None:
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class Display:
    """Shows ``progress`` on a console, at most as often as a person can read it."""

    def __init__(self, console: Console, progress: Progress, live: Live | None) -> None:
        self.progress = progress
        self._console, self._live = console, live
        self._shown_at = 0.0

    def refresh(self, *, force: bool = False) -> None:
        """Show the progress if it was not shown just before, or in any case with ``force``."""
        pause = SECONDS_BETWEEN_FRAMES if self._live else SECONDS_BETWEEN_LINES
        if not force and time.monotonic() - self._shown_at < pause:
            return
        self._shown_at = time.monotonic()
        if self._live:
            self._live.update(_frame(self.progress), refresh=True)
        else:
            self._console.print(self.progress.line(), highlight=False, soft_wrap=True)

    def say(self, words: str) -> None:
        """Print a line that stays."""
        self._console.print(visible(words), style="yellow", highlight=False, soft_wrap=True)


@contextmanager
def display(console: Console, progress: Progress) -> Iterator[Display]:
    """A display while a study runs; live if the console is a terminal."""
    if not console.is_terminal:
        yield Display(console, progress, None)
        return
    with Live(_frame(progress), console=console, auto_refresh=False) as live:
        yield Display(console, progress, live)


def _frame(progress: Progress) -> Group:
    counts = Table.grid(padding=(0, 3))
    counts.add_row(
        Text(f"{progress.num_done} done", "green"),
        Text(f"{len(progress.running)} running", "cyan"),
        Text(f"{progress.num_failed} failed", "red" if progress.num_failed else "dim"),
        Text(f"{progress.total} in all"),
        Text(f"{clock(progress.remaining_s)} left", "bold"),
    )
    best = f"best {100 * progress.best[0]:.2f} %  {progress.best[1]}" if progress.best else "no result yet"
    running = [Text(f"  {visible(line)}", "dim", no_wrap=True, overflow="ellipsis") for line in progress.running.values()]
    bar = Table.grid(expand=True)  # a bar alone ends no line
    bar.add_row(ProgressBar(progress.total, progress.num_done + progress.num_failed))
    return Group(bar, counts, Text(best), *running)
