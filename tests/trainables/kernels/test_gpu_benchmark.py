"""What the GPU benchmark needs no GPU for: its peers compute the same, its counts, its words."""

import json
import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.benchmarks.gpu_training_step import (
    OPERATIONS_PER_MAC,
    Forward,
    arguments,
    build,
    formula,
    in_bfloat16,
    loop,
    macs_per_image_step,
    main,
    optimise,
    run_spikingjelly,
    spikingjelly_model,
    vs_fastest_peer,
)
from tests.trainables.kernels.chains import chain_of, inputs_of, labels_of
from trainables.kernels.gpu.chain import fused_layers
from trainables.networks.network import Network
from trainables.training.losses import mse_of_rates

T = 5


def peers(network: Network) -> dict[str, Forward]:
    """All of them, on a CPU."""
    layers = fused_layers(network)
    plain, optimised = spikingjelly_model(layers), spikingjelly_model(layers)
    optimise(optimised, inputs_of("constant", T)[0], T, level=1)
    return {
        "loop": lambda images, t: loop(layers, images, t),
        "loop in bfloat16": in_bfloat16(lambda images, t: loop(layers, images, t)),
        "spikingjelly": lambda images, t: run_spikingjelly(plain, images, t),
        "spikingjelly_memopt": in_bfloat16(lambda images, t: run_spikingjelly(optimised, images, t)),
    }


def gradient(network: Network, outputs_TBK: Tensor) -> Tensor:
    loss = mse_of_rates(outputs_TBK, labels_of(outputs_TBK.shape[1]))
    return torch.cat([grad.flatten() for grad in torch.autograd.grad(loss, list(network.parameters()))])


def test_peers_compute_the_same() -> None:
    """Every side of the benchmark gives the network's own spikes, step by step, and the loop its gradient, too."""
    network = chain_of(layout="8 M 8")
    images_BCHW = inputs_of("constant", T)[0]
    expected_TBK, _ = network(images_BCHW[None], T)
    for name, forward in peers(network).items():
        outputs_TBK = forward(images_BCHW, T)
        assert torch.equal(outputs_TBK, expected_TBK), name
        assert gradient(network, outputs_TBK).abs().max() > 0, name
    own, loops = gradient(network, expected_TBK), gradient(network, peers(network)["loop"](images_BCHW, T))
    assert float(functional.cosine_similarity(own, loops, dim=0)) > 0.9999


def test_work_of_bitnet6() -> None:
    """BITnet6 at feature scale 4 has 2.42 GMAC an image and step, of which its first layer's are done once."""
    with torch.device("meta"):
        network = build(4.0)
    first = 27 * 256 * 32 * 32
    assert round((macs_per_image_step(network) + first) / 1e9, 2) == 2.42
    assert OPERATIONS_PER_MAC == 6


def test_words() -> None:
    """Without words the whole table is measured; --short is small; the formula covers all steps and T = 1."""
    options = arguments([])
    assert (options.time_steps, options.batch_size, options.feature_scale) == ([4, 16, 50, 200], 128, 4.0)
    assert arguments(["--short"]).time_steps == [4]
    predicted = formula(arguments(["--batch-size", "32", "--time-steps", "50", "200"]))
    assert predicted["exact"].keys() == {"T=1", "T=50", "T=200"}
    assert predicted["exact"]["T=200"] < 24 * 1024
    assert predicted["collapsed"]["T=50"] < predicted["collapsed"]["T=200"]


def test_ratio() -> None:
    """Ours is held against the fastest peer that had memory enough."""
    rows: dict[str, dict[str, Any]] = {
        "exact": {"images_steps_per_s": 30},
        "loop": {"failed": "out of memory"},
        "spikingjelly": {"images_steps_per_s": 12},
    }
    assert vs_fastest_peer(rows, "exact") == 2.5
    assert vs_fastest_peer(rows, "collapsed") is None


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyTorch sees no GPU there is one line, and nothing is measured."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_training_step", "--json"])
    with pytest.raises(SystemExit, match=r"^gpu_training_step needs a CUDA GPU and PyTorch sees none: nothing was measured"):
        main()


def test_formula_from_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """--formula prints JSON and needs no GPU."""
    monkeypatch.setattr(sys, "argv", ["gpu_training_step", "--formula", "--short"])
    main()
    assert json.loads(capsys.readouterr().out)["collapsed"]["T=4"] > 0
