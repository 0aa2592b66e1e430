"""Checks whether a study fits its trainables and data, and collects all problems; without any there is a study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from search_spaces.language.designs import is_switch, reference_cell
from search_spaces.language.expressions import Expression, parse
from search_spaces.language.rules import RuleError
from search_spaces.language.space import LARGEST_SEED, Cell, Factor, Levels, Space
from studies.engine.binding.configurations import DERIVED, TRAINABLE, Binder
from studies.engine.binding.trainable_modules import Trainable, field_names, load_trainable, presets, trainable_names
from studies.engine.definition.design_cells import COMPARING, DesignReader
from studies.engine.definition.factor_entries import FactorReader, read_space
from studies.engine.definition.file_model import AdaptiveSearch, FactorEntry, StudyFile, level_of_key
from studies.engine.definition.locations import Stores, stores_of
from studies.engine.definition.search_plans import (
    OUTCOMES,
    SearchPlan,
    TuningPlan,
    check_primary_outcome,
    search_plan,
    tuning_plan,
)
from studies.engine.definition.study import Study, as_text
from studies.engine.errors import ProblemCollector, StudyError, closest, nearest
from studies.label_texts import LabelError, level_key, printed
from studies.run_record import level_in_words
from trainables.data.datasets import Dataset, default_data_folder, prepare
from trainables.networks.layouts import ImageShape
from trainables.networks.rules import RuleError as TrainableRuleError
from trainables.training.configs import identity_field_names

MOST_SEEDS = 10_000
MOST_REPLICATES = 100_000
"""Replicates of a study; more would take years, and are most likely a slip."""
_OF_CELLS = (TRAINABLE, "preset", "search_space", "config", "factors", "baseline", "tuning.parameters")
"""The parts of the file that decide on the configurations; if one of them is wrong, no configuration can be checked."""


class Checker:
    """Checks one study file's content against its trainables and data.

    Args:
        content: The file, as far as it has the form of a study file.
        collector: What is wrong with its form; what else is wrong is added to it.
    """

    def __init__(self, content: StudyFile, collector: ProblemCollector) -> None:
        self._content, self._collector = content, collector
        self._trainables: dict[str, Trainable] = {}
        self._trainables_known = True
        """Whether the file says rightly what is trained; else ``_trainables`` are all there are."""
        self._datasets: dict[str, Dataset] = {}

    def study(self, file: Path) -> Study | None:
        """The study; None if anything is wrong, and then the collector has the problems."""
        stores = self._stores(file)
        self._find_trainables()
        self._check_names()
        shared = self._shared()
        reader = FactorReader(self._trainables, self._trainables_known, self._input_shapes(shared), self._collector)
        self._check_shared(reader)
        factors, space = self._factors(reader, self._content.factors, "factors")
        tuned = self._tuned(reader)
        constraints = self._constraints()
        seeds = self._seeds()
        plan, tuning = self._plans(seeds, tuned)
        baseline = self._baseline(reader, factors)
        labels = self._labels(factors)
        if space is None or self._collector.is_wrong(*_OF_CELLS):
            return None
        binder = Binder(self._content.trainable, shared, list(constraints), self._datasets)
        baseline = {name: baseline[name] for name in space.names() if name in baseline}
        design = DesignReader(space, baseline, tuned, binder, constraints, self._origin, self._collector)
        if self._is_all_dropped("design"):
            return None
        cells, notes = design.cells(self._content.design)
        self._check_number(cells, seeds, tuning)
        if self._collector.problems or stores is None or seeds is None:
            return None
        compares = self._content.design.name in COMPARING
        return Study(
            file=str(file),
            content=self._content,
            space=space,
            baseline=baseline,
            references={name: reference_cell(space, baseline, name) for name in space.names()} if compares else {},
            cells=tuple(cells),
            notes=(*reader.notes, *notes),
            seeds=seeds,
            binder=binder,
            search=plan,
            tuning=tuning,
            stores=stores,
            labels=labels,
            text=as_text(self._content, plan, tuning, stores.name),
        )

    def _stores(self, file: Path) -> Stores | None:
        try:
            return stores_of(self._content, file)
        except StudyError as error:
            for problem in error.problems:
                self._collector.add(problem.path, problem.rule, problem.value, problem.repair)
            return None

    def _find_trainables(self) -> None:
        """Find what is trained: one trainable, or the levels of a factor; all there are if the file is wrong about that."""
        content = self._content
        entry = content.factors.get(TRAINABLE)
        names: Sequence[Any]
        if entry is None:
            names = [content.trainable]
            self._check_trainable()
        else:
            names = (entry if isinstance(entry, list) else entry.levels) or []
            if content.trainable is not None:
                rule, repair = "trainable must be either fixed or a factor", "remove one of the two"
                self._collector.add(TRAINABLE, rule, content.trainable, repair)
        self._trainables_known = len(set(map(str, names))) > (entry is not None) and all(
            name in trainable_names() for name in names
        )
        known = list(dict.fromkeys(names)) if self._trainables_known else trainable_names()
        self._trainables = {str(name): load_trainable(str(name)) for name in known}

    def _check_trainable(self) -> None:
        name = self._content.trainable
        if name is None and not self._collector.is_dropped(f"factors.{TRAINABLE}") and not self._is_all_dropped("factors"):
            rule, repair = "a study must say what it trains", f"add trainable: one of {', '.join(trainable_names())}"
            self._collector.add(TRAINABLE, rule, "nothing", repair)
        elif name is not None and name not in trainable_names():
            rule, repair = "trainable must be one that exists", closest(name, trainable_names())
            self._collector.add(TRAINABLE, rule, name, repair)

    def _is_all_dropped(self, part: str) -> bool:
        """Whether all of a part was dropped, or a named space, which may have entries of it, could not be read."""
        dropped = self._collector.dropped_paths
        return part in dropped or (part in ("factors", "baseline") and "search_space" in dropped)

    def _whose(self) -> str:
        return f"trainable {' or '.join(self._trainables)}" if self._trainables_known else "some trainable"

    def _check_names(self) -> None:
        """Check that every name is a field of some trainable and is given in one place only."""
        content, fields = self._content, self._fields()
        for part, what in (("config", "a key of config"), ("factors", "a factor")):
            for name in getattr(content, part):
                if name not in fields and (part, name) != ("factors", TRAINABLE):
                    self._collector.add(
                        f"{part}.{name}", f"{what} must be a field of {self._whose()}", name, closest(name, sorted(fields))
                    )
        for name in content.factors.keys() & fields - self._identity_fields():
            rule = "a factor must change what is learnt, and this field does not"
            self._collector.add(f"factors.{name}", rule, name, "set it under config")
        for name in content.config.keys() & content.factors.keys():
            rule = "a field must be either fixed in config or a factor"
            self._collector.add(f"config.{name}", rule, name, "remove one of the two")
        if not content.factors and not self._is_all_dropped("factors"):
            self._collector.add("factors", "a study must vary at least one factor", "none", "e.g. factors: {time_steps: [4, 8]}")
        self._check_baseline_names()

    def _check_baseline_names(self) -> None:
        factors = {*self._content.factors, *self._collector.names_dropped_in("factors")}
        for name in self._content.baseline.keys() - factors:
            if not self._is_all_dropped("factors"):
                near = nearest(name, factors)
                repair = f"add it to factors, or move it to config{f'; did you mean {near}?' if near else ''}"
                self._collector.add(f"baseline.{name}", "every name under baseline must be a factor", name, repair)

    def _fields(self) -> set[str]:
        return {name for trainable in self._trainables.values() for name in field_names(trainable.Config)}

    def _identity_fields(self) -> set[str]:
        return {name for trainable in self._trainables.values() for name in identity_field_names(trainable.Config)}

    def _shared(self) -> dict[str, Any]:
        """The values that all configurations share: of the preset, and over them those of config."""
        content = self._content
        offered = {name: values for trainable in self._trainables.values() for name, values in presets(trainable).items()}
        if content.preset is not None and content.preset not in offered:
            rule = f"preset must be one that {self._whose()} has"
            repair = closest(content.preset, offered) if offered else "leave it out: it has none"
            self._collector.add("preset", rule, content.preset, repair)
        return {**offered.get(content.preset or "", {}), **content.config}

    def _check_shared(self, reader: FactorReader) -> None:
        for name, value in self._content.config.items():
            reader.check(name, value, f"config.{name}", self._trainables)

    def _input_shapes(self, shared: Mapping[str, Any]) -> list[ImageShape]:
        """Prepare every data set; returns the shapes of the images that networks may be given."""
        defaults = [trainable.Config() for trainable in self._trainables.values()] if self._trainables_known else []
        shapes = []
        for data in self._possible("data", shared, [config.data for config in defaults]):
            dataset = self._prepare(data) if isinstance(data, str) else None
            for scale in self._possible("image_downscale", shared, [config.image_downscale for config in defaults]):
                if dataset and isinstance(scale, int) and scale > 0:
                    height, width, channels = dataset.image_shape
                    shapes.append((height // scale, width // scale, channels))
        return list(dict.fromkeys(shapes))

    def _possible(self, name: str, shared: Mapping[str, Any], default: Sequence[Any]) -> list[Any]:
        entry = self._content.factors.get(name)
        if entry is None:
            return [shared[name]] if name in shared else list(dict.fromkeys(default))
        return list(entry if isinstance(entry, list) else entry.levels or [])

    def _prepare(self, data: str) -> Dataset | None:
        """A data set, prepared; None if that fails, which is a problem then."""
        try:
            self._datasets[data] = prepare(data, default_data_folder())
        except TrainableRuleError as broken:
            entry = self._content.factors.get("data")
            levels = entry if isinstance(entry, list) else (entry.levels or []) if entry else []
            path = f"factors.data[{levels.index(data)}]" if data in levels else self._origin("data")
            self._collector.add_broken(path, broken)
        return self._datasets.get(data)

    def _origin(self, name: str) -> str:
        """The path in the file that gives a field its value."""
        content = self._content
        if name in content.factors:
            return f"factors.{name}"
        offered = [presets(trainable).get(content.preset or "", {}) for trainable in self._trainables.values()]
        return "preset" if name not in content.config and any(name in values for values in offered) else f"config.{name}"

    def _factors(
        self, reader: FactorReader, entries: Mapping[str, FactorEntry], part: str
    ) -> tuple[dict[str, Factor], Space | None]:
        """The factors that could be read, and their space if all of them could."""
        fields = self._fields() | {TRAINABLE}
        read = {name: reader.factor(name, entry, f"{part}.{name}") for name, entry in entries.items() if name in fields}
        factors = {name: factor for name, factor in read.items() if factor}
        if self._is_all_dropped("factors"):
            return factors, None
        unknown = [*(entries.keys() - factors.keys()), *self._collector.names_dropped_in(part)]
        return factors, read_space(list(factors.values()), unknown, part, self._collector)

    def _tuned(self, reader: FactorReader) -> Space | None:
        """The space of the hyperparameters that are tuned; None if nothing is tuned, or something is wrong with them."""
        tuning, part = self._content.tuning, "tuning.parameters"
        if tuning is None:
            return None
        if self._content.design.name not in COMPARING:
            rule = f"tuning is for the cells of a design that compares, not for {self._content.design.name}"
            self._collector.add("tuning", rule, ", ".join(tuning.parameters), "make the parameters factors instead")
        entries = {name: entry for name, entry in tuning.parameters.items() if self._may_be_tuned(name, f"{part}.{name}")}
        return self._factors(reader, entries, part)[1]

    def _may_be_tuned(self, name: str, path: str) -> bool:
        others = [part for part in ("config", "factors") if name in getattr(self._content, part)]
        for part in others:
            self._collector.add(path, f"a field must be either tuned or in {part}", name, "remove one of the two")
        owners = [key for key, trainable in self._trainables.items() if name in identity_field_names(trainable.Config)]
        if others:
            return len(owners) == len(self._trainables)
        if not owners:
            rule, repair = (
                f"what is tuned must be a field of {self._whose()} that changes what is learnt",
                self._identity_fields(),
            )
            self._collector.add(path, rule, name, closest(name, sorted(repair)))
        elif self._trainables_known and len(owners) < len(self._trainables):
            rule = f"what is tuned must be a field of every trainable, and {name} is of {', '.join(owners)} alone"
            self._collector.add(path, rule, name, "leave it out, or study one trainable at a time")
            return False
        return bool(owners)

    def _baseline(self, reader: FactorReader, factors: Mapping[str, Factor]) -> Cell:
        """The reference level of every factor, if the design compares with one; what the file gives is checked in any case."""
        content = self._content
        compares = content.design.name in COMPARING and not self._is_all_dropped("design")
        given = dict(content.baseline)
        if content.design.name == "leave_one_out":  # a component is on
            given = {**{name: True for name, factor in factors.items() if is_switch(factor)}, **given}
        baseline: Cell = {}
        for name in content.factors:
            path = f"baseline.{name}"
            if name not in given:
                self._miss_baseline(name, is_needed=compares)
            elif name in factors:
                baseline[name] = reader.baseline(name, given[name], factors[name], path)
            else:
                reader.check(name, given[name], path, self._trainables)
        return baseline if compares else {}

    def _miss_baseline(self, name: str, *, is_needed: bool) -> None:
        content = self._content
        is_misspelt = name not in self._fields() | {TRAINABLE} and nearest(name, content.baseline.keys() - content.factors.keys())
        is_told = self._collector.is_dropped(f"baseline.{name}") or self._is_all_dropped("baseline")
        if is_needed and not is_misspelt and not is_told:
            rule, repair = "every factor must have a baseline level", f"add baseline: {{{name}: …}}"
            self._collector.add(f"factors.{name}", rule, "none", repair)

    def _labels(self, factors: Mapping[str, Factor]) -> dict[str, str]:
        """The file's ``labels_by_key``, each of them checked."""
        named = {*self._content.factors, *self._collector.names_dropped_in("factors")}
        for name, entry in self._content.labels.items():
            path = f"labels.{name}"
            if name not in (*named, *OUTCOMES):
                if not self._is_all_dropped("factors"):
                    known = [*sorted(named), *OUTCOMES]
                    self._collector.add(path, "a label must be of a factor or a metric", name, closest(name, known))
                continue
            if entry.name is not None:
                self._check_label(path, entry.name)
            for level, label in entry.levels.items():
                self._check_level(name, level, factors, f"{path}.levels.{level}")
                self._check_label(f"{path}.levels.{level}", label)
        labels = self._content.labels_by_key
        self._check_different(labels, factors)
        return labels

    def _check_label(self, path: str, label: str) -> None:
        if not label.strip():
            self._collector.add(path, "a label must have a character that can be seen", label, "write a text, or leave it out")
        try:
            printed(label)
        except LabelError as error:
            rule = "between dollars must stand letters, digits, Greek letters, signs and indices that Unicode has"
            self._collector.add(
                path, rule, f"{error} in {label}", "e.g. $T$, $\\theta_0$ or $10^{-3}$; or write it without dollars"
            )

    def _check_level(self, name: str, level: str, factors: Mapping[str, Factor], path: str) -> None:
        domain = factors[name].domain if name in factors else None
        if domain is None and (name in self._content.factors or self._collector.is_dropped(f"factors.{name}")):
            return  # what is wrong with the factor is said already
        if not isinstance(domain, Levels):
            rule, repair = "labels of levels must be of a factor with a list of levels", "leave out levels"
            self._collector.add(path, rule, level, repair)
        elif level_in_words(level_of_key(level)) not in (known := list(map(level_in_words, domain.values))):
            self._collector.add(path, f"a label must be of a level of {name}", level, closest(level, known))

    def _check_different(self, labels: Mapping[str, str], factors: Mapping[str, Factor]) -> None:
        """Two factors, or two levels of a factor, must not look the same."""
        shown: dict[tuple[str, str], str] = {}
        levels = {name: factor.domain.values for name, factor in factors.items() if isinstance(factor.domain, Levels)}
        keys = [("", name, name) for name in factors]
        keys += [(name, level_in_words(level), level_key(name, level)) for name in levels for level in levels[name]]
        for of, word, key in keys:
            label = labels.get(key, word)
            other = shown.setdefault((of, self._as_shown(label) if key in labels else word), word)
            if other != word:
                path = f"labels.{of}.levels.{word}" if of else f"labels.{word}"
                self._collector.add(path, f"a label must differ from that of {other}", label, "write another text")

    @staticmethod
    def _as_shown(label: str) -> str:
        """A label as a reader sees it, to whom ``$T$`` and ``𝑇`` are the same, and blanks at its ends nothing."""
        try:
            return " ".join(printed(label).split())
        except LabelError:  # which is reported already
            return label

    def _constraints(self) -> dict[Expression, str]:
        """Every constraint and its path."""
        parsed: dict[Expression, str] = {}
        known = {*self._fields(), TRAINABLE, *DERIVED}
        for i, text in enumerate(self._content.constraints):
            path = f"constraints[{i}]"
            try:
                expression = parse(text)
            except RuleError as broken:
                self._collector.add_broken(path, broken, value=text, repair='e.g. "time_steps * feature_scale <= 4"')
                continue
            for name in sorted(expression.names - known):
                rule = "every name in a constraint must be a field, or something known before training"
                self._collector.add(path, rule, name, closest(name, sorted(known)))
            parsed.setdefault(expression, path)
        return parsed

    def _seeds(self) -> tuple[int, ...] | None:
        given = self._content.seeds
        path, rule = "seeds", ""
        if isinstance(given, int) and not 1 <= given <= MOST_SEEDS:
            rule = f"seeds must be a count of at least 1 and at most {MOST_SEEDS:,}, or distinct numbers from 0 to {LARGEST_SEED}"
        elif isinstance(given, list) and not 1 <= len(given) <= MOST_SEEDS:
            rule = f"seeds must be at least 1 and at most {MOST_SEEDS:,} numbers"
        elif isinstance(given, list) and (len(set(given)) < len(given) or not all(0 <= seed <= LARGEST_SEED for seed in given)):
            rule = f"seeds must be a count of at least 1, or distinct numbers from 0 to {LARGEST_SEED}"
        if rule:
            self._collector.add(path, rule, given, "e.g. seeds: 10, or seeds: [3, 5, 7]")
        if rule or self._collector.is_dropped(path):
            return None
        return tuple(range(given) if isinstance(given, int) else given)

    def _plans(self, seeds: tuple[int, ...] | None, tuned: Space | None) -> tuple[SearchPlan | None, TuningPlan | None]:
        design, tuning = self._content.design, self._content.tuning
        if not self._is_all_dropped("design"):
            check_primary_outcome(self._content.primary_outcome, design, self._collector)
        searched = search_plan(design, seeds, self._collector) if isinstance(design, AdaptiveSearch) else None
        return searched, tuning_plan(tuning, tuned, seeds, self._collector) if tuning else None

    def _check_number(self, cells: Sequence[Cell], seeds: tuple[int, ...] | None, tuning: TuningPlan | None) -> None:
        """Check that the study has no more replicates than ``MOST_REPLICATES``."""
        design = self._content.design
        num_seeds = len(seeds or ())
        parts = [f"{len(cells):,} cells with {num_seeds:,} seeds"]
        number = len(cells) * num_seeds
        if isinstance(design, AdaptiveSearch):
            parts = [f"{design.num_trials:,} trials with {design.seeds_per_trial:,} seeds, {design.finalists:,} finalists"]
            number = design.num_trials * design.seeds_per_trial + design.finalists * num_seeds
        if tuning:
            parts.append(f"{tuning.num_trials:,} values tried in each")
            number += len(cells) * tuning.num_trials
        if number > MOST_REPLICATES:
            rule = f"a study may have at most {MOST_REPLICATES:,} replicates"
            self._collector.add("design", rule, f"{number:,}: {', '.join(parts)}", "fewer levels, trials or seeds")
