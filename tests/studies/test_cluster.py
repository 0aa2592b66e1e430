"""A study on a Ray cluster that is already there: `ray start`, in a network and process namespace of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from studies.engine.ledger import list_ledger

NAMESPACE = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
"""Ray binds every interface; in here there is the loopback alone, and all processes end with the first."""


def namespaces_are_allowed() -> bool:
    """Whether this machine lets us make them."""
    try:
        return subprocess.run([*NAMESPACE, "ip", "link", "set", "lo", "up"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not namespaces_are_allowed(), reason="needs the right to make network namespaces")
@pytest.mark.parametrize("address", ["auto", "127.0.0.1:6399"])
def test_an_existing_cluster(address: str, tiny_study: Path, tmp_path: Path) -> None:
    """`--address` runs the study on the cluster's nodes, found or named, with Ray's token where it has one."""
    ray = Path(sys.executable).with_name("ray")
    script = f"""
        ip link set lo up
        {ray} start --head --node-ip-address 127.0.0.1 --port 6399 --num-cpus 2 --include-dashboard false >/dev/null 2>&1
        {sys.executable} -m studies run {tiny_study} --address {address}
    """
    # a home of its own, so that the token is the cluster's; a cluster without one needs no mode
    home = {"HOME": str(tmp_path), "RAY_AUTH_TOKEN": "0" * 64, "RAY_AUTH_MODE": "token"}
    command = [*NAMESPACE, "bash", "-c", script]
    result = subprocess.run(command, env={**os.environ, **home}, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "6/6 done" in result.stdout
    assert list_ledger(str(tmp_path / "results" / "ledgers" / "tiny.journal")) == {"tiny": {"COMPLETE": 6}}
