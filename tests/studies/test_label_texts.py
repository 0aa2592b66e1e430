"""Labels for print: mathematics becomes characters, and LaTeX gets it back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from studies.label_texts import TEX, LabelError, label_of, level_key, printed


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ("time steps", "time steps"),
        ("$T$", "𝑇"),
        ("$h$", "ℎ"),
        (r"$\theta_0$ of $10^{-3}$", "𝜃₀ of 10⁻³"),
        (r"$V_{th}$", "𝑉ₜₕ"),
        (r"$2 \times 2$, $x-1$", "2 ×2, 𝑥−1"),
        (r"$\Delta \epsilon$", "Δ𝜖"),
    ],
)
def test_mathematics_becomes_characters(label: str, shown: str) -> None:
    """Letters are italic, indices small; texts stay as they are."""
    assert printed(label) == shown


@pytest.mark.parametrize(
    ("label", "part"),
    [
        ("costs 5$", "$"),
        ("$$", "$$"),
        (r"$\frac{1}{2}$", r"\frac"),
        (r"$\input{/etc/passwd}$", r"\input"),
        ("$a & b$", "&"),
        ("$T_{水}$", "_{水}"),
        ("$x_$", "_"),
        ("$<script>$", None),
    ],
)
def test_what_cannot_be_set_is_named(label: str, part: str | None) -> None:
    """The message is the part; brackets and letters alone can be set, and are text wherever they stand."""
    if part is None:
        assert printed(label) == "<𝑠𝑐𝑟𝑖𝑝𝑡>"
        return
    with pytest.raises(LabelError) as caught:
        printed(label)
    assert str(caught.value) == part


def test_latex_gets_every_character_back() -> None:
    """Each has a form that LaTeX and Matplotlib set: ASCII, and of letters, one command or one index."""
    assert {"𝑇": "T", "𝜃": r"\theta", "₀": "_{0}", "⁻": "^{-}", "−": "-", "ℎ": "h"}.items() <= TEX.items()
    assert all(tex.isascii() and tex.count("{") == tex.count("}") for tex in TEX.values())


@settings(max_examples=30)
@given(st.text(max_size=20))
def test_any_label_is_set_or_refused(label: str) -> None:
    """No text makes anything else of it, and what is set has no dollar."""
    try:
        shown = printed(label)
    except LabelError:
        assert "$" in label
    else:
        assert "$" not in shown


def test_a_label_of_a_record() -> None:
    """Of a level by its name and words; a name without a label, or with one that was written wrongly by hand, stays."""
    labels = {"time_steps": "$T$", level_key("lr", 0.001): "small", "a": "$"}
    assert label_of(labels, "time_steps", "time_steps") == "𝑇"
    assert label_of(labels, "lr=0.001", "0.001") == "small"
    assert label_of(labels, "b", "b") == "b"
    assert label_of(labels, "a", "a") == "$"
