"""Ends a script of the analysis with one line if another package hides ``studies``, which the analysis needs.

``python -m`` searches the current folder first, and with ``-P`` it does not. To be imported before anything else. Standard
library only.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

_found = find_spec("studies")
_place = Path(str(_found.origin)).resolve() if _found else None
if _place is None or _place.parents[1] != Path(__file__).resolve().parents[1]:
    sys.stderr.write(
        f"error: {_place or 'nothing'} is found as spikesweep's package studies: rename it, or start Python with -P\n"
    )
    sys.exit(2)
