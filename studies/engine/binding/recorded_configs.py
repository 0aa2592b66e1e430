"""What runs of an earlier version were trained with where their records cannot say it, as a field came later."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from studies.engine.binding.trainable_modules import field_names, load_trainable, trainable_names
from studies.run_record import RunRecord, level_in_words
from trainables.training.configs import NO_VALUE, values_of_record


def other_defaults(trainable: str, recorded: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields that came after a config was recorded and whose default is not what networks did before: both values."""
    if trainable not in trainable_names():
        return {}
    config_class = load_trainable(trainable).Config
    defaults = {field.name: field.default for field in dataclasses.fields(config_class) if field.name not in recorded}
    before = {name: config_class.__dataclass_fields__[name].metadata["before"] for name in defaults}
    if all(value in (NO_VALUE, defaults[name]) for name, value in before.items()):
        return {}
    names = field_names(config_class)
    values = values_of_record(config_class, {name: value for name, value in recorded.items() if name in names})
    return {name: (values[name], now) for name, now in defaults.items() if name in values and values[name] != now}


def on_other_defaults(trainable: str, runs: Iterable[RunRecord]) -> list[str]:
    """A sentence for every trainable whose runs have no word of fields that have another default today."""
    said: dict[str, dict[str, str]] = {}
    for run in runs:
        of = str(run.levels.get("trainable", trainable))
        for name, (value, now) in other_defaults(of, run.config).items() if run.config else ():
            said.setdefault(of, {})[name] = f"{name} was {level_in_words(value)} (today's default: {level_in_words(now)})"
    return [
        f"Recorded before some fields of {of} existed: {', '.join(fields.values())}. A study file that does not set them trains "
        "other networks today."
        for of, fields in said.items()
    ]
