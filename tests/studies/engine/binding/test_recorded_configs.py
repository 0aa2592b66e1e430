"""Records of earlier versions: which fields came later, and what networks did before."""

import dataclasses
from typing import Any

from studies.engine.binding.recorded_configs import on_other_defaults, other_defaults
from studies.run_record import RunRecord
from trainables import ann, bitnet


def recorded(config: Any, *without: str) -> dict[str, Any]:
    """A config as a version had it that lacked some fields."""
    return {name: value for name, value in dataclasses.asdict(config).items() if name not in without}


def test_later_fields_have_what_networks_did_before() -> None:
    """Fields whose default is another today are named with both values; others, and those without effect, are not."""
    lacking = ("normalisation", "drive_std", "readout", "ties", "optimizer", "ema_decay", "label_smoothing")
    assert other_defaults("bitnet", recorded(bitnet.Config(), *lacking)) == {
        "normalisation": ("none", "weight_standardisation"),
        "readout": ("spikes", "potential"),
        "ties": ("lowest_class", "potential"),
    }
    assert not other_defaults("bitnet", recorded(bitnet.Config()))
    assert not other_defaults("ann", recorded(ann.Config(), "ema_decay", "schedule"))


def test_what_this_version_does_not_know_is_left_alone() -> None:
    """A trainable or a field of another version, or a run without a config, is no reason for an error."""
    assert not other_defaults("my_own", {"a": 1})
    assert other_defaults("bitnet", {**recorded(bitnet.Config(), "readout"), "new": 3}) == {"readout": ("spikes", "potential")}


def run_of(config: dict[str, Any], **levels: Any) -> RunRecord:
    return RunRecord(identity="a", seed=0, levels=levels, role="cell", status="FINISHED", config=config)


def test_a_report_says_it_once_for_every_trainable() -> None:
    """One sentence, however many runs there are; a study of several trainables has their names as levels."""
    old, new = recorded(bitnet.Config(), "readout", "ties"), recorded(bitnet.Config())
    assert not on_other_defaults("bitnet", [run_of(new), run_of({})])
    said = on_other_defaults("bitnet", [run_of(new), run_of(old), run_of(old)])
    assert said == [
        "Recorded before some fields of bitnet existed: readout was spikes (today's default: potential), ties was lowest_class "
        "(today's default: potential). A study file that does not set them trains other networks today."
    ]
    several = [run_of(old, trainable="bitnet"), run_of(recorded(ann.Config()), trainable="ann")]
    assert on_other_defaults("ann, bitnet", several) == said
