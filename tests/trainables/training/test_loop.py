"""Training as a generator: what it reports, that it learns, that it resumes to the bit, that it fails clearly."""

from pathlib import Path
from typing import Any

import pytest
import torch

from trainables import ann, bitnet
from trainables.data.datasets import Split, prepare
from trainables.training import epoch_report
from trainables.training.epoch_report import EpochReport, TrainingError
from trainables.training.epochs import judging


def config_of(tiny_npz: Path, **changes: Any) -> bitnet.Config:
    options = {"validation_fraction": 0.25, "epochs": 4, "batch_size": 16, "layout": "64 M 64", "feature_scale": 0.0625}
    return bitnet.Config(**{"data": str(tiny_npz), "time_steps": 4, "crop_padding": 1, **options, **changes})


def test_it_learns_digits(data_folder: Path) -> None:
    """A small BITnet reads real digits after a few epochs, with most of its neurons silent at most steps."""
    config = bitnet.Config(data="digits", validation_fraction=0.25, epochs=4, batch_size=32, feature_scale=0.125)
    reports = list(bitnet.train(config, seed=0, dataset=prepare("digits", data_folder)))
    last = reports[-1]
    assert last.metrics["val/accuracy"] > 0.85
    assert last.metrics["test/accuracy"] > 0.85
    assert 0.6 < last.metrics["sparsity/overall"] < 0.95
    assert last.metrics["train/loss"] < reports[0].metrics["train/loss"]


@pytest.mark.parametrize("readout", ["spikes", "potential"])
def test_reports(readout: str, tiny_npz: Path, data_folder: Path) -> None:
    """One report an epoch with every measure, of neurons only where there are some; the last one alone has looked at the test
    images.
    """
    config, spikes = config_of(tiny_npz, readout=readout), readout == "spikes"
    reports = list(bitnet.train(config, seed=0, dataset=prepare(config.data, data_folder)))
    assert [report.epoch for report in reports] == [1, 2, 3, 4]
    spiking, output = ["layer1", "layer2"], "layer3" if spikes else "output"
    layers = [*spiking, output]
    spiking += [output, "overall"] if spikes else ["overall"]
    expected = {f"{measure}/{layer}" for measure in ("sparsity", "dead_neurons") for layer in spiking}
    expected |= {"spike_rate/overall", "spikes_per_neuron/overall"}
    expected |= {f"{measure}/{layer}" for measure in ("effective_acs", "effective_macs") for layer in layers}
    each_step = ("effective_acs", "effective_macs", "dense_operations", "energy_pj")
    totals = (*each_step, "ac_mac_ratio", "operations_per_dense_mac")
    expected |= {f"ops/{measure}" for measure in totals} | {"footprint_bytes"}
    expected |= {f"ops_input_each_step/{measure}" for measure in each_step}
    expected |= {"train/loss", "train/accuracy", "val/accuracy", "time/images_per_s", "memory/peak_bytes"}
    expected |= {"val/steps_to_within_one_point", "val/mean_accuracy_over_t"} | ({"val/ties"} if spikes else set())
    assert set(reports[0].metrics) == expected
    counts = {"num_classes": "2", "num_validation_images": "24", "num_test_images": "32"}
    assert counts.items() <= reports[0].run_facts.items()
    assert set(reports[-1].metrics) == expected | {"test/accuracy"}
    for report in reports:
        assert len(report.curves["accuracy_at_t"]) == 4
        assert report.curves["accuracy_at_t"][-1] == report.metrics["val/accuracy"]
        ties = report.curves.get("ties_at_t", [])
        assert (len(ties), ties[-1:]) == ((4, [report.metrics["val/ties"]]) if spikes else (0, []))
        assert report.metrics["sparsity/overall"] == pytest.approx(1 - report.metrics["spike_rate/overall"])
    assert [len(report.curves.get("test/accuracy_at_t", [])) for report in reports] == [0, 0, 0, 4]


def test_test_images_are_looked_at_once(tiny_npz: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among all evaluations of a replicate, one is of the test images: the last."""
    looked_at: list[int] = []
    evaluate = judging.evaluate

    def watched(task: Any, network: Any, splits: Any, part: Split, **options: Any) -> judging.Evaluation:
        looked_at.append(len(part))
        return evaluate(task, network, splits, part, **options)

    monkeypatch.setattr(judging, "evaluate", watched)
    config = config_of(tiny_npz)
    list(bitnet.train(config, seed=0, dataset=prepare(config.data, data_folder)))
    assert looked_at == [24, 24, 24, 24, 32]


def test_steps_to_within_by_hand() -> None:
    """The first step from which on the accuracy stays within the margin of its final value, however it came and went before."""
    assert epoch_report.steps_to_within([0.1, 0.9, 0.5, 0.895, 0.9], 0.01) == 4
    assert epoch_report.steps_to_within([0.9, 0.91, 0.9], 0.01) == 1
    assert epoch_report.steps_to_within([0.1, 0.9], 0.01) == 2


def test_divergence_is_an_error(tiny_npz: Path, data_folder: Path) -> None:
    """Weights that are no longer numbers end the training at that epoch, though spikes and loss stay finite."""
    config = config_of(tiny_npz, lr=1e38)
    with pytest.raises(TrainingError, match=r"epoch \d: the weights are no longer finite"):
        list(bitnet.train(config, seed=0, dataset=prepare(config.data, data_folder)))


def test_a_metric_that_is_no_number_is_an_error() -> None:
    """No report carries NaN or infinity."""
    with pytest.raises(TrainingError, match="epoch 2: not a finite number: train/loss"):
        EpochReport(2, 0, {"train/loss": float("nan"), "val/accuracy": 0.5}, {"accuracy_at_t": [0.5]}, 3)


def test_reports_are_stored_under_names_that_never_change() -> None:
    """A report is read back from what checkpoints and workers' messages hold, whose names are those of the first version."""
    stored = {"epoch": 2, "timestamp_ms": 7, "metrics": {"train/loss": 1.5}, "curves": {"accuracy_at_t": [0.5]}, "num_epochs": 3}
    stored |= {"facts": {"backend": "torch"}, "tables": {"conversion": [{"layer": "layer1"}]}}
    stored |= {"correct": {"test": "8 0123456789abcdef /w=="}}
    report = EpochReport.from_dict(stored)
    assert report.run_facts == {"backend": "torch"}
    assert report.as_dict() == stored


def test_checkpoints_hold_no_pickled_code(tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """A checkpoint loads weights-only."""
    config = config_of(tiny_npz)
    reports = bitnet.train(config, seed=0, dataset=prepare(config.data, data_folder), checkpoint_folder=tmp_path)
    next(reports)
    content = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert content["reports"][0]["epoch"] == 1


def test_a_last_batch_of_one_image_joins_the_one_before(tiny_npz: Path, data_folder: Path) -> None:
    """Batch norms cannot be trained on one value per channel, so that no batch has a single image; batch_size 1 is refused."""
    options: dict[str, Any] = {"data": str(tiny_npz), "validation_fraction": 0.25, "layout": "4 M 4 M 4 M", "batch_norm": True}
    config = ann.Config(**options, num_train_images=65, batch_size=16, epochs=2)
    assert len(list(ann.train(config, seed=0, dataset=prepare(config.data, data_folder)))) == 2
    assert [wrong.field for wrong in ann.problems(ann.Config(**options, batch_size=1), (8, 8, 1))] == ["batch_size"]
    pretrained = bitnet.Config(data=str(tiny_npz), layout="4 M", pretrain_epochs=1, batch_size=1)
    assert [wrong.field for wrong in bitnet.problems(pretrained, (8, 8, 1))] == ["batch_size"]
