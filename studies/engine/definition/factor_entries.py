"""Makes factors of the entries of a study file: of lists of levels, ranges, and placements of pools."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any, get_args, get_type_hints

from search_spaces.language.pool_placements import num_pool_placements, pool_placements
from search_spaces.language.rules import RuleError
from search_spaces.language.space import Factor, Level, Levels, Range, Space, make_space
from studies.engine.binding.configurations import TRAINABLE
from studies.engine.binding.trainable_modules import (
    Trainable,
    field_docs,
    field_problem,
    field_value,
    trainable_names,
    value_instead,
)
from studies.engine.definition.file_model import FactorEntry, FactorSpec, Placements
from studies.engine.errors import ProblemCollector, closest, shown
from trainables.networks.layouts import ImageShape, last_map, parse_layout
from trainables.networks.rules import RuleError as TrainableRuleError

MOST_PLACEMENTS = 10_000
MOST_WORDS = 100
"""The largest number of convolutions that pools may be placed among."""
MOST_SHOWN = 20
"""The largest number of levels that a message lists."""
MOST_WRONG = 10
"""After this many wrong levels no more are looked at: the others are most likely wrong in the same way."""
ROUNDING = 1e-9
"""Numbers that differ by less than this part of their size differ by rounding, as 0.1 + 0.2 and 0.3 do in a program."""


@dataclass
class FactorReader:
    """Reads entries of ``factors`` and of ``tuning.parameters``.

    Attributes:
        trainables: What may be trained, by name.
        trainables_known: Whether the file says rightly which these are. If not, they are all there are, and a value is taken if
            any of them takes it.
        input_shapes: The shapes of what the networks may see.
        collector: Where problems go.
        notes: Sentences for the record.
    """

    trainables: Mapping[str, Trainable]
    trainables_known: bool
    input_shapes: Sequence[ImageShape]
    collector: ProblemCollector
    notes: list[str] = field(default_factory=list)

    def factor(self, name: str, entry: FactorEntry, path: str) -> Factor | None:
        """The factor of an entry; None if it is wrong, and then the collector says why."""
        varied = FactorSpec(levels=entry) if isinstance(entry, list) else entry
        owners = self._owners(name, varied, f"{path}.when.{TRAINABLE}")
        domain = self._domain(name, varied, path, owners, listed=isinstance(entry, list)) if owners else None
        if domain is None:
            return None
        when = {key: tuple(value) if isinstance(value, list) else (value,) for key, value in varied.when.items()}
        when = {key: tuple(self.canonical(key, level) for level in levels) for key, levels in when.items()}
        if name == TRAINABLE and when:
            rule, repair = "trainable must not have a condition: every configuration needs it", "leave out the condition"
            self.collector.add(f"{path}.when", rule, ", ".join(when), repair)
            return None
        if name != TRAINABLE and self.trainables_known and len(owners) < len(self.trainables) and TRAINABLE not in when:
            when = {TRAINABLE: tuple(owners), **when}  # a field that only some trainables have exists only there
        return Factor(name, domain, when)

    def _owners(self, name: str, varied: FactorSpec, path: str) -> list[str]:
        """The trainables that have the field ``name`` and that the conditions of the factor allow."""
        if name == TRAINABLE:
            return list(self.trainables)
        have = [trainable for trainable in self.trainables if name in field_docs(self.trainables[trainable].Config)]
        given = varied.when.get(TRAINABLE)
        if given is None or not self.trainables_known:
            return have
        chosen = given if isinstance(given, list) else [given]
        lacking = [trainable for trainable in self.trainables if trainable in chosen and trainable not in have]
        if lacking:
            rule, repair = f"a factor must be a field of the trainables that it exists for, and {name} is of", ", ".join(have)
            self.collector.add(path, f"{rule} {repair}", ", ".join(lacking), f"change the condition: {repair}")
            return []
        return [trainable for trainable in have if trainable in chosen] or have

    def _domain(self, name: str, varied: FactorSpec, path: str, owners: Sequence[str], *, listed: bool) -> Levels | Range | None:
        given = [key for key in ("levels", "low", "high", "layouts") if getattr(varied, key) is not None]
        kinds = {"low" if key == "high" else key for key in given}
        if len(kinds) != 1:
            rule = "a factor must have either levels, or low and high, or layouts"
            repair = "keep one of the three" if given else "add one of the three"
            self.collector.add(path, rule, ", ".join(given) or "none of them", repair)
            return None
        if "low" not in kinds and (varied.log or varied.step is not None):
            key, what = "log" if varied.log else "step", "layouts" if varied.layouts else "levels"
            repair = f"leave out {key}, or give low and high instead of {what}"
            self.collector.add(f"{path}.{key}", "log and step belong to a range", f"{what} with {key}", repair)
            return None
        if varied.layouts is not None:
            return self._placements(name, varied.layouts, f"{path}.layouts", owners)
        if varied.levels is None:
            return self._range(name, varied, path, owners)
        return self._levels(name, varied.levels, path if listed else f"{path}.levels", owners)

    def _levels(self, name: str, levels: Sequence[Level], path: str, owners: Sequence[str]) -> Levels | None:
        wrong = (i for i, level in enumerate(levels) if not self.check(name, level, f"{path}[{i}]", owners))
        if list(islice(wrong, MOST_WRONG)):
            return None
        canonical = [self.canonical(name, level) for level in levels]
        distinct = {(isinstance(level, bool), level) for level in canonical}
        if len(distinct) < max(2, len(levels)):
            rule = "a factor must have at least 2 distinct levels"
            if len({repr(level) for level in levels}) > len(distinct):
                rule += "; two spellings of one value are one level"
            repair = "remove the repeated level" if len(distinct) > 1 else f"add a level, or fix {name} {_fixed_in(name)}"
            self.collector.add(path, rule, list(levels), repair)
            return None
        if near := _nearest_numbers(canonical):
            rule = "levels must differ by more than rounding: 0.30000000000000004 is 0.3 as a program writes it"
            self.collector.add(path, rule, f"{near[0]!r} and {near[1]!r}", "write the level as it is meant, once")
            return None
        return Levels(tuple(canonical))

    def _range(self, name: str, varied: FactorSpec, path: str, owners: Sequence[str]) -> Range | None:
        if varied.low is None or varied.high is None:
            missing = "low" if varied.low is None else "high"
            self.collector.add(path, "a range must have low and high", f"no {missing}", f"add {missing}: …")
            return None
        integer = name != TRAINABLE and all(self._takes(owner, name, int) for owner in owners)
        if not integer and (name == TRAINABLE or not all(self._takes(owner, name, float) for owner in owners)):
            rule = f"a range must be of a number, and {name} is none"
            self.collector.add(path, rule, f"{varied.low:g} to {varied.high:g}", "give its levels instead: [first, second, …]")
            return None
        bounds = {
            key: int(bound) if integer and bound.is_integer() else bound
            for key, bound in (("low", varied.low), ("high", varied.high))
        }
        checked = [self.check(name, bound, f"{path}.{key}", owners) for key, bound in bounds.items()]
        if not all(checked):
            return None
        domain = Range(varied.low, varied.high, log=varied.log, step=varied.step, integer=integer)
        if broken := domain.problem():
            place = f"{path}.{broken.field}" if broken.field else path
            self.collector.add_broken(place, broken, repair=f"change {place}")
            return None
        return domain

    def _takes(self, owner: str, name: str, kind: type) -> bool:
        hint = get_type_hints(self.trainables[owner].Config)[name]
        return kind in (hint, *get_args(hint))

    def _placements(self, name: str, placements: Placements, path: str, owners: Sequence[str]) -> Levels | None:
        if name != "layout":
            self.collector.add(path, "only the factor layout may have layouts", name, "give levels, or low and high")
            return None
        words = placements.convolutions.split()
        pools = [placements.pools] if isinstance(placements.pools, int) else list(placements.pools)
        if len(words) > MOST_WORDS or len(pools) > MOST_WORDS:
            rule = f"there may be at most {MOST_WORDS} convolutions, and as many numbers of pools"
            self.collector.add(path, rule, f"{len(words)} and {len(pools)}", "fewer convolutions or numbers of pools")
            return None
        try:
            num = num_pool_placements(words, pools, placements.kinds, mixed=placements.mixed)
            if num > MOST_PLACEMENTS:
                rule, repair = f"there may be at most {MOST_PLACEMENTS:,} placements", "fewer pools, kinds or convolutions"
                self.collector.add(path, rule, f"{num:,}", repair)
                return None
            every = list(pool_placements(words, pools, placements.kinds, mixed=placements.mixed))
            fitting = [layout for layout in every if self._fits(layout, placements.smallest_map)]
        except (RuleError, TrainableRuleError) as broken:
            repair = 'e.g. {convolutions: "64 64 128", pools: 2}'
            self.collector.add_broken(path, broken, value=placements.convolutions, repair=repair)
            return None
        side = f"{placements.smallest_map}x{placements.smallest_map}"
        if len(fitting) < len(every):
            rest = f"{len(every) - len(fitting)} of {len(every)} placements of pools are left out"
            self.notes.append(f"{rest}: their last map would be smaller than {side}.")
        if len(fitting) < 2:
            images = " or ".join(dict.fromkeys(f"{height}x{width}" for height, width, _ in self.input_shapes)) or "the"
            rule = f"at least 2 placements must leave {images} images a last map of at least {side}"
            self.collector.add(
                path, rule, f"{len(fitting)} of {len(every)} do", "other numbers of pools, or a smaller smallest_map"
            )
            return None
        return self._levels(name, fitting, path, owners)

    def _fits(self, layout: str, smallest_map: int) -> bool:
        """Whether all images leave the last map of a layout large enough.

        Raises:
            RuleError: It is no layout.
        """
        parse_layout(layout)
        try:
            return all(min(last_map(layout, shape)) >= smallest_map for shape in self.input_shapes)
        except TrainableRuleError:  # a pool meets a map of one pixel
            return False

    def check(self, name: str, value: Any, path: str, owners: Iterable[str]) -> bool:
        """Whether the field takes a value, in all of these trainables that have the field; if not, that is a problem."""
        if name == TRAINABLE:
            if value not in trainable_names():
                self.collector.add(path, "trainable must be one that exists", shown(value), closest(value, trainable_names()))
                return False
            return True
        configs = [config for config in (self.trainables[owner].Config for owner in owners) if name in field_docs(config)]
        wrong = [(rule, config) for config in configs if (rule := field_problem(config, name, value))]
        if wrong and (self.trainables_known or len(wrong) == len(configs)):
            rule, config = wrong[0]
            meaning = " ".join(field_docs(config)[name].split())
            repair = f"change it, e.g. to {value_instead(config, name, value)}. What {name} is: {meaning}"
            self.collector.add(path, rule, shown(value), repair)
            return False
        return True

    def canonical(self, name: str, value: Level) -> Level:
        """A value in the form that its field has: two spellings of a layout become one."""
        for trainable in self.trainables.values():
            if name in field_docs(trainable.Config) and field_problem(trainable.Config, name, value) is None:
                checked: Level = field_value(trainable.Config, name, value)
                return checked
        return value

    def baseline(self, name: str, value: Level, factor: Factor, path: str) -> Level:
        """The reference level of a factor; a problem if the factor cannot have it."""
        level = factor.domain.canonical(self.canonical(name, value))
        if not factor.domain.contains(level):
            rule, repair = "the baseline must be one of the factor's levels", f"choose {_possible(factor)}, or add it to them"
            self.collector.add(path, rule, shown(value), repair)
        return level


def _nearest_numbers(levels: Sequence[Level]) -> tuple[float, float] | None:
    """Two levels that are one number but for rounding; None if there are none."""
    numbers = sorted(level for level in levels if isinstance(level, int | float) and not isinstance(level, bool))
    return next(((one, other) for one, other in pairwise(numbers) if math.isclose(one, other, rel_tol=ROUNDING)), None)


def read_space(factors: Sequence[Factor], unknown: Iterable[str], part: str, collector: ProblemCollector) -> Space | None:
    """The space of factors; None if conditions are wrong, which become problems, or name factors that are ``unknown``."""
    by_name, unknown = {factor.name: factor for factor in factors}, set(unknown)
    sound = [factor for factor in factors if _has_sound_conditions(factor, by_name, unknown, part, collector)]
    whole = len(sound) == len(factors) and not unknown
    sound = _without(sound, by_name.keys() - {factor.name for factor in sound})
    while True:
        try:
            space = make_space(sound)
        except RuleError as broken:
            collector.add_broken(f"{part}.{broken.field}.when", broken, value=broken.field, repair="change one of the conditions")
            sound = _without(sound, {broken.field})
            whole = False
        else:
            return space if whole else None


def _has_sound_conditions(
    factor: Factor, by_name: Mapping[str, Factor], unknown: set[str], part: str, collector: ProblemCollector
) -> bool:
    sound = True
    for condition, levels in factor.when.items():
        path = f"{part}.{factor.name}.when.{condition}"
        if condition in unknown:
            sound = False
        elif condition not in by_name:
            collector.add(path, "a condition must name a factor", shown(condition), closest(condition, by_name))
            sound = False
        elif not levels:
            collector.add(path, "a condition must name at least one level", "none", f"choose {_possible(by_name[condition])}")
            sound = False
        else:
            domain = by_name[condition].domain
            wrong = (level for level in levels if not domain.contains(domain.canonical(level)))
            for level in islice(wrong, MOST_WRONG):
                rule = f"a condition must name levels that {condition} can have"
                collector.add(path, rule, shown(level), f"choose {_possible(by_name[condition])}")
                sound = False
    return sound


def _without(factors: Sequence[Factor], removed: set[str]) -> list[Factor]:
    """The factors without some, and without those whose conditions name them."""
    while more := {factor.name for factor in factors if factor.name not in removed and factor.when.keys() & removed}:
        removed |= more
    return [factor for factor in factors if factor.name not in removed]


def _possible(factor: Factor) -> str:
    if isinstance(factor.domain, Range):
        step = f" in steps of {factor.domain.step:g}" if factor.domain.step else ""
        return f"a value from {factor.domain.low:g} to {factor.domain.high:g}{step}"
    values = factor.domain.values
    return f"one of {shown(list(values))}" if len(values) <= MOST_SHOWN else f"one of its {len(values)} levels"


def _fixed_in(name: str) -> str:
    return "at the top of the file" if name == TRAINABLE else "in config"
