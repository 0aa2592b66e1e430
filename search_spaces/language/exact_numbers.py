"""Numbers as they are written in decimal: 0.1 is a tenth, and 0.1 + 0.2 is 0.3.

Arithmetic is that of fractions. What is no fraction of a bearable length (most roots and logarithms, high powers) is rounded to
the 17 digits of a float.
"""

import math
from fractions import Fraction
from functools import lru_cache

MOST_BITS = 1000
"""Of a denominator: about 300 digits."""
MOST_BITS_OF_A_POWER = 20_000
"""Of a numerator or denominator; longer powers are not computed exactly."""


@lru_cache(maxsize=10_000)
def as_written(number: float) -> Fraction:
    """A number as it is written in decimal: 0.1 is a tenth.

    Raises:
        ValueError: It is not finite.
    """
    return Fraction(str(number)) if isinstance(number, float) else Fraction(number)


def shortened(number: Fraction) -> Fraction:
    """The number itself; one with a denominator of more than ``MOST_BITS`` bits is rounded to 17 digits.

    Raises:
        OverflowError: It would have to be rounded and is too large for a float.
    """
    return number if number.denominator.bit_length() <= MOST_BITS else as_written(float(number))


def power(base: Fraction, exponent: Fraction) -> Fraction:
    """``base`` to the power of ``exponent``; exact where it is a fraction that is not too long: 0.09 ** 0.5 is 0.3.

    Raises:
        ZeroDivisionError: It is 0 to a negative power.
        ValueError: It is a root of a negative number.
        OverflowError: It is too large for a float.
    """
    if exponent.denominator == 1:
        length = max(base.numerator.bit_length(), base.denominator.bit_length())
        if length == 1 or length * abs(exponent.numerator) <= MOST_BITS_OF_A_POWER:
            return Fraction(base**exponent.numerator)
        return as_written(float(base) ** exponent.numerator)
    if base < 0:
        raise ValueError("a root of a negative number")
    roots = [_whole_root(part, exponent.denominator) for part in (base.numerator, base.denominator)]
    if roots[0] is not None and roots[1] is not None:
        return power(Fraction(roots[0], roots[1]), Fraction(exponent.numerator))
    return as_written(float(base) ** float(exponent))


def sqrt(number: Fraction) -> Fraction:
    """The square root.

    Raises:
        ValueError: The number is negative.
    """
    return power(number, Fraction(1, 2))


def log2(number: Fraction) -> Fraction:
    """The logarithm to the base 2; exact for powers of 2.

    Raises:
        ValueError: The number is not positive.
    """
    if number <= 0:
        raise ValueError("a logarithm of a number that is not positive")
    whole = number.numerator.bit_length() - number.denominator.bit_length()
    return Fraction(whole) if number == Fraction(2) ** whole else as_written(math.log2(float(number)))


def _whole_root(number: int, degree: int) -> int | None:
    """The root of a number that is not negative, if it is a whole number."""
    if number < 2:
        return number
    if degree >= number.bit_length():  # it is between 1 and 2
        return None
    low, high = 1, 1 << (number.bit_length() // degree + 1)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**degree <= number else (low, middle - 1)
    return low if low**degree == number else None
