"""``check`` and ``run`` ask whether the networks of a study will spike, and say what to do where they will not."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from studies.cli import app
from studies.commands.checking import first_batches
from studies.commands.checking.check_page import as_data, page
from studies.commands.checking.first_batches import Starts, start_warnings, starts_of, trouble_of
from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.execution import runner
from studies.engine.execution.runner import RunOutcome
from studies.engine.proposing.adaptive_search import WarmStart
from trainables import bitnet

OLD_START = [f"config.{field}={value}" for field, value in bitnet.PUBLISHED.items()]
FEW_STEPS = [*OLD_START, "factors={time_steps: [2, 8]}", "baseline={time_steps: 8}", "config.feature_scale=0.125"]


def looked_at(name: str, *overrides: str) -> tuple[Study, Starts]:
    study = load_study(name, overrides)
    starts = starts_of(study)
    assert starts
    return study, starts


def shown(study: Study, starts: Starts | None, *, full: bool = False) -> str:
    """The page at 80 columns."""
    console = Console(width=80)
    with console.capture() as capture:
        console.print(page(study, None, WarmStart(), starts=starts, width=80, full=full))
    return capture.get()


@pytest.fixture(scope="module")
def old() -> tuple[Study, Starts]:
    """The quickstart as it once started, with two of its time steps."""
    return looked_at("quickstart", *FEW_STEPS)


def test_the_old_quickstart_is_told_what_went_wrong(old: tuple[Study, Starts]) -> None:
    """At two time steps few images send a spike to the classifier, at eight all; the warning has share, meaning and cure."""
    study, starts = old
    few, many = starts.looked_at
    assert few.levels["time_steps"] == 2
    assert few.found.silent_images > 0.8
    assert few.found.silent_images_at_1 == 1
    assert many.found.silent_images == 0
    (warning,) = start_warnings(study, starts)
    assert warning.startswith(
        f"before training (time_steps=2), {100 * few.found.silent_images:.0f} % of the images send no spike"
    )
    assert "its weights learn nothing from them" in warning
    assert warning.endswith("One cure is initial_membrane_potential: 0.5 under config")


def test_the_cure_cures() -> None:
    """With an initial membrane potential of one half, and as networks start by default, no image is silent: no warning."""
    for start in ([*FEW_STEPS, "config.initial_membrane_potential=0.5"], FEW_STEPS[len(OLD_START) :]):
        study, starts = looked_at("quickstart", *start)
        assert [start.found.silent_images for start in starts.looked_at] == [0, 0]
        assert start_warnings(study, starts) == []


def test_the_next_cure_where_the_first_is_taken() -> None:
    """A potential of one half already, or one that the study varies: the gain from data is next."""
    quiet = ["config.layout=8 A 8 A 8 A", "factors={time_steps: [1, 2]}", "baseline={time_steps: 2}"]
    half, starts = looked_at("quickstart", *OLD_START, *quiet, "config.initial_membrane_potential=0.5")
    assert trouble_of(starts.looked_at[0])
    assert start_warnings(half, starts)[0].endswith("One cure is normalisation: weight_standardisation under config")
    varied = ["factors={initial_membrane_potential: [0.0, 0.25]}", "baseline={initial_membrane_potential: 0.0}"]
    varying, starts = looked_at("quickstart", *quiet, *varied, *OLD_START[1:], "config.time_steps=2")
    assert start_warnings(varying, starts)[0].endswith("One cure is normalisation: weight_standardisation under config")


def test_the_page_has_80_columns(old: tuple[Study, Starts]) -> None:
    """A row for each of the worst cells and the warning; in full, every layer of every cell."""
    text = shown(*old)
    assert max(map(len, text.splitlines())) <= 80
    (row,) = [line.split() for line in text.splitlines() if line.startswith("time_steps=2") and line.count("%") == 5]
    assert row[1:3] == [f"{100 * old[1].looked_at[0].found.silent_images:.0f}", "%"]
    assert "warning: before training (time_steps=2)" in text
    full = shown(*old, full=True)
    assert max(map(len, full.splitlines())) <= 80
    assert sum(line.startswith("layer5 ") for line in full.splitlines()) == 2
    assert "first batch: not looked at (--no-timing)" in shown(old[0], None)


def test_json_has_every_number(old: tuple[Study, Starts], capsys: pytest.CaptureFixture[str]) -> None:
    """By configuration and layer; none without timing, where nothing is looked at."""
    from studies.commands.options import print_json

    print_json(as_data(old[0], None, WarmStart(), starts=old[1]))
    data = json.loads(capsys.readouterr().out)
    found = data["first_batch"]
    assert list(found) == ["seed", "num_configurations", "num_after_source_networks", "looked_at", "failures"]
    assert [each["levels"]["time_steps"] for each in found["looked_at"]] == [2, 8]
    assert [each["time_steps"] for each in found["looked_at"]] == [2, 8]
    layer = found["looked_at"][0]["found"]["layers"][0]
    assert list(layer) == ["layer", "rate_at_1", "rate", "dead_units", "cut_off", "weights_with_gradient"]
    assert any("send no spike" in warning for warning in data["warnings"])
    assert as_data(old[0], None, WarmStart())["first_batch"] is None


def test_without_timing_nothing_is_looked_at(tiny_study: Path) -> None:
    """And the page says so."""
    result = CliRunner().invoke(app, ["check", str(tiny_study), "--no-timing"])
    assert result.exit_code == 0, result.output
    assert "first batch: not looked at (--no-timing)" in result.output


def test_run_warns_of_the_same_before_it_trains(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each warning on a line; it is asked for only where something is to be trained."""
    said: list[str] = []

    def without_ray(*_: object, before_training: Callable[[], Sequence[str]], **__: object) -> RunOutcome:
        said.extend(before_training())
        return RunOutcome(6, 6, 0, 0, {})

    monkeypatch.setattr(runner, "run_study", without_ray)
    fixed = [f"--set={change}" for change in (*OLD_START, "config.layout=64 A 64 A 64 A", "config.data=digits")]
    assert CliRunner().invoke(app, ["run", str(tiny_study), *fixed]).exit_code == 0
    assert said == start_warnings(*looked_at(str(tiny_study), *(change.removeprefix("--set=") for change in fixed)))
    assert len(said) == 1
    assert "\n" not in said[0]


def test_what_has_no_spikes_or_no_weights_yet() -> None:
    """Of analogue networks and surfaces nothing is said; what starts from a source network is counted, never trained."""
    assert starts_of(load_study("surface_factorial")) is None
    study, starts = looked_at("conversion_methods")
    assert starts.looked_at == []
    assert starts.num_after_source_networks == 12
    assert "12 configurations: known after their source network is trained" in " ".join(shown(study, starts).split())


def test_configurations_are_looked_at_once_and_within_the_bound(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What differs in its learning rate alone starts alike; of more than the bound, those of the fewest time steps."""
    rates = ["factors={lr: [0.001, 0.002, 0.004]}", "baseline={lr: 0.001}", "config.time_steps=3"]
    assert looked_at(str(tiny_study), *rates)[1].num_configurations == 1
    monkeypatch.setattr(first_batches, "MOST_CONFIGURATIONS", 2)
    steps = ["factors={time_steps: [8, 4, 2, 1]}", "baseline={time_steps: 8}"]
    study, starts = looked_at(str(tiny_study), *steps)
    assert (starts.num_configurations, [start.levels["time_steps"] for start in starts.looked_at]) == (4, [1, 2])
    assert "2 of 4 configurations" in shown(study, starts)


def test_first_steps_alone_are_no_reason_to_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a network is too large for all of its time steps, the page says how many were run, and silence means nothing."""
    monkeypatch.setattr("trainables.diagnosis.first_batch.MOST_OPERATIONS", 1e7)
    study, starts = looked_at("quickstart", *FEW_STEPS)
    many = starts.looked_at[1]
    assert many.found.time_steps < 8
    assert trouble_of(many) is None
    assert f"(t ≤ {many.found.time_steps} of 8)" in shown(study, starts, full=True)


def test_whatever_goes_wrong_is_a_sentence(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that cannot be run is named with the reason; the study is valid all the same."""

    def fail(*_: object) -> None:
        raise MemoryError("no memory is left\nat all")

    monkeypatch.setattr(first_batches, "first_batch", fail)
    study, starts = looked_at(str(tiny_study))
    assert starts.looked_at == []
    assert starts.failures[0] == "time_steps=2: MemoryError: no memory is left"
    assert "not looked at: time_steps=2: MemoryError" in shown(study, starts)
    assert "The study is valid." in shown(study, starts)
