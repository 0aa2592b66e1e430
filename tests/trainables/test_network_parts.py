"""Parts of networks that learn in few epochs, in training, conversion and pre-training: what they are, and what stays fixed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.trainables.conversions import NUM_CLASSES, SHAPE, converted, random_analogue, random_calibration, run
from trainables import ann, bitnet, converted_snn
from trainables.conversion.structure import analogue_counterpart
from trainables.data.datasets import prepare
from trainables.kernels.choice import evaluator_for
from trainables.kernels.interface import BackendRequest
from trainables.networks.network import NORMS, Network
from trainables.networks.rewriting import share_weights
from trainables.networks.whitening import patch_covariance, whitening_filters
from trainables.spiking.neurons import SpikingNeuron
from trainables.spiking.pools import LargestCountPool
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.loop import splits_of

PARTS: dict[str, Any] = {
    "first_layer": "whitening",
    "initial_weights": "dirac",
    "batch_norm": True,
    "batch_norm_momentum": 0.4,
    "batch_norm_scale": 0.5,
    "pool_before_activation": True,
}


def learn(trainable: Any, tiny_npz: Path, data_folder: Path, folder: Path, **options: Any) -> dict[str, Tensor]:
    """The weights of a replicate that was trained on the tiny images."""
    base: dict[str, Any] = {
        "validation_fraction": 0.25,
        "epochs": 2,
        "batch_size": 16,
        "layout": "6 M 8 M",
        "num_train_images": 48,
    }
    config = trainable.Config(**{**base, "data": str(tiny_npz), "device": "cpu", **options})
    dataset = prepare(str(tiny_npz), data_folder)
    assert list(trainable.problems(config, dataset.image_shape)) == []
    list(trainable.train(config, seed=0, dataset=dataset, checkpoint_folder=folder, keep_weights=True))
    return CheckpointFolder(folder).weights()


def moved(network: Network, spread: float = 0.5) -> Network:
    """With batch norms that have learnt something, as after training."""
    generator = torch.Generator().manual_seed(2)
    for operation in network.operations_of(*NORMS):
        norm = network.parts[operation.name]
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        for values, centre in ((norm.weight, 1.0), (norm.bias, 0.0), (norm.running_mean, 0.0), (norm.running_var, 1.0)):
            noise = torch.rand(values.shape, generator=generator)
            values.data.copy_(centre + spread * (2 * noise - 1))
    return network


@pytest.mark.parametrize("activation", ["relu", "clamped_relu", "qcfs"])
def test_max_pools_before_activations_are_the_same_function(activation: str) -> None:
    """A network whose max pools stand before norm and activation gives what the one with the pools behind them gives, as
    long as no scale is negative; so does what a conversion makes of it, in which they stand behind.
    """
    options: dict[str, Any] = {"layout": "6 M 8 M 8", "batch_norm": True, "activation": activation}
    before = moved(random_analogue(**options, pool_before_activation=True))
    after = random_analogue(**options)
    after.load_state_dict(before.state_dict())
    images = torch.randn(1, 20, SHAPE[2], *SHAPE[:2])
    assert [operation.name for operation in before.operations][:4] == ["conv1", "pool1a", "norm1", "activation1"]
    torch.testing.assert_close(before(images)[0], after(images)[0])
    counterpart = analogue_counterpart(before, "membrane")
    assert [operation.name for operation in counterpart.operations][:3] == ["conv1", "activation1", "pool1a"]
    torch.testing.assert_close(counterpart(images)[0], after(images)[0], rtol=1e-4, atol=1e-5)
    assert [operation.name for operation in before.operations][:4] == ["conv1", "pool1a", "norm1", "activation1"]


@pytest.mark.parametrize("max_pool", ["largest_count", "or"])
def test_a_conversion_has_pools_of_spikes(max_pool: str) -> None:
    """Made from pools before activations, the spiking network is, spike for spike, the one made from pools behind them."""
    options: dict[str, Any] = {"layout": "6 M 8 M 8", "batch_norm": True}
    calibration = random_calibration()
    networks = []
    for pool_before_activation in (False, True):
        trained = moved(random_analogue(**options, pool_before_activation=pool_before_activation))
        network, _ = converted(
            trained, calibration, **options, pool_before_activation=pool_before_activation, max_pool=max_pool, time_steps=4
        )
        networks.append(network)
    kinds = [type(network.parts["pool1a"]) for network in networks]
    assert kinds == [LargestCountPool if max_pool == "largest_count" else nn.MaxPool2d] * 2
    (behind_TBK, spikes_behind), (before_TBK, spikes_before) = (
        run(network, next(calibration.spiking_batches()), 4) for network in networks
    )
    assert torch.equal(behind_TBK, before_TBK)
    assert all(torch.equal(spikes_behind[layer], spikes_before[layer]) for layer in spikes_behind)


def test_average_pools_of_drives_stay_where_they_are() -> None:
    """A conversion takes an average pool before its neurons; a max pool between it and the convolution is one of drives, too."""
    calibration = random_calibration()
    for layout, names in (("6 A 8", ["conv1", "pool1a", "activation1"]), ("6 M A 8", ["conv1", "pool1a", "pool1b"])):
        options: dict[str, Any] = {"layout": layout, "pool_before_activation": True}
        network, _ = converted(random_analogue(**options), calibration, **options)
        assert [operation.name for operation in network.operations][:3] == names
        assert not network.operations_of(LargestCountPool)
        assert len(network.operations_of(SpikingNeuron)) == 2


def test_batch_norms_have_their_momentum_and_scale(tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """After training a fixed scale is what it was, shifts are learnt; with momentum 1 the mean is that of the last batch."""
    options: dict[str, Any] = {**PARTS, "first_layer": "learnt", "layout": "6 M", "pool_before_activation": False}
    for momentum in (0.4, 1.0):
        config = ann.Config(**{**options, "batch_norm_momentum": momentum})
        network = ann.build(config, SHAPE, NUM_CLASSES).train()
        images = torch.randn(1, 20, SHAPE[2], *SHAPE[:2])
        network(images)
        mean = network.parts["conv1"](images[0]).mean(dim=(0, 2, 3))
        torch.testing.assert_close(network.parts["norm1"].running_mean, momentum * mean)
    trained = learn(ann, tiny_npz, data_folder, tmp_path, **options)
    assert torch.equal(trained["parts.norm1.weight"], torch.full((6,), 0.5))
    assert bool(trained["parts.norm1.bias"].all())
    free = learn(ann, tiny_npz, data_folder, tmp_path / "free", **options | {"batch_norm_scale": "learnt"})
    assert not torch.equal(free["parts.norm1.weight"], torch.ones(6))


@pytest.mark.parametrize(
    ("trainable", "options", "longer"),
    [
        (ann, {**PARTS}, {"epochs": 3}),
        (converted_snn, {**PARTS, "time_steps": 3, "finetune_epochs": 1}, {"finetune_epochs": 2}),
        (bitnet, {"first_layer": "whitening", "backend": "torch"}, {"epochs": 3}),
        (bitnet, {"first_layer": "whitening", "backend": "event_driven", "normalisation": "none"}, {"epochs": 3}),
        (
            bitnet,
            {name: value for name, value in PARTS.items() if name != "batch_norm"} | {"pretrain_epochs": 1, "time_steps": 2},
            {"epochs": 3},
        ),
    ],
    ids=["ann", "fine-tuning", "bitnet on torch", "bitnet on the kernels", "pre-trained bitnet"],
)
def test_whitening_filters_are_never_learnt(
    trainable: Any, options: dict[str, Any], longer: dict[str, Any], tiny_npz: Path, data_folder: Path, tmp_path: Path
) -> None:
    """Trained for longer, in whatever way, a network has the same filters in its first layer, and another bias there."""
    short, long = (
        learn(trainable, tiny_npz, data_folder, tmp_path / name, **{**options, **more})
        for name, more in (("short", {}), ("long", longer))
    )
    assert torch.equal(short["parts.conv1.weight"], long["parts.conv1.weight"])
    assert not torch.equal(short["parts.conv1.bias"], long["parts.conv1.bias"])
    others = [key for key in short if key.startswith("parts.conv2.") and key.endswith(("weight", "original"))]
    assert others
    assert not any(torch.equal(short[key], long[key]) for key in others)


def test_a_pretrained_bitnet_starts_from_the_source_network_s_parts(tiny_npz: Path, data_folder: Path) -> None:
    """Its source network has all parts; whitening filters reach it with the scale of batch norms."""
    config = bitnet.Config(
        data=str(tiny_npz), layout="6 M 8", pretrain_epochs=1, **{key: part for key, part in PARTS.items() if key != "batch_norm"}
    )
    source = bitnet.source_network(config)
    assert source is not None
    assert {name: getattr(source, name) for name in PARTS} == PARTS
    dataset = prepare(str(tiny_npz), data_folder)
    task = ann.task_of(source, dataset.image_shape, 2)
    network = task.build()
    splits = splits_of(source, dataset, torch.device("cpu"))
    task.prepare(network, splits)
    plain = ann.task_of(ann.Config(layout="6 M 8", first_layer="whitening"), dataset.image_shape, 2)
    whole = plain.build()
    plain.prepare(whole, splits)
    torch.testing.assert_close(network.parts["conv1"].weight, 0.5 * whole.parts["conv1"].weight)  # type: ignore[operator]
    spiking = bitnet.build(config, dataset.image_shape, 2)
    share_weights(analogue_counterpart(network, "membrane"), spiking)
    assert torch.equal(spiking.parts["conv1"].weight, network.parts["conv1"].weight)  # type: ignore[arg-type]


def test_a_bitnet_s_whitening_filters_have_the_drive_s_size(tiny_npz: Path, data_folder: Path) -> None:
    """Where drives are normalised, they are scaled until the first layer's drive has the standard deviation drive_std."""
    dataset = prepare(str(tiny_npz), data_folder)
    for normalisation in ("weight_standardisation", "batch_norm", "initial_gain"):
        config = bitnet.Config(
            data=str(tiny_npz), layout="6 M 8", first_layer="whitening", normalisation=normalisation, drive_std=0.4
        )
        splits = splits_of(config, dataset, torch.device("cpu"))
        task = bitnet.task_of(config, dataset.image_shape, 2)
        network = task.build()
        task.prepare(network, splits)
        images, *_ = splits.train.batch(torch.arange(len(splits.train)))
        assert float(network.parts["conv1"](splits.normalise(images)).detach().std()) == pytest.approx(0.4, rel=0.05)


@pytest.mark.parametrize("changes", [{"image_downscale": 2}, {"mean_per_pixel": True}, {"num_train_images": 20}], ids=str)
def test_whitening_is_of_what_the_network_sees(changes: dict[str, Any], tiny_npz: Path, data_folder: Path) -> None:
    """The patches are those of normalised training images, downscaled and centred by pixel where these are, and of no others."""
    config = ann.Config(data=str(tiny_npz), layout="6 M 8", first_layer="whitening", **changes)
    dataset = prepare(config.data, data_folder)
    splits = splits_of(config, dataset, torch.device("cpu"))
    task = ann.task_of(config, dataset.image_shape, 2)
    network = task.build()
    task.prepare(network, splits)
    images, *_ = splits.train.batch(torch.arange(len(splits.train)))
    filters = whitening_filters(patch_covariance([splits.normalise(images)]), 6).float()
    torch.testing.assert_close(network.parts["conv1"].weight.flatten(1), filters)  # type: ignore[operator]


def test_pruned_filters_are_0_in_any_layer(tiny_npz: Path, data_folder: Path, tmp_path: Path) -> None:
    """So are those that whiten, with their bias, and the scale and shift of a pruned channel; the others stay as they were."""
    options = {**PARTS, "layout": "6 M 8 M"}
    whole = learn(ann, tiny_npz, data_folder, tmp_path / "whole", **options)
    pruned = learn(ann, tiny_npz, data_folder, tmp_path / "pruned", **options, prune="l1", prune_schedule="once")
    kept = pruned["parts.conv1.weight"].flatten(1).any(dim=1)
    assert int(kept.sum()) == 3
    assert torch.equal(pruned["parts.conv1.weight"][kept], whole["parts.conv1.weight"][kept])
    assert not bool(pruned["parts.conv1.bias"][~kept].any())
    kept = pruned["parts.conv2.weight"].flatten(1).any(dim=1)
    assert int(kept.sum()) == 4
    assert torch.equal(pruned["parts.norm2.weight"], 0.5 * kept)
    assert not bool(pruned["parts.norm2.bias"][~kept].any())


@pytest.mark.parametrize("layout", ["6 M 8 G", "6 A 8 A G F5"])
@pytest.mark.parametrize("per", ["layer", "channel"])
def test_a_global_pool_is_the_mean_of_a_map(layout: str, per: str) -> None:
    """An analogue network with G has the weights of channels alone, for images of any size, and gives what a plain linear layer
    over the whole map gives; the converted one runs on the kernels, as on torch.
    """
    network, plain = random_analogue(layout=layout), random_analogue(layout=layout.replace(" G", ""))
    plain.load_state_dict(network.state_dict() | shared_by_pixels(network, plain))
    images = torch.randn(1, 20, SHAPE[2], *SHAPE[:2])
    torch.testing.assert_close(network(images)[0], plain(images)[0], rtol=1e-4, atol=1e-5)
    assert network(torch.randn(1, 2, SHAPE[2], 15, 11))[0].shape == (1, 2, NUM_CLASSES)
    calibration = random_calibration()
    options: dict[str, Any] = {"layout": layout, "per": per, "max_pool": "or", "initial_membrane_potential": 0.5}
    spiking, _ = converted(network, calibration, **options)
    inputs = next(calibration.spiking_batches())
    evaluator, name = evaluator_for(
        spiking, BackendRequest(wanted="auto", input_map=SHAPE[:2], time_steps=9, constant_input=True)
    )
    assert name == "event_driven"
    assert evaluator is not None
    drives_TBK = evaluator.drives(inputs(0, 1)[0])
    torch.testing.assert_close(drives_TBK, run(spiking, inputs, 9)[0], rtol=1e-3, atol=1e-4)


def shared_by_pixels(network: Network, plain: Network) -> dict[str, Tensor]:
    """The weights of the first linear layer of ``network``, for every pixel of the map that ``plain`` flattens."""
    name, weight = next((key, value) for key, value in network.state_dict().items() if value.dim() == 2)
    pixels = plain.state_dict()[name].shape[1] // weight.shape[1]
    return {name: weight.repeat_interleave(pixels, dim=1) / pixels}


def test_a_global_pool_dithers_nothing() -> None:
    """Dithered initial membrane potentials are for the windows of 2x2 pools; a layer that G reads starts at one half."""
    network = bitnet.build(bitnet.Config(layout="6 M 8 G", initial_membrane_potential="dithered"), (8, 8, 1), 3)
    (_, pooled), (_, averaged) = network.neurons()
    assert len(set(pooled.start((6, 8, 8)).flatten().tolist())) == 4
    assert set(averaged.start((8, 4, 4)).flatten().tolist()) == {0.5}


def test_patches_need_pixels() -> None:
    """Images of fewer than 3x3 pixels, as they reach the network, have no patches to whiten."""
    for trainable in (ann, converted_snn, bitnet):
        config = trainable.Config(layout="4", first_layer="whitening", image_downscale=4)
        (problem,) = trainable.problems(config, (8, 8, 1))
        assert problem.field == "first_layer"
        assert problem.value == "2x2"
        assert "first_layer: learnt" in problem.repair
