"""What is said of a search's space: planted truths come out in every output, and what says nothing gets a sentence."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.reporting.figures import search
from analysis.reporting.formats.html import to_html
from analysis.reporting.formats.markdown import to_markdown
from analysis.reporting.summary_document import summary_document
from analysis.reporting.topics.search import ASSOCIATIONS, follow_up_in_words, search_verdicts
from analysis.statistics.data.outcomes import ACCURACY_OUTCOME, SPARSITY_OUTCOME
from analysis.statistics.search.design_matrix import DesignMatrix, design_matrix_of
from analysis.statistics.search.exploration import Exploration, fills_space
from analysis.statistics.search.factor_axes import FactorAxis
from analysis.statistics.search.importance import importances
from analysis.statistics.search.partial_dependence import SurrogateModel, surrogate_model
from analysis.statistics.summary import Summary, summarise
from studies.engine.definition.loading import load_study
from studies.run_record import ACCURACY, PRUNED, Level, RunRecord, StudyRecord
from tests.analysis.examples import all_outputs, run_of, study_of

FACTORS: dict[str, list[Level]] = {"lr": [], "layout": ["64 M", "64 A"], "width": []}
RANGES = {"lr": "0.001 to 0.1, log", "width": "0 to 1 (where layout is 64 A)"}
BOUNDS = {
    "lr": {"low": 0.001, "high": 0.1, "log": True, "step": None, "integer": False},
    "width": {"low": 0.0, "high": 1.0, "log": False, "step": None, "integer": False},
}
CONDITIONS = {"width": {"layout": ["64 A"]}}


def study_of_search(runs: Sequence[RunRecord], design: str = "adaptive_search", **others: Any) -> StudyRecord:
    settings = {"factors": FACTORS, "baseline": {}, "ranges": RANGES, "bounds": BOUNDS, "conditions": CONDITIONS, **others}
    return study_of(design, settings.pop("factors"), runs, **settings)


def planted(num: int = 48) -> list[RunRecord]:
    """Accuracy falls with the logarithm of lr, sparsity rises with it, nothing else matters; every eighth trial was pruned."""
    generator = np.random.default_rng(6)
    runs = []
    for i in range(num):
        place, layout = float(generator.random()), ("64 M", "64 A")[i % 2]
        levels: dict[str, Level] = {"lr": 0.001 * 100**place, "layout": layout}
        levels |= {"width": float(generator.random())} if layout == "64 A" else {}
        noise = 0.01 * generator.normal(size=2)
        values = {"accuracy": 0.9 - 0.3 * place + noise[0], "sparsity": 0.5 + 0.3 * place + noise[1]}
        runs.append(run_of(levels, 0, **values, role="search", status=PRUNED if i % 8 == 7 else "FINISHED"))
    return runs


def finalists(of: Sequence[RunRecord]) -> list[RunRecord]:
    """Some of them with three seeds, each of which changes all values a little."""
    generator = np.random.default_rng(7)
    return [
        run_of(run.levels, seed, run.metrics[ACCURACY] + 0.01 * generator.normal(), role="finalist", sparsity=0.6 + 0.1 * i)
        for i, run in enumerate(of)
        for seed in (1, 2, 3)
    ]


@pytest.fixture(scope="module")
def summary() -> Summary:
    runs = planted()
    runs += finalists(runs[:3])
    return summarise(study_of_search(runs), runs)


def test_importance_and_dependence_find_what_was_planted(summary: Summary) -> None:
    """One factor has the variance of both objectives; along it the surrogate falls by 30 points, along the others by few."""
    found = summary.exploration
    assert found is not None
    lr, layout, width = found.importances[ACCURACY_OUTCOME]
    assert lr.fanova is not None
    assert lr.fanova.value > 0.85
    assert layout.fanova is not None
    assert layout.fanova.value < 0.05
    assert (lr.num_configurations, lr.num_ranked, width.num_configurations, width.fanova) == (42, 48, 18, None)
    of_lr, of_layout, of_width = found.surrogate_models[ACCURACY_OUTCOME].dependences
    assert of_lr.mean[0] - of_lr.mean[-1] == pytest.approx(0.3, abs=0.04)
    assert np.ptp(of_layout.mean) < 0.03
    assert np.ptp(of_width.mean) < 0.06


def test_every_output_says_that_associations_are_no_effects(summary: Summary) -> None:
    """At each table and figure, and once in a sentence; with the errors of the surrogates, and what became of pruned trials."""
    text = " ".join(all_outputs(summary).split())
    assert text.count(ASSOCIATIONS) == 2  # the terminal and Markdown
    assert "## Importance of the factors Associations, not effects. " in text
    assert text.index("## Importance of the factors") < text.index("## Partial dependence")
    assert "validation accuracy: in what the search tried, it goes most with lr (" in text
    assert "6 configurations were pruned." in text
    assert "Gaussian process, cross-validated RMSE" in text
    page = to_html(summary_document(summary))
    assert page.count(ASSOCIATIONS[:60]) == 1
    assert page.count("Associations, not effects. ") >= 3  # the table, and both figures of importance and of dependence
    headings = ("against each other", "Hypervolume over time", "Validation accuracy by factor", "Activation sparsity by factor")
    assert all(page.count(f"<h2>{heading}") or heading in page for heading in headings)
    assert page.count("<svg") == 2 * 5  # each is drawn for a wide and for a narrow page


def test_the_front_says_how_surely(summary: Summary) -> None:
    """Finalists by their seeds; what was searched by the noise that they show."""
    of_finalists, searched = summary.rankings
    assert (of_finalists.front_basis, searched.front_basis) == ("seeds", "noise of the finalists")
    assert all(0 < one.front_probability <= 1 for one in searched.front)
    text = " ".join(all_outputs(summary).split())
    assert "On the Pareto front of validation accuracy, activation sparsity: " in text
    assert text.count("On the Pareto front of") == 2  # once in the terminal, once in Markdown
    assert "“On it in” is the share of draws of the noise between replicates that the finalists show." in text


def test_what_breaks_a_limit_is_on_no_front(summary: Summary) -> None:
    """The front is of those that keep it, and the sentence under it says so."""
    study = replace(summary.study, options={"limits": {"sparsity/overall": {"at_most": 0.7, "at_least": None}}})
    runs = [run for run in summary.runs if run.role == "search"][:12]
    limited = summarise(study, runs)
    (searched,) = limited.rankings
    assert {one.keeps_limits for one in searched.configurations} == {True, False}
    assert all(one.mean(SPARSITY_OUTCOME) <= 0.7 for one in searched.front)
    assert "and that keep the limits" in all_outputs(limited)


def degenerate() -> dict[str, list[RunRecord]]:
    lr: list[dict[str, Level]] = [{"lr": 0.001 * (i + 1), "layout": "64 M"} for i in range(24)]
    return {
        "2 have a value": [run_of(levels, 0, 0.1 * i, role="search") for i, levels in enumerate(lr[:2])],
        "1 has a value": [run_of(lr[0], 0, role="search")],
        "0 have a value": [run_of(levels, 0, role="search", status="FAILED") for levels in lr],
        "all 24 configurations have the same value": [run_of(levels, 0, role="search") for levels in lr],
    }


@pytest.mark.parametrize("sentence", degenerate())
def test_what_says_nothing_gets_a_sentence(sentence: str) -> None:
    """Few configurations, one value, or none: every output is made, and none draws what is not there."""
    runs = degenerate()[sentence]
    summary = summarise(study_of_search(runs), runs)
    assert f"{sentence}." in " ".join(all_outputs(summary).split())
    assert search.importance(summary) is None


def test_one_factor_and_one_objective() -> None:
    """A search over a single range has its importance, its dependence and its best value over time; no front."""
    runs = [run_of({"lr": 0.001 * 100 ** (i / 23)}, 0, 0.5 + 0.01 * i, role="search") for i in range(24)]
    study = study_of_search(runs, objectives={ACCURACY: "maximize"}, factors={"lr": []})
    summary = summarise(study, runs)
    page = to_html(summary_document(summary))
    assert "Best value over time" in page
    assert "Pareto" not in page
    assert "it goes most with lr (" in " ".join(all_outputs(summary).split())


def surrogate_of(values: list[float], places: list[float]) -> SurrogateModel:
    outcome = ACCURACY_OUTCOME
    tried = DesignMatrix(
        [FactorAxis("x")], np.array(places)[:, None], {outcome: np.array(values)}, np.zeros(len(values), dtype=np.bool_)
    )
    return surrogate_model(study_of("random", {"x": []}, []), tried, outcome)


def test_the_surrogate_says_its_error() -> None:
    """On a smooth curve it comes close: its error is of the size of the noise, and its band has the curve."""
    generator = np.random.default_rng(10)
    places = generator.random(60)
    learnt = surrogate_of((np.sin(4 * places) + 0.1 * generator.normal(size=60)).tolist(), places.tolist())
    assert learnt.scores[0].rmse == pytest.approx(0.1, rel=0.3)
    assert learnt.scores[0].r_squared > 0.9
    (curve,) = learnt.dependences
    truth = np.sin(4 * np.array(curve.levels, dtype=np.float64))
    assert np.abs(curve.mean - truth)[1:-1].max() < 0.1  # at the ends there is little to learn from
    assert np.mean((curve.low <= truth) & (truth <= curve.high)) > 0.6


def test_a_surrogate_that_explains_nothing_draws_nothing() -> None:
    """On pure noise its R² is not surely above 0, there is no dependence, and the summary says so."""
    values = np.random.default_rng(11).normal(size=40)
    learnt = surrogate_of(values.tolist(), np.linspace(0, 1, 40).tolist())
    assert not learnt.explains_something
    assert learnt.dependences == ()
    runs = [run_of({"lr": 0.001 + 0.002 * i}, 0, 0.5 + 0.01 * value, role="search") for i, value in enumerate(values)]
    study = study_of_search(runs, objectives={ACCURACY: "maximize"}, factors={"lr": []})
    summary = summarise(study, runs)
    text = " ".join(all_outputs(summary).split())
    assert "No surrogate model predicts validation accuracy better than its mean does" in text
    assert "validation accuracy: no factor stands out in what the search tried." in text
    assert "## Partial dependence" not in text
    assert summary.exploration is not None
    at_random = replace(summary, exploration=replace(summary.exploration, is_space_filling=True))
    assert "validation accuracy is associated with no factor beyond chance" in " ".join(search_verdicts(at_random))


def test_which_samples_fill_the_space() -> None:
    """Those that no result had a part in; a search whose sampler was not recorded counts as one that learns."""
    samplers = {name: {"sampler": {"name": name}} for name in ("tpe", "nsga2", "gp", "cma_es", "random", "qmc")}
    fills = {name: fills_space(study_of_search([], options=options)) for name, options in samplers.items()}
    assert {name for name, it_does in fills.items() if it_does} == {"random", "qmc"}
    assert not fills_space(study_of_search([]))
    assert fills_space(study_of_search([], "random"))


def test_nothing_exceeds_chance_in_a_sample_that_learnt(summary: Summary) -> None:
    """Neither in a sentence nor in a table, and PED-ANOVA, which misses what the search set first, is not there; a command is."""
    assert summary.exploration is not None
    of_lr, *_ = summary.exploration.importances[ACCURACY_OUTCOME]
    assert of_lr.fanova is not None
    assert not of_lr.fanova.is_above_chance
    assert of_lr.ped_anova is None
    text = " ".join(to_markdown(summary_document(summary)).split())
    assert "beyond chance" not in text
    assert "by chance" not in text.lower()
    assert "PED-ANOVA (%)" not in text
    assert text.count("As many configurations drawn at random can tell (spikesweep run demo.yaml --set ") == 1


def test_a_search_at_random_judges_chance(summary: Summary) -> None:
    """Its trials fill the space: what does something exceeds the shuffled copies, what does nothing does not."""
    runs = [replace(run, levels={name: run.levels[name] for name in ("lr", "layout")}) for run in planted(30)]
    tried = design_matrix_of(study_of_search(runs), runs, [ACCURACY_OUTCOME])
    lr, layout = importances(tried, ACCURACY_OUTCOME, with_pruned=False)
    assert lr.fanova is not None
    assert layout.fanova is not None
    assert lr.fanova.is_above_chance
    assert not layout.fanova.is_above_chance
    assert lr.fanova.by_chance == layout.fanova.by_chance  # of all factors, so that the error does not grow with their number
    models = {ACCURACY_OUTCOME: SurrogateModel(ACCURACY_OUTCOME, 30)}
    explored = Exploration(tried, {ACCURACY_OUTCOME: [lr, layout]}, models, None, is_space_filling=True)
    text = " ".join(search_verdicts(replace(summary, exploration=explored)))
    assert "validation accuracy is most associated with lr (" in text
    assert "; not beyond chance with layout" in text
    assert ASSOCIATIONS not in text


def test_the_follow_up_can_be_typed(tmp_path: Path) -> None:
    """Its overrides make a study of its own that draws at random, from the file of a search."""
    study = load_study("surface_search", [f"storage={tmp_path}"])
    record = study_of_search([], name=study.stores.name)
    (command,) = re.findall(r"\(spikesweep run surface_search.yaml (.*)\)", follow_up_in_words(record))
    followed = load_study("surface_search", [f"storage={tmp_path}", *re.findall(r"--set (\S+)", command)])
    assert followed.search is not None
    assert followed.search.sampler["name"] == "random"
    assert followed.stores.name == "surface_search_random"


def test_random_cells_have_no_search() -> None:
    """A random design has a front by its seeds, but neither a history nor the sentence on adaptive samples."""
    runs = [
        run_of({"lr": 0.001 * 100 ** (i / 11)}, seed, 0.5 + 0.01 * i, sparsity=0.9 - 0.01 * i)
        for i in range(12)
        for seed in (0, 1)
    ]
    summary = summarise(study_of_search(runs, "random", factors={"lr": []}, conditions={}), runs)
    assert summary.exploration is not None
    assert summary.exploration.progress is None
    assert summary.rankings[0].front_basis == "seeds"
    text = all_outputs(summary)
    assert "adaptive sample" not in text
    assert "12 of 12 cells" in " ".join(text.split())
