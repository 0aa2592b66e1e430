"""A study that has been checked: what is trained, what it is compared on, and where its results are kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from search_spaces.language.space import Cell, Factor, Levels, Range, Space
from studies.credentials import mask_credentials, mask_uri
from studies.engine.binding.configurations import Binder
from studies.engine.binding.replicates import Replicate, SourceNetwork
from studies.engine.definition.file_model import Resources, StudyFile
from studies.engine.definition.locations import Stores
from studies.engine.definition.search_plans import SearchPlan, TuningPlan, objectives_about
from studies.engine.definition.yaml_documents import as_yaml
from studies.run_record import ACCURACY, SELECTED_ON_TEST, Direction, level_in_words

BUDGETS = ("time_budget_s", "pretrain_time_budget_s")
"""The fields that say for how many seconds a network is trained."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study that can be run: every value checked, every data set at hand, every replicate known or to be proposed."""

    file: str
    content: StudyFile
    """The content of the study file, with its named space and with overrides."""
    space: Space
    baseline: Cell
    """The reference level of every factor, also of factors that are inactive in the baseline's own cell."""
    references: Mapping[str, Cell]
    """For each factor the cell that its other levels are compared with; empty where the design compares nothing."""
    cells: tuple[Cell, ...]
    """The cells that are trained, in order; empty for an adaptive search."""
    notes: tuple[str, ...]
    """Facts of the design, each a sentence: what it can tell apart, what its constraints left out."""
    seeds: tuple[int, ...]
    binder: Binder
    search: SearchPlan | None
    tuning: TuningPlan | None
    stores: Stores
    labels: Mapping[str, str]
    """What factors, levels and metrics are called in print, see ``studies.label_texts``."""
    text: str = field(repr=False)
    """``content`` as YAML, with every argument of samplers and pruners; it loads as the same study."""

    @property
    def question(self) -> str:
        """The question that the study answers, in a sentence."""
        return self.content.question

    @property
    def resources(self) -> Resources:
        """The CPUs, GPUs and memory that one replicate is given."""
        return self.content.resources

    @property
    def design(self) -> str:
        """The design's name."""
        return self.content.design.name

    @property
    def trainables(self) -> tuple[str, ...]:
        """The trainables that the study trains, by name."""
        if self.binder.trainable is not None:
            return (self.binder.trainable,)
        domain = self.space.factor("trainable").domain
        assert isinstance(domain, Levels)
        return tuple(str(level) for level in domain.values)

    @property
    def data_digests(self) -> Mapping[str, str]:
        """The digest of every data set, by its name in the study file."""
        return {name: dataset.digest for name, dataset in self.binder.datasets.items()}

    @property
    def objectives(self) -> Mapping[str, Direction]:
        """The metrics that configurations are judged on, with their directions, the primary outcome first; of a search never of
        the test images.
        """
        return self.search.objectives if self.search else objectives_about(self.content.primary_outcome or ACCURACY)

    @cached_property
    def replicates(self) -> tuple[Replicate, ...]:
        """What is known before anything is trained: all cells of the first seed, then all of the second.

        So an interrupted study has whole blocks. Of a study that searches or tunes, nothing is known.
        """
        if self.search or self.tuning:
            return ()
        return tuple(self.binder.replicate(cell, seed) for seed in self.seeds for cell in self.cells)

    @property
    def warnings(self) -> list[str]:
        """What its numbers are not: where the test images select epochs, and where trainings last for seconds."""
        values = {name: self.content.values_of(name, self.binder.shared) for name in (*BUDGETS, "selection")}
        found = []
        if "best_on_test" in values["selection"]:
            found.append(f"Epochs are {SELECTED_ON_TEST} (selection: best_on_test). Accuracies are higher than new images give.")
        for name in BUDGETS:
            if seconds := sorted(value for value in values[name] if isinstance(value, int | float)):
                in_words = " or ".join(f"{value:g}" for value in dict.fromkeys(seconds))
                found.append(
                    f"{name} {in_words}: how many epochs that is depends on the machine and on what else runs on it, so cells "
                    "of equal seconds do not have equal epochs, and no training can be repeated to the digit."
                )
        return found

    @property
    def source_networks(self) -> tuple[SourceNetwork, ...]:
        """The source networks that have to be trained first, each once; those that are replicates of the study are not among
        them.
        """
        planned = {replicate.identity for replicate in self.replicates}
        sources = {
            replicate.source_network.identity: replicate.source_network
            for replicate in self.replicates
            if replicate.source_network
        }
        return tuple(source for identity, source in sources.items() if identity not in planned)


def domain_in_words(factor: Factor) -> str:
    """What a factor may be, e.g. ``4, 8, 16`` or ``0.0001 to 0.1, log``, and under which condition."""
    if isinstance(factor.domain, Range):
        words = f"{factor.domain.low:g} to {factor.domain.high:g}"
        words += ", log" if factor.domain.log else ""
        words += f" in steps of {factor.domain.step:g}" if factor.domain.step else ""
    else:
        words = ", ".join(map(level_in_words, factor.domain.values))
    conditions = [f"{name} is {' or '.join(map(level_in_words, levels))}" for name, levels in factor.when.items()]
    return f"{words} (where {' and '.join(conditions)})" if conditions else words


def as_text(content: StudyFile, search: SearchPlan | None, tuning: TuningPlan | None, name: str) -> str:
    """A study file's content as YAML that loads as the same study, with every argument of samplers and pruners."""
    data = content.model_dump(exclude={"search_space"}) | {"name": name}
    data["factors"] = {factor: _plain(entry) for factor, entry in data["factors"].items()}
    if search:
        data["design"] |= {"sampler": dict(search.sampler), "pruner": dict(search.pruner) if search.pruner else None}
        data["design"]["limits"] = {metric: _plain(limit) for metric, limit in data["design"]["limits"].items()}
    data["labels"] = {name: _plain(entry) for name, entry in data["labels"].items()}
    if tuning:
        parameters = {parameter: _plain(entry) for parameter, entry in data["tuning"]["parameters"].items()}
        data["tuning"] |= {"sampler": dict(tuning.sampler), "parameters": parameters}
    data |= {key: mask_uri(data[key]) for key in ("storage", "ledger", "tracking_uri") if data[key]}
    return mask_credentials(as_yaml(_plain(data)))


def _plain(entry: Any) -> Any:
    """A mapping of the file without the keys that are null or empty."""
    return {key: value for key, value in entry.items() if value is not None and value != {}} if isinstance(entry, dict) else entry
