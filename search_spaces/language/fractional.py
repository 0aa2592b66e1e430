"""Regular two-level fractions 2^(k-p): which columns the factors get (Box, Hunter & Hunter 2005, chapter 6).

The runs of a fraction are the numbers from 0 to 2^(k-p) - 1, whose bits are the levels of the k - p basic factors. Every factor
has a column, a set of basic factors as bits: its level in a run is the parity of the bits that run and column share. A basic
factor's column is one bit; any other factor is generated, the product of the basic ones in its column. A word is a set of
factors whose columns cancel: their product is the same in all runs. The resolution is the length of the shortest word.
"""

import random
from collections.abc import Sequence
from itertools import combinations
from math import comb

import numpy as np
import numpy.typing as npt

from search_spaces.language.rules import RuleError

MOST_REFINED_FACTORS = 20
"""With more factors, the words are too many to be looked at."""

_STARTS = 20
_WORK = 2**19

_Words = npt.NDArray[np.int64]


def smallest_columns(num_factors: int, resolution: int, most_runs: int) -> tuple[int, ...]:
    """Columns of the fraction with the fewest runs, basic factors first; of all factors being basic where none is small enough.

    The number of runs is that of a lexicographic code, the least possible for up to 15 factors (and often beyond). Of the
    fractions with that many runs, a search takes the one with the fewest short words: minimum aberration (Fries & Hunter 1980).
    With more than ``MOST_REFINED_FACTORS`` factors it is the code itself.

    Raises:
        RuleError: It has more than ``most_runs`` runs.
    """
    if resolution > num_factors:
        columns = [1 << index for index in range(num_factors)]
    elif _fewest_runs(num_factors, resolution) <= most_runs:
        columns = _lexicode(num_factors, resolution, most_runs)
    else:
        columns = []  # it would take hours to find that out
    num_basic = max(columns, default=0).bit_length()
    if len(columns) < num_factors or 1 << num_basic > most_runs:
        raise RuleError(
            f"a design has at most {most_runs:,} cells", f"more, for {num_factors} factors at resolution {resolution}"
        )
    generated = [column for column in columns if column.bit_count() > 1]
    if generated and num_factors <= MOST_REFINED_FACTORS:
        generated = _refined(generated, num_basic)
    return (*(1 << index for index in range(num_basic)), *generated)


def _fewest_runs(num_factors: int, resolution: int) -> int:
    """No fraction has fewer runs: products of less than half as many factors as the shortest word has all differ (Hamming)."""
    return sum(comb(num_factors, size) for size in range((resolution - 1) // 2 + 1))


def resolution_of(columns: Sequence[int]) -> int:
    """The length of the shortest word; one more than there are columns if there is no word, as in a full factorial.

    Two different sets of columns with one product make a word of what is in one of them alone.
    """
    smaller = {0}
    for size in range(1, len(columns) + 1):
        products = [_product(chosen) for chosen in combinations(columns, size)]
        if smaller & set(products):
            return 2 * size - 1
        if len(set(products)) < len(products):
            return 2 * size
        smaller = set(products)
    return len(columns) + 1


def aliased_effects(columns: Sequence[int]) -> list[list[tuple[int, ...]]]:
    """Main effects and two-factor interactions (as indices of factors) that no run tells apart, in sets of two or more."""
    alias_sets: dict[int, list[tuple[int, ...]]] = {}
    for order in (1, 2):
        for effect in combinations(range(len(columns)), order):
            alias_sets.setdefault(_product([columns[index] for index in effect]), []).append(effect)
    return [effects for effects in alias_sets.values() if len(effects) > 1]


def _product(columns: Sequence[int]) -> int:
    product = 0
    for column in columns:
        product ^= column
    return product


def _lexicode(num_factors: int, resolution: int, most_runs: int) -> list[int]:
    """Columns one by one, each the smallest that makes no word shorter than ``resolution`` (Conway & Sloane 1986).

    It ends early where there would be more than ``most_runs`` runs.
    """
    columns: list[int] = []
    products = [{0} for _ in range(resolution - 1)]  # of at most 0, 1, …, resolution - 2 columns
    column = 1
    while len(columns) < num_factors and column < most_runs:
        if column in products[-1]:
            column += 1
            continue
        columns.append(column)
        for most in reversed(range(1, len(products))):
            products[most] |= {product ^ column for product in products[most - 1]}
    return columns


def _refined(generated: list[int], num_basic: int) -> list[int]:
    """Columns with the fewest short words that are found from these and from random ones."""
    rng = random.Random(0)  # noqa: S311  # a design, not a secret
    best = _descended(generated, num_basic, rng)
    num_factors = num_basic + len(generated)
    for _ in range(min(_STARTS, _WORK >> (num_factors - 1))):
        start = [rng.randrange(1 << num_basic) for _ in generated]
        best = min(best, _descended(start, num_basic, rng))
    return best[1]


def _descended(generated: list[int], num_basic: int, rng: random.Random) -> tuple[list[int], list[int]]:
    """Numbers of words by length, and columns, after exchanging one column at a time for a best one while that helps."""
    columns = list(generated)
    lengths = _word_lengths(columns, num_basic)
    num_idle_rounds = 0
    while num_idle_rounds < 2:
        for index in range(len(columns)):
            columns[index] = _best_column(columns, index, num_basic, rng)
        shorter, lengths = lengths, _word_lengths(columns, num_basic)
        num_idle_rounds = 0 if lengths < shorter else num_idle_rounds + 1
    return lengths, columns


def _best_column(generated: list[int], index: int, num_basic: int, rng: random.Random) -> int:
    """A column for one generated factor, the others staying: any of those with the fewest short words."""
    others = _words([column | 1 << (num_basic + other) for other, column in enumerate(generated) if other != index])
    candidates = np.arange(1 << num_basic)
    lengths = np.bitwise_count(others[:, None] ^ (candidates | 1 << (num_basic + index)))
    for length in range(1, num_basic + len(generated) + 1):
        num_words = (lengths[:, candidates] == length).sum(axis=0)
        candidates = candidates[num_words == num_words.min()]
        if len(candidates) == 1:
            break
    return int(candidates[rng.randrange(len(candidates))])


def _word_lengths(generated: list[int], num_basic: int) -> list[int]:
    """The numbers of words by length, from 1."""
    words = _words([column | 1 << (num_basic + index) for index, column in enumerate(generated)])
    return [int(number) for number in np.bincount(np.bitwise_count(words), minlength=num_basic + len(generated) + 1)[1:]]


def _words(generators: list[int]) -> _Words:
    """All products of these words."""
    words = np.zeros(1, dtype=np.int64)
    for generator in generators:
        words = np.concatenate([words, words ^ generator])
    return words
