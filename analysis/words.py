"""Counts and long lists in words, the same in warnings, tables and reports."""

from collections.abc import Iterable, Sequence


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: ``1 seed``, ``3 seeds``; ``plural`` where that takes more than an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def first_of(texts: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first ``most`` of a list, and how many more there are: ``a, b, c and 4 more``."""
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return separator.join(texts[:most]) + more


def listed(texts: Sequence[str]) -> str:
    """A short list in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(texts[:-1]), *texts[-1:])))


def distinct(texts: Iterable[str]) -> list[str]:
    """Texts without repetitions and empty ones, in the order in which they come."""
    return list(dict.fromkeys(filter(None, texts)))
