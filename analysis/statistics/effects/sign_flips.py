"""The sign-flip test of paired differences: its p, and the shifts that it does not reject, which are its interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from analysis.statistics.data.cell_by_seed import FloatArray

MOST_PAIRS_FOR_EXACT = 16
NUM_RANDOM_FLIPS = 100_000
RELATIVE_TIE = 1e-9
"""Of the differences' mean size: what is nearer is taken as equal."""


@dataclass(frozen=True)
class SignFlipTest:
    """The two-sided test of the mean of paired differences by Fisher's randomisation test (1935, section 21).

    The null hypothesis is that the differences are independent and symmetric about a shift; their variances may differ. The
    test is exact up to 16 pairs, where the smallest p that it can give is 2 / 2**n. For more pairs p is of 100,000 random flips,
    with the observed signs counted among them (Phipson and Smyth 2010).

    A pattern of signs flips some of the differences. It makes the sum of the differences from a shift no smaller if and only if
    the shift is between the mean of those that it flips and the mean of the others. So every pattern has a range of shifts for
    which it counts, and the mean of all differences is in each of them.

    Args:
        lows: Where the range of each pattern begins; the pattern that flips none has no bounds.
        highs: Where it ends.
        tie: What is nearer than this is equal.
    """

    lows: FloatArray
    highs: FloatArray
    tie: float

    def p(self, shift: float = 0.0) -> float:
        """The share of all patterns that make the sum no smaller, for one shift."""
        num_outside = np.sum(self.lows > shift + self.tie) + np.sum(self.highs < shift - self.tie)
        return float((len(self.lows) - num_outside) / len(self.lows))

    def interval(self, level: float) -> tuple[float, float]:
        """The smallest and the largest shift that have a p of at least ``level``; infinite where no shift has a smaller one.

        Either is 0 where it is as good as 0, so that the interval holds 0 if and only if p() is at least ``level``.
        """
        place = math.ceil(level * len(self.lows)) - 1
        bounds = float(np.partition(self.lows, place)[place]), -float(np.partition(-self.highs, place)[place])
        low, high = (0.0 if abs(bound) <= self.tie else bound for bound in bounds)
        return low, high


def sign_flip_test(differences: Sequence[float] | FloatArray, generator: np.random.Generator) -> SignFlipTest:
    """Test paired differences, one for each pair, at least one; see ``sign_flip_tests``."""
    return sign_flip_tests([differences], generator)[0]


def sign_flip_tests(samples: Sequence[Sequence[float] | FloatArray], generator: np.random.Generator) -> list[SignFlipTest]:
    """Test the differences of the same pairs on several scales.

    Args:
        samples: The differences on each.
        generator: Draws the flips where there are more than 16 pairs, the same for all.
    """
    num = len(samples[0])
    if num <= MOST_PAIRS_FOR_EXACT:
        is_flipped = _all_flips(num)
    else:
        is_flipped = generator.integers(0, 2, size=(1 + NUM_RANDOM_FLIPS, num), dtype=np.int8).astype(np.float64)
        is_flipped[0] = 0.0
    num_flipped = is_flipped.sum(axis=1)
    is_all = (num_flipped == 0) | (num_flipped == num)
    tests = []
    for sample in samples:
        array = np.asarray(sample, dtype=np.float64)
        flipped = is_flipped @ array
        with np.errstate(divide="ignore", invalid="ignore"):
            means = flipped / num_flipped, (array.sum() - flipped) / (num - num_flipped)
        lows = np.where(is_all, -np.inf, np.minimum(*means))
        highs = np.where(is_all, np.inf, np.maximum(*means))
        tests.append(SignFlipTest(lows, highs, RELATIVE_TIE * float(np.abs(array).mean())))
    return tests


def smallest_p(num_pairs: int) -> float:
    """The smallest p that the test can give with this number of pairs."""
    return 2 / 2**num_pairs if num_pairs <= MOST_PAIRS_FOR_EXACT else 1 / (1 + NUM_RANDOM_FLIPS)


def is_smallest(p: float, num_pairs: int) -> bool:
    """Whether p is the smallest that the test can give, but for rounding."""
    return p <= smallest_p(num_pairs) * (1 + RELATIVE_TIE)


@cache
def _all_flips(num: int) -> FloatArray:
    """A row for every pattern, 1 for what it flips. The last difference is never flipped: the others are these, turned round."""
    return ((np.arange(2 ** (num - 1))[:, None] >> np.arange(num)) & 1).astype(np.float64)
