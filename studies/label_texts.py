r"""Labels for print: what a study's factors, levels and outcomes are called in its tables and figures.

A label is a text. What stands between two dollars is mathematics, written as in LaTeX: ``$T$``, ``$\theta_0$``. It becomes
Unicode's italic letters, indices and signs, so that a label is a plain text in every format; LaTeX and figures, which set
mathematics themselves, find it in ``TEX``. Standard library only.
"""

import re
import unicodedata
from collections.abc import Mapping

from studies.run_record import Level, level_in_words

_GREEK = "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho varsigma sigma tau upsilon"
_GREEK += " varphi chi psi omega"
_CAPITALS = {"Gamma": "Γ", "Delta": "Δ", "Theta": "Θ", "Lambda": "Λ", "Xi": "Ξ", "Pi": "Π", "Sigma": "Σ", "Phi": "Φ"}
_CAPITALS |= {"Psi": "Ψ", "Omega": "Ω"}
_SIGNS = {"times": "×", "cdot": "·", "pm": "±", "le": "≤", "ge": "≥", "infty": "∞", "to": "→", "ell": "ℓ", "approx": "≈"}
_PLAIN = "0123456789+=/.,()<>: "

_LETTERS = {letter: chr(0x1D434 + i) for i, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ")}
_LETTERS |= {letter: chr(0x1D44E + i) for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz")} | {"h": "ℎ"}
_COMMANDS = {name: chr(0x1D6FC + i) for i, name in enumerate(_GREEK.split())}
_COMMANDS |= {"epsilon": "𝜖", "phi": "𝜙", **_CAPITALS, **_SIGNS}
_COMMANDS = {name: sign for name, sign in _COMMANDS.items() if name not in ("omicron", "varsigma")}


def _raised(kind: str) -> dict[str, str]:
    """Of letters, digits and signs those that Unicode has as an index; ``kind`` is sub or super."""
    found = {}
    for code in (*range(0xB0, 0xBA), *range(0x2070, 0x209D), *range(0x1D62, 0x1D6B), *range(0x2B0, 0x2B9), 0x2C7C):
        is_kind, _, base = unicodedata.decomposition(chr(code)).partition("> ")
        if is_kind == f"<{kind}" and len(base) == 4:
            found[chr(int(base, 16)).replace("−", "-")] = chr(code)
    return {character: sign for character, sign in found.items() if character.isascii()}


_INDICES = {"_": _raised("sub"), "^": _raised("super")}

TEX: Mapping[str, str] = {
    **{sign: letter for letter, sign in _LETTERS.items()},
    **{sign: f"\\{name}" for name, sign in _COMMANDS.items()},
    **{sign: f"{mark}{{{character}}}" for mark, signs in _INDICES.items() for character, sign in signs.items()},
    "−": "-",
}
"""What LaTeX and Matplotlib write in mathematics for a character of a printed label."""

_PART = re.compile(r"\\(?P<command>[A-Za-z]+) ?|(?P<mark>[_^])(\{(?P<group>[^{}]*)\}|(?P<one>[^{}\\]))|(?P<other>.)", re.DOTALL)


class LabelError(ValueError):
    """Mathematics that cannot be set; the message is the part that cannot."""


def printed(label: str) -> str:
    """A label as it is shown.

    Raises:
        LabelError: A dollar has no counterpart, or what stands between two cannot be set.
    """
    parts = label.split("$")
    if len(parts) % 2 == 0:
        raise LabelError("$")
    return "".join(_mathematics(part) if i % 2 else part for i, part in enumerate(parts))


def _mathematics(text: str) -> str:
    if not text.strip():
        raise LabelError(f"${text}$")
    return "".join(map(_set, _PART.finditer(text)))


def _set(part: re.Match[str]) -> str:
    if command := part["command"]:
        signs = [_COMMANDS.get(command)]
    elif mark := part["mark"]:
        signs = [_INDICES[mark].get(character) for character in part["group"] or part["one"] or ""]
    else:
        sign = part["other"]
        signs = [{**_LETTERS, "-": "−"}.get(sign, sign if sign in _PLAIN else None)]
    known = [sign for sign in signs if sign is not None]
    if len(known) < len(signs) or not known:
        raise LabelError(part[0].strip())
    return "".join(known)


def level_key(factor: str, level: Level) -> str:
    """Under which name a study's record has the label of a level; that of a factor, or of an outcome, is its own name."""
    return f"{factor}={level_in_words(level)}"


def label_of(labels: Mapping[str, str], name: str, otherwise: str) -> str:
    """The label that a study has under a name, as it is shown; ``otherwise`` where it has none."""
    try:
        return printed(labels[name]) if name in labels else otherwise
    except LabelError:  # a record that was written by hand
        return labels[name]
