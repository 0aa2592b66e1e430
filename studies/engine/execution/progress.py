"""What a person sees while a study runs: a live display on a terminal, a plain line now and then elsewhere."""

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

from studies.run_record import ACCURACY

SECONDS_BETWEEN_LINES = 15.0
SECONDS_BETWEEN_FRAMES = 0.25


@dataclass
class Progress:
    """The counts of a study, and how fast it goes."""

    total: int
    done: int = 0
    """Complete or, as the study wants it, stopped early."""
    failed: int = 0
    running: dict[str, str] = field(default_factory=dict)
    """Title and epoch of each running replicate, by identity."""
    best: tuple[float, str] | None = None
    _started_at: float = field(default_factory=time.monotonic)
    _ended_here: int = 0

    def count(self, state: TrialState) -> None:
        """A replicate in this state."""
        self.done += state in (TrialState.COMPLETE, TrialState.PRUNED)
        self.failed += state == TrialState.FAIL

    def ended(self, state: TrialState, *, total: int) -> None:
        """One replicate has ended in this session; so many there are in all, as far as is known now."""
        self._ended_here += 1
        self.total = total
        self.count(state)

    def consider(self, title: str, metrics: Mapping[str, float]) -> None:
        """A complete replicate: is it the best so far?"""
        if ACCURACY in metrics and (self.best is None or metrics[ACCURACY] > self.best[0]):
            self.best = (metrics[ACCURACY], title)

    @property
    def left_s(self) -> float | None:
        """Seconds left at the pace of this session; None while nothing has ended in it."""
        if not self._ended_here:
            return None
        pace_s = (time.monotonic() - self._started_at) / self._ended_here
        return pace_s * (self.total - self.done - self.failed)

    def line(self) -> str:
        """All of it in one line."""
        counts = f"{self.done}/{self.total} done, {len(self.running)} running, {self.failed} failed"
        best = f"best {100 * self.best[0]:.2f} % ({self.best[1]})" if self.best else "no result yet"
        return f"{counts} · {best} · {clock(self.left_s)} left"


def clock(seconds: float | None) -> str:
    """A duration as h:mm:ss or m:ss; a question mark if it is not known."""
    if seconds is None:
        return "?"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


class Display:
    """Shows progress whenever enough time has passed."""

    def __init__(self, console: Console, progress: Progress, live: Live | None) -> None:
        self._console, self._progress, self._live = console, progress, live
        self._shown_at = 0.0

    def refresh(self, *, force: bool = False) -> None:
        """Show the state if it is time to (or ``force``)."""
        pause = SECONDS_BETWEEN_FRAMES if self._live else SECONDS_BETWEEN_LINES
        if not force and time.monotonic() - self._shown_at < pause:
            return
        self._shown_at = time.monotonic()
        if self._live:
            self._live.update(_frame(self._progress), refresh=True)
        else:
            self._console.print(self._progress.line(), highlight=False, soft_wrap=True)

    def say(self, words: str) -> None:
        """A line that stays."""
        self._console.print(words, style="yellow", highlight=False, soft_wrap=True)


@contextmanager
def display(console: Console, progress: Progress) -> Iterator[Display]:
    """A display for the length of a study."""
    if not console.is_terminal:
        yield Display(console, progress, None)
        return
    with Live(_frame(progress), console=console, auto_refresh=False) as live:
        yield Display(console, progress, live)


def _frame(progress: Progress) -> Group:
    counts = Table.grid(padding=(0, 3))
    counts.add_row(
        Text(f"{progress.done} done", "green"),
        Text(f"{len(progress.running)} running", "cyan"),
        Text(f"{progress.failed} failed", "red" if progress.failed else "dim"),
        Text(f"{progress.total} in all"),
        Text(f"{clock(progress.left_s)} left", "bold"),
    )
    best = f"best {100 * progress.best[0]:.2f} %  {progress.best[1]}" if progress.best else "no result yet"
    running = [Text(f"  {line}", "dim", no_wrap=True, overflow="ellipsis") for line in progress.running.values()]
    bar = Table.grid(expand=True)  # a bar alone ends no line
    bar.add_row(ProgressBar(progress.total, progress.done + progress.failed))
    return Group(bar, counts, Text(best), *running)
