"""What one batch does in a network before any training, against a plain loop over time steps."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from trainables import bitnet
from trainables.data.datasets import Dataset, Splits, default_data_folder, prepare
from trainables.data.randomness import generator_for
from trainables.diagnosis.first_batch import FEWEST_IMAGES, MOST_IMAGES, FirstBatch, at_the_start, extent_of, first_batch
from trainables.networks.network import Network
from trainables.training.loop import splits_of

SEED, NUM_IMAGES, BATCH_SIZE = 3, 24, 10


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return prepare("digits", default_data_folder())


def config_of(**changes: Any) -> bitnet.Config:
    common = {"layout": "4 M 6 M F7", "time_steps": 3, "batch_size": BATCH_SIZE}
    return bitnet.Config(**{**bitnet.PUBLISHED, **common, **changes})


def splits(config: bitnet.Config, dataset: Dataset) -> Splits:
    return splits_of(config, dataset, torch.device("cpu"))


def found_of(config: bitnet.Config, dataset: Dataset, num_images: int = NUM_IMAGES) -> FirstBatch:
    task = bitnet.task_of(config, dataset.image_shape, dataset.num_classes, SEED)
    return first_batch(task, config, splits(config, dataset), num_images)


def share(which: Tensor) -> float:
    return float(which.double().mean())


def plainly(config: bitnet.Config, dataset: Dataset) -> FirstBatch:
    """The same in float64: one time step after another, one neuron's equations, the mask's gradient by autograd."""
    task = bitnet.task_of(config, dataset.image_shape, dataset.num_classes, SEED)
    parts, network = splits(config, dataset), task.build()
    task.prepare(network, parts)
    weights = [parameter.detach().double().requires_grad_(parameter.dim() > 1) for parameter in network.parameters()]
    (w1, b1, w2, b2, w3, b3, w4, b4) = weights
    order = torch.randperm(len(parts.train), generator=generator_for(SEED, "shuffle", 1))[:NUM_IMAGES]
    images, labels, _ = parts.train.batch(order)
    image = (images.double() / 255 - parts.mean.double()) / parts.std.double()
    potentials: list[Any] = [config.initial_membrane_potential] * 4
    drives_LT: list[list[Tensor]] = [[], [], [], []]
    spikes_LT: list[list[Tensor]] = [[], [], [], []]
    heard_T = []

    def fire(layer: int, drive: Tensor) -> Tensor:
        open_gate = (drive > 0) & (drive < 1)
        u = potentials[layer] + drive.detach().clamp(0, 1)
        spikes = (u >= 1).double()
        potentials[layer] = u - spikes
        drives_LT[layer].append(drive.detach())
        spikes_LT[layer].append(spikes)
        passed = drive * open_gate
        with_gradient: Tensor = spikes + passed - passed.detach()
        return with_gradient

    outputs = torch.zeros(NUM_IMAGES, dataset.num_classes, dtype=torch.float64)
    for _ in range(config.time_steps):
        x = functional.max_pool2d(fire(0, functional.conv2d(image, w1, b1, padding=1)), 2)
        x = functional.max_pool2d(fire(1, functional.conv2d(x, w2, b2, padding=1)), 2).flatten(1)
        x = fire(2, functional.linear(x, w3, b3))
        heard_T.append(x.detach().any(dim=1))
        outputs = outputs + fire(3, functional.linear(x, w4, b4))
    target = functional.one_hot(labels, dataset.num_classes).double()
    (outputs / config.time_steps - target)[:BATCH_SIZE].square().mean().backward()  # type: ignore[no-untyped-call]
    layers = []
    for number, weight in enumerate((w1, w2, w3, w4)):
        drives, spikes = torch.stack(drives_LT[number]), torch.stack(spikes_LT[number]) > 0
        cut_off = spikes & ((drives <= 0) | (drives >= 1))
        by_unit = spikes.movedim(2, 0).flatten(1).any(dim=1)
        assert weight.grad is not None
        layers.append((spikes, cut_off, share(~by_unit), share(weight.grad != 0)))
    heard = torch.stack(heard_T)
    num_cut_off = sum(int(cut_off.sum()) for _, cut_off, *_ in layers[:-1])
    num_spikes = sum(int(spikes.sum()) for spikes, *_ in layers[:-1])
    return FirstBatch(
        num_images=NUM_IMAGES,
        time_steps=config.time_steps,
        silent_images=share(~heard.any(dim=0)),
        silent_images_at_1=share(~heard[0]),
        cut_off=num_cut_off / num_spikes,
        layers=tuple(
            dataclasses.replace(
                found,
                rate_at_1=share(spikes[0]),
                rate=share(spikes),
                dead_units=dead,
                cut_off=float(cut_off.sum() / spikes.sum()) if spikes.any() else None,
                weights_with_gradient=gradient,
            )
            for found, (spikes, cut_off, dead, gradient) in zip(found_of(config, dataset).layers, layers, strict=True)
        ),
    )


def numbers(found: FirstBatch) -> list[float | None]:
    layers = [value for layer in found.layers for value in list(vars(layer).values())[1:]]
    return [found.silent_images, found.silent_images_at_1, found.cut_off, *layers]


@pytest.mark.parametrize("potential", [0.0, 0.5])
def test_it_is_what_a_plain_loop_finds(potential: float, digits: Dataset) -> None:
    """Rates, silent images, dead units, spikes that are cut off, weights with a gradient: a loop in float64 finds the same."""
    config = config_of(initial_membrane_potential=potential)
    found, expected = found_of(config, digits), plainly(config, digits)
    assert numbers(found) == [value if value is None else pytest.approx(value, abs=1e-6) for value in numbers(expected)]
    assert (found.silent_images_at_1 > 0.2) is (potential == 0)
    assert [layer.layer for layer in found.layers] == ["layer1", "layer2", "layer3", "layer4"]


def test_every_gradient_sees_the_same_spikes(digits: Dataset) -> None:
    """Straight-through, collapsed over time and surrogate ones, the last of which cuts nothing off."""
    exact = found_of(config_of(), digits)
    collapsed = found_of(config_of(gradient="rate_collapsed"), digits)
    surrogate = found_of(config_of(gradient="surrogate"), digits)
    for other in (collapsed, surrogate):
        assert other.silent_images == exact.silent_images
        assert [layer.rate for layer in other.layers] == [layer.rate for layer in exact.layers]
    assert collapsed.cut_off == exact.cut_off
    assert surrogate.cut_off is None


def test_a_wider_mask_cuts_less_off(digits: Dataset) -> None:
    """The mask is the neuron's own, with its margin."""
    config = config_of()
    task = bitnet.task_of(config, digits.image_shape, digits.num_classes, SEED)

    def with_margin() -> Network:
        network = task.build()
        for _, neuron in network.neurons():
            neuron.model = dataclasses.replace(neuron.model, gradient_margin=0.5)
        return network

    narrow = first_batch(task, config, splits(config, digits), NUM_IMAGES)
    wide = first_batch(dataclasses.replace(task, build=with_margin), config, splits(config, digits), NUM_IMAGES)
    assert narrow.cut_off
    assert wide.cut_off is not None
    assert wide.cut_off < narrow.cut_off


def test_changed_images_are_looked_at(digits: Dataset) -> None:
    """Fewer training images than asked for, smaller and flipped ones, and batches of one."""
    config = config_of(num_train_images=12, image_downscale=2, flip=True, crop_padding=1, layout="4 M 4", batch_size=1)
    assert found_of(config, digits).num_images == 12


def test_the_random_numbers_of_the_caller_go_on(digits: Dataset) -> None:
    """And two looks find the same."""
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    assert found_of(config_of(), digits) == found_of(config_of(), digits)
    assert torch.rand(1) == expected


def test_only_what_acts_on_the_first_batch_tells_configs_apart() -> None:
    """Learning rate and epochs come later; the initial membrane potential does not."""
    assert at_the_start(config_of(lr=0.1, epochs=3, spike_penalty=0.5)) == at_the_start(config_of())
    assert at_the_start(config_of(initial_membrane_potential=0.5)) != at_the_start(config_of())


def test_a_look_is_bounded() -> None:
    """Small networks are looked at whole, BITnet6 with few images for its first steps, and what is too large not at all."""

    def extent(image_shape: tuple[int, int, int], **fields: Any) -> Any:
        return extent_of(bitnet.task_of(bitnet.Config(**fields), image_shape, 10), image_shape)

    small = extent((8, 8, 1), layout="8 M 16", time_steps=16)
    assert (small.num_images, small.time_steps) == (MOST_IMAGES, 16)
    large = extent((32, 32, 3), **bitnet.PRESETS["BITnet6"])
    assert large.num_images == FEWEST_IMAGES
    assert 1 < large.time_steps < 50
    assert large.operations <= 3e11
    long = extent((8, 8, 1), layout="8 M 16", time_steps=100_000)
    assert long.num_images * long.time_steps < MOST_IMAGES * 1000
    assert extent((1024, 1024, 3), layout="512 512", time_steps=1) is None
