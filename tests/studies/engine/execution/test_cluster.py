"""A study on Ray clusters that are already there: found or named, of several nodes, with nodes that die or are cut off."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PATIENCE_S, SPIKESWEEP
from tests.studies.engine.execution.test_runner import assert_whole, mlflow_runs
from tests.studies.namespaces import Namespace, joined, namespace, needs_namespaces, wait_until_files

HEAD_ADDRESS = "127.0.0.1:6399"
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
UNTIL_ONE_NODE = """
import time, ray
ray.init("10.77.0.1:6399", log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) > 1:
    time.sleep(1)
"""
"""Ray gives a node up when five looks at it have failed, each of which takes up to 10 s."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Namespace]:
    """A network and processes of our own."""
    with namespace(tmp_path) as inside:
        yield inside


def start_head(inside: Namespace, num_cpus: int, host: str = "127.0.0.1", gpus: int = 0, **variables: str) -> None:
    """`ray start --head` without a dashboard."""
    node = ("--node-ip-address", host, "--num-cpus", str(num_cpus), "--num-gpus", str(gpus))
    inside.check("ray", "start", "--head", *node, "--port", "6399", "--include-dashboard", "false", **variables)


def add_node(inside: Namespace, head: str, host: str) -> None:
    """`ray start` of a node with one core."""
    inside.check("ray", "start", "--address", f"{head}:6399", "--node-ip-address", host, "--num-cpus", "1")


@needs_namespaces
@pytest.mark.slow
@pytest.mark.parametrize("address", ["auto", HEAD_ADDRESS])
def test_an_existing_cluster(address: str, world: Namespace, tiny_study: Path, tmp_path: Path) -> None:
    """`--address` runs the study on the cluster's nodes, found or named, with Ray's token where it has one. A share of a GPU is
    asked for and metered (Ray is told of one that is not there: the training itself is on the CPU)."""
    start_head(world, 2, gpus=1, **TOKEN)
    on_half_a_gpu = ("--set", "resources={gpus: 0.5}", "--set", "config.device=cpu")
    result = world.spikesweep("run", tiny_study, "--address", address, *on_half_a_gpu, **TOKEN)
    assert result.returncode == 0, result.stdout
    assert "6/6 done" in result.stdout
    assert_whole(tmp_path / "results")
    costs = [child.data.metrics for child in mlflow_runs(tmp_path / "results")[1]]
    assert [cost["cost/gpu_seconds"] for cost in costs] == pytest.approx([cost["cost/seconds"] / 2 for cost in costs])


@pytest.mark.slow
@needs_namespaces
def test_a_node_that_dies(world: Namespace, tiny_study: Path, tmp_path: Path) -> None:
    """A study runs on both of two nodes; when one is killed (-9), what it trained goes on from its checkpoint on the other,
    and the study ends whole."""
    start_head(world, 1)
    before = world.raylets()
    add_node(world, "127.0.0.1", "127.0.0.2")
    (node,) = world.raylets() - before
    driver = world.start(*SPIKESWEEP, "run", tiny_study, "--address", HEAD_ADDRESS, "--set", "config.epochs=50")
    wait_until_files(tmp_path / "results", "checkpoints/*/checkpoint.pt", 2, driver)
    assert len(world.workers()) == 2
    os.kill(node, signal.SIGKILL)
    output, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, output
    assert_whole(tmp_path / "results", epochs=50)


@needs_namespaces
@pytest.mark.slow
def test_a_node_that_is_cut_off(world: Namespace, tiny_study: Path, tmp_path: Path) -> None:
    """A node whose cable is pulled for longer than Ray waits, and put back, loses its replicates to the others; the study ends
    whole, and what it still wrote on its own hurts nothing."""
    with joined(world, ("head", "node"), ("10.77.0.1", "10.77.0.2")) as other:
        start_head(world, 1, "10.77.0.1")
        add_node(other, "10.77.0.1", "10.77.0.2")
        arguments = ("run", tiny_study, "--address", "10.77.0.1:6399", "--set", "config.epochs=400")
        driver = world.start(*SPIKESWEEP, *arguments)
        wait_until_files(tmp_path / "results", "checkpoints/*/checkpoint.pt", 2, driver)
        other.check("ip", "link", "set", "node", "down")
        world.check(sys.executable, "-c", UNTIL_ONE_NODE)
        assert driver.poll() is None, driver.communicate()[0]
        other.check("ip", "link", "set", "node", "up")
        output, _ = driver.communicate(timeout=2 * PATIENCE_S)
        assert driver.returncode == 0, output
    assert_whole(tmp_path / "results", epochs=400)
