"""What every trainable must do, whatever it trains: a class of tests that runs over all modules of the trainables folder.

A new trainable is tested by an entry in ``TINY``: a config that trains in a second or two, and a config that breaks a rule.
"""

import dataclasses
import inspect
import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch

from studies.engine.binding.trainable_modules import trainable_names
from trainables.data.datasets import Dataset, prepare
from trainables.networks.rules import RuleError
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.configs import config_sections, identity_field_names, identity_of, without_inactive
from trainables.training.epoch_report import EpochReport
from trainables.training.recipe import Recipe


@dataclass(frozen=True)
class Tiny:
    """An entry of a trainable.

    Attributes:
        fields: A config that trains two or more epochs in a second or two. ``data`` is a set of 8x8 images unless given.
        broken: Changes to it that break a rule of ``problems``.
        broken_field: The field that the problem must name.
    """

    fields: Mapping[str, Any]
    broken: Mapping[str, Any] = field(default_factory=lambda: {"image_downscale": 9})
    broken_field: str = "image_downscale"


_NETWORK: dict[str, Any] = {"validation_fraction": 0.25, "layout": "4 M 4", "epochs": 2, "batch_size": 16, "crop_padding": 1}

TINY: dict[str, Tiny] = {
    "ann": Tiny({**_NETWORK, "dropout": 0.2}),
    "bitnet": Tiny({**_NETWORK, "time_steps": 3}, {"time_steps": 3, "eval_time_steps": 2}, "eval_time_steps"),
    "converted_snn": Tiny(
        {**_NETWORK, "time_steps": 3, "finetune_epochs": 2, "calibration_images": 20},
        {"balance": "qcfs"},
        "balance",
    ),
    "response_surface": Tiny({"data": "none", "epochs": 3, "a": 0.5}, {"data": "digits"}, "data"),
}
OTHER_TEXTS = {"layout": "3 M 3", "device": "cuda:0", "rate_target": "0.1"}
"""Of fields that hold free text."""


def results(reports: list[EpochReport]) -> list[dict[str, Any]]:
    """Everything in reports but the clock and what the process takes."""
    untimed = [report.as_dict() | {"timestamp_ms": 0} for report in reports]
    for report in untimed:
        report["metrics"] = {name: x for name, x in report["metrics"].items() if not name.startswith(("time/", "memory/"))}
    return untimed


def other_values(config: Any, name: str) -> Iterator[Any]:
    """Values that a field's type and rule allow, other than the one it has."""
    rule = type(config).__dataclass_fields__[name].metadata["rule"]
    for value in [OTHER_TEXTS[name]] if name in OTHER_TEXTS else _values_of(get_type_hints(type(config))[name]):
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        allowed = not numeric or (
            rule.get("ge", -math.inf) <= value <= rule.get("le", math.inf)
            and rule.get("gt", -math.inf) < value < rule.get("lt", math.inf)
        )
        if allowed and value != getattr(config, name):
            yield value


def _values_of(hint: Any) -> Iterator[Any]:
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    elif isinstance(hint, UnionType) or get_origin(hint) is not None:
        for part in get_args(hint):
            yield from _values_of(part)
    elif hint is bool:
        yield from (True, False)
    elif hint is int:
        yield from (2, 3, 5)
    elif hint is float:
        yield from (0.01, 0.02, 0.3, 0.7)


class TrainableContract:
    """The tests; a subclass says which trainable, by a fixture called ``name``."""

    @pytest.fixture
    def trainable(self, name: str) -> ModuleType:
        return import_module(f"trainables.{name}")

    @pytest.fixture
    def config(self, trainable: Any, name: str, tiny_npz: Path) -> Any:
        assert name in TINY, f"a new trainable needs an entry in {__name__}.TINY"
        return trainable.Config(**{"data": str(tiny_npz), "device": "cpu", **TINY[name].fields})

    @pytest.fixture
    def dataset(self, config: Any, data_folder: Path) -> Dataset:
        return prepare(config.data, data_folder)

    def test_it_offers_what_a_study_needs(self, trainable: Any) -> None:
        """Its functions have docstrings and the parameters by which studies call them; its config is frozen and documented."""
        parameters = {
            "source_network": ["config"],
            "problems": ["config", "image_shape"],
            "footprint": ["config", "image_shape", "num_classes", "num_micro_batches"],
            "timing": ["config", "seed", "dataset"],
            "train": ["config", "seed", "dataset", "checkpoint_folder", "num_micro_batches", "keep_weights"],
        }
        assert trainable.__doc__
        for name, expected in parameters.items():
            function = getattr(trainable, name)
            assert function.__doc__, name
            assert list(inspect.signature(function).parameters) == expected, name
        assert issubclass(trainable.Config, Recipe)
        assert trainable.Config.__dataclass_params__.frozen

    def test_every_field_is_in_one_section(self, trainable: Any) -> None:
        """Inherited fields are too; one that is declared again stays where it was."""
        sections = config_sections(trainable.Config)
        grouped = [name for names in sections.values() for name in names]
        assert sorted(grouped) == sorted(each.name for each in dataclasses.fields(trainable.Config))
        assert sections["data"][0] == "data"
        assert "epochs" in sections["training"]
        assert list(sections)[-1] == "computation"

    def test_reports_are_well_formed(self, trainable: Any, config: Any, dataset: Dataset) -> None:
        """There is one report an epoch; its numbers are finite, it can be stored, and only the last one has looked at the test
        images.
        """
        reports = list(trainable.train(config, seed=0, dataset=dataset))
        assert len(reports) >= 2
        assert [report.epoch for report in reports] == list(range(1, len(reports) + 1))
        assert {report.num_epochs for report in reports} == {len(reports)}
        assert [report.final for report in reports] == [False] * (len(reports) - 1) + [True]
        assert all(before.timestamp_ms <= after.timestamp_ms for before, after in itertools.pairwise(reports))
        for report in reports:
            assert EpochReport.from_dict(json.loads(json.dumps(report.as_dict(), allow_nan=False))) == report
            assert all(isinstance(value, float) and math.isfinite(value) for value in report.metrics.values())
            assert all(math.isfinite(value) for curve in report.curves.values() for value in curve)
            assert all(isinstance(text, str) for text in report.run_facts.values())
            assert all(len({tuple(row) for row in rows}) == 1 for rows in report.tables.values())
            assert report.curves["accuracy_at_t"][-1] == report.metrics["val/accuracy"]
            assert 0 <= report.metrics["val/accuracy"] <= 1
            assert ("test/accuracy" in report.metrics) == report.final

    def test_it_resumes_to_the_bit(self, trainable: Any, config: Any, dataset: Dataset, tmp_path: Path) -> None:
        """Stopped after any epoch, it repeats its reports as they were and ends as if it had not been stopped; a finished
        replicate is only repeated, and its checkpoints are gone.
        """
        expected = list(trainable.train(config, seed=3, dataset=dataset))
        for epoch in range(len(expected) + 1):
            folder = tmp_path / f"{epoch} epochs"
            reports = trainable.train(config, seed=3, dataset=dataset, checkpoint_folder=folder)
            before = list(itertools.islice(reports, epoch))
            reports.close()
            after = list(trainable.train(config, seed=3, dataset=dataset, checkpoint_folder=folder))
            assert after[:epoch] == before
            assert results(after) == results(expected)
            assert list(trainable.train(config, seed=3, dataset=dataset, checkpoint_folder=folder)) == after
            kept = {"weights.pt"} if CheckpointFolder(folder).kept_weights() is not None else set()
            assert {file.name for file in folder.iterdir()} == {"reports.json"} | kept

    def test_seeds_repeat_and_matter(self, trainable: Any, config: Any, dataset: Dataset) -> None:
        """The same seed gives the same reports, another seed others; torch's own random numbers have no part in it."""
        found = []
        for seed, state in ((1, 5), (1, 6), (2, 5)):
            torch.manual_seed(state)
            found.append(results(list(trainable.train(config, seed=seed, dataset=dataset))))
        first, again, other = found
        assert first == again
        assert first != other

    def test_identity_is_that_of_its_identity_fields(self, name: str, config: Any) -> None:
        """Another value of a field gives another identity if the field changes the result, and the same one if not."""
        inactive, identity = config.inactive_fields(), identity_field_names(type(config))
        base = identity_of(name, config, data_digest="d", seed=1)
        assert base == identity_of(name, without_inactive(config), data_digest="d", seed=1)
        assert len({base, *(identity_of(name, config, data_digest=d, seed=s) for d, s in (("e", 1), ("d", 2)))}) == 3
        for each in (each.name for each in dataclasses.fields(config) if each.name != "data"):
            changed = [dataclasses.replace(config, **{each: value}) for value in other_values(config, each)]
            changed = [other for other in changed if (each in other.inactive_fields()) == (each in inactive)]
            assert changed, each
            matters = each in identity and each not in inactive
            identities = {identity_of(name, other, data_digest="d", seed=1) for other in changed}
            assert (base not in identities) if matters else (identities == {base}), each

    def test_inactive_fields_do_nothing(self, trainable: Any, config: Any, dataset: Dataset) -> None:
        """With other values in all inactive fields it trains to equal reports."""
        changes = {each: next(other_values(config, each)) for each in config.inactive_fields() - {"device", "backend"}}
        changed = dataclasses.replace(config, **changes)
        one, other = (list(trainable.train(each, seed=1, dataset=dataset)) for each in (config, changed))
        assert results(one) == results(other)

    def test_footprint_is_what_it_reports(self, trainable: Any, config: Any, dataset: Dataset) -> None:
        """The footprint has the operations that reports will name; parts of a batch never need more memory."""
        *_, report = trainable.train(config, seed=0, dataset=dataset)
        whole, parts = (trainable.footprint(config, dataset.image_shape, dataset.num_classes, num) for num in (1, 4))
        assert whole.operations_per_image == report.metrics["ops/dense_operations"]
        assert whole == trainable.footprint(without_inactive(config), dataset.image_shape, dataset.num_classes)
        for size in ("memory_bytes", "cpu_memory_bytes"):
            assert 0 <= getattr(parts, size) <= getattr(whole, size)
        assert dataclasses.replace(parts, memory_bytes=0, cpu_memory_bytes=0) == dataclasses.replace(
            whole, memory_bytes=0, cpu_memory_bytes=0
        )

    def test_timing_is_finite_and_leaves_no_trace(self, trainable: Any, config: Any, dataset: Dataset) -> None:
        """Its parts are times and counts; torch's own random numbers go on as if nothing had been timed."""
        state = torch.get_rng_state()
        timing = trainable.timing(config, seed=0, dataset=dataset)
        assert torch.equal(torch.get_rng_state(), state)
        assert all(value >= 0 and math.isfinite(value) for value in dataclasses.astuple(timing))
        assert timing.num_steps > 0
        assert timing.total_s >= timing.num_steps * timing.seconds_per_step

    def test_problems_name_the_field(self, trainable: Any, name: str, config: Any, dataset: Dataset) -> None:
        """A sound config has no problem; one that breaks a rule has a problem that names its field and says the rule."""
        assert list(trainable.problems(config, dataset.image_shape)) == []
        broken = dataclasses.replace(config, **TINY[name].broken)
        (problem,) = trainable.problems(broken, dataset.image_shape)
        assert isinstance(problem, RuleError)
        assert problem.field == TINY[name].broken_field
        assert problem.rule
        assert str(problem).startswith(f"{problem.field}: {problem.rule}")

    def test_presets_are_sound(self, trainable: Any) -> None:
        """Every preset is a config without problems on 32x32 colour images."""
        for preset in getattr(trainable, "PRESETS", {}).values():
            assert list(trainable.problems(trainable.Config(**preset), (32, 32, 3))) == []

    def test_a_source_network_is_a_sound_config(self, trainable: Any, config: Any, dataset: Dataset) -> None:
        """What has to be trained first, if anything, is a config of some trainable, without problems and inactive fields."""
        source = trainable.source_network(config)
        if source is not None:
            assert type(source).__module__.removeprefix("trainables.") in trainable_names()
            module: Any = import_module(type(source).__module__)
            assert list(module.problems(source, dataset.image_shape)) == []
            assert source == without_inactive(source)
