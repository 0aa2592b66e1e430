"""Bounds of ranges that earlier versions recorded in words alone, such as ``0.0001 to 0.1, log``.

Records of this version have them as numbers (``StudyRecord.bounds`` and ``tuning_bounds``), and are not read by this module.
"""

import re

ROUNDING = 1e-4
"""Words have six digits; this is how far a bound may be from its words, relative to the larger bound."""
_NUMBER = r"(-?[\d.]+(?:e[+-]?\d+)?)"
_RANGE = re.compile(rf"{_NUMBER} to {_NUMBER}\b")


def bounds_from_words(words: str) -> dict[str, float] | None:
    """``low`` and ``high`` of a range in words, made wider by what the words may have rounded off; None if it is no range."""
    found = _RANGE.match(words)
    if not found:
        return None
    low, high = map(float, found.groups())
    slack = ROUNDING * max(abs(low), abs(high))
    return {"low": low - slack, "high": high + slack}
