"""Makes the cells of a design: those that may be trained, no two of them the same training."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from search_spaces.language.designs import (
    ENUMERATED,
    MOST_CELLS,
    Fraction,
    fractional_factorial,
    random_cells,
    reference_cell,
)
from search_spaces.language.expressions import Expression
from search_spaces.language.rules import RuleError
from search_spaces.language.space import Cell, Level, Levels, Space, cell_key
from studies.engine.binding.configurations import Binder
from studies.engine.binding.inactive_fields import Cause, cause_of_inactivity
from studies.engine.definition.file_model import AdaptiveSearch, Design, FractionalFactorial, RandomDesign
from studies.engine.errors import ProblemCollector, shown
from studies.run_record import level_in_words, levels_in_words
from trainables.networks.rules import RuleError as TrainableRuleError
from trainables.training.configs import without_inactive

COMPARING = ("one_factor_at_a_time", "leave_one_out", "full_factorial", "fractional_factorial")
"""The designs that compare the levels of factors with a baseline."""
NUM_PROBES = 40
"""How many random cells of a search space are checked before anything runs."""
NUM_TUNED_PROBES = 20
"""How many random values of the tuned parameters are checked for every cell before anything runs."""
MOST_REFUSED = 20_000
"""How many random cells may be refused before a random design gives up."""
NUM_COMPARED = 8
"""In how many random configurations of a search the levels of a factor are compared."""
MOST_COMPARED = 20
"""Levels of a factor that are compared with each other; longer lists are of placements, which differ."""
MOST_CELLS_SHOWN = 4
"""How many cells that train the same network a message names."""
MOST_TOLD = 10
"""After this many wrong cells no more are looked at: the others are most likely wrong in the same way."""


@dataclass
class DesignReader:
    """Makes the cells of a design; problems go to ``collector``.

    Attributes:
        space: What varies.
        baseline: The reference level of every factor; empty unless the design compares.
        tuned: The space of nuisance hyperparameters, if there are any.
        binder: What a cell becomes.
        constraints: The path of every constraint.
        path_of: The path of where a field's value comes from.
        collector: Where problems go.
    """

    space: Space
    baseline: Cell
    tuned: Space | None
    binder: Binder
    constraints: Mapping[Expression, str]
    path_of: Callable[[str], str]
    collector: ProblemCollector

    def __post_init__(self) -> None:
        self._num_known = self.collector.num_problems
        self._told: set[str] = set()
        tuned = set(self.tuned.names()) if self.tuned else set()
        self._path_of_constraint = {constraint.text: path for constraint, path in self.constraints.items()}
        of_cells = [constraint for constraint in self.binder.constraints if not constraint.names & tuned]
        self._of_cells = replace(self.binder, constraints=of_cells)

    def _is_well(self) -> bool:
        """Whether this reader has found no problem; problems from before do not count."""
        return self.collector.num_problems == self._num_known

    def cells(self, design: Design) -> tuple[list[Cell], list[str]]:
        """The cells of a design (none for an adaptive search), and notes on the design, each a sentence."""
        if isinstance(design, AdaptiveSearch):
            return [], self._probe(design)
        if isinstance(design, RandomDesign):
            cells = self._random(design)
            self._tell_what_must_not_vary(cells)
            return cells, []
        if not self._is_countable(design.name):
            return [], []
        notes: list[str] = []
        try:
            if isinstance(design, FractionalFactorial):
                fraction = fractional_factorial(self.space, self.baseline, resolution=design.resolution)
                cells, notes = (
                    list(fraction.cells),
                    _fraction_in_words(fraction),
                )
            else:
                cells = ENUMERATED[design.name](self.space, self.baseline)
        except RuleError as broken:
            self.collector.add_broken("design", broken, value=design.name, repair="change the design, or the factors")
            return [], []
        kept = self._allowed(cells)
        if len(kept) < len(cells) and self._is_well():
            notes = [*notes, *self._left_out(design, cells, kept)]
        self._tell_what_must_not_vary(kept)
        self._tell_same_trainings(kept)
        self._probe_tuned(kept)
        return kept, notes

    def _is_countable(self, design: str) -> bool:
        """Whether a design that lists all its cells has few enough; a continuous range is told by the design itself."""
        numbers = [factor.domain.num_values() for factor in self.space.factors]
        if None in numbers or design not in ("one_factor_at_a_time", "full_factorial"):
            return True
        of_all = sum(number or 0 for number in numbers) if design == "one_factor_at_a_time" else self.space.num_cells() or 0
        if of_all > MOST_CELLS:
            rule, repair = f"a design may have at most {MOST_CELLS:,} cells", "fewer levels, or design: random"
            self.collector.add("design", rule, f"{design} of {of_all:,}" if of_all < 10**15 else "far more", repair)
        return of_all <= MOST_CELLS

    def _random(self, design: RandomDesign) -> list[Cell]:
        refused = 0
        drawn: dict[str, str] = {}

        def accept(cell: Cell) -> bool:
            nonlocal refused
            accepted = self._accepts(cell) and drawn.setdefault(self.binder.training(cell), cell_key(cell)) == cell_key(cell)
            refused += not accepted
            if refused > MOST_REFUSED or not self._is_well():
                raise RuleError(f"random cells must be found within {MOST_REFUSED:,} draws", "too few that may be trained")
            return accepted

        try:
            return random_cells(self.space, design.num_cells, seed=design.seed, accept=accept)
        except RuleError as broken:
            if self._is_well() and self._some_are_allowed():
                repair = "ask for fewer, add levels, or loosen the constraints"
                self.collector.add_broken("design.num_cells", broken, repair=repair)
            return []

    def _some_are_allowed(self) -> bool:
        """Whether some of the space's cells may be trained, judged by random ones; if none of these may, the reasons are told."""
        probes = self._probes()
        if any(self._accepts(probe) for probe in probes):
            return True
        if self._is_well():
            self._allowed(probes)
        return False

    def _probes(self) -> list[Cell]:
        generator = Random(0)  # noqa: S311  # nothing secret
        return [self.space.random_cell(generator) for _ in range(NUM_PROBES)]

    def _accepts(self, cell: Cell) -> bool:
        """Whether a cell may be trained; a constraint that has no answer for it is told."""
        configuration = self.binder.configuration(cell)
        if next(configuration.problems(), None) is not None:
            return False
        try:
            return self.binder.broken_constraint(configuration) is None
        except RuleError as broken:
            self._add_unanswered(broken, cell)
            return False

    def _add_unanswered(self, broken: RuleError, cell: Cell) -> None:
        """A constraint, the field of ``broken``, has no answer for a cell."""
        path = self._path_of_constraint[broken.field]
        if path not in self._told:
            self._told.add(path)
            self.collector.add(path, broken.rule, f"{broken.value} where {levels_in_words(cell)}", "change the constraint")

    def _allowed(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells that keep the constraints; one that could not be trained otherwise is a problem."""
        kept, broken, num_wrong = [], dict.fromkeys(self.constraints, 0), 0
        for cell in cells:
            configuration = self.binder.configuration(cell)
            wrong = list(configuration.problems())
            for each in wrong:
                path = self.path_of(each.field)
                value = shown(getattr(configuration.config, each.field))
                self.collector.add_broken(path, each, value=value, repair=f"change {path}")
            num_wrong += bool(wrong)
            if num_wrong >= MOST_TOLD:
                return []
            try:
                constraint = None if wrong else self._of_cells.broken_constraint(configuration)
            except RuleError as unanswered:
                self._add_unanswered(unanswered, cell)
                return []
            if constraint:
                broken[constraint] += 1
            elif not wrong:
                kept.append(cell)
        if not kept and not num_wrong:
            constraint = max(broken, key=lambda constraint: broken[constraint])
            rule = "at least one cell must keep the constraints"
            self.collector.add(
                self.constraints[constraint], rule, f"none of {len(cells)} does", "loosen it, or change the factors"
            )
        return kept

    def _left_out(self, design: Design, cells: Sequence[Cell], kept: Sequence[Cell]) -> list[str]:
        """Notes on the cells that constraints take out of a design that compares; a problem if the comparison needs them."""
        if isinstance(design, FractionalFactorial):
            rule, value = "constraints must leave a fractional factorial whole", f"{len(cells) - len(kept)} of {len(cells)} cells"
            self.collector.add("constraints", rule, f"{value} left out", "use full_factorial, or random, or other levels")
            return []
        references = {"baseline": cells[0]} | {
            name: reference_cell(self.space, self.baseline, name) for name in self.space.names()
        }
        for name, cell in references.items():
            if cell not in kept:
                broken = self._of_cells.broken_constraint(self.binder.configuration(cell))
                what = "the baseline" if name == "baseline" else f"the cell that {name} is compared with"
                value = f"it breaks {broken.text}" if broken else "it does not"
                repair = "change the baseline, or the constraint"
                self.collector.add("baseline", f"{what} must keep the constraints", value, repair)
                return []
        return [f"{len(cells) - len(kept)} of {len(cells)} cells are left out by the constraints."]

    def _tell_same_trainings(self, cells: Iterable[Cell]) -> None:
        """Tell which cells would train the same network: one training would have several names."""
        same: dict[str, list[Cell]] = {}
        for cell in cells:
            same.setdefault(self.binder.training(cell), []).append(cell)
        for first, *others in same.values():
            for cell in others:
                changed = [name for name in {**first, **cell} if cell.get(name) != first.get(name)]
                path = f"factors.{changed[0]}" if changed else "factors"
                if path not in self._told and len(self._told) < MOST_TOLD:
                    self._told.add(path)
                    self._tell_same_training(path, changed, [first, *others])

    def _tell_same_training(self, path: str, changed: Sequence[str], cells: Sequence[Cell]) -> None:
        rule = f"cells must differ in what is trained; these levels of {', '.join(changed) or 'the factors'} make no difference"
        repair = "keep one of these levels, or give the factor a condition under which it matters, e.g. {levels: […], when: {…}}"
        config = self.binder.configuration(cells[0]).config
        if len(changed) == 1 and changed[0] in config.inactive_fields() and (cause := cause_of_inactivity(config, changed[0])):
            rule += f", as {changed[0]} has no effect where {cause.field} is {level_in_words(cause.value)}"
            repair = f"{_repair(cause, is_factor=cause.field in self.space.names())}, or keep one of these levels"
        shown_cells = [levels_in_words(cell) for cell in cells[:MOST_CELLS_SHOWN]]
        value = f"{' and '.join(shown_cells)}{' and others' if len(cells) > MOST_CELLS_SHOWN else ''} make one network"
        self.collector.add(path, rule, value, repair)

    def _tell_what_must_not_vary(self, cells: Sequence[Cell]) -> None:
        """Tell the fields that the cells, or what is tuned in them, vary among configurations that do not allow it."""
        told: dict[str, TrainableRuleError] = {}
        values: dict[str, dict[Level, None]] = {}
        for cell in cells:
            for tuned in self._tuned_probes():
                config = self.binder.configuration(cell, tuned).config
                for broken in config.not_to_vary():
                    told[broken.field] = broken
                    values.setdefault(broken.field, {})[getattr(config, broken.field)] = None
        for name, broken in told.items():
            if len(values[name]) > 1:
                path = f"tuning.parameters.{name}" if self.tuned and name in self.tuned.names() else self.path_of(name)
                self._told.add(path)
                self.collector.add_broken(path, broken, value=", ".join(map(level_in_words, values[name])))
        self._tell_unequal_lengths(cells)

    def _tell_unequal_lengths(self, cells: Sequence[Cell]) -> None:
        """Tell where some configurations are trained for seconds and others for epochs."""
        budgets = dict.fromkeys(self._time_budgets(cells))
        if None in budgets and len(budgets) > 1:
            rule = "time_budget_s must be null for all cells or for none: else neither their seconds nor their epochs are equal"
            values = ", ".join(map(level_in_words, budgets))
            self.collector.add(self.path_of("time_budget_s"), rule, values, "give seconds alone, or write time_budget_s: null")

    def _time_budgets(self, cells: Iterable[Cell]) -> list[float | None]:
        configs = [self.binder.configuration(cell, tuned).config for cell in cells for tuned in self._tuned_probes()]
        return [without_inactive(config).time_budget_s for config in configs]

    def _tuned_probes(self) -> list[Cell]:
        """Some random values of the tuned parameters; one set of none where nothing is tuned."""
        if self.tuned is None:
            return [{}]
        generator = Random(0)  # noqa: S311  # nothing secret
        return [self.tuned.random_cell(generator) for _ in range(NUM_TUNED_PROBES)]

    def _probe(self, design: AdaptiveSearch) -> list[str]:
        """Check random configurations of a search space; a problem if none of them may be trained, a note if some may not."""
        accepted = [probe for probe in self._probes() if self._accepts(probe)]
        if not accepted:
            self._some_are_allowed()
        self._tell_what_must_not_vary(accepted)
        if design.pruner and any(self._time_budgets(accepted)):
            rule = "a search must have no pruner where time_budget_s is the length of training: its epochs are not comparable"
            repair = "remove pruner from the design, or write time_budget_s: null"
            self.collector.add("design.pruner", rule, design.pruner.name, repair)
        notes = self._levels_of_one_network() if self._is_well() else []
        if len(accepted) < NUM_PROBES:
            notes.append(f"Of {NUM_PROBES} random configurations {len(accepted)} are allowed; the others are not proposed.")
        return notes

    def _levels_of_one_network(self) -> list[str]:
        """Notes on levels that make one network in all of some random configurations: a design would refuse them."""
        notes = []
        probes = [probe for probe in self._probes()[:NUM_COMPARED] if self.binder.accepts(probe)]
        for factor in self.space.factors:
            domain, active = factor.domain, [probe for probe in probes if factor.name in probe]
            if not active or not isinstance(domain, Levels) or len(domain.values) > MOST_COMPARED:
                continue
            same: dict[tuple[str, ...], list[str]] = {}
            for level in domain.values:
                cells = [{**probe, factor.name: level} for probe in active]
                if all(self.space.contains(cell) and self.binder.accepts(cell) for cell in cells):
                    same.setdefault(tuple(map(self.binder.training, cells)), []).append(level_in_words(level))
            several = [", ".join(levels) for levels in same.values() if len(levels) > 1]
            notes += [f"Of {factor.name} the levels {levels} make one network, which is trained once." for levels in several]
        return notes

    def _probe_tuned(self, cells: Iterable[Cell]) -> None:
        """Check for every cell whether some random values of the tuned parameters may be trained."""
        if self.tuned is None or not self._is_well():
            return
        probes = self._tuned_probes()
        for cell in cells:
            if not any(self.binder.accepts(cell, values) for values in probes):
                rule = "every cell must have values of what is tuned that it may be trained with"
                value = f"none of {NUM_TUNED_PROBES} random ones for {levels_in_words(cell)}"
                self.collector.add("tuning.parameters", rule, value, "change the parameters, or the constraints")
                return


def _repair(cause: Cause, *, is_factor: bool) -> str:
    """How a field comes to have an effect: by a condition on the factor that takes it away, or by another value in the config."""
    instead = f"{cause.field}: {level_in_words(cause.instead)}"
    if is_factor:
        return f"give the factor a condition under which it matters, e.g. {{levels: […], when: {{{instead}}}}}"
    return f"write {instead}"


def _fraction_in_words(fraction: Fraction) -> list[str]:
    if not fraction.generators:
        return ["No fraction has this resolution: all combinations are trained, and no effect is confounded with another."]
    notes = [f"Resolution {fraction.resolution}; generated by {', '.join(fraction.generators)}."]
    if fraction.crossed:
        notes.append(f"This fraction is trained at every level of {' and '.join(fraction.crossed)}.")
    return [*notes, f"Confounded with each other: {'; '.join(fraction.aliases)}."] if fraction.aliases else notes
