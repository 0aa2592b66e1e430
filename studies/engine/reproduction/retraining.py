"""Trains a recorded replicate again, in this process and without Ray.

Nothing is written, except to a temporary folder if another network has to be trained first.
"""

import dataclasses
import itertools
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from studies.engine.binding.trainable_modules import (
    Trainable,
    field_names,
    field_problem,
    load_trainable,
    make_config,
    trainable_names,
)
from studies.engine.errors import Problem, StudyError, closest, shown
from studies.engine.reproduction.agreement import NUM_MICRO_BATCHES, RerunComparison
from studies.engine.reproduction.recorded_replicate import RecordedReplicate
from trainables.data.datasets import Dataset, default_data_folder, prepare
from trainables.networks.rules import RuleError
from trainables.training.configs import identity_of, values_of_record, without_inactive
from trainables.training.device_facts import DEVICE, NUM_THREADS, first_of
from trainables.training.epoch_report import EpochReport
from trainables.training.recipe import Recipe

USUAL_NUM_THREADS = 1
"""For a record without a number of threads: studies give a replicate one core by default."""


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """A recorded replicate, ready to be trained again."""

    recorded: RecordedReplicate
    config: Recipe
    dataset: Dataset
    num_threads: int
    num_micro_batches: int

    @property
    def module(self) -> Trainable:
        """The module of the replicate's trainable."""
        return load_trainable(self.recorded.trainable)

    @property
    def lasts_for_seconds(self) -> bool:
        """Whether the training, or that of the network that it starts from, is given seconds and not a number of epochs."""
        source = self.module.source_network(self.config)
        configs = [self.config, *([source] if source else [])]
        return any(without_inactive(config).time_budget_s is not None for config in configs)

    @cached_property
    def identity(self) -> str:
        """The replicate's identity in this version of the code."""
        digest, seed = self.dataset.digest, self.recorded.seed
        return identity_of(self.recorded.trainable, self.config, data_digest=digest, seed=seed)

    def reports(self) -> Generator[EpochReport]:
        """Train, and yield a report after each epoch; with as many threads as the record says."""
        with _threads(self.num_threads):
            yield from self.module.train(
                self.config, seed=self.recorded.seed, dataset=self.dataset, num_micro_batches=self.num_micro_batches
            )


def prepare_reproduction(recorded: RecordedReplicate, *, data: str | None = None, num_threads: int | None = None) -> Reproduction:
    """Bind a record to the code and the data of this machine.

    Args:
        recorded: The replicate to train again.
        data: The data set, if it is no longer where the record says.
        num_threads: A number of threads other than the record's.

    Raises:
        StudyError: This version cannot train it, or the data differ from the record's; it has all problems at once.
    """
    where = f"run {recorded.run_id}"
    if recorded.trainable not in trainable_names():
        rule, repair = "the run's trainable must be known to this version", closest(recorded.trainable, trainable_names())
        raise StudyError([Problem(where, rule, recorded.trainable, repair)])
    if not recorded.num_epochs and recorded.status != "FAILED":
        rule, repair = "a run must have an epoch that can be compared", "wait for its first epoch, or finish its study"
        raise StudyError([Problem(where, rule, f"none, and its status is {recorded.status}", repair)])
    trainable = load_trainable(recorded.trainable)
    values = {**recorded.config, **({"data": data} if data else {})}
    if problems := list(_problems_of_values(trainable, values, where)):
        raise StudyError(problems)
    values = values_of_record(trainable.Config, values)
    config = make_config(trainable.Config, values)
    dataset = _data_of(config, recorded, where)
    if problems := [
        Problem(f"{where} {broken.field}", broken.rule, shown(values.get(broken.field)), "use the version that the run names")
        for broken in trainable.problems(config, dataset.image_shape)
    ]:
        raise StudyError(problems)
    said = first_of(recorded.facts.get(NUM_THREADS, ""))
    return Reproduction(
        recorded=recorded,
        config=dataclasses.replace(config, device=_device(config.device, recorded)),
        dataset=dataset,
        num_threads=num_threads or (int(said) if said.isdecimal() else USUAL_NUM_THREADS),
        num_micro_batches=int(in_parts) if (in_parts := recorded.facts.get(NUM_MICRO_BATCHES, "")).isdecimal() else 1,
    )


def _problems_of_values(trainable: Trainable, values: Mapping[str, Any], where: str) -> Iterator[Problem]:
    fields = field_names(trainable.Config)
    for name, value in values.items():
        if name not in fields:
            rule, repair = "the run's config must have no field that this version does not know", closest(name, fields)
            yield Problem(f"{where} {name}", rule, f"{name}: {shown(value)}", f"use the version that the run names; {repair}")
        elif broken := field_problem(trainable.Config, name, value):
            yield Problem(f"{where} {name}", broken, shown(value), "use the version that the run names")


def _data_of(config: Recipe, recorded: RecordedReplicate, where: str) -> Dataset:
    try:
        dataset = prepare(config.data, default_data_folder())
    except RuleError as broken:
        repair = f"{broken.repair}; --data says where the data are now"
        raise StudyError([Problem(f"{where} data", broken.rule, broken.value, repair)]) from None
    if dataset.digest != recorded.data_digest:
        rule, repair = f"the data must be those of the run, whose digest is {recorded.data_digest}", "name them with --data"
        raise StudyError([Problem(f"{where} data", rule, f"{config.data}, whose digest is {dataset.digest}", repair)])
    return dataset


def _device(asked: str, recorded: RecordedReplicate) -> str:
    """A device of the record's kind, if this machine has one; else the CPU."""
    said = first_of(recorded.facts.get(DEVICE, ""))
    had_gpu = said.startswith("cuda") if said else (recorded.had_gpu or asked.startswith("cuda"))
    if not had_gpu or not torch.cuda.is_available():
        return "cpu"
    return asked if asked.startswith("cuda") and torch.device(asked).index in range(torch.cuda.device_count()) else "cuda"


def train_again(reproduction: Reproduction, show: Callable[[EpochReport], None]) -> RerunComparison:
    """Train for as many epochs as the record has, and one more if it failed; ``show`` gets every report when it is made.

    A training for seconds may have more or fewer: where the record is of a whole one, it is trained to its end.
    """
    recorded, reports, failure = reproduction.recorded, list[EpochReport](), ""
    training = reproduction.reports()
    try:
        num_epochs = recorded.num_epochs + (recorded.status == "FAILED")
        is_open = reproduction.config.time_budget_s is not None and recorded.status == "FINISHED"
        for report in itertools.islice(training, None if is_open else num_epochs):
            show(report)
            reports.append(report)
    except Exception as error:  # noqa: BLE001  # any failure of the training is part of the comparison
        failure = f"{type(error).__name__}: {error}"
    finally:
        training.close()
    return RerunComparison(recorded=recorded, reports=tuple(reports), identity=reproduction.identity, failure=failure)


@contextmanager
def _threads(num: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(num)
    try:
        yield
    finally:
        torch.set_num_threads(before)
