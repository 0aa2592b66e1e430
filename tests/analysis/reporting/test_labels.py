"""Labels of the study file in every part of a report that is for print."""

from dataclasses import replace
from functools import cache

from analysis.reporting.figures.all_figures import all_figures
from analysis.reporting.formats.html import to_html
from analysis.reporting.formats.latex import to_latex
from analysis.reporting.formats.markdown import to_markdown
from analysis.reporting.formats.tables_csv import effects_csv
from analysis.reporting.summary_document import paper_document, summary_document
from analysis.statistics.summary import Summary, summarise
from tests.analysis.statistics.test_spiking import spiking_study

LABELS = {"time_steps": "$T$", "time_steps=4": "<few> & 50 %", "val/accuracy": r"accuracy $\alpha_0$"}


@cache
def labelled() -> Summary:
    plain = spiking_study()
    return summarise(replace(plain.study, labels=LABELS), plain.runs)


def test_labels_stand_in_pages_and_markdown() -> None:
    """In sentences, tables and figures alike; what a label holds is text."""
    document = summary_document(labelled())
    text, page = to_markdown(document), to_html(document)
    before_method = text.split("## Method")[0]
    assert "time_steps" not in before_method
    assert "𝑇" in before_method
    assert "accuracy 𝛼₀" in before_method
    assert "&lt;few&gt; &amp; 50 %" in page
    assert "<few>" not in page


def test_labels_are_mathematics_in_latex() -> None:
    """Dollars of labels are mathematics there; other signs are escaped."""
    text = "".join(to_latex(paper_document(labelled())).values())
    assert "$T$" in text
    assert r"accuracy $\alpha _{0}$" in text
    assert r"\textless{}few\textgreater{} \& 50 \%" in text
    assert text.isascii()


def test_labels_are_mathematics_in_figures() -> None:
    """Matplotlib's own mathematics, on axes and beside points."""
    figures = {figure.title: figure.figure for figure in all_figures(labelled())}
    levels = [label.get_text() for label in figures["Differences from the baseline"].axes[0].get_yticklabels()]
    assert levels == ["$T$ = 8 (baseline)", "$T$ = <few> & 50 %", "$T$ = 16"]
    points = [text.get_text() for text in figures["Accuracy against cost"].axes[0].texts]
    assert points == ["$T$=<few> & 50 %", "baseline", "$T$=16"]


def test_data_keep_their_names() -> None:
    """Tables for programs have factors and levels as the study file writes them."""
    text = effects_csv(labelled())
    assert "time_steps,4," in text
    assert "few" not in text
