"""Study files: what they become, and what is said of every mistake in them."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from studies.credentials import mask_credentials
from studies.engine.binding.trainable_modules import all_presets, trainable_names
from studies.engine.definition.json_schema import study_schema
from studies.engine.definition.loading import load_study
from studies.engine.definition.locations import shipped_studies
from studies.engine.definition.lookup import find_stores
from studies.engine.errors import StudyError
from trainables import bitnet


def problems_of(path: Path, *overrides: str) -> str:
    with pytest.raises(StudyError) as caught:
        load_study(str(path), overrides)
    return str(caught.value)


def changed(tiny_study: Path, old: str, new: str) -> Path:
    text = tiny_study.read_text()
    assert old in text
    tiny_study.write_text(text.replace(old, new))
    return tiny_study


def test_replicates(tiny_study: Path) -> None:
    """Cells x seeds, block by block, each with an identity of its own that is the same every time."""
    study = load_study(str(tiny_study))
    assert [(r.seed, r.cell["time_steps"], r.cell["feature_scale"]) for r in study.replicates] == [
        (seed, *levels) for seed in (0, 1) for levels in ((4, 0.0625), (2, 0.0625), (4, 0.125))
    ]
    assert len({r.identity for r in study.replicates}) == 6
    assert study.replicates == load_study(str(tiny_study)).replicates


def test_identity(tiny_study: Path) -> None:
    """Where a replicate is trained, and how its values are spelt, is no part of its identity; what is trained is."""
    study = load_study(str(tiny_study))
    same = load_study(str(tiny_study), ["config.device=cpu", "name=other", "config.weight_decay=1e-2", "seeds=[0,1]"])
    other = load_study(str(tiny_study), ["config.epochs=4"])
    assert [r.identity for r in same.replicates] == [r.identity for r in study.replicates]
    assert not {r.identity for r in other.replicates} & {r.identity for r in study.replicates}


NUM_CELLS = {
    "accuracy_against_operations": 0,  # a search proposes them
    "bitnet_cifar10": 2 * 2 * 3,
    "bitnet_learning_rule": 1 + 2 + 4,
    "bitnet_steps_width_pools": 3 * 2 * 4,
    "cifar10_recipe_parts": 1 + 11 + 1,
    "cifar10_ten_minutes": 2,
    "conversion_methods": 2 * 2 * (1 + 2),
    "converted_digits": 1 + 2 + 5,
    "converted_steps_width_pools": 3 * 2 * 4,
    "equal_recipe": 1 + 2 + 1 + 1,
    "few_steps": 4 * 2**4,
    "few_steps_cifar10": 2 * 2**3,
    "pooling_placements": 2 * 10,
    "quickstart": 1 + 3 + 2 + 2,
    "sengupta_resnet": 1 + 3,
    "sparsity_regularisation": 1 + 2 + 1 + 2 + 1,
    "surface_factorial": 3**3 * 2 * (1 + 2),
    "surface_search": 0,
    "training_steps": 2,
    "training_steps_recipe": 2,
}


@pytest.mark.parametrize("name", shipped_studies())
def test_shipped_studies_load(name: str, data_folder: Path) -> None:
    """Every shipped study is valid, on noise of the shape of CIFAR-10 where it is about that."""
    stand_in = data_folder / "cifar10.npz"
    noise = np.random.default_rng(0).integers(0, 256, (220, 32, 32, 3), np.uint8)
    labels = np.arange(220) % 10
    np.savez(stand_in, train_images=noise[:200], train_labels=labels[:200], test_images=noise[200:], test_labels=labels[200:])
    fewer = ["config.num_train_images=null", "config.validation_fraction=0.25"]
    study = load_study(name, fewer if "cifar10" in shipped_studies()[name].read_text() else [])
    stand_in.unlink()
    assert len(study.cells) == NUM_CELLS[name]
    assert len(study.seeds) >= 6


def test_resolved_text_is_the_whole_study(tmp_path: Path) -> None:
    """The text that is kept with a study's runs loads as the same study, without its space or overrides."""
    study = load_study("quickstart", [f"storage={tmp_path}", "seeds=7"])
    text = {**yaml.safe_load(study.text), "search_space": None}
    copy = tmp_path / "copy.yaml"
    copy.write_text(yaml.safe_dump(text, sort_keys=False))
    assert load_study(str(copy)).replicates == study.replicates


def test_resolved_text_has_no_password(tiny_study: Path) -> None:
    """What is kept with the runs shows no credentials."""
    study = load_study(str(tiny_study), ["ledger=postgresql://me:hunter2@host/db"])
    assert study.stores.ledger == "postgresql://me:hunter2@host/db"
    assert "hunter2" not in study.text


def test_scientific_notation_is_a_number(tiny_study: Path) -> None:
    """1e-3, which PyYAML alone makes a string, is a number."""
    study = load_study(str(changed(tiny_study, "epochs: 3", "epochs: 3\n  lr: 1e-3")))
    assert study.replicates[0].config["lr"] == 0.001


def test_a_preset_lies_beneath_config_and_factors(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A preset gives values that the study neither fixes nor varies; an unknown one is named with the nearest."""
    preset = {"time_steps": 16, "epochs": 7, "lr": 0.25}
    monkeypatch.setattr(bitnet, "PRESETS", {"Small": preset}, raising=False)
    study = load_study(str(tiny_study), ["preset=Small"])
    assert {replicate.config["lr"] for replicate in study.replicates} == {0.25}
    assert {replicate.config["epochs"] for replicate in study.replicates} == {3}
    assert {replicate.config["time_steps"] for replicate in study.replicates} == {2, 4}
    assert all_presets()["bitnet"] == {"Small": preset}
    bitnet_rules = study_schema()["allOf"][trainable_names().index("bitnet")]["then"]["properties"]
    assert bitnet_rules["preset"]["enum"] == ["Small", None]

    message = problems_of(changed(tiny_study, "seeds: 2", "seeds: 2\npreset: small"))
    assert "tiny.yaml:14 preset" in message
    assert "did you mean Small?" in message
    assert message.count("rule:") == 1
    monkeypatch.setitem(preset, "layout", "64 M M M M M")
    tiny_study.write_text(tiny_study.read_text().replace("preset: small", "preset: Small").replace("  layout: 64 M 64\n", ""))
    assert "tiny.yaml:13 preset\n" in problems_of(tiny_study)


def test_a_preset_where_there_is_none(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainable without presets says so."""
    monkeypatch.setattr(bitnet, "PRESETS", {}, raising=False)
    assert "leave it out" in problems_of(tiny_study, "preset=Small")


def test_stores(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own environment variable counts unless the study says otherwise."""
    assert find_stores(str(tiny_study)).tracking_uri.endswith("/results/mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert find_stores(str(tiny_study)).tracking_uri == "http://127.0.0.1:1"
    assert find_stores(str(tiny_study), ["tracking_uri=http://127.0.0.1:2"]).tracking_uri == "http://127.0.0.1:2"
    assert find_stores("a_colleagues_study").name == "a_colleagues_study"


MISTAKES = [
    ("seeds: 2", "seedz: 2", ["tiny.yaml:13 seedz", "a key must be one that a study file has", "did you mean seeds?"]),
    ("seeds: 2", "", ["seeds", "this key must be given", "How many seeds"]),
    ("seeds: 2", "seeds: two", ["tiny.yaml:13 seeds", "'two'"]),
    ("seeds: 2", "seeds: 0", ["seeds", "a count of at least 1", "e.g. seeds: 10"]),
    ("seeds: 2", "seeds: [1, 1]", ["seeds", "distinct numbers"]),
    ("seeds: 2", "seeds: 2\nseeds: 3", ["tiny.yaml:14 seeds", "a key must not be repeated"]),
    ("seeds: 2", "seeds: 2\nresources: {cpu: 1}", ["resources.cpu", "did you mean cpus?"]),
    ("seeds: 2", "seeds: 2\nresources: {cpus: 0}", ["resources.cpus", "greater than 0"]),
    ("seeds: 2", "seeds: 2\nname: a/b", ["name", "'a/b'"]),
    ("seeds: 2", "seeds: 2\ndesign: latin_square", ["design", "one_factor_at_a_time", "'latin_square'"]),
    ("seeds: 2", "seeds: 2\nsearch_space: bitnet_ablatio", ["search_space", "did you mean bitnet_ablation?"]),
    ("trainable: bitnet", "trainable: bitnt", ["tiny.yaml:2 trainable", "bitnt", "did you mean bitnet?"]),
    ("epochs: 3", "epochs: 0", ["tiny.yaml:6 config.epochs", "must be at least 1", "0"]),
    ("epochs: 3", "epochs: three", ["config.epochs", "'three'"]),
    ("epochs: 3", "epochs: 2.5", ["config.epochs", "2.5"]),
    ("epochs: 3", "epochs: true", ["config.epochs", "True"]),
    ("epochs: 3", "epochs: 3\n  lr: .nan", ["config.lr", "finite number"]),
    ("epochs: 3", "epochs: 3\n  flip: yes", ["tiny.yaml:7 config.flip", "yes, no, on and off", "write true or false"]),
    ("epochs: 3", "epochz: 3", ["config.epochz", "must be a field of trainable bitnet", "did you mean epochs?"]),
    ("epochs: 3", "epochs: 3\n  time_steps: 4", ["config.time_steps", "either fixed in config or a factor"]),
    ("  time_steps: [2, 4]", "  time_stepz: [2, 4]", ["factors.time_stepz", "did you mean time_steps?", "baseline.time_steps"]),
    ("  time_steps: [2, 4]", "  time_steps: [2, 4, -1]", ["tiny.yaml:11 factors.time_steps[2]", "must be at least 1", "-1"]),
    ("  time_steps: [2, 4]", "  time_steps: [4, 4]", ["factors.time_steps", "at least 2 distinct levels"]),
    ("  time_steps: [2, 4]", "  time_steps: [2, 3]", ["baseline.time_steps", "one of the factor's levels", "[2, 3]"]),
    ("  time_steps: [2, 4]", "  time_steps: 2", ["factors.time_steps", "list"]),
    ("baseline: {time_steps: 4, ", "baseline: {", ["factors.time_steps", "must have a baseline level"]),
    ("baseline: {", "baseline: {epochs: 3, ", ["baseline.epochs", "every name under baseline must be a factor"]),
    ("time_steps: [2, 4]", "time_steps: [2, 4]\n  device: [cpu, auto]", ["factors.device", "must change what is learnt"]),
    ("layout: 64 M 64", "layout: 64 M M M M 64", ["tiny.yaml:8 config.layout", "word 5 (M, max pool) meets a 1x1 map"]),
    ("epochs: 3", "epochs: 3\n  device: tpu9", ["config.device", "auto, cpu, or a CUDA device"]),
    ("layout: 64 M 64", "layout: 64 64\n  image_downscale: 16", ["config.image_downscale", "leave at least 1x1"]),
    ("layout: 64 M 64", "layout: 64 Q", ["config.layout", "'Q' as word 2"]),
    ("halves.npz", "absent.npz", ["tiny.yaml:4 config.data", "a data file must exist", "absent.npz"]),
    ("validation_fraction: 0.25", "num_train_images: 5000", ["config.num_train_images", "at least 5000"]),
    ("validation_fraction: 0.25", "validation_fraction: 0.9999", ["config.validation_fraction", "0 for training"]),
    ("seeds: 2", "seeds: 2\n? [a, b]\n: 1", ["tiny.yaml:14", "a key must be a word"]),
    ("layout: 64 M 64", "layout: 64 M 99999999999999999999", ["config.layout", "word 3"]),
    ("feature_scale: [0.0625, 0.125]", "feature_scale: [0.0625, 1e300]", ["factors.feature_scale[1]", "less than 1000"]),
    ("question: Does it run?", "question: [", ["tiny.yaml:", "the file must be YAML"]),
    ("question: Does it run?", "question: !!python/name:os.system x", ["tiny.yaml:1 question", "plain YAML data"]),
    ("question: Does it run?", "question: !!int 7", ["tiny.yaml:1 question", "plain YAML data", "without the tag"]),
    ("question: Does it run?", "question: &a [*a]", ["must not contain itself"]),
]


@pytest.mark.parametrize(("old", "new", "expected"), MISTAKES, ids=[new or old for old, new, _ in MISTAKES])
def test_mistakes(old: str, new: str, expected: list[str], tiny_study: Path) -> None:
    """Every mistake is named with its place, the rule, the value and a repair."""
    message = problems_of(changed(tiny_study, old, new))
    for part in expected:
        assert part in message
    assert "repair: " in message


MIXED_TOO = "factors.train_time_steps=[fixed, mixed]", "baseline.train_time_steps=fixed"
SEARCHED = "design={name: adaptive_search, num_trials: 4}"
TUNED_STEPS = "tuning={parameters: {time_steps: [2, 4]}, num_trials: 2}"
RULE = "rule:   time_steps must not vary where train_time_steps is mixed, which trains one network for all of them"


@pytest.mark.parametrize(
    ("overrides", "place"),
    [
        (("config.train_time_steps=mixed",), "factors.time_steps"),
        (("config.train_time_steps=mixed", "design=full_factorial"), "factors.time_steps"),
        (("config.train_time_steps=mixed", "design={name: random, num_cells: 4}"), "factors.time_steps"),
        (("config.train_time_steps=mixed", SEARCHED), "factors.time_steps"),
        (("config.train_time_steps=mixed", SEARCHED, "factors.time_steps={low: 1, high: 8, step: 1}"), "factors.time_steps"),
        ((*MIXED_TOO, "design=full_factorial"), "factors.time_steps"),
        ((*MIXED_TOO, "baseline.train_time_steps=mixed"), "factors.time_steps"),
        ((*MIXED_TOO, SEARCHED), "factors.time_steps"),
        (("config.train_time_steps=mixed", TUNED_STEPS), "tuning.parameters.time_steps"),
        (("tuning={parameters: {train_time_steps: [fixed, mixed]}, num_trials: 2}",), "factors.time_steps"),
    ],
    ids=str,
)
def test_one_network_for_all_time_steps_has_no_levels_of_them(overrides: tuple[str, ...], place: str, tiny_study: Path) -> None:
    """Mixed time steps train one network for all of them: no design, search or tuning may vary them beside it."""
    if place == "tuning.parameters.time_steps":
        changed(changed(tiny_study, "time_steps: 4, ", ""), "  time_steps: [2, 4]\n", "")
    told = problems_of(tiny_study, *overrides)
    assert told.count("rule:") == told.count(RULE) == 1
    assert f" {place}\n" in told
    assert re.search(r"value:  \d(, \d)+\n", told)
    assert "repair: give time_steps one value there" in told


@pytest.mark.parametrize(
    "overrides",
    [
        MIXED_TOO,
        (*MIXED_TOO, "design=full_factorial", "constraints=[\"train_time_steps == 'fixed' or time_steps == 4\"]"),
        (*MIXED_TOO, SEARCHED, "factors.time_steps={levels: [2, 4], when: {train_time_steps: fixed}}"),
        ("config.train_time_steps=descending",),
        ("config.train_time_steps=mixed", "factors={feature_scale: [0.0625, 0.125]}", "baseline={feature_scale: 0.125}"),
    ],
    ids=str,
)
def test_one_network_may_stand_beside_others(overrides: tuple[str, ...], tiny_study: Path) -> None:
    """Where the mixed cells have one number of time steps, the other cells may have any."""
    assert load_study(str(tiny_study), overrides).question


def test_all_problems_at_once(tiny_study: Path) -> None:
    """Mistakes of every kind are told in one go, each once."""
    text = tiny_study.read_text().replace("seeds: 2", "seedz: 2").replace("halves.npz", "absent.npz")
    tiny_study.write_text(text.replace("time_steps: [2, 4]", "time_steps: [2, 4]\n  widht: [1, 2]"))
    message = problems_of(tiny_study, "config.epochs=0", "factors.feature_scale=[0.0625, -1]", "baseline.time_steps=9")
    for part in (
        "seedz",
        "tiny.yaml:1 seeds",
        "config.data",
        "factors.widht",
        "--set config.epochs=0 config.epochs",
        "factors.feature_scale[1]",
        "baseline.time_steps",
    ):
        assert part in message
    assert message.count("rule:") == 8  # widht is no field, and has no baseline


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("storage=~nobody_here/x", "storage must be a path"),
        ("storage=a?b", "storage must not contain ? or #"),
        ("config.data=[digits]", "config.data"),
        ("config.data=~nobody_here/x.npz", "data must be a path"),
        ("config.epochs", "path=value"),
        ("config..x=1", "path=value"),
        ("seeds.x=1", "mapping"),
        ("seeds=[", "must be YAML"),
    ],
)
def test_bad_overrides(override: str, expected: str, tiny_study: Path) -> None:
    """An override that cannot be applied is named."""
    assert expected in problems_of(tiny_study, override)


def test_files_that_are_no_studies(tmp_path: Path) -> None:
    """An empty file, a list, an absent one, bytes that are no text: one clear message each."""
    for content, expected in [(b"", "must be a mapping"), (b"- 1", "must be a mapping"), (b"\xff\xfe\x00", "must be")]:
        path = tmp_path / "x.yaml"
        path.write_bytes(content)
        assert expected in problems_of(path)
    assert "name of a shipped study" in problems_of(tmp_path / "absent.yaml")


def test_a_file_whose_name_is_no_study_name(tiny_study: Path) -> None:
    """A quote in the file's name is refused, unless the study has a name of its own."""
    odd = tiny_study.rename(tiny_study.with_name("bob's.yaml"))
    assert "a study's name must be letters" in problems_of(odd)
    assert load_study(str(odd), ["name=bobs"]).stores.name == "bobs"


def test_schema_names_every_field() -> None:
    """The schema that editors use knows the trainables, their fields, and what each means."""
    schema = study_schema()
    assert schema["properties"]["trainable"]["enum"] == [*trainable_names(), None]
    bitnet_rules = schema["allOf"][trainable_names().index("bitnet")]["then"]
    fields = schema["$defs"][bitnet_rules["properties"]["config"]["$ref"].removeprefix("#/$defs/")]["properties"]
    rules = {name: schema["$defs"][reference["$ref"].removeprefix("#/$defs/")] for name, reference in fields.items()}
    assert rules["time_steps"]["minimum"] == 1
    assert all(rule["description"] for rule in rules.values())


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("https://me:se:cr@et@host:5000", "https://***@host:5000"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
        ("GET http://me:pw@host failed, https://you:pw@there", "GET http://***@host failed, https://***@there"),
        ("http://host:1/x", "http://host:1/x"),
    ],
)
def test_credentials_are_masked(uri: str, shown: str) -> None:
    """No password is ever shown."""
    assert mask_credentials(uri) == shown
