"""The benchmark of what stands around the kernels, in its smallest form."""

import dataclasses
import json
import sys
import time

import pytest
import torch

from tests.benchmarks import pipeline
from tests.benchmarks.converted_evaluation import backend_of, compared, config_of, converted, shown
from trainables import ann

SMALL = ann.Config(**pipeline.DIGITS, layout="4 M 4", num_train_images=33)
AUGMENTED = dataclasses.replace(SMALL, flip=True, crop_padding=1, image_downscale=2)


def test_the_loader_is_a_share_of_the_trainer() -> None:
    """Loader and trainer are measured on the same images, and the share is what one takes of the other's time."""
    it = pipeline.trained(AUGMENTED, pipeline.random_images(AUGMENTED, side=9, channels=3))
    result = pipeline.loaded(it, time.perf_counter, turns=1)
    assert result["trainer_images_per_s"] > 0
    assert result["share"] == pytest.approx(1 / result["ratio"], rel=0.1)
    assert result["images_per_s_without_pixels"] > 0


@pytest.mark.parametrize(("side", "channels"), [(5, 1), (16, 3)])
def test_the_plain_loop_learns_the_same(side: int, channels: int) -> None:
    """The plain loop's weights are the trainer's to the last bit after every epoch, a last batch of one image included."""
    it = pipeline.trained(SMALL, pipeline.random_images(SMALL, side=side, channels=channels))
    plain = pipeline.plain_epoch(it)
    before = [parameter.clone() for parameter in it.network.parameters()]
    for epoch in (1, 2):
        it.trainer.train_epoch(epoch)
        weights = plain(epoch)
        for ours, theirs in zip(it.network.parameters(), weights, strict=True):
            assert torch.equal(ours, theirs)
    assert not any(torch.equal(a, b) for a, b in zip(before, it.network.parameters(), strict=True))


def test_what_differs_is_not_measured() -> None:
    """Nothing is said about two loops that do not learn the same weights."""
    it = pipeline.trained(SMALL, pipeline.random_images(SMALL, side=5, channels=1))
    it.trainer.train_epoch(1)
    with pytest.raises(ValueError, match=r"^trainer and plain loop must learn the same weights"):
        pipeline.stepped(it, time.perf_counter, turns=1)


def test_a_converted_network_on_both_sides() -> None:
    """A conversion is evaluated by both, gives the same classes, and its spike rates are stated for all layers that spike."""
    config = config_of(data="digits", layout="4 M 4 M", epochs=1, num_train_images=64)
    dataset = pipeline.random_images(config, side=6, channels=1)
    network, splits = converted(config, dataset)
    result = compared(network, shown(splits, 4), 5, time.perf_counter, turns=1)
    assert result["ratio"] > 0
    assert len(result["spike_rates"]) == 2
    assert all(0 <= rate <= 1 for rate in result["spike_rates"].values())
    poisson = config_of(data="digits", layout="4 A 4", epochs=1, encoding="poisson")
    assert backend_of(poisson, dataset) == ("torch (the event-driven backend takes inputs that are the same at every time step)")


def test_steps_from_the_command_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The last line is JSON, whose ratios stand outside as well."""
    monkeypatch.setattr(pipeline, "STEPPED", {"digits": SMALL})
    monkeypatch.setattr(sys, "argv", ["pipeline", "--short", "--only", "step", "--json"])
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    pipeline.main()
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert results["ann_step_vs_torch_digits"] == results["threads=1"]["step"]["digits"]["ratio"] > 0
