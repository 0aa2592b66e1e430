"""The selection of an epoch: which one it is, whose weights and numbers the result has, after a resume too."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainables.training.epochs.tiny_training import config_of, train
from trainables import ann, bitnet, converted_snn
from trainables.data.datasets import Split
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.configs import identity_of
from trainables.training.epochs import judging
from trainables.training.epochs.correct_images import packed
from trainables.training.epochs.judging import Evaluation
from trainables.training.epochs.selection import FACT, ON_TEST

ON_VALIDATION = [0.5, 0.7, 0.9, 0.9, 0.6]
ON_TEST_IMAGES = [0.5, 0.8, 0.75, 0.8, 0.625]
"""What the epochs of these tests are said to reach; the test images prefer epoch 2, the validation images epoch 3, both of two
that are equal."""

Looks = list[tuple[str, int]]
Bits = dict[tuple[str, int], str]


@pytest.fixture
def bits() -> Bits:
    """Which images each of these evaluations is said to have judged right."""
    return {}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch, bits: Bits) -> Looks:
    """The evaluations that were made: which images, after how many epochs; accuracies are those above, by the weights."""
    made: Looks = []
    epochs: list[Tensor] = []

    real = judging.evaluate

    def evaluate(task: Any, network: Any, splits: Any, part: Split, *, purpose: str, **options: Any) -> Evaluation:
        real(task, network, splits, part, purpose=purpose, **options)
        weights = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
        known = [epoch for epoch, other in enumerate(epochs) if torch.equal(weights, other)]
        if not known:
            epochs.append(weights.clone())
        epoch = known[0] if known else len(epochs) - 1
        made.append((purpose, epoch + 1))
        correct_N = torch.arange(len(part)) % (epoch + 2) > 0  # others in every epoch
        bits[purpose, epoch + 1] = packed(correct_N, part.indices)
        return Evaluation([(ON_VALIDATION if purpose == "validation" else ON_TEST_IMAGES)[epoch]], None, correct_N)

    monkeypatch.setattr(judging, "evaluate", evaluate)
    return made


def config_for(tiny_npz: Path, **changes: Any) -> ann.Config:
    return config_of(tiny_npz, **{"epochs": 5, "batch_size": 32, **changes})


def weights_after(config: ann.Config, folder: Path, epoch: int) -> dict[str, Tensor]:
    """The weights that a training without a selection has after an epoch."""
    list(itertools.islice(train(config, folder), epoch))
    checkpoint = CheckpointFolder(folder).load()
    assert checkpoint
    weights: dict[str, Tensor] = checkpoint[0]["network"]
    return weights


@pytest.mark.parametrize(("selection", "best"), [("best_on_validation", 3), ("best_on_test", 2)])
@pytest.mark.parametrize("stops", [(), (1,), (2, 4), (3,), (1, 2, 3, 4)])
def test_the_selected_epoch_is_the_result(
    looks: Looks, bits: Bits, tiny_npz: Path, tmp_path: Path, selection: str, best: int, stops: tuple[int, ...]
) -> None:
    """Numbers, weights and the images judged right are those of the best epoch, the first of equals, also where training was
    interrupted.
    """
    config = config_for(tiny_npz, selection=selection)
    for stop in stops:
        list(itertools.islice(train(config, tmp_path / "run"), stop))
    reports = list(train(config, tmp_path / "run"))
    last = reports[-1]
    assert last.final
    assert [report.metrics["val/accuracy"] for report in reports[:-1]] == ON_VALIDATION[:-1]
    assert last.metrics["selection/epoch"] == best
    assert last.metrics["val/accuracy"] == ON_VALIDATION[best - 1]
    assert last.metrics["test/accuracy"] == ON_TEST_IMAGES[best - 1]
    assert last.metrics["train/loss"] == reports[best - 1].metrics["train/loss"] != reports[-2].metrics["train/loss"]
    assert last.metrics["selection/last_val_accuracy"] == ON_VALIDATION[-1]
    assert last.metrics["selection/last_test_accuracy"] == ON_TEST_IMAGES[-1]
    assert last.curves == {**reports[best - 1].curves, "test/accuracy_at_t": [ON_TEST_IMAGES[best - 1]]}
    assert last.correct == {part: bits[part, best] for part in ("validation", "test")}
    assert bits["validation", best] != bits["validation", 5]
    assert not any(report.correct for report in reports[:-1])
    kept = CheckpointFolder(tmp_path / "run").weights()
    expected = weights_after(config_for(tiny_npz), tmp_path / "other", best)
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[name], expected[name]) for name in kept)
    assert list(train(config, tmp_path / "run")) == reports
    assert looks


def test_when_the_test_images_are_looked_at(looks: Looks, tiny_npz: Path) -> None:
    """Only best_on_test looks at them before the end; best_on_validation then judges the selected and the last epoch."""
    seen = {}
    for selection in ("last", "best_on_validation", "best_on_test"):
        looks.clear()
        list(train(config_for(tiny_npz, selection=selection)))
        seen[selection] = [epoch for purpose, epoch in looks if purpose == "test"]
    assert seen == {"last": [5], "best_on_validation": [5, 3], "best_on_test": [1, 2, 3, 4, 5]}


def test_what_other_selections_would_have_taken(looks: Looks, tiny_npz: Path) -> None:
    """A run selected on the test images has the accuracies of the last epoch and of the best on the validation images too."""
    *_, last = train(config_for(tiny_npz, selection="best_on_test"))
    assert last.metrics["selection/last_test_accuracy"] == ON_TEST_IMAGES[4]
    assert last.metrics["selection/best_on_validation_test_accuracy"] == ON_TEST_IMAGES[2]
    *_, last = train(config_for(tiny_npz, selection="best_on_validation"))
    assert "selection/best_on_validation_test_accuracy" not in last.metrics
    assert len(looks) == 10 + 7


def test_every_report_says_how_an_epoch_is_selected(tiny_npz: Path) -> None:
    """A run that looks at the test images says so from its first report on; one whose result is the last epoch says nothing."""
    facts = {}
    for selection in ("last", "best_on_validation", "best_on_test"):
        reports = list(train(config_for(tiny_npz, selection=selection, epochs=2)))
        assert len({report.run_facts.get(FACT) for report in reports}) == 1
        facts[selection] = reports[0].run_facts.get(FACT)
    assert facts == {"last": None, "best_on_validation": "best_on_validation", "best_on_test": f"best_on_test, {ON_TEST}"}


def test_one_epoch_has_no_selection(tiny_npz: Path) -> None:
    """Among one epoch nothing is selected: it is the same replicate, which looks at the test images once and says nothing."""
    config = config_for(tiny_npz, epochs=1, selection="best_on_test")
    (report,) = train(config)
    assert not report.run_facts.keys() & {FACT}
    assert not any(name.startswith("selection/") for name in report.metrics)
    same = config_for(tiny_npz, epochs=1)
    assert identity_of("ann", config, data_digest="", seed=0) == identity_of("ann", same, data_digest="", seed=0)


@pytest.mark.parametrize(
    ("module", "options"),
    [
        (converted_snn, {"epochs": 3}),
        (converted_snn, {"epochs": 1, "finetune_epochs": 3}),
        (bitnet, {"epochs": 1, "pretrain_epochs": 3, "time_steps": 2}),
    ],
)
def test_a_network_that_starts_from_a_selected_one_says_so(
    tiny_npz: Path, tmp_path: Path, module: Any, options: dict[str, Any]
) -> None:
    """A selection on the test images is said of a network too whose source network alone, or itself alone, has several epochs."""
    common = {"layout": "4 M 4", "batch_size": 32, "validation_fraction": 0.25, "device": "cpu", "selection": "best_on_test"}
    config = module.Config(**{"data": str(tiny_npz), **common, **options})
    reports = list(train(config, tmp_path / "child", module, keep_weights=True))
    assert {report.run_facts[FACT] for report in reports} == {f"best_on_test, {ON_TEST}"}
    source = module.source_network(config)
    assert source.active_selection == ("best_on_test" if source.epochs > 1 else "last")
    if module is converted_snn:
        assert ("test/accuracy" in reports[0].metrics) == (len(reports) == 1)
        assert reports[-1].metrics["selection/epoch"] in (range(2, 5) if config.finetune_epochs else (1,))


def test_a_selection_among_pruned_networks_is_refused(tiny_npz: Path) -> None:
    """An earlier epoch has more filters than the study asks for."""
    config = config_for(tiny_npz, prune="l1", selection="best_on_validation")
    (broken,) = ann.problems(config, (8, 8, 1))
    assert (broken.field, broken.repair) == ("selection", "write selection: last, or prune: none")
