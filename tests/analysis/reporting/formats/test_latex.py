"""LaTeX tables: they compile, or at least have the shape of what compiles; bold is what is decided."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.reporting.formats.latex import escaped, to_latex
from analysis.reporting.formats.markdown import to_markdown
from analysis.reporting.summary_document import paper_document, summary_document
from analysis.statistics.summary import Summary, summarise
from studies.label_texts import TEX
from studies.run_record import Level
from tests.analysis.examples import run_of, study_of
from tests.analysis.statistics.test_spiking import spiking_study

ODD = r"64_M & 5% of $x^2$ #{~} \ <b> | – é"


def by_time_steps(num_seeds: int, gain: float = 0.05) -> Summary:
    """T=16 is better by the gain, exactly so for every seed, and a layout with an odd name is equal."""
    factors: dict[str, list[Level]] = {"time_steps": [8, 16], "layout": ["64 M", ODD]}
    cells: list[dict[str, Level]] = [
        {"time_steps": 8, "layout": "64 M"},
        {"time_steps": 16, "layout": "64 M"},
        {"time_steps": 8, "layout": ODD},
    ]
    runs = [
        run_of(levels, seed, 0.7 + 0.01 * seed + gain * (levels["time_steps"] == 16) + 0.001 * (seed % 2) * (i == 2))
        for seed in range(num_seeds)
        for i, levels in enumerate(cells)
    ]
    return summarise(study_of("one_factor_at_a_time", factors, runs, name="a_study & more"), runs)


def search() -> Summary:
    """A search of two configurations."""
    runs = [run_of({"lr": 10.0**-i}, 0, 0.5 + i / 10, role="search") for i in (1, 2)]
    return summarise(study_of("adaptive_search", {"lr": []}, runs, ranges={"lr": "0.001 to 1"}, seeds=[0]), runs)


def nothing() -> Summary:
    """A design of which nothing was run."""
    return summarise(study_of("adaptive_search", {"lr": []}, [], ranges={"lr": "0.001 to 1"}, seeds=[0]), [])


def latex_files(summary: Summary) -> dict[str, str]:
    return to_latex(paper_document(summary))


SUMMARIES = {
    "effects": by_time_steps(8),
    "costs": spiking_study(),
    "one seed": by_time_steps(1),
    "search": search(),
    "nothing": nothing(),
}


@pytest.mark.parametrize("case", SUMMARIES)
def test_tables_have_the_shape_of_latex(case: str) -> None:
    """Environments and braces close, and every row has as many cells as its table has columns."""
    for name, text in latex_files(SUMMARIES[case]).items():
        assert_shape(text)
        assert text.isascii(), name


def assert_shape(text: str) -> None:
    bare = re.sub(r"\\[\\{}$&#%_]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    opened = re.findall(r"\\(begin|end)\{(\w+)\}", text)
    stack: list[str] = []
    for what, environment in opened:
        if what == "begin":
            stack.append(environment)
        else:
            assert stack.pop() == environment
    assert not stack
    for columns, body in re.findall(r"\\begin\{tabular\}\{@\{\}(.*?)@\{\}\}\n(.*?)\\end\{tabular\}", text, re.DOTALL):
        num = len(re.sub(r"p\{[^}]*\}", "p", columns))
        rows = [line for line in body.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert rows
        assert all(len(re.findall(r"(?<!\\)&", row)) == num - 1 for row in rows)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX on this machine")
@pytest.mark.parametrize(
    ("case", "document"),
    [*((case, "tables") for case in SUMMARIES), ("costs", "tables_two_columns"), ("search", "tables_two_columns")],
)
def test_the_documents_compile(case: str, document: str, tmp_path: Path) -> None:
    """pdflatex makes a PDF of each without an error and without a line that sticks out, on pages of one column and of two."""
    for name, text in latex_files(SUMMARIES[case]).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{document}.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, timeout=60)
    log = result.stdout.decode(errors="replace")
    assert result.returncode == 0, log
    assert "Overfull" not in log
    assert (tmp_path / f"{document}.pdf").stat().st_size > 0


@given(st.text(st.one_of(st.characters(), st.sampled_from(sorted(TEX)), st.sampled_from("$\\±×"))))
def test_texts_are_escaped(text: str) -> None:
    """What comes out has no special character of LaTeX but in commands, and is ASCII."""
    found = escaped(text)
    assert found.isascii()
    found = re.sub(r"\\text\w+\{2?\}|\\dots\{\}|\\['`^~\"rvc]\{\w\}|\\[{}$&#%_]", "", found)
    mathematics = re.findall(r"\$(.*?)\$", found)
    assert all(re.fullmatch(r"(\\[A-Za-z]+|[A-Za-z-]|[_^]\{[\w+=()-]\}| )+", part) for part in mathematics)
    rest = re.sub(r"\$.*?\$", "", found)
    assert not set(rest) & set("\\{}$&#%_^~")


def test_accents_are_kept() -> None:
    """A name stays a name; what has no letter becomes a question mark."""
    assert escaped("Zoë, é: 3 × 3 ≤ 水") == r"Zo\"{e}, \'{e}: 3 $\times$ 3 $\le$ ?"


def test_the_decided_best_is_bold() -> None:
    """Eight seeds decide on five points, and nothing is bold beside it; in the other factor nothing is."""
    text = latex_files(SUMMARIES["effects"])["validation_accuracy.tex"]
    (bold,) = [line for line in text.splitlines() if "mathbf" in line]
    assert bold.startswith(r"\raggedright\quad 16 & 8 & \boldmath$\mathbf{78.50 \pm")
    assert r"a\_study \& more" in text
    assert r"\label{tab:a-study-more-val-accuracy}" in text


@pytest.mark.parametrize("summary", [by_time_steps(3), by_time_steps(8, gain=0.0)])
def test_what_is_not_decided_is_not_bold(summary: Summary) -> None:
    """Neither with three seeds, however large the effect, nor without an effect."""
    assert "mathbf" not in "".join(latex_files(summary).values())


def test_numbers_with_a_power_of_ten_are_set_as_such() -> None:
    """1.5e-07 is no LaTeX number."""
    runs = [run_of({"a": a}, seed, tiny=1.5e-7 * (1 + a + seed)) for a in (0, 1) for seed in range(2)]
    study = study_of("one_factor_at_a_time", {"a": [0, 1]}, runs, objectives={"tiny": "minimize"})
    assert r"2.250 \times 10^{-7} \pm" in latex_files(summarise(study, runs))["tiny.tex"]


def test_the_smallest_possible_p_is_named() -> None:
    """Where it is reached: 2 / 2**8 with eight seeds that agree; not where no difference is decided."""
    said = "Before the correction the smallest p that the test can give is reached: 0.008 with 8 seeds."
    assert said in latex_files(SUMMARIES["effects"])["validation_accuracy.tex"]
    assert said in to_markdown(summary_document(SUMMARIES["effects"]))
    assert "smallest p" not in latex_files(by_time_steps(8, gain=0.0))["validation_accuracy.tex"]


def test_results_stand_side_by_side() -> None:
    """A row for every cell with both accuracies and its costs; in one column of two only what is compared has its interval."""
    files = latex_files(SUMMARIES["costs"])
    wide, narrow = (files[name].splitlines() for name in ("results.tex", "results_one_column.tex"))
    assert r"\begin{table*}" in wide
    assert r"\begin{table}" in narrow
    (row,) = [line for line in wide if line.startswith(r"\raggedright time\_\allowbreak{}steps=\allowbreak{}4 ")]
    assert row.split(" & ")[1:] == [
        "3",
        "$62.00 \\pm 4.97$",
        "$61.00 \\pm 4.97$",
        "$700 \\pm 248$",
        "$0.00100 \\pm 0.00022$ \\\\",
    ]
    (row,) = [line for line in narrow if line.startswith(r"\raggedright time\_\allowbreak{}steps=\allowbreak{}4 ")]
    assert row.split(" & ")[1:] == ["$62.00 \\pm 4.97$", "$61.00$", "700", "$0.001$ \\\\"]
    assert r"\input{results_one_column.tex}" in files["tables_two_columns.tex"]
