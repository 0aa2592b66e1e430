"""How often is what a report says false? Studies with planted truths, reported by the code that writes reports, and read back.

    python -m tests.benchmarks.sentences [--short] [--json]

Every world of ``sentence_truths`` is drawn again and again with 2 to 12 seeds; searches have finalists. The claims are read back
from the Markdown of the report (``sentence_claims``: a sentence that no reader knows is an error), and judged by the planted
truth (``sentence_rules`` says for every kind what makes it false, and what its error is a share of). Promises of more seeds are
judged by drawing the study again (``sentence_promises``).

Acceptance: no kind above 5 % plus two simulation errors (one standard error each), at every number of seeds, over the worlds in
which the kind is said. The worlds in which it is above that are named below the table. The last line is JSON.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.benchmarks.calibration_cases import Rate
from tests.benchmarks.sentence_claims import PRIMARY, Claim, claims_of
from tests.benchmarks.sentence_promises import is_broken, report_of
from tests.benchmarks.sentence_rules import KINDS, METRICS, PROMISES, can_be_false
from tests.benchmarks.sentence_truths import SEARCHES, WORLDS, Planted, plant_search

NUM_SEEDS = (2, 4, 6, 8, 10, 12)
FINALIST_SEEDS = 5
PROMISE_WORLDS = ("no effect", "effects", "half a point")
"""In which promises are judged, as that takes long."""
MOST_ERRORS = 0.05
CONFIRMATORY, ANY = "anything confirmatory", "anything in a report"


@dataclass(frozen=True)
class Counts:
    """How much is simulated."""

    num_seeds: Sequence[int]
    studies: int
    """Of every world and number of seeds."""
    searches: int
    promises: int
    """Of every kind, world and number of seeds."""
    drawn_again: int
    """Studies for every promise."""
    num_processes: int


SHORT = Counts((2, 5, 8, 10), 12, 2, 1, 10, 1)
LONG = Counts(NUM_SEEDS, 300, 100, 10, 60, 2)


@dataclass
class Tally:
    """What was found: for every kind, world and number of seeds a value for each report (or claim), 1 for a false one."""

    values: dict[tuple[str, str, int], list[float]] = field(default_factory=lambda: defaultdict(list))
    num_claims: Counter[str] = field(default_factory=Counter)
    num_false: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Tally") -> None:
        """Count what another process has found."""
        for case, values in other.values.items():
            self.values[case] += values
        self.num_claims += other.num_claims
        self.num_false += other.num_false

    def rate(self, kind: str, num_seeds: int | None = None, world: str | None = None) -> Rate:
        """Over the worlds in which the kind is said."""
        said = {place for (of_kind, place, _), values in self.values.items() if of_kind == kind and self._is_said(kind, place)}
        values = [
            value
            for (of_kind, place, num), of_case in self.values.items()
            if of_kind == kind and place in said and world in (None, place) and num_seeds in (None, num)
            for value in of_case
        ]
        return Rate.of(values)

    def _is_said(self, kind: str, world: str) -> bool:
        return self.num_claims[f"{kind} in {world}"] > 0

    def kinds(self) -> list[str]:
        """Those that were said."""
        return [kind for kind in (*KINDS, *PROMISES, CONFIRMATORY, ANY) if self.num_claims[kind]]

    def worlds(self, kind: str) -> list[str]:
        """Those in which a kind is said."""
        return list(dict.fromkeys(world for of_kind, world, _ in self.values if of_kind == kind and self._is_said(kind, world)))


def tally_of(world: str, num_seeds: int, counts: Counts) -> Tally:
    """One world with one number of seeds."""
    generator = np.random.default_rng([num_seeds, [*WORLDS, *SEARCHES].index(world), 5])
    tally, num_promises = Tally(), Counter[str]()
    for _ in range(counts.studies if world in WORLDS else counts.searches):
        planted = WORLDS[world].plant(generator, num_seeds) if world in WORLDS else plant_search(world, generator, num_seeds)
        claims = claims_of(report_of(planted.study, planted.runs), planted.study)
        judge(tally, world, num_seeds, planted, claims)
        for claim in claims:
            if world in PROMISE_WORLDS and claim.kind in PROMISES and num_promises[claim.kind] < counts.promises:
                num_promises[claim.kind] += 1
                broken = is_broken(planted, claim, generator, counts.drawn_again)
                if broken is not None:
                    _count(tally, (claim.kind, world, num_seeds), [float(broken)])
    return tally


def judge(tally: Tally, world: str, num_seeds: int, planted: Planted, claims: Sequence[Claim]) -> None:
    """Add what one report says to a tally."""
    outcomes = dict.fromkeys(claim.outcome for claim in claims if claim.outcome) or {"": None}
    wrong: set[bool] = set()
    for kind, rule in KINDS.items():
        of_kind = [(claim, rule.judge(planted, claim)) for claim in claims if claim.kind == kind]
        judged = [(claim, value) for claim, value in of_kind if value is not None]
        case = (kind, world, num_seeds)
        tally.num_claims[kind] += len(judged)
        tally.num_claims[f"{kind} in {world}"] += len(judged)
        tally.num_false[kind] += sum(value >= 1 for _, value in judged)
        if not rule.is_per_report:
            tally.values[case] += [value for _, value in judged]
            continue
        for outcome in (PRIMARY,) if rule.is_of_primary else outcomes:
            of_outcome = [value for claim, value in judged if claim.outcome == outcome]
            wrong |= {claim.is_confirmatory for claim, value in judged if claim.outcome == outcome and value >= 1}
            if outcome in METRICS and (of_outcome or can_be_false(kind, planted, outcome)):
                tally.values[case].append(max(of_outcome, default=0.0))
    for kind, is_wrong in ((CONFIRMATORY, True in wrong), (ANY, bool(wrong))):
        _count(tally, (kind, world, num_seeds), [float(is_wrong)])


def _count(tally: Tally, case: tuple[str, str, int], values: Sequence[float]) -> None:
    kind, world, _ = case
    tally.values[case] += values
    tally.num_claims[kind] += len(values)
    tally.num_claims[f"{kind} in {world}"] += len(values)
    tally.num_false[kind] += int(sum(values))


def simulate(counts: Counts) -> Tally:
    """All worlds, each with a generator of its own, so that the numbers do not depend on how many processes there are."""
    cases = [(world, num) for world in WORLDS for num in counts.num_seeds]
    cases += [(world, FINALIST_SEEDS) for world in SEARCHES]
    found = Tally()
    with ProcessPoolExecutor(counts.num_processes) as pool:
        for tally in [pool.submit(tally_of, *case, counts) for case in cases]:
            found.add(tally.result())
    return found


def table(found: Tally, num_seeds: Sequence[int]) -> Iterator[str]:
    """A line for every kind, in Markdown, then the worlds in which a kind is above 5 %."""
    yield f"| kind of claim | claims | false | {' | '.join(f'{num} seeds' for num in num_seeds)} | all | worst world |"
    yield f"|---|---:|---:|{'---:|' * len(num_seeds)}---:|---|"
    for kind in found.kinds():
        rates = [found.rate(kind, num).in_words() for num in num_seeds]
        world, num, rate = worst_of(found, kind)
        where = f"{rate.in_words()}: {world}, {num} seeds"
        yield (
            f"| {kind} | {found.num_claims[kind]} | {found.num_false[kind]} | {' | '.join(rates)} | "
            f"{found.rate(kind).in_words()} | {where} |"
        )
    yield ""
    yield from departures(found)


def worst_of(found: Tally, kind: str) -> tuple[str, int, Rate]:
    """The world and the number of seeds where a kind is most surely above 5 %."""
    cases = [
        (world, num, Rate.of(values))
        for (of_kind, world, num), values in found.values.items()
        if of_kind == kind and world in found.worlds(kind)
    ]
    known = [case for case in cases if case[2].num_studies]
    return max(known, key=lambda case: case[2].value - 2 * case[2].error, default=("–", 0, Rate.of([])))


def departures(found: Tally) -> Iterator[str]:
    """A sentence on every kind and world whose rate is above 5 % by more than two simulation errors."""
    for kind in found.kinds():
        for world in found.worlds(kind):
            rate = found.rate(kind, world=world)
            if rate.value - 2 * rate.error > MOST_ERRORS:
                yield f"Above 5 %: {kind}: {world}: {rate.in_words()}."


def overall(found: Tally, num_seeds: Sequence[int]) -> dict[str, Any]:
    """The JSON: the number of claims, the share that is false of every kind, also by number of seeds, and the worst kind."""
    rates = {kind: found.rate(kind) for kind in found.kinds()}
    kinds = [kind for kind in rates if kind not in (ANY, CONFIRMATORY)]
    worst = {kind: worst_of(found, kind) for kind in kinds}
    kind = max(kinds, key=lambda one: worst[one][2].value - 2 * worst[one][2].error)
    world, num, rate = worst[kind]
    by_seeds: Mapping[str, Any] = {
        one: {str(seeds): found.rate(one, seeds).as_pair() for seeds in num_seeds if found.rate(one, seeds).num_studies}
        for one in rates
    }
    return {
        "claims": sum(found.num_claims[one] for one in kinds),
        "false": {one: rate.as_pair() for one, rate in rates.items()},
        "by_seeds": by_seeds,
        "worst": {"kind": kind, "world": world, "seeds": num, "rate": rate.as_pair()},
        "departures": list(departures(found)),
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="few studies of each world, in one process: under 4 minutes")
    parser.add_argument("--json", action="store_true", help="the table on standard error, one line of JSON on standard output")
    arguments = parser.parse_args()
    counts = SHORT if arguments.short else LONG
    found = simulate(counts)
    for line in table(found, counts.num_seeds):
        print(line, file=sys.stderr if arguments.json else sys.stdout)
    print(json.dumps(overall(found, counts.num_seeds)), flush=True)


if __name__ == "__main__":
    main()
