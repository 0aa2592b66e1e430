"""What may be said of factors after a search: how often an inert factor exceeds chance, and whether the dominant one is found.

    python -m tests.benchmarks.search_claims [--short] [--json]

A planted study has one dominant factor (its best value is at 0.3 of its range, accuracy falls by up to 40 points beside it), a
weak one and four that do nothing, noise of one point, and 100 trials of one of Optuna's samplers. Every study is judged by
fANOVA with shuffled copies (``importances``), as if its sample filled the space. Counted are: inert factors that exceed every
shuffled copy, studies in which any does, and studies in which fANOVA, or PED-ANOVA, gives the dominant factor the largest share.
Of 60 studies each, inert factors exceed chance in 2 % at random, 0 % with qmc, 19 % with TPE, 3 % with NSGA-II; PED-ANOVA puts
the dominant factor first in 100, 100, 52 and 95 %. So a report says what exceeds chance, and shows PED-ANOVA, only for samplers
that do not learn. Rates stand with one standard error; the last line is JSON.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from unittest.mock import patch

import numpy as np
import optuna

from analysis.statistics.data.outcomes import ACCURACY_OUTCOME
from analysis.statistics.search import importance
from analysis.statistics.search.design_matrix import DesignMatrix
from analysis.statistics.search.factor_axes import FactorAxis
from analysis.statistics.search.importance import Importance, importances
from studies.engine.binding.samplers import SAMPLERS, make_sampler, with_all_arguments
from tests.benchmarks.calibration_cases import Rate

NUM_FACTORS = 6
FIRST_INERT = 2
NUM_TRIALS = 100
NOISE_SD = 0.01
NUM_STUDIES, NUM_SHORT = 60, 2
NUM_PROCESSES = 2
COMPARED = ("random", "qmc", "tpe", "nsga2")


def accuracy(places: Sequence[float]) -> float:
    """Of the dominant and the weak factor; the others do nothing."""
    return 0.9 - 0.8 * (places[0] - 0.3) ** 2 + 0.02 * places[1]


def searched(sampler: str, seed: int) -> DesignMatrix:
    """The trials of one search, with noise."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    described = with_all_arguments("sampler", SAMPLERS, sampler, {"seed": seed})
    study = optuna.create_study(direction="maximize", sampler=make_sampler(described, num_asked=0))
    generator = np.random.default_rng([seed, COMPARED.index(sampler)])
    places, values = [], []
    for _ in range(NUM_TRIALS):
        trial = study.ask()
        places.append([trial.suggest_float(f"x{i}", 0, 1) for i in range(NUM_FACTORS)])
        values.append(accuracy(places[-1]) + NOISE_SD * generator.normal())
        study.tell(trial, values[-1])
    axes = [FactorAxis(f"x{i}") for i in range(NUM_FACTORS)]
    return DesignMatrix(axes, np.array(places), {ACCURACY_OUTCOME: np.array(values)}, np.zeros(NUM_TRIALS, dtype=np.bool_))


def judged(sampler: str, seed: int) -> dict[str, float]:
    """What is said of one study."""
    with patch.object(importance, "NUM_HALVES", 2):  # standard errors, which take most of the time, are not looked at
        found = importances(searched(sampler, seed), ACCURACY_OUTCOME, with_pruned=False)
    inert = [one.fanova.is_above_chance for one in found[FIRST_INERT:] if one.fanova]
    return {
        "inert factors above chance": float(np.mean(inert)),
        "studies with an inert factor above chance": float(any(inert)),
        "dominant above chance": float(bool(found[0].fanova and found[0].fanova.is_above_chance)),
        "dominant largest by fANOVA": float(_largest(found, "fanova") == 0),
        "dominant largest by PED-ANOVA": float(_largest(found, "ped_anova") == 0),
    }


def _largest(found: Sequence[Importance], method: str) -> int:
    return int(np.argmax([getattr(one, method).value if getattr(one, method) else 0.0 for one in found]))


def simulate(num_studies: int, num_processes: int) -> dict[str, dict[str, Rate]]:
    """The rates of every sampler."""
    with ProcessPoolExecutor(num_processes) as pool:
        waiting = {sampler: [pool.submit(judged, sampler, seed) for seed in range(num_studies)] for sampler in COMPARED}
        studies = {sampler: [each.result() for each in of_sampler] for sampler, of_sampler in waiting.items()}
    return {sampler: _rates(found) for sampler, found in studies.items()}


def _rates(found: Sequence[Mapping[str, float]]) -> dict[str, Rate]:
    return {name: Rate.of([study[name] for study in found]) for name in found[0]}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="two studies of each sampler, in one process")
    parser.add_argument("--json", action="store_true", help="the table on standard error, one line of JSON on standard output")
    arguments = parser.parse_args()
    results = simulate(NUM_SHORT, 1) if arguments.short else simulate(NUM_STUDIES, NUM_PROCESSES)
    out = sys.stderr if arguments.json else sys.stdout
    names = list(results[COMPARED[0]])
    print(f"| sampler | {' | '.join(names)} |\n|---|{'---:|' * len(names)}", file=out)
    for sampler, rates in results.items():
        print(f"| {sampler} | {' | '.join(rates[name].in_words() for name in names)} |", file=out)
    print(
        json.dumps({sampler: {name: rate.as_pair() for name, rate in of.items()} for sampler, of in results.items()}), flush=True
    )


if __name__ == "__main__":
    main()
