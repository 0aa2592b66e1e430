"""Footprints: what a config takes, known before it is trained, is what training it takes."""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from trainables import ann, bitnet, converted_snn, response_surface
from trainables.costs.footprint import Footprint
from trainables.data.datasets import prepare

TRAINED: list[tuple[Any, Mapping[str, Any]]] = [
    (bitnet, {}),
    (bitnet, bitnet.PUBLISHED),
    (bitnet, {"time_steps": 1}),
    (bitnet, {"eval_time_steps": 7, "layout": "4 S 6 M F5"}),
    (bitnet, {"layout": "4 A 6 M", "pool_on": "drive", "image_downscale": 2}),
    (bitnet, {"gradient": "rate_collapsed"}),
    (bitnet, {"normalisation": "batch_norm", "layout": "4 A 6 M F5", "pool_on": "drive"}),
    (ann, {"layout": "4 S 6 S 8", "batch_norm": True}),
    (ann, {"layout": "4 M 6 A G F5", "batch_norm": True, "first_layer": "whitening", "pool_before_activation": True}),
    (bitnet, {"layout": "4 M 6 A G F5", "first_layer": "whitening"}),
    (ann, {"layout": "resnet20", "feature_scale": 0.125, "dropout": 0.1}),
    (ann, {"layout": "resnet20", "feature_scale": 0.125, "junction_activation": False, "num_plain_convolutions": 3}),
    (converted_snn, {}),
    (converted_snn, {"encoding": "poisson", "readout": "spikes", "layout": "4 M 6 S"}),
    (converted_snn, {"layout": "resnet20", "feature_scale": 0.125, "batch_norm": True, "eval_time_steps": 5}),
    (converted_snn, {"finetune_epochs": 1, "bias_correction": True}),
    (converted_snn, {"layout": "4 M 6 G", "batch_norm": True, "first_layer": "whitening", "pool_before_activation": True}),
]


def config_of(trainable: Any, tiny_npz: Path, changes: Mapping[str, Any]) -> Any:
    common = {"data": str(tiny_npz), "validation_fraction": 0.25, "layout": "4 M 6", "epochs": 1, "device": "cpu"}
    common |= {} if trainable is ann else {"time_steps": 3}
    return trainable.Config(**{**common, **changes})


@pytest.mark.parametrize(("trainable", "changes"), TRAINED, ids=str)
def test_operations_are_those_that_are_logged(
    trainable: Any, changes: Mapping[str, Any], tiny_npz: Path, data_folder: Path
) -> None:
    """The operations of an image are exactly what a trained replicate reports, whatever its layers, steps and encoding."""
    config = config_of(trainable, tiny_npz, changes)
    *_, report = trainable.train(config, seed=0, dataset=prepare(config.data, data_folder))
    assert trainable.footprint(config, (8, 8, 1), 2).operations_per_image == report.metrics["ops/dense_operations"]


def test_operations_by_hand() -> None:
    """A constant image is multiplied once, spikes at every step, padding never; evaluation has steps of its own."""
    config = bitnet.Config(layout="2 S", time_steps=3, eval_time_steps=5)
    convolution, output = 2 * (3 + 2) ** 2, 2 * 2 * 2 * 10  # stride 2 on a side of 4: kernel positions 1, 2, 3 less the padding's
    footprint = bitnet.footprint(config, (4, 4, 1), 10)
    assert footprint.operations_per_image == convolution + 5 * output
    assert footprint.training_operations == convolution + 3 * output
    assert footprint.num_parameters == 2 * 9 + 2 + 8 * 10 + 10


def test_a_conversion_has_its_own_footprint() -> None:
    """A conversion trains nothing unless it is fine-tuned; its source network's training is the source network's."""
    config = converted_snn.Config(layout="8 M 8", time_steps=4, encoding="poisson")
    mere, tuned = (
        converted_snn.footprint(dataclasses.replace(config, finetune_epochs=epochs), (8, 8, 1), 10) for epochs in (0, 1)
    )
    source = ann.footprint(converted_snn.source_network(config), (8, 8, 1), 10)
    assert mere.training_operations == 0
    assert tuned.training_operations == mere.operations_per_image == 4 * source.training_operations
    assert source.training_operations == source.operations_per_image
    assert mere.num_parameters == source.num_parameters


def test_the_surface_costs_what_it_reports(data_folder: Path) -> None:
    """The response surface knows its operations, too, and takes no memory."""
    config = response_surface.Config(a=0.3, b=-0.7)
    (report,) = response_surface.train(config, seed=0, dataset=prepare("none", data_folder))
    operations = int(report.metrics["ops/dense_operations"])
    assert response_surface.footprint(config, (1, 1, 1), 2) == Footprint(0, operations, operations, 0, 0)


@pytest.mark.parametrize("trainable", [ann, bitnet, converted_snn])
def test_nothing_is_allocated(trainable: Any) -> None:
    """The footprint of a network that no machine could hold is known all the same."""
    footprint = trainable.footprint(trainable.Config(layout="99999 M 99999 99999"), (32, 32, 3), 10)
    assert footprint.num_parameters > 1.5e11
    assert footprint.memory_bytes > 4 * footprint.num_parameters


@settings(max_examples=25)
@given(time_steps=st.integers(1, 40), batch_size=st.integers(1, 200), scale=st.floats(0.1, 2))
def test_more_needs_more_memory(time_steps: int, batch_size: int, scale: float) -> None:
    """More time steps, larger batches and wider networks never need less memory; nor does AdamW than SGD, nor an average."""

    def memory(**changes: Any) -> int:
        options = {"layout": "16 M 16", "time_steps": time_steps, "batch_size": batch_size, "feature_scale": scale}
        options |= {"gradient": "surrogate"}  # a factor for the heap that does not change with the sizes
        return bitnet.footprint(bitnet.Config(**{**options, **changes}), (16, 16, 1), 10).memory_bytes

    base = memory()
    assert base <= memory(time_steps=time_steps + 1)
    assert base <= memory(batch_size=batch_size + 1)
    assert base <= memory(feature_scale=scale * 2)
    assert memory(optimizer="sgd") < base < memory(ema_decay=0.9)


@settings(max_examples=25)
@given(
    batch_size=st.integers(1, 300),
    scale=st.floats(0.1, 4),
    gradient=st.sampled_from(["rate_collapsed", "straight_through", "surrogate"]),
    num_micro_batches=st.integers(1, 70),
)
@example(batch_size=300, scale=1.0, gradient="straight_through", num_micro_batches=4)  # blocks of 37 MiB, then of 30
def test_parts_need_less_memory(batch_size: int, scale: float, gradient: Any, num_micro_batches: int) -> None:
    """More parts of a batch are never predicted to take more memory; parameters and operations are as many as ever."""
    config = bitnet.Config(layout="16 M 16", batch_size=batch_size, feature_scale=scale, gradient=gradient)
    whole, parts, more_parts = (
        bitnet.footprint(config, (32, 32, 3), 10, n) for n in (1, num_micro_batches, num_micro_batches + 1)
    )
    assert whole == bitnet.footprint(config, (32, 32, 3), 10)
    assert whole.memory_bytes >= parts.memory_bytes >= more_parts.memory_bytes
    assert whole.cpu_memory_bytes >= parts.cpu_memory_bytes >= more_parts.cpu_memory_bytes
    as_whole = {"memory_bytes": whole.memory_bytes, "cpu_memory_bytes": whole.cpu_memory_bytes}
    assert dataclasses.replace(parts, **as_whole) == whole


@pytest.mark.parametrize("trainable", [ann, bitnet, converted_snn])
def test_activations_shrink_with_the_parts(trainable: Any) -> None:
    """Where activations are most of what is needed, a quarter of a batch needs between a quarter and a half of the memory."""
    changes = {"finetune_epochs": 1, "calibration_images": 16} if trainable is converted_snn else {}
    config = trainable.Config(layout="16 16 16", batch_size=256, **changes)
    whole, parts = (trainable.footprint(config, (32, 32, 3), 10, num_micro_batches=n).memory_bytes for n in (1, 4))
    assert whole / 4 < parts < whole / 2


def test_bfloat16_needs_half_of_the_activations() -> None:
    """Of an analogue network; weights are as large as ever and a copy of half their size more, and spiking networks stay as they
    are.
    """
    wide: dict[str, Any] = {"layout": "16 M 16", "batch_size": 2048, "batch_norm": True}
    single, half = (ann.footprint(ann.Config(**wide, precision=p), (32, 32, 3), 10) for p in ("float32", "bfloat16"))
    assert 0.5 < half.memory_bytes / single.memory_bytes < 0.7  # the places of largest inputs have eight bytes in either
    deep: dict[str, Any] = {"layout": "512 512 512", "batch_size": 1}
    single, half = (ann.footprint(ann.Config(**deep, precision=p), (4, 4, 3), 10) for p in ("float32", "bfloat16"))
    assert half.memory_bytes > single.memory_bytes
    spiking = [bitnet.Config(precision=p, backend="torch") for p in ("float32", "bfloat16")]
    assert len({bitnet.footprint(config, (32, 32, 3), 10).memory_bytes for config in spiking}) == 1


def test_what_gradients_need() -> None:
    """In a deep network group means need less memory than all steps, and a surrogate's derivatives more than masks."""
    kinds = [{"gradient": gradient} for gradient in ("rate_collapsed", "straight_through", "surrogate")]
    configs = [bitnet.Config(layout=" ".join(["32"] * 12), time_steps=64, **kind) for kind in kinds]  # type: ignore[arg-type]
    collapsed, straight, surrogate = (bitnet.footprint(config, (32, 32, 3), 10).memory_bytes for config in configs)
    assert collapsed < straight < surrogate


@pytest.mark.parametrize(
    ("changes", "kernels"),
    [({}, True), ({"gradient": "rate_collapsed"}, True), ({"backend": "torch"}, False), ({"spike_penalty": 0.1}, False)],
)
def test_kernels_need_less_memory(changes: dict[str, Any], kernels: bool) -> None:
    """On a CPU a BITnet is predicted to take what its kernels take, or what plain PyTorch takes where that trains it."""
    config = bitnet.Config(**{**bitnet.PUBLISHED, "layout": "bitnet", "time_steps": 50, **changes})
    footprint = bitnet.footprint(config, (32, 32, 3), 10)
    assert footprint.memory_on(gpu=True) == footprint.memory_bytes
    ratio = footprint.memory_bytes / footprint.memory_on(gpu=False)
    assert ratio > 20 if kernels else ratio == 1


@pytest.mark.parametrize(
    "changes", [{"normalisation": "initial_gain"}, {"pretrain_epochs": 1, "readout": "potential", "loss": "mse"}], ids=str
)
def test_what_prepares_a_network_needs_memory(changes: dict[str, Any]) -> None:
    """Kernels or not, a network that is simulated before it is trained takes what plain PyTorch takes to evaluate it."""
    common = {**bitnet.PUBLISHED, "layout": "bitnet", "time_steps": 16}
    plain, prepared = (
        bitnet.footprint(bitnet.Config(**{**common, **some}), (32, 32, 3), 10) for some in ({"readout": "potential"}, changes)
    )
    images_and_steps, largest_map = 64 * 8, 64 * 32 * 32
    assert plain.cpu_memory_bytes < 4 * images_and_steps * largest_map * 4 < prepared.cpu_memory_bytes
    assert prepared.cpu_memory_bytes < prepared.memory_bytes == pytest.approx(plain.memory_bytes, rel=1e-3)


MEASURED: dict[str, tuple[Any, dict[str, Any]]] = {
    "bitnet, defaults": (bitnet, {"feature_scale": 0.25, "time_steps": 4}),
    "bitnet, few steps": (bitnet, {**bitnet.PUBLISHED, "feature_scale": 0.25, "time_steps": 4}),
    "bitnet, many steps": (bitnet, {**bitnet.PUBLISHED, "feature_scale": 0.25, "time_steps": 16}),
    "bitnet, many steps, torch": (bitnet, {"feature_scale": 0.25, "time_steps": 16, "backend": "torch"}),
    "bitnet, collapsed": (
        bitnet,
        {**bitnet.PUBLISHED, "feature_scale": 1.0, "time_steps": 32, "gradient": "rate_collapsed"},
    ),
    "bitnet, standardised weights": (bitnet, {"layout": "bitnet", "time_steps": 2, "normalisation": "weight_standardisation"}),
    "bitnet, batch norm": (bitnet, {"feature_scale": 0.5, "time_steps": 4, "normalisation": "batch_norm"}),
    "bitnet, surrogate": (bitnet, {"feature_scale": 0.25, "time_steps": 8, "gradient": "surrogate", "batch_size": 32}),
    "ann, batch norm": (ann, {"batch_norm": True, "feature_scale": 0.5}),
    "ann, residual": (ann, {"layout": "resnet20", "batch_norm": True}),
    "ann, QCFS": (ann, {"batch_norm": True, "feature_scale": 0.5, "activation": "qcfs"}),
    "ann, bfloat16": (ann, {"batch_norm": True, "feature_scale": 0.5, "precision": "bfloat16"}),
    "ann, QCFS, bfloat16": (ann, {"batch_norm": True, "feature_scale": 0.5, "activation": "qcfs", "precision": "bfloat16"}),
    "converted": (converted_snn, {"feature_scale": 0.25, "time_steps": 32}),
}


def grown_by(kind: str, npz: Path, data_folder: Path) -> None:
    """Train a config, and print by how many bytes this process has grown at its largest."""
    trainable, config = measured(kind, npz)
    dataset = prepare(config.data, data_folder)
    small = {"layout": "2 M 2", "num_train_images": 8, "image_downscale": 4, "batch_size": 4}
    list(trainable.train(dataclasses.replace(config, **small), seed=0, dataset=dataset))  # what libraries take
    before = bytes_of("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    list(trainable.train(config, seed=0, dataset=dataset))
    print(bytes_of("VmHWM") - before)


def measured(kind: str, npz: Path) -> tuple[Any, Any]:
    trainable, changes = MEASURED[kind]
    common = {"data": str(npz), "epochs": 1, "validation_fraction": 0.2, "device": "cpu", "num_train_images": 192}
    return trainable, trainable.Config(**{**common, **changes})


def bytes_of(key: str) -> int:
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
    return 1024 * int(line.split()[1])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", MEASURED)
def test_memory_is_what_training_takes(kind: str, data_folder: Path, tmp_path: Path) -> None:
    """A process grows by what was predicted, within a factor of 2 (1.5 on the machine where the factors were measured)."""
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, num in (("train", 500), ("test", 100)):
        arrays[f"{part}_images"] = generator.integers(0, 256, (num, 32, 32, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.arange(num) % 10
    npz = tmp_path / "noise.npz"
    np.savez(npz, allow_pickle=False, **arrays)
    code = f"from {__name__} import *; grown_by({kind!r}, Path({str(npz)!r}), Path({str(data_folder)!r}))"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    trainable, config = measured(kind, npz)
    footprints = [trainable.footprint(config, (32, 32, 3), 10)]
    if source := trainable.source_network(config):  # trained in the same process, before
        footprints.append(ann.footprint(source, (32, 32, 3), 10))
    assert 0.5 < max(footprint.cpu_memory_bytes for footprint in footprints) / int(finished.stdout) < 2


def test_two_threads_may_ask_at_once() -> None:
    """A driver's main thread and its writer want footprints, or check configs, at the same time: torch's tracing is kept from
    mixing them up, where weights are computed from others, too."""
    config = bitnet.Config(layout="4 M 6", normalisation="weight_standardisation")
    call, interval = nn.Module.__call__, sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        with ThreadPoolExecutor(2) as pool:
            asked = pool.map(lambda _: (bitnet.footprint(config, (8, 8, 1), 10), *bitnet.problems(config, (8, 8, 1))), range(40))
            found = set(asked)
    finally:
        sys.setswitchinterval(interval)
    assert len(found) == 1
    assert nn.Module.__call__ is call
