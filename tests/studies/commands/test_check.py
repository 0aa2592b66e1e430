"""What ``spikesweep check`` says: what is trained, what it costs, what it can find out."""

import json
import math
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from analysis.records.loading import RecordedStudy
from analysis.statistics.effects.power import smallest_effect
from studies.cli import app
from studies.commands.checking import sensitivity as sensitivities
from studies.commands.checking.check_page import as_data, page
from studies.commands.checking.forecast import Forecast, forecast
from studies.commands.checking.sensitivity import sensitivity
from studies.engine.binding.trainable_modules import field_names, load_trainable
from studies.engine.definition.loading import load_study
from studies.engine.errors import StudyError
from studies.engine.proposing.adaptive_search import WarmStart
from studies.engine.recording.study_record import study_record
from studies.run_record import ACCURACY, Level, RunRecord
from tests.conftest import SPIKESWEEP, run
from trainables.training.configs import config_sections

SURFACE = """\
question: Does a or b matter?
trainable: response_surface
baseline: {a: 0, b: 0}
factors: {a: [-1, 0, 1], b: [0, 1]}
seeds: 10
"""


@pytest.fixture
def surface_study(tmp_path: Path) -> Path:
    """4 cells x 10 seeds of the response surface."""
    path = tmp_path / "surface.yaml"
    path.write_text(SURFACE + f"storage: {tmp_path / 'results'}\n")
    return path


def shown(study: Path | str, *overrides: str, width: int = 200, full: bool = False) -> str:
    """The page of a study, without timing."""
    console = Console(width=width)
    with console.capture() as capture:
        console.print(page(load_study(str(study), overrides), None, WarmStart(), width=width, full=full))
    return capture.get()


def rows(text: str) -> list[list[str]]:
    """The words of each line, split where there are two spaces or more."""
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def test_check_says_all_of_it(tiny_study: Path) -> None:
    """Cells, seeds, what the study sets, costs, and what can be detected; nothing is made."""
    command = [*SPIKESWEEP, "check", str(tiny_study)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for part in (
        "trainable bitnet",
        "design one factor at a time: 3 cells × 2 seeds = 6 replicates",
        "time_steps 4 2",
        "layout 64 M 64",
        "cell parameters operations memory time baseline",
        "predicted: about",
        "smallest effect it can detect: none, with 2 seeds and 2 contrasts",
        "warning: 2 seeds are too few for any significance",
        "The study is valid.",
    ):
        assert part in " ".join(result.stdout.split()), part
    data = json.loads(CliRunner().invoke(app, ["check", str(tiny_study), "--json"]).stdout)
    assert [cell["levels"]["time_steps"] for cell in data["cells"]] == [4, 2, 4]
    assert all(cell["num_parameters"] > 0 and cell["seconds"] > 0 for cell in data["cells"])
    assert data["forecast"]["num_replicates"] == data["num_replicates"] == 6
    assert data["forecast"]["fits"]
    assert not (tiny_study.parent / "results").exists()


def test_the_forecast_of_a_study_adds_up(tiny_study: Path) -> None:
    """More operations take longer; all replicates together take what each of them takes; they run as many at once as fit."""
    study = load_study(str(tiny_study), ["factors.time_steps=[2,4,64]", "config.layout=64 64 64", "seeds=3"])
    found = forecast(study, num_cpus=2)
    seconds = {each.levels["time_steps"]: each.seconds for each in found.configurations}
    assert seconds[64] > seconds[2]
    mean = sum(each.seconds for each in found.configurations) / len(found.configurations)
    assert found.replicate_seconds == pytest.approx(12 * mean)
    assert found.at_once == 2
    assert found.wall_seconds > found.replicate_seconds / 2
    assert forecast(study, num_cpus=1).at_once == 1


def test_source_networks_are_part_of_the_forecast(tiny_study: Path) -> None:
    """A conversion's source networks are timed and counted beside it."""
    changes = [
        "trainable=converted_snn",
        "factors={reset: [soft, hard]}",
        "baseline={reset: soft}",
        "config.calibration_images=8",
    ]
    found = forecast(load_study(str(tiny_study), changes), num_cpus=1)
    assert found.num_source_networks == 2
    assert found.replicate_seconds > sum(each.seconds for each in found.configurations) * 2


def test_memory_that_does_not_fit(tiny_study: Path) -> None:
    """More replicates at once than the memory holds is a warning."""
    study = load_study(str(tiny_study))
    found = Forecast(
        configurations=[],
        sampled=False,
        num_replicates=6,
        num_source_networks=0,
        replicate_seconds=1,
        at_once=4,
        wall_seconds=1,
        memory_bytes=2**30,
        available_bytes=3 * 2**30,
    )
    (_, warning) = as_data(study, found, WarmStart())["warnings"]
    assert warning.startswith("4 replicates at once may need 4.0 GiB, and this machine has 3.0")


def test_the_smallest_effect(surface_study: Path) -> None:
    """In points where the seed's standard deviation is stated, in units of it where it is not; larger with fewer seeds."""
    text = shown(surface_study)
    unit = smallest_effect(10, 3, 1.0)
    assert unit is not None
    assert f"with 80 % power: {unit:.2f} standard deviations" in text
    stated = shown(surface_study, "seed_sd=0.01")
    assert f"with 80 % power: {100 * unit * 0.01 * math.sqrt(2):.2f} points (seed_sd 0.01" in stated
    fewer = sensitivity(load_study(str(surface_study), ["seeds=8"]))
    assert fewer
    assert fewer.smallest_effect
    assert fewer.smallest_effect > unit


def test_one_wild_level_is_not_the_headline(surface_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each contrast has its own smallest effect by its own spread, and the headline is their median."""
    sds: dict[tuple[str, Level], float] = {("a", -1): 0.2, ("a", 1): 0.01, ("b", 1): 0.02}
    monkeypatch.setattr(sensitivities, "_measured", lambda *_: (sds, "measured on the runs of this study so far"))
    unit = smallest_effect(10, 3, 1.0)
    assert unit is not None
    text = shown(surface_study)
    assert f"80 % power: {2 * unit:.2f} points, the median of 3 contrasts (measured on the runs of" in text
    assert f"  a -1: {20 * unit:.2f}, 1: {1 * unit:.2f}" in text
    assert f"  b 1: {2 * unit:.2f}" in text
    by_contrast = as_data(load_study(str(surface_study)), None, WarmStart())["sensitivity"].by_contrast
    assert [(one.factor, one.level) for one in by_contrast] == list(sds)


def test_the_smallest_effect_is_on_the_primary_outcome(surface_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs as a ratio by the spread of their logarithms; the accuracy's stated deviation says nothing of them."""
    cost = "primary_outcome=ops/energy_pj"
    unit = smallest_effect(10, 3, 1.0)
    assert unit is not None
    assert f"on ops/energy_pj it can detect with 80 % power: {unit:.2f} standard" in shown(surface_study, cost, "seed_sd=0.01")
    study = load_study(str(surface_study), [cost])
    noise = np.random.default_rng(0).normal(0, 0.1, len(study.replicates))
    runs = [
        RunRecord(one.identity, one.seed, one.cell, "FINISHED", metrics={ACCURACY: 0.5, "ops/energy_pj": float(np.exp(shift))})
        for one, shift in zip(study.replicates, noise, strict=True)
    ]
    recorded = RecordedStudy(study_record(study, study.replicates, []), runs)
    monkeypatch.setattr(sensitivities, "load_recorded_study", lambda *_: recorded)
    found = sensitivity(study)
    assert found
    assert found.sd_of_differences
    assert found.smallest_effect
    assert found.sd_of_differences == pytest.approx(0.1 * math.sqrt(2), rel=0.4)
    assert found.smallest_effect == pytest.approx(unit * found.sd_of_differences)
    assert f"80 % power: ×{math.exp(found.smallest_effect):.3f}, the median of 3 contrasts" in shown(surface_study, cost)


@pytest.mark.parametrize(("seeds", "enough"), [(5, False), (6, True)])
def test_too_few_seeds_for_any_significance(seeds: int, enough: bool, surface_study: Path) -> None:
    """One contrast needs six seeds for an exact paired test to reach 0.05."""
    text = shown(surface_study, f"seeds={seeds}", "factors={b: [0, 1]}", "baseline={b: 0}")
    assert ("are too few for any significance" in text) is not enough
    assert ("smallest effect it can detect: none" in text) is not enough


@pytest.mark.slow
def test_a_measured_standard_deviation(surface_study: Path) -> None:
    """Once the study has runs, the standard deviation is theirs: the surface's noise, without what the cells of a seed share."""
    assert run(surface_study).returncode == 0
    found = sensitivity(load_study(str(surface_study)))
    assert found
    assert found.source == "measured on the runs of this study so far"
    assert found.sd_of_differences == pytest.approx(0.01 * math.sqrt(2), rel=0.35)
    assert [(one.factor, one.level) for one in found.by_contrast] == [("a", -1), ("a", 1), ("b", 1)]
    other = sensitivity(load_study(str(surface_study), ["config.noise=0.02"]))
    assert other
    assert other.source == "measured on the runs of this study so far, which had noise: 0.01"


def test_what_will_be_stored(tiny_study: Path, surface_study: Path) -> None:
    """Weights and the bits of images, twice each, beside the reports and in MLflow; of a formula nothing."""
    study = load_study(str(tiny_study))
    (dataset,) = study.binder.datasets.values()
    parameters = sum(study.binder.configuration(cell).footprint.num_parameters for cell in study.cells) * len(study.seeds)
    found = as_data(study, None, WarmStart())["stored"]
    assert found["weights"] == 2 * 4 * parameters
    bits = 2 * len(study.replicates) * (len(dataset.test_labels) + 0.25 * len(dataset.train_labels)) / 8
    assert bits < found["correct_images"] < 2 * bits + 100 * len(study.replicates)
    bits_in_words = "for each image whether it was judged right, less than 0.1 MiB"
    assert f"stored, half of it in MLflow: weights, less than 0.1 MiB; {bits_in_words}" in shown(tiny_study)
    assert f"stored, half of it in MLflow: {bits_in_words}" in shown(tiny_study, "log_models=false")
    assert "weights" not in shown(tiny_study, "log_models=false").partition("stored, half")[2].partition("\n")[0]
    assert "stored:" not in shown(surface_study)
    assert ["primary outcome", "val/accuracy"] in rows(shown(surface_study))


def test_a_search_is_forecast_by_a_sample(tmp_path: Path) -> None:
    """What will be proposed is not known: random configurations stand for it, and the counts are the budget's."""
    study = load_study("surface_search", [f"storage={tmp_path}"])
    data = as_data(study, forecast(study, num_cpus=1), WarmStart())
    assert data["cells_are_a_sample"]
    assert data["num_replicates"] == 2000 + 5 * 5
    assert data["sensitivity"] is None
    assert data["forecast"]["num_source_networks"] == 0


def test_what_a_study_sets_is_shown_once() -> None:
    """Of the config what differs from the defaults; of each cell what differs from the baseline; at most 80 columns."""
    text = shown("quickstart", width=80)
    found = rows(text)
    assert max(map(len, text.splitlines())) <= 80
    assert ["time_steps", "8", "2, 4, 16"] in found
    start = found.index(["config", "value", "default"])
    assert found[start + 1 : start + 5] == [
        ["validation_fraction", "0.25", "0.1"],
        ["epochs", "12", "10"],
        ["batch_size", "32", "64"],
        [""],
    ]
    cells = [row[0] for row in found[start + 6 : start + 14]]
    assert cells[:3] == ["baseline", "time_steps=2", "time_steps=4"]
    assert cells[-1] == "layout=64 64 A 128 A 256 512 A"
    assert "weight_decay" not in text


def test_a_default_in_the_place_of_a_missing_factor_is_told(tmp_path: Path) -> None:
    """Where a factor does not exist, its field has its default; check warns where that matters."""
    path = tmp_path / "mixed.yaml"
    path.write_text(
        """\
question: Does mixing help?
trainable: bitnet
config: {data: digits, layout: 64 M 64}
baseline: {train_time_steps: fixed, time_steps: 2, gradient: straight_through, surrogate: arctan}
factors:
  train_time_steps: [fixed, mixed]
  time_steps: {levels: [2, 4], when: {train_time_steps: fixed}}
  gradient: [straight_through, surrogate]
  surrogate: {levels: [arctan, triangle], when: {gradient: surrogate}}
seeds: 7
"""
    )
    text = " ".join(shown(path).split())
    assert "warning: where train_time_steps=mixed, time_steps has its default 8 and not the baseline's 2" in text
    assert text.count("has its default") == 1


def test_settings_without_effect_are_marked() -> None:
    """What a study sets and no cell uses, as quantised levels without pre-training, says so; what is used does not."""
    found = rows(shown("quickstart", "config.pretrain_activation=qcfs", "config.tet_lambda=0.5"))
    marked = {row[0] for row in found if row[-1].endswith("no effect here")}
    assert {"pretrain_activation", "tet_lambda"} <= marked
    assert not marked & {"epochs", "validation_fraction", "batch_size"}


def test_full_shows_every_field_by_section() -> None:
    """Each field of each trainable once, in its section: its value, or what varies, and whether it has an effect."""
    text = shown("equal_recipe", full=True)
    sections = text.split("every field")[1:]
    names = ("ann", "bitnet", "converted_snn")
    for name, section in zip(names, sections, strict=True):
        config = load_trainable(name).Config
        lines = [line.split()[0] for line in section.splitlines() if line.startswith("  ")]
        assert [line for line in lines if line in field_names(config)] == [
            field for fields in config_sections(config).values() for field in fields
        ]
        headings = [line.strip() for line in section.splitlines() if line.strip() in config_sections(config)]
        assert headings == list(config_sections(config))
    found = rows(sections[1])
    for row in (
        ["time_steps", "8, 32", "factor"],
        ["lr", "0.001, 0.003, 0.01", "tuned"],
        ["epochs", "12", "default 10"],
        ["surrogate", "arctan", "no effect here"],
        ["weight_decay", "0.01"],
    ):
        assert row in found
    assert "validation_fraction" in shown("equal_recipe")
    assert "weight_decay" not in shown("equal_recipe")


def test_cells_of_a_factorial_have_a_column_for_each_factor(surface_study: Path) -> None:
    """Where the width has room for them; else their levels are told in words."""
    found = rows(shown(surface_study, "design=full_factorial"))
    assert ["a", "b", "parameters", "operations"] in found
    assert ["-1", "0", "0", "500 k"] in found
    assert "a=-1" in shown(surface_study, "design=full_factorial", width=30)


def test_as_data_has_what_all_cells_share(surface_study: Path) -> None:
    """By trainable, section and field; without what varies."""
    config = as_data(load_study(str(surface_study)), None, WarmStart())["config"]["response_surface"]
    assert config["training"]["epochs"] == 1
    assert "a" not in config["response surface"]
    assert config["response surface"]["c"] == 0


def test_many_cells_are_cut() -> None:
    """Thirty of them are shown, and how many more there are; --full shows all."""
    text = shown("surface_factorial")
    assert "… and 132 more: --full" in text
    assert len(shown("surface_factorial", full=True).splitlines()) > len(text.splitlines()) + 132


def labelled(study: Path, npz: Path, add: int) -> Path:
    """The study on data whose labels are larger by ``add``."""
    with np.load(npz) as saved:
        arrays = {name: array + add if name.endswith("labels") else array for name, array in saved.items()}
    np.savez(study.with_name("mine.npz"), **arrays)
    study.write_text(study.read_text().replace(str(npz), str(study.with_name("mine.npz"))))
    return study


def test_classes_are_shown(tiny_study: Path, tiny_npz: Path) -> None:
    """How many images of a class there are to train, validate and test with, on the page and, class by class, as data."""
    (data,) = as_data(load_study(str(tiny_study)), None, WarmStart())["data"].values()
    with np.load(tiny_npz) as saved:
        assert data["test"] == np.bincount(saved["test_labels"]).tolist()
        assert [sum(pair) for pair in zip(data["train"], data["validation"], strict=True)] == np.bincount(
            saved["train_labels"]
        ).tolist()
    low, high = sorted(data["train"])
    assert f"images per class: training {low} to {high}, validation" in shown(tiny_study)


def test_labels_from_1_are_refused_or_confirmed(tiny_study: Path, tiny_npz: Path) -> None:
    """With the place in the study file, and the line that confirms them."""
    study = labelled(tiny_study, tiny_npz, 1)
    with pytest.raises(StudyError) as caught:
        load_study(str(study))
    (problem,) = caught.value.problems
    assert problem.path == "config.data"
    assert "no training image of class 0; its largest label is 2" in problem.value
    assert problem.repair.startswith("subtract 1 from train_labels and test_labels before saving, or confirm")
    assert load_study(str(study), ["config.num_classes=3"]).binder.datasets
    with pytest.raises(StudyError, match="num_classes must be one more than the largest label"):
        load_study(str(study), ["config.num_classes=2"])


def test_classes_that_are_not_validated_are_a_warning(tiny_study: Path) -> None:
    """One validation image is of one class; what was trained on other data is told too."""
    loaded = load_study(str(tiny_study), ["config.validation_fraction=0.01"])
    said = as_data(loaded, None, WarmStart(), ["earlier"])["warnings"]
    assert said[0] == "earlier"
    assert "has no validation image of class" in said[1]
