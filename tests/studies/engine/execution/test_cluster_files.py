"""What docs/cluster has for Kubernetes and Slurm, as far as it can be tried without them; and that docs/clusters.md is true."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from tests.conftest import PATIENCE_S, descendants, read_if_there
from tests.studies.engine.execution.test_runner import assert_whole, mlflow_runs
from tests.studies.namespaces import Namespace, namespace, needs_namespaces, wait_until_files

FOLDER = Path(__file__).parents[4] / "docs" / "cluster"
WIDE = {**os.environ, "COLUMNS": "200"}
STAND_INS = {
    "srun": """\
        # stands in for Slurm's srun: runs the command here, as if on the node that --nodelist names
        while [[ $1 = --* ]]; do
          [[ $1 != --nodelist=* ]] || export STAND_IN_NODE=${1#*=}
          shift
        done
        exec "$@"
    """,
    "scontrol": """\
        # stands in for Slurm's scontrol: of two nodes; writes down what is to be queued again
        if [[ $1 = show ]]; then printf 'node1\\nnode2\\n'; else echo "$2" >>"$STAND_IN_FOLDER/requeued"; fi
    """,
    "hostname": """\
        # stands in for hostname on these nodes: each has an address of the loopback interface
        echo "127.0.0.${STAND_IN_NODE#node}"
    """,
}


def test_the_manifest_is_a_rayjob() -> None:
    """rayjob.yaml has every field that KubeRay's types require, and volumes, secrets and versions that fit together."""
    manifest: dict[str, Any] = yaml.safe_load((FOLDER / "rayjob.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    assert manifest["metadata"]["generateName"].endswith("-")
    spec, cluster = manifest["spec"], manifest["spec"]["rayClusterSpec"]
    assert spec["entrypoint"].split()[:2] == ["spikesweep", "run"]
    assert yaml.safe_load(spec["runtimeEnvYAML"]).keys() == {"env_vars"}
    assert all(isinstance(value, str) for value in yaml.safe_load(spec["runtimeEnvYAML"])["env_vars"].values())
    assert cluster["rayVersion"] == ray.__version__
    (workers,) = cluster["workerGroupSpecs"]
    assert workers["groupName"]
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for group in (cluster["headGroupSpec"], workers):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert {"name", "image", "resources"} <= container.keys()
        assert [mount["name"] for mount in container["volumeMounts"]] == [volume["name"] for volume in pod["volumes"]]
        assert container["envFrom"] == [{"secretRef": {"name": "spikesweep"}}]
        assert all(isinstance(variable["value"], str) for variable in container["env"])


def test_the_commands_of_the_page_exist() -> None:
    """Every option that docs/clusters.md gives to spikesweep, Ray or MLflow is one of that command."""
    page = (FOLDER.parent / "clusters.md").read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()]
    options: dict[tuple[str, ...], set[str]] = {}
    for line in lines:
        words = line.partition("  #")[0].split()
        if words[0] in {"spikesweep", "ray", "mlflow"}:
            num = 3 if words[:2] == ["ray", "job"] else 2
            options.setdefault(tuple(words[:num]), set()).update(word for word in words if word.startswith("--"))
    assert len(options) == 7
    for command, used in options.items():
        program = Path(sys.executable).with_name(command[0])
        said = subprocess.run([program, *command[1:], "--help"], capture_output=True, text=True, check=True, env=WIDE)
        assert used <= set(re.findall(r"--[a-z-]+", said.stdout)), command


def test_no_secret_is_written_down() -> None:
    """Passwords and tokens are in neither of the files."""
    for file in FOLDER.iterdir():
        assert "password=" not in file.read_text().lower().replace("password=…", ""), file


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Namespace]:
    """Where two nodes are one machine, and Slurm's commands are stand-ins."""
    for name, text in STAND_INS.items():
        program = tmp_path / "stand_ins" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/usr/bin/env bash\n{text}")
        program.chmod(0o755)
    with namespace(tmp_path) as inside:
        slurm = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": "1"}
        # the environment's activation puts its own programs first; none of the stand-ins is among them
        ours = {"STAND_IN_FOLDER": str(tmp_path), "SPIKESWEEP_VENV": sys.prefix}
        path = {"PATH": f"{tmp_path / 'stand_ins'}:{os.environ['PATH']}"}
        yield Namespace(inside.pid, {**inside.variables, **slurm, **ours, **path})


@needs_namespaces
@pytest.mark.slow
def test_the_slurm_script(world: Namespace, tiny_study: Path, tmp_path: Path) -> None:
    """slurm.sh runs a study on all nodes of its job; shortly before its time is up it stops the study in order and queues itself
    again; told to end it only stops; run again it finishes what is left, and leaves no process behind."""
    storage, script = tmp_path / "results", ("bash", FOLDER / "slurm.sh", tiny_study, "--set", "config.epochs=300")
    for number in (signal.SIGINT, signal.SIGTERM):
        job = world.start(*script)
        wait_until_files(storage, "checkpoints/*/checkpoint.pt", 1, job)
        wait_for_workers(world, 2, job)
        os.kill(script_of(job), number)
        output, _ = job.communicate(timeout=PATIENCE_S)
        assert job.returncode == 1, output
        assert "run the same command again" in output
        parents, children, _ = mlflow_runs(storage)
        assert {found.info.status for found in [*parents, *children]} <= {"KILLED", "FINISHED"}
        assert (tmp_path / "requeued").read_text() == "4711\n"  # by the first signal alone
        assert_no_ray(world)
    last = world.run(*script)
    assert last.returncode == 0, last.stdout
    assert_whole(storage, epochs=300)
    assert_no_ray(world)


def wait_for_workers(world: Namespace, num: int, job: "subprocess.Popen[str]") -> None:
    """Until so many processes train."""
    deadline = time.monotonic() + PATIENCE_S
    while len(world.workers()) < num:
        assert time.monotonic() < deadline
        assert job.poll() is None, job.communicate()[0]
        time.sleep(0.2)


def script_of(job: "subprocess.Popen[str]") -> int:
    """The script's own process."""
    return next(pid for pid in descendants(job.pid) if read_if_there(Path(f"/proc/{pid}/comm")).strip() == "bash")


def assert_no_ray(world: Namespace) -> None:
    """Every node's Ray ends soon after the script."""
    deadline = time.monotonic() + 30
    while world.raylets():
        assert time.monotonic() < deadline
        time.sleep(0.2)
