"""Every trainable resumes to the bit, repeats with its seed, and learns nothing from the test images."""

import hashlib
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.trainables.contract import results
from trainables import ann, bitnet, converted_snn
from trainables.data import encodings
from trainables.data.datasets import Dataset, prepare
from trainables.data.randomness import generator_for
from trainables.training import loop
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.configs import identity_of
from trainables.training.epoch_report import EpochReport
from trainables.training.files import Location, files_at, inside

AUGMENTED: dict[str, Any] = {
    "flip": "alternating",
    "crop_padding_mode": "reflect",
    "rotation": 15.0,
    "trivial_augment": True,
    "cutout": 2,
    "random_erasing": 0.5,
    "mixup": 0.2,
    "cutmix": 1.0,
    "label_smoothing": 0.1,
}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ann, dropout, batch norm, random pruning": (
        ann,
        {"dropout": 0.2, "batch_norm": True, "optimizer": "sgd", "flip": True, "prune": "random", "prune_epochs": 2},
    ),
    "ann, residual": (ann, {"layout": "resnet20", "feature_scale": 0.125, "dropout": 0.2, "epochs": 2}),
    "ann, L1 pruning": (ann, {"prune": "l1", "prune_schedule": "cubic", **AUGMENTED}),
    "bitnet, pruning by activation": (
        bitnet,
        {**bitnet.PUBLISHED, "prune": "activation", "prune_epochs": 2, "spike_penalty": 0.01},
    ),
    "bitnet, pretrained": (bitnet, {"pretrain_epochs": 2, "rate_target": 0.2}),
    "bitnet, rate-collapsed": (
        bitnet,
        {**bitnet.PUBLISHED, "gradient": "rate_collapsed", "pool_gradient": "split", "integrate": "raw"},
    ),
    "bitnet, standardised weights": (bitnet, {"normalisation": "weight_standardisation", "drive_std": 0.5, "prune": "l1"}),
    "bitnet, batch norms": (bitnet, {"normalisation": "batch_norm", "pool_on": "drive", "gradient": "surrogate"}),
    "bitnet, surrogate": (bitnet, {"gradient": "surrogate", "readout": "spikes"}),
    "bitnet, learnt potential, no output neurons": (
        bitnet,
        {"initial_membrane_potential": "learnt", "readout": "potential", "gradient_margin": 0.25, "time_steps": 2},
    ),
    "converted": (converted_snn, {"epochs": 2, "finetune_epochs": 2, "train_neurons": True}),
    "converted, Poisson, dropout": (
        converted_snn,
        {"epochs": 2, "finetune_epochs": 2, "encoding": "poisson", "dropout": 0.2, "spike_penalty": 0.01, "leak": 0.9},
    ),
}

ONE_OF_EACH = ("ann, L1 pruning", "bitnet, rate-collapsed", "converted")


def kind_of(kind: str, tiny_npz: Path) -> tuple[Any, Any]:
    """A trainable and its config."""
    trainable, changes = KINDS[kind]
    common = {"validation_fraction": 0.25, "epochs": 3, "batch_size": 16, "layout": "8 M 8", "crop_padding": 1, "device": "cpu"}
    return trainable, trainable.Config(data=str(tiny_npz), **{**common, **changes})


@pytest.mark.parametrize("kind", [kind if kind in ONE_OF_EACH else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS])
def test_resume_is_exact(kind: str, tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """Whatever is trained, interrupted after any epoch it ends with the reports, and an ANN with the weights, of one run."""
    trainable, config = kind_of(kind, tiny_npz)
    dataset = prepare(config.data, data_folder)

    def folders_and_reports(name: str, interrupted_after: int) -> tuple[Path, list[EpochReport]]:
        folder = tmp_path / name
        first = trainable.train(config, seed=3, dataset=dataset, checkpoint_folder=folder)
        list(itertools.islice(first, interrupted_after))
        first.close()
        return folder, list(trainable.train(config, seed=3, dataset=dataset, checkpoint_folder=folder))

    undisturbed, expected = folders_and_reports("undisturbed", 0)
    for epoch in range(1, expected[-1].epoch + 1):
        folder, reports = folders_and_reports(str(epoch), epoch)
        assert results(reports) == results(expected)
        if trainable is ann:
            digests = {hashlib.sha256((f / "weights.pt").read_bytes()).hexdigest() for f in (undisturbed, folder)}
            assert len(digests) == 1


@pytest.mark.parametrize("kind", ["ann, L1 pruning", "bitnet, pretrained", "converted, Poisson, dropout"])
def test_an_epoch_is_trained_again_to_the_bit(kind: str, store: Location, tiny_npz: Path, data_folder: Path) -> None:
    """A replicate whose newest checkpoint is truncated goes on from the one before, and ends with the reports of one run; in a
    folder or in S3, where its source network lies beside it.
    """
    trainable, config = kind_of(kind, tiny_npz)
    dataset = prepare(config.data, data_folder)
    expected = list(trainable.train(config, seed=3, dataset=dataset))
    folder = inside(store, "child")
    first = trainable.train(config, seed=3, dataset=dataset, checkpoint_folder=folder)
    list(itertools.islice(first, 2))
    first.close()
    files = files_at(folder)
    content = files.read("checkpoint.pt")
    assert content
    files.put("checkpoint.pt", lambda file: file.write(content[:-50]))
    assert len(CheckpointFolder(folder).reports()) == 1
    assert results(list(trainable.train(config, seed=3, dataset=dataset, checkpoint_folder=folder))) == results(expected)
    if source := trainable.source_network(config):
        identity = identity_of("ann", source, data_digest=dataset.digest, seed=3)
        assert CheckpointFolder(inside(store, identity)).finished_reports()[-1].final


@pytest.mark.slow  # the contract of trainables has it for one config of each
@pytest.mark.parametrize("kind", KINDS)
def test_seeds_repeat_and_matter(kind: str, tiny_npz: Path, data_folder: Path) -> None:
    """The same seed gives the same reports without any store, another seed others."""
    trainable, config = kind_of(kind, tiny_npz)
    dataset = prepare(config.data, data_folder)
    first, again, other = (results(list(trainable.train(config, seed=seed, dataset=dataset))) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_every_epoch_draws_anew(tiny_npz: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No two epochs share their order, their dropout or their Poisson spikes: each has random numbers by a name of its own."""
    names: list[tuple[int | str, ...]] = []

    def watched(*parts: int | str) -> torch.Generator:
        names.append(parts)
        return generator_for(*parts)

    for module in (loop, encodings):
        monkeypatch.setattr(module, "generator_for", watched)
    trainable, config = kind_of("converted, Poisson, dropout", tiny_npz)
    list(trainable.train(config, seed=3, dataset=prepare(config.data, data_folder)))
    drawn = [parts for parts in names if parts[1] in ("shuffle", "dropout", "train")]
    of_source_and_replicate = 2 * 2 * 2  # order and dropout in two epochs of each
    assert sum(parts[1] == "train" for parts in drawn) == 2 * 72
    assert len({parts for parts in drawn if parts[1] == "train"}) == 2 * 72
    assert sum(parts[1] != "train" for parts in drawn) == of_source_and_replicate
    assert len({parts for parts in drawn if parts[1] != "train"}) == of_source_and_replicate / 2  # the same names in both


def test_an_interrupted_source_network_goes_on(tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """A child whose source network was interrupted ends as one whose source network was not."""
    _, config = kind_of("converted", tiny_npz)
    dataset = prepare(config.data, data_folder)
    expected = list(converted_snn.train(config, seed=3, dataset=dataset))
    source = converted_snn.source_network(config)
    identity = identity_of("ann", source, data_digest=dataset.digest, seed=3)
    reports = ann.train(source, seed=3, dataset=dataset, checkpoint_folder=tmp_path / identity)
    next(reports)
    reports.close()  # type: ignore[attr-defined]  # a generator
    assert not CheckpointFolder(tmp_path / identity).finished_reports()
    assert results(list(converted_snn.train(config, seed=3, dataset=dataset, checkpoint_folder=tmp_path / "child"))) == results(
        expected
    )


def test_the_last_epoch_is_reported_not_the_best(tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """Test images change nothing but their own accuracy: with other test images a replicate has the same weights and reports."""
    config = ann.Config(data=str(tiny_npz), validation_fraction=0.25, epochs=3, batch_size=16, layout="8 M 8", device="cpu")
    dataset = prepare(config.data, data_folder)
    noise = np.random.default_rng(0).integers(0, 256, dataset.test_images.shape).astype(np.uint8)
    other = Dataset(**{**vars(dataset), "test_images": noise})
    runs = [
        list(ann.train(config, seed=0, dataset=d, checkpoint_folder=tmp_path / str(n))) for n, d in enumerate((dataset, other))
    ]
    first, second = (results(reports) for reports in runs)
    for reports in (first, second):
        last = reports[-1]
        del last["metrics"]["test/accuracy"], last["curves"]["test/accuracy_at_t"], last["correct"]["test"]
    assert first == second
    assert len({(tmp_path / str(number) / "weights.pt").read_bytes() for number in (0, 1)}) == 1
