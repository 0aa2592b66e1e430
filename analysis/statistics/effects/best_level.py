"""Which level or configuration is decidedly the best: better than every other one, paired by seed."""

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.statistics.effects.contrasts import SIGNIFICANCE
from analysis.statistics.effects.sign_flips import sign_flip_p
from studies.run_record import Direction


def decided_best(values: Sequence[Mapping[int, float]], direction: Direction) -> int | None:
    """The index of the level (or configuration) that is better than every other, or None where that is not decided.

    The one with the best mean is compared with each of the others by the two-sided sign-flip test over the seeds of both, and
    has to be better in all of them with p · k / 2 below 0.05, k being how many there are. If another is truly as good, the test
    against that one errs in this direction with half its level (intersection-union test, Berger 1982); the factor k is
    Bonferroni's, because the data chose which one to ask about. So all k are wrongly decided on at most 5 % of the time.

    Args:
        values: Of each, an outcome by seed.
        direction: Which way the outcome is better.
    """
    sign = 1.0 if direction == "maximize" else -1.0
    means = [sign * float(np.mean(list(of_one.values()))) if of_one else -np.inf for of_one in values]
    if len(values) < 2 or min(means) == -np.inf:
        return None
    best = int(np.argmax(means))
    generator = np.random.default_rng(0)
    for place, other in enumerate(values):
        if place == best:
            continue
        seeds = sorted(values[best].keys() & other.keys())
        differences = [sign * (values[best][seed] - other[seed]) for seed in seeds]
        if not seeds or sum(differences) <= 0 or sign_flip_p(differences, generator) * len(values) / 2 >= SIGNIFICANCE:
            return None
    return best
