"""Configs: one spelling for what means the same, and one identity for what trains the same."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studies.engine.binding.trainable_modules import field_problem, make_config, value_instead
from tests.trainables.contract import results
from trainables import ann, bitnet, converted_snn, response_surface
from trainables.data.datasets import prepare
from trainables.networks.layouts import NAMED_LAYOUTS, canonical_layout, parse_layout
from trainables.training.configs import canonical_value, identity_of, setting, values_of_record, without_inactive

OTHERS: dict[str, Any] = {
    "surrogate": "triangle",
    "surrogate_width": 2.0,
    "surrogate_scale": 0.7,
    "detach_reset": True,
    "train_time_steps": "fixed",
    "gradient_margin": 0.5,
    "ties": "lowest_class",
    "time_groups": 2,
    "pretrain_lr": 0.1,
    "pretrain_activation": "qcfs",
    "pretrain_precision": "bfloat16",
    "finetune_precision": "bfloat16",
    "precision": "bfloat16",
    "loss_over_time": "mean",
    "tet_lambda": 0.5,
    "distillation": 0.5,
    "distillation_temperature": 4.0,
    "normalisation": "batch_norm",
    "drive_std": 0.3,
    "initial_hidden_bias": 0.1,
    "initial_output_bias": 0.3,
    "initial_output_scale": 0.5,
    "pool_on": "drive",
    "pool_gradient": "split",
    "eval_time_steps": None,
    "prune_fraction": 0.9,
    "prune_schedule": "cubic",
    "prune_epochs": 1,
    "spike_penalty": 0.5,
    "spike_penalty_annealing": "constant",
    "rate_target": 0.1,
    "rate_target_weight": 7.0,
    "qcfs_levels": 9,
    "junction_activation": False,
    "num_plain_convolutions": 2,
    "first_pool": True,
    "initial_weights": "kaiming",
    "linear_dropout": 0.3,
    "pool": "average",
    "batch_norm_momentum": 0.6,
    "batch_norm_scale": 0.3,
    "pool_before_activation": True,
    "first_image_side": 6,
    "first_image_side_fraction": 0.7,
    "percentile": 20.0,
    "spike_norm_time_steps": 3,
    "equal_thresholds": False,
    "max_pool": "or",
    "finetune_lr": 0.1,
    "finetune_gradient": "straight_through",
    "train_neurons": True,
    "validation_fraction": 0.5,
    "split_seed": 7,
    "num_train_images": 3,
    "num_classes": 2,
    "image_downscale": 2,
    "mean_per_pixel": True,
    "flip": True,
    "crop_padding": 2,
    "crop_padding_mode": "reflect",
    "rotation": 15.0,
    "trivial_augment": True,
    "cutout": 3,
    "random_erasing": 0.5,
    "mixup": 0.2,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
    "batch_size": 5,
    "optimizer": "sgd",
    "lr": 1.0,
    "weight_decay": 1.0,
    "momentum": 0.5,
    "nesterov": False,
    "bias_lr_factor": 2.0,
    "ema_decay": 0.9,
    "schedule": "constant",
    "warmup_fraction": 0.5,
    "lr_start": 0.5,
    "lr_end": 0.5,
    "one_cycle_shape": "linear",
    "lr_milestones": "1",
    "lr_factor": 0.5,
    "time_budget_s": 3.0,
    "selection": "best_on_test",
    "device": "cuda",
    "peak_width": 0.1,
}
"""Another value for every field that is ever inactive, which would show if it did anything."""

ON: list[tuple[Any, dict[str, Any], set[str]]] = [
    (ann, {}, {"pool", "time_budget_s", "selection"}),
    (ann, {"activation": "qcfs", "crop_padding": 1}, {"qcfs_levels", "crop_padding_mode"}),
    (ann, {"batch_norm": True}, {"batch_norm_momentum", "batch_norm_scale", "pool_before_activation"}),
    (
        ann,
        {"layout": "4 M", "batch_norm": True, "first_layer": "whitening", "initial_weights": "dirac"},
        {"batch_norm_scale", "pool_before_activation"},
    ),
    (ann, {"layout": "resnet20"}, {"junction_activation", "num_plain_convolutions", "first_pool"}),
    (ann, {"layout": "resnet20", "initial_weights": "small_residual"}, {"initial_weights"}),
    (ann, {"layout": "4 M 4 F5", "initial_weights": "small_residual"}, {"linear_dropout"}),
    (ann, {"prune": "l1"}, {"prune_fraction", "prune_schedule", "prune_epochs"}),
    (ann, {"prune": "l1", "prune_schedule": "once"}, {"prune_fraction", "prune_schedule"}),
    (
        ann,
        {},
        {"momentum", "bias_lr_factor", "ema_decay", "schedule", "warmup_fraction", "lr_start", "lr_end", "one_cycle_shape"},
    ),
    (ann, {"schedule": "cosine", "warmup_fraction": 0.2, "optimizer": "muon"}, {"lr_start", "lr_end", "nesterov"}),
    (ann, {"optimizer": "sgd", "momentum": 0.0}, set()),
    (ann, {"schedule": "step", "lr_milestones": "1.5"}, {"lr_milestones", "lr_factor"}),
    (bitnet, {}, {"selection", "pool_on", "pool_gradient", "lr_start", "lr_end", "one_cycle_shape"}),
    (bitnet, {"gradient": "surrogate"}, {"surrogate", "surrogate_width", "surrogate_scale", "detach_reset"}),
    (bitnet, {"gradient": "rate_collapsed", "crop_padding": 1}, {"time_groups", "crop_padding_mode"}),
    (bitnet, {"readout": "spikes"}, {"gradient_margin", "ties"}),
    (bitnet, {"initial_membrane_potential": "learnt", "initial_weights": "dirac"}, {"initial_weights"}),
    (bitnet, {"pretrain_epochs": 1, "distillation": 0.1}, {"distillation", "distillation_temperature"}),
    (bitnet, {"loss_over_time": "each_step"}, {"loss_over_time", "tet_lambda"}),
    (bitnet, {"loss_over_time": "each_step", "time_steps": 1, "eval_time_steps": 1}, {"tet_lambda"}),
    (bitnet, {"train_time_steps": "mixed"}, {"train_time_steps"}),
    (bitnet, {"train_time_steps": "mixed", "time_steps": 1, "eval_time_steps": 1}, set()),
    (bitnet, {"train_time_steps": "descending", "epochs": 1}, set()),
    (
        bitnet,
        {"pretrain_epochs": 1, "schedule": "step", "lr_milestones": "1.5", "optimizer": "sgd"},
        {"pretrain_lr", "pretrain_activation", "pretrain_precision", "lr_milestones", "lr_factor", "nesterov"},
    ),
    (bitnet, {"pretrain_epochs": 1}, {"batch_norm_momentum", "batch_norm_scale", "pool_before_activation"}),
    (bitnet, {"normalisation": "batch_norm"}, {"batch_norm_momentum"}),
    (
        bitnet,
        {"normalisation": "batch_norm", "layout": "4 M F5", "first_layer": "whitening", "initial_weights": "dirac"},
        {"batch_norm_momentum"},
    ),
    (bitnet, {"normalisation": "batch_norm", "layout": "4 M", "first_layer": "whitening", "initial_weights": "dirac"}, set()),
    (
        bitnet,
        {"pretrain_epochs": 1, "layout": "4 M", "first_layer": "whitening", "initial_weights": "dirac"},
        {"batch_norm_scale"},
    ),
    (ann, {"layout": "4 M 4 G", "first_image_side": 5}, {"first_image_side", "first_image_side_fraction"}),
    (
        bitnet,
        {"layout": "4 M 4 G", "first_image_side": 5, "pretrain_epochs": 1},
        {"first_image_side", "first_image_side_fraction"},
    ),
    (bitnet, {}, {"initial_hidden_bias", "initial_output_bias", "initial_output_scale", "normalisation", "drive_std"}),
    (bitnet, dict(bitnet.PUBLISHED), {"normalisation"}),
    (bitnet, {"prune": "activation"}, {"prune_fraction", "prune_schedule", "prune_epochs"}),
    (bitnet, {"eval_time_steps": 6}, {"eval_time_steps"}),
    (bitnet, {"spike_penalty": 0.1}, {"spike_penalty", "spike_penalty_annealing"}),
    (bitnet, {"rate_target": 0.4}, {"rate_target_weight", "rate_target"}),
    (bitnet, {"layout": "4 A 4"}, {"pool_on"}),
    (converted_snn, {}, {"max_pool", "pool", "lr_start", "lr_end", "one_cycle_shape"}),
    (converted_snn, {"layout": "4 A 4"}, set()),
    (converted_snn, {"readout": "spikes"}, {"ties"}),
    (converted_snn, {"pool": "average", "crop_padding": 1}, {"crop_padding_mode"}),
    (converted_snn, {"balance": "percentile"}, {"percentile"}),
    (converted_snn, {"balance": "spike_norm", "bias": False}, {"spike_norm_time_steps"}),
    (converted_snn, {"balance": "spike_norm", "bias": False, "layout": "resnet20"}, {"equal_thresholds"}),
    (converted_snn, {"activation": "qcfs", "balance": "qcfs"}, {"qcfs_levels"}),
    (
        converted_snn,
        {"finetune_epochs": 1, "surrogate": "arctan"},
        {"finetune_lr", "finetune_gradient", "surrogate", "surrogate_width", "surrogate_scale", "detach_reset", "train_neurons"},
    ),
    (
        converted_snn,
        {
            "finetune_epochs": 1,
            "finetune_gradient": "straight_through",
            "schedule": "step",
            "lr_milestones": "1.5",
            "optimizer": "sgd",
        },
        {"finetune_lr", "finetune_precision", "lr_milestones", "lr_factor", "nesterov"},
    ),
    (
        converted_snn,
        {"finetune_epochs": 1, "rate_target": 0.4, "spike_penalty": 0.1},
        {"rate_target", "rate_target_weight", "spike_penalty", "spike_penalty_annealing"},
    ),
    (response_surface, {}, set()),
    (response_surface, {"variant": "peaked"}, {"peak_width"}),
]
"""Trainables and configs, and fields that matter then, most of which are inactive without the change."""


def config_of(trainable: Any, tiny_npz: Path, changes: dict[str, Any]) -> Any:
    if trainable is response_surface:
        return response_surface.Config(epochs=2, **changes)
    common = {"data": str(tiny_npz), "validation_fraction": 0.25, "layout": "4 M 4", "epochs": 2, "batch_size": 16, "lr": 1e-2}
    common |= {} if trainable is ann else {"time_steps": 4, "eval_time_steps": 4}
    common |= {"calibration_images": 20, "spike_norm_time_steps": 5} if trainable is converted_snn else {}
    resnet = {"feature_scale": 0.125} if changes.get("layout") == "resnet20" else {}
    return trainable.Config(**{**common, **resnet, **changes, "device": "cpu"})


NAMES = [f"{trainable.__name__}, {changes}" for trainable, changes, _ in ON]


@pytest.mark.parametrize(("trainable", "changes", "active"), ON, ids=NAMES)
def test_inactive_fields_do_nothing(
    trainable: Any, changes: dict[str, Any], active: set[str], tiny_npz: Path, data_folder: Path, tmp_path: Path
) -> None:
    """A config whose inactive fields all have other values trains to equal reports under the same identity."""
    config = config_of(trainable, tiny_npz, changes)
    inactive = config.inactive_fields() - {"device", "backend"}
    assert inactive <= OTHERS.keys()
    assert not inactive & active
    changed = dataclasses.replace(config, **{name: OTHERS[name] for name in inactive})
    assert all(getattr(changed, name) != getattr(config, name) for name in inactive)
    dataset = prepare(config.data, data_folder)
    folders = [tmp_path / "one", tmp_path / "other"]  # both have the source network's beside them, if there is one
    one, other = (
        results(list(trainable.train(c, seed=1, dataset=dataset, checkpoint_folder=folder)))
        for c, folder in zip((config, changed), folders, strict=True)
    )
    assert one == other
    name = trainable.__name__.rsplit(".", maxsplit=1)[-1]
    assert len({identity_of(name, c, data_digest="", seed=1) for c in (config, changed, without_inactive(config))}) == 1
    assert len(list(tmp_path.iterdir())) == 2 + (trainable.source_network(config) is not None)


@pytest.mark.parametrize(("trainable", "changes", "active"), ON, ids=NAMES)
def test_other_fields_are_identity(trainable: Any, changes: dict[str, Any], active: set[str], tiny_npz: Path) -> None:
    """A field that does something in a config has part in its identity."""
    config = config_of(trainable, tiny_npz, changes)
    for name in active:
        other = dataclasses.replace(config, **{name: OTHERS[name]})
        assert getattr(other, name) != getattr(config, name)
        assert len({identity_of("x", c, data_digest="", seed=1) for c in (config, other)}) == 2, name


def test_every_inactive_field_is_also_tried_in_use() -> None:
    """Of every field of a real trainable that is inactive in some config above, another config above makes use."""
    for trainable in (ann, bitnet, converted_snn):
        inactive = {
            name for t, changes, _ in ON if t is trainable for name in config_of(t, Path("x.npz"), changes).inactive_fields()
        }
        active = {name for t, _, names in ON if t is trainable for name in names}
        shared_with_ann = {"junction_activation", "num_plain_convolutions", "prune_fraction", "prune_schedule", "prune_epochs"}
        shared_with_ann |= {"batch_norm_momentum", "batch_norm_scale", "pool_before_activation"}
        shared_with_ann |= {"first_image_side_fraction", "first_pool", "linear_dropout"}
        missing = inactive - active - {"eval_time_steps"} - (shared_with_ann if trainable is converted_snn else set())
        assert missing == set()


@pytest.mark.parametrize(
    ("spelling", "canonical"),
    [
        ("64 64 M 128", "64 64 M 128"),
        ("  064   64 M\t128 ", "64 64 M 128"),
        ("bitnet", "64 64 M 128 M 256 512 M"),
        (" bitnet ", "64 64 M 128 M 256 512 M"),
        ("64 S F0128 F10", "64 S F128 F10"),
        ("64 A M", "64 A M"),
        ("resnet20", "resnet20"),
        ("no  such", "no  such"),
        ("M 64", "M 64"),
        ("", ""),
    ],
)
def test_canonical_layouts(spelling: str, canonical: str) -> None:
    """A layout has one spelling; what the grammar does not know stays as it was written."""
    assert canonical_layout(spelling) == canonical
    for trainable in (ann, bitnet, converted_snn):
        assert canonical_value(trainable.Config, "layout", spelling) == canonical
        config: Any = make_config(trainable.Config, {"layout": spelling, "feature_scale": 1})
        assert (config.layout, config.feature_scale) == (canonical, 1.0)
    assert canonical_value(ann.Config, "feature_scale", 2.0) == 2.0


WORDS = st.sampled_from(["64", "064", "M", "A", "S", "F10", "F010", "bitnet", "x"])


@given(words=st.lists(WORDS, min_size=1, max_size=6), spaces=st.sampled_from([" ", "  ", "\n"]))
def test_canonical_layouts_mean_the_same(words: list[str], spaces: str) -> None:
    """A canonical layout has the layers of the original, is its own canonical form, and holds no name."""
    layout = spaces.join(words)
    canonical = canonical_layout(layout)
    assert canonical_layout(canonical) == canonical
    try:
        layers = parse_layout(layout)
    except ValueError:
        assert canonical == layout
    else:
        assert parse_layout(canonical) == layers
        assert canonical not in NAMED_LAYOUTS
        assert canonical == " ".join(canonical.split())


def test_two_spellings_are_one_identity() -> None:
    """What a worker trains and where it is kept does not depend on how the study spells a layout."""
    spellings = ["bitnet", "64 64 M 128 M 256 512 M", "64  064 M 128 M 256 512 M"]
    identities = {identity_of("ann", make_config(ann.Config, {"layout": s}), data_digest="", seed=0) for s in spellings}
    assert len(identities) == 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Earlier:
    lr: float = setting(0.1)

    def inactive_fields(self) -> set[str]:
        return set()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Later(_Earlier):
    margin: float = setting(0.5, before=0.0)


class _MarginIsOff(_Later):
    def inactive_fields(self) -> set[str]:
        return {"margin"}


def test_what_was_trained_before_a_field_existed_is_found_again() -> None:
    """A new field may have another default: at the value from before it, or where it does nothing, it is left out."""
    before = identity_of("some", _Earlier(), data_digest="d", seed=0)
    assert identity_of("some", _Later(margin=0.0), data_digest="d", seed=0) == before
    assert identity_of("some", _Later(), data_digest="d", seed=0) != before
    assert identity_of("some", _MarginIsOff(), data_digest="d", seed=0) == before


@pytest.mark.parametrize(
    ("trainable", "values", "field", "rule"),
    [
        (
            bitnet,
            {"initial_membrane_potential": "learnt", "gradient": "rate_collapsed"},
            "initial_membrane_potential",
            "a number or dithered where gradient is rate_collapsed",
        ),
        (bitnet, {"readout": "potential", "ties": "lowest_class"}, "ties", "not be set where readout is potential"),
        (converted_snn, {"readout": "membrane", "ties": "lowest_class"}, "ties", "not be set where readout is membrane"),
    ],
)
def test_what_cannot_be_is_refused_with_a_repair(trainable: Any, values: dict[str, Any], field: str, rule: str) -> None:
    """A learnt potential without its gradient, and ties of spikes that nobody counts, are one problem each, with its rule."""
    (problem,) = trainable.problems(trainable.Config(**values), (8, 8, 1))
    assert problem.field == field
    assert rule in problem.rule
    assert problem.repair


@pytest.mark.parametrize("value", [1.0, -0.5, "diterd", True, None])
def test_an_initial_potential_is_a_fraction_or_a_word(value: Any) -> None:
    """Numbers keep their bounds beside the words that may stand in their place; what is neither is refused."""
    rule = field_problem(bitnet.Config, "initial_membrane_potential", value)
    assert rule is not None
    assert rule.endswith(" or 'dithered' or 'learnt'")
    assert rule.count("must be") == 1
    for fine in (0, 0.25, "dithered", "learnt"):
        assert field_problem(bitnet.Config, "initial_membrane_potential", fine) is None


@pytest.mark.parametrize(
    ("name", "wrong", "instead"),
    [
        ("initial_membrane_potential", "ditherd", "dithered"),
        ("normalisation", "batchnorm", "batch_norm"),
        ("drive_std", 0, "0.7"),
        ("drive_std", 1e300, "0.7"),
        ("initial_output_scale", 1e40, "0.25"),
        ("distillation_temperature", 1e300, "2.0"),
        ("initial_output_bias", "x", "null"),
    ],
)
def test_a_wrong_value_has_one_that_can_be_written_instead(name: str, wrong: Any, instead: str) -> None:
    """The word that was meant, or the default as a study file writes it."""
    assert field_problem(bitnet.Config, name, wrong)
    assert value_instead(bitnet.Config, name, wrong) == instead


def test_dithered_neurons_without_a_pool_of_spikes_start_at_one_half() -> None:
    """Both levels make one network, which is reported as such, unless a pool reads spikes."""

    def resolved(**values: Any) -> Any:
        config = bitnet.Config(**{"initial_membrane_potential": "dithered", **values})
        return config.resolved(100)["initial_membrane_potential"]

    assert [resolved(layout="4 M 4"), resolved(layout="4 A 4")] == ["dithered", "dithered"]
    assert [resolved(layout="4 F8"), resolved(layout="4 M 4", pool_on="drive")] == [0.5, 0.5]


def test_a_record_without_a_field_is_of_the_time_before_it() -> None:
    """Whatever the defaults are now, a recorded config has what networks did before a field existed; one that does nothing
    breaks no rule.
    """
    recorded: dict[str, Any] = {"time_steps": 4, "initial_output_scale": 0.5}
    values = values_of_record(bitnet.Config, recorded)
    then = {name: bitnet.PUBLISHED[name] for name in ("normalisation", "readout", "ties", "gradient_margin")}
    assert {name: values[name] for name in then} == then
    assert values["initial_output_scale"] == 0.5
    whole: dict[str, Any] = {"readout": "potential", "ties": "lowest_class"}
    assert list(bitnet.problems(bitnet.Config(**whole), (8, 8, 1)))
    assert "ties" not in values_of_record(bitnet.Config, whole)
