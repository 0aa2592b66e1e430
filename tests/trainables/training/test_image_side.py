"""Small training images at first: how they are downsized, when, what that costs, and where it cannot be."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.transforms.v2 import functional as torchvision

from tests.trainables.contract import results
from trainables import ann, bitnet, converted_snn
from trainables.costs import timing
from trainables.data.datasets import prepare
from trainables.data.normalisation import downsized
from trainables.training.loop import Trainer, fit, splits_of
from trainables.training.task import SmallImages

OPTIONS: dict[str, Any] = {
    "layout": "4 M 6 G",
    "first_image_side": 5,
    "first_image_side_fraction": 0.75,
    "validation_fraction": 0.25,
    "num_train_images": 48,
    "epochs": 2,
    "batch_size": 24,
    "device": "cpu",
}


@pytest.mark.parametrize(("shape", "side"), [((4, 3, 32, 32), 24), ((2, 1, 20, 31), 7), ((2, 2, 17, 9), 8), ((1, 1, 5, 5), 1)])
def test_images_are_downsized_as_torchvision_does(shape: tuple[int, ...], side: int) -> None:
    """They have torchvision's sizes and values, whatever lies beside what in memory."""
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for given in (images, images.contiguous(memory_format=torch.channels_last)):
        torch.testing.assert_close(downsized(given, side), torchvision.resize(images, [side], antialias=True))


@pytest.mark.parametrize("changes", [{}, {"mean_per_pixel": True}, {"mixup": 0.5, "crop_padding": 1}], ids=str)
def test_the_first_steps_have_small_images(changes: dict[str, Any], tiny_npz: Path, data_folder: Path) -> None:
    """The first three of four steps see 5x5 images, the last one and all evaluations 8x8 ones."""
    config = ann.Config(data=str(tiny_npz), **OPTIONS, **changes)
    dataset = prepare(config.data, data_folder)
    assert list(ann.problems(config, dataset.image_shape)) == []
    task = ann.task_of(config, dataset.image_shape, 2)
    seen: list[tuple[bool, tuple[int, ...]]] = []

    def build() -> Any:
        network = task.build()
        conv = network.parts["conv1"]
        conv.register_forward_pre_hook(lambda part, given: seen.append((part.training, tuple(given[0].shape[2:]))))
        return network

    list(fit(dataclasses.replace(task, build=build), config, dataset=dataset, checkpoint_folder=None))
    assert [side for in_training, side in seen if in_training] == [(5, 5)] * 3 + [(8, 8)]
    assert {side for in_training, side in seen if not in_training} == {(8, 8)}


def test_seconds_may_be_the_length(tiny_npz: Path, data_folder: Path) -> None:
    """Where a time budget is the length of training, images are small in the first part of the seconds."""
    config = ann.Config(data=str(tiny_npz), **OPTIONS, time_budget_s=100.0)
    dataset = prepare(config.data, data_folder)
    task, splits = ann.task_of(config, dataset.image_shape, 2), splits_of(config, dataset, torch.device("cpu"))
    network = task.build()
    task.prepare(network, splits)
    sides: list[int] = []
    network.parts["conv1"].register_forward_pre_hook(lambda _, given: sides.append(given[0].shape[2]))
    trainer = Trainer(task, config, network, splits)
    trainer.begin_epoch()
    for progress in (0.0, 0.74, 0.76, 1.0):
        trainer._progress = progress
        trainer.step(1, 0, torch.arange(24), 1)
    assert sides == [5, 5, 8, 8]


def test_a_resumed_training_has_the_sides_that_it_would_have_had(tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """Stopped after the first epoch, in the middle of the small images, it ends with the same numbers."""
    config = ann.Config(data=str(tiny_npz), **OPTIONS)
    dataset = prepare(config.data, data_folder)
    whole = list(ann.train(config, seed=0, dataset=dataset))
    reports = ann.train(config, seed=0, dataset=dataset, checkpoint_folder=tmp_path)
    next(reports)
    reports.close()  # type: ignore[attr-defined]  # a generator
    assert results(list(ann.train(config, seed=0, dataset=dataset, checkpoint_folder=tmp_path))) == results(whole)
    plain = list(ann.train(dataclasses.replace(config, first_image_side=None), seed=0, dataset=dataset))
    assert results(plain) != results(whole)


def test_costs_are_a_mean(tiny_npz: Path, data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Operations and seconds of training are those of small and of whole images, by their shares; evaluation is of whole ones."""
    config = ann.Config(data=str(tiny_npz), **OPTIONS)
    whole = ann.footprint(dataclasses.replace(config, first_image_side=None), (8, 8, 1), 2)
    small = ann.footprint(dataclasses.replace(config, first_image_side=None), (5, 5, 1), 2)
    mixed = ann.footprint(config, (8, 8, 1), 2)
    assert mixed.training_operations == 0.75 * small.training_operations + 0.25 * whole.training_operations
    assert dataclasses.replace(mixed, training_operations=0) == dataclasses.replace(whole, training_operations=0)

    def seconds_of_steps(task: Any, *_: object) -> float:
        return 8.0 if task.small_images is None else 4.0 if task.small_images == SmallImages(5, 1.0) else 1e9

    monkeypatch.setattr(timing, "_seconds_of_steps", seconds_of_steps)
    assert ann.timing(config, seed=0, dataset=prepare(config.data, data_folder)).seconds_per_step == 5.0


def test_source_networks_have_it() -> None:
    """A converted SNN's source network and a BITnet's have it; a BITnet that is not pre-trained has nothing to downsize."""
    fields: dict[str, Any] = {"layout": "4 M 6 G", "first_image_side": 5, "first_image_side_fraction": 0.75}
    kinds: list[tuple[Any, dict[str, Any]]] = [(converted_snn, {}), (bitnet, {"pretrain_epochs": 2})]
    for trainable, more in kinds:
        config = trainable.Config(**fields, **more)
        assert list(trainable.problems(config, (8, 8, 1))) == []
        source = trainable.source_network(config)
        assert source is not None
        assert source.small_images == SmallImages(5, 0.75)
        assert trainable.task_of(config, (8, 8, 1), 2).small_images is None
        assert ann.task_of(source, (8, 8, 1), 2).small_images == SmallImages(5, 0.75)
    assert "first_image_side" in bitnet.Config(**fields).inactive_fields()


@pytest.mark.parametrize("trainable", [ann, converted_snn, bitnet])
@pytest.mark.parametrize(
    ("changes", "rule", "repair"),
    [
        ({"layout": "4 M 6"}, "a layout whose weights fit maps of any size", "layout: 64 M 128 M G"),
        ({"first_image_side": 8}, "below the shorter side of the images as the network sees them (8)", "first_image_side: 6"),
        ({"image_downscale": 2}, "below the shorter side of the images as the network sees them (4)", "first_image_side: 3"),
        ({"layout": "4 M 4 M 4 G", "first_image_side": 3}, "a pool needs a map of at least 2x2", "a larger first_image_side"),
    ],
)
def test_rules(trainable: Any, changes: dict[str, Any], rule: str, repair: str) -> None:
    """What cannot be is one problem of the field, with the rule and something to write instead."""
    more = {"pretrain_epochs": 1} if trainable is bitnet else {}
    config = trainable.Config(**{**OPTIONS, **changes, **more})
    (problem,) = trainable.problems(config, (8, 9, 1))
    assert problem.field == "first_image_side"
    assert rule in problem.rule
    assert repair in problem.repair


def test_residual_networks_fit_any_side() -> None:
    """They end with a global average pool of their own."""
    config = ann.Config(**{**OPTIONS, "layout": "resnet20"})
    assert list(ann.problems(config, (8, 8, 1))) == []


def test_layouts_that_fit_no_image_are_their_own_problem() -> None:
    """A pool that meets a map of one pixel is told once, of the layout."""
    config = ann.Config(**{**OPTIONS, "layout": "4 M M M M G"})
    (problem,) = ann.problems(config, (8, 8, 1))
    assert problem.field == "layout"
