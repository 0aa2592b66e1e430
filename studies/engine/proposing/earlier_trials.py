"""What a search knows before it proposes: its own trials, also those from before its file was changed, and other studies' runs.

A trial counts if the study, as its file is now, would train the very same replicate for one of its configurations. So trials that
lie inside of a wider or narrower space count, and so do those of a space with a factor more or less, if their values are allowed.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import Any

from search_spaces.language.rules import RuleError
from search_spaces.language.space import Cell, Level, cell_key
from studies.engine.binding.replicates import Replicate
from studies.engine.binding.trainable_modules import load_trainable
from studies.engine.definition.study import Study
from studies.engine.ledger.earlier_spaces import read_earlier_spaces
from studies.engine.ledger.ledger import Ledger, LedgerEntry
from studies.engine.proposing.adaptive_search import WarmStart
from studies.engine.proposing.warm_start import read_warm_start

MOST_TRIED = 50
"""How many levels of added factors, or combinations of them, a trial is tried with."""

_OUTSIDE = "outside of the search space now"
_NOT_ALLOWED = "not allowed by its constraints now"
_ANOTHER_RECIPE = "of another recipe or on other data"


@dataclass(frozen=True)
class Known:
    """What a study knows before it proposes.

    Attributes:
        entries: Of the ledger, by identity, in the order in which the replicates began: those of the present search space, and
            those of earlier ones that count.
        taken_over: Of these, the finished ones that the present space's part of the ledger does not have yet.
        not_counted: The identities of trials of earlier versions of the study's file that do not count.
        meter: What the study had cost when its search space was changed last.
        warm_start: What is known from other studies, with notes on all that is known.
    """

    entries: Mapping[str, LedgerEntry]
    taken_over: Sequence[tuple[Replicate, LedgerEntry]] = ()
    not_counted: Sequence[str] = ()
    meter: Mapping[str, Any] = field(default_factory=dict)
    warm_start: WarmStart = field(default_factory=WarmStart)


def read_known(study: Study, entries: Mapping[str, LedgerEntry]) -> Known:
    """What a study knows, from its ledger and from MLflow; nothing is written. ``entries`` are those of its present space.

    Of a design that became another one nothing is taken over but the cost: its replicates are found by their reports.

    Raises:
        StudyError: The ledger or MLflow's store cannot be reached, or a study to start from does not exist.
    """
    earlier = read_earlier_spaces(study.stores.ledger, study.stores.name, study.space)
    warm_start = read_warm_start(study)
    if not (study.search or study.tuning):
        return Known(entries, meter=earlier.meter, warm_start=warm_start)
    finder, found = _Finder(study), dict[str, Replicate]()
    counted: dict[str, set[object]] = defaultdict(set)
    not_counted: list[str] = []
    for identity, entry in {**earlier.entries, **entries}.items():
        replicate, why_not = finder.find(identity, entry)
        not_counted += [identity] if why_not else []
        if replicate and study.search and identity in earlier.entries:
            found[identity] = replicate
        if entry.role == "search" and (why_not or identity in found):
            counted[why_not].add(cell_key(entry.cell))
    theirs = {
        identity: dataclasses.replace(earlier.entries[identity], cell=replicate.cell) for identity, replicate in found.items()
    }
    taken_over = [(found[identity], entry) for identity, entry in theirs.items() if entry.state.is_finished()]
    return Known(
        {**theirs, **entries},
        [(replicate, entry) for replicate, entry in taken_over if replicate.identity not in entries],
        not_counted,
        earlier.meter,
        dataclasses.replace(warm_start, notes=[*_in_words(counted), *warm_start.notes]),
    )


def take_over(ledger: Ledger, known: Known) -> None:
    """Give the ledger what counts of the study's earlier search spaces, and what the study had cost by then.

    Raises:
        LedgerError: The ledger cannot be written.
    """
    for replicate, entry in known.taken_over:
        ledger.take_over(replicate, entry)
    if known.meter and not ledger.meter():
        ledger.store_meter(known.meter)


def _in_words(counted: Mapping[str, set[object]]) -> list[str]:
    """How many trials of earlier versions of a study count, and how many do not, by the reason (empty for those that do)."""
    notes = []
    for why_not, trials in sorted(counted.items()):
        num = f"{len(trials)} {'trial' if len(trials) == 1 else 'trials'} of an earlier version of this study"
        counts = "lie in its search space: they count, and the sampler knows them"
        notes.append(f"{num} {f'do not count: they are {why_not}' if why_not else counts}.")
    return notes


@dataclass
class _Finder:
    """Finds the configurations of a study that are the trials of its earlier versions."""

    study: Study
    added: Cell = field(default_factory=dict)
    """The levels of added factors that the last trial was found with; the next one most likely has the same."""

    def find(self, identity: str, entry: LedgerEntry) -> tuple[Replicate | None, str]:
        """The replicate that the study has for an entry; else None and the reason."""
        space, binder = self.study.space, self.study.binder
        why_not, tried = _OUTSIDE, set[object]()
        for added in self._added_levels(entry.cell):
            try:
                cell = space.active({**added, **entry.cell})
            except RuleError:
                continue
            if cell_key(cell) in tried or not space.contains(cell):
                continue
            tried.add(cell_key(cell))
            why_not = _ANOTHER_RECIPE
            replicate = binder.replicate(cell, entry.seed, role=entry.role, tuned=entry.tuned)
            if replicate.identity == identity:
                self.added = added
                return (replicate, "") if binder.accepts(cell) else (None, _NOT_ALLOWED)
        return None, why_not

    def _added_levels(self, cell: Cell) -> Iterator[Cell]:
        """Levels that the factors without one in a trial may have had in it."""
        missing = [name for name in self.study.space.names() if name not in cell]
        if missing and self.added.keys() == set(missing):
            yield self.added
        for levels in islice(product(*map(self._levels, missing)), MOST_TRIED):
            yield dict(zip(missing, levels, strict=True))

    def _levels(self, name: str) -> list[Level]:
        """Levels of a factor: first what its field is where nothing is said of it; of a range with many numbers nothing else."""
        domain, shared = self.study.space.factor(name).domain, self.study.binder.shared
        defaults = [getattr(load_trainable(trainable).Config(), name, None) for trainable in self.study.trainables]
        usual = [domain.canonical(level) for level in ([shared[name]] if name in shared else defaults)]
        num_values = domain.num_values() or MOST_TRIED + 1
        others = [domain.value_at(position) for position in range(num_values)] if num_values <= MOST_TRIED else []
        return [*usual, *others]
