"""Studies as jobs of a real Ray cluster: what is shipped, what is refused here, what the job leaves behind."""

import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from aiohttp import ServerDisconnectedError
from ray.job_submission import JobDetails, JobStatus, JobType

from studies.engine.definition.loading import load_study
from studies.engine.errors import StudyError
from studies.engine.execution import ray_jobs
from studies.own_packages import PACKAGES
from tests.conftest import SPIKESWEEP
from tests.studies.engine.execution.test_runner import assert_whole, mlflow_runs
from tests.studies.namespaces import Namespace, namespace, needs_namespaces, wait_until_files
from tests.studies.servers import free_port

ROOT = Path(__file__).parents[4]
URL = "http://127.0.0.1:8265"


def submit(study: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``spikesweep submit`` on this machine, where no cluster is."""
    return subprocess.run([*SPIKESWEEP, "submit", str(study), *arguments], capture_output=True, text=True, check=False)


def test_what_is_shipped(tiny_study: Path, tmp_path: Path) -> None:
    """The four packages as setuptools would install them, and the study file; the copy runs as the original does."""
    staged = tmp_path / "staged"
    assert ray_jobs.stage_code(tiny_study, staged) == Path("tiny.yaml")
    files = {file.relative_to(staged) for file in staged.rglob("*") if file.is_file()}
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {Path(line) for line in tracked.stdout.splitlines()} <= files
    assert {file.parts[0] for file in files} == {*PACKAGES, "tiny.yaml"}
    assert {file.suffix for file in files} == set(ray_jobs.SHIPPED_SUFFIXES)
    command = [*SPIKESWEEP, "check", "tiny.yaml", "--no-timing"]
    result = subprocess.run(command, cwd=staged, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_shipped_study_stays_where_it_is(tmp_path: Path) -> None:
    """A study of the package is run from its place there, and needs no second copy."""
    assert ray_jobs.stage_code(ROOT / "studies" / "quickstart.yaml", tmp_path) == Path("studies/quickstart.yaml")
    assert not (tmp_path / "quickstart.yaml").exists()


def test_data_are_not_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, stores and caches that lie among the code stay here; code that is too large for Ray is refused, the largest named."""
    root = tmp_path / "checkout"
    for name in ("studies/mine.yaml", "studies/.git/config", "trainables/results/ledger.db", "analysis/__pycache__/a.pyc"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("content")
    (root / "trainables/images.npz").write_bytes(b"0" * 1000)
    monkeypatch.setattr(ray_jobs, "FOLDER", root)
    ray_jobs.stage_code(root / "studies/mine.yaml", tmp_path / "staged")
    assert [file.name for file in (tmp_path / "staged").rglob("*") if file.is_file()] == ["mine.yaml"]

    with (root / "analysis/large.json").open("wb") as large:
        large.truncate(ray_jobs.MOST_BYTES)
    with pytest.raises(StudyError, match=r"limit of 100 MiB\n.*100 MiB, analysis/large\.json the largest"):
        ray_jobs.stage_code(root / "studies/mine.yaml", tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("storage=results", "storage"),
        ("storage=../results", "storage"),
        ("ledger=sqlite:///ledger.db", "ledger"),
        ("tracking_uri=sqlite:///mlflow.db", "tracking_uri"),
        ("tracking_uri=mlruns", "tracking_uri"),
        ("tracking_uri=file:mlruns", "tracking_uri"),
        ("tracking_uri=file://mlruns", "tracking_uri"),
    ],
)
def test_what_would_be_lost(change: str, where: str, tiny_study: Path) -> None:
    """A relative store would lie in the job's own folder, which is deleted: a problem with a repair."""
    with pytest.raises(StudyError) as caught:
        ray_jobs.check_portable(load_study(str(tiny_study), [change]), [change])
    (problem,) = caught.value.problems
    assert (problem.where, problem.value) == (where, change.partition("=")[2])
    assert "must be an absolute path or a URI" in problem.rule
    assert "/shared/" in problem.repair


def test_relative_data_would_not_be_found(tiny_study: Path, tiny_npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data file's relative path means nothing in the job's own folder."""
    monkeypatch.chdir(tiny_npz.parent)
    with pytest.raises(StudyError, match="data must be an absolute path"):
        ray_jobs.check_portable(load_study(str(tiny_study), [f"config.data={tiny_npz.name}"]), [])


@pytest.mark.parametrize(
    "change",
    [
        "storage=/shared/results",
        "storage=~/results",
        "ledger=sqlite:////shared/ledger.db",
        "ledger=postgresql+psycopg://me@host/db",
        "tracking_uri=http://host:5000",
        "tracking_uri=file:/shared/mlruns",
        "tracking_uri=file:///shared/mlruns",
    ],
)
def test_what_is_kept(change: str, tiny_study: Path) -> None:
    """Absolute paths and the URIs of servers are accepted."""
    ray_jobs.check_portable(load_study(str(tiny_study), [change]), [change])


def test_no_password_in_a_command(tiny_study: Path) -> None:
    """A URI with a password in an option is refused without showing it."""
    result = submit(tiny_study, "--address", URL, "--set", "ledger=postgresql+psycopg://me:secret@host/db")
    assert result.returncode == 2
    assert "a job's command must hold no password" in result.stderr
    assert "secret" not in result.stdout + result.stderr


def test_variables_are_passed_by_name(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named variables are passed; one that is not set, or is written with its value, is a problem that does not show it."""
    study = load_study(str(tiny_study))
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    assert ray_jobs.job_variables(["MLFLOW_TRACKING_USERNAME"], study) == {"MLFLOW_TRACKING_USERNAME": "me"}
    with pytest.raises(StudyError) as caught:
        ray_jobs.job_variables(["ABSENT", "PASSWORD=secret"], study)
    assert [problem.value for problem in caught.value.problems] == ["ABSENT", "PASSWORD"]


def test_the_tracking_server_of_the_environment_goes_along(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that takes MLflow's address from the environment has the same one as a job; one with its own does not need it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert ray_jobs.job_variables([], load_study(str(tiny_study))) == {"MLFLOW_TRACKING_URI": "http://host:5000"}
    assert ray_jobs.job_variables([], load_study(str(tiny_study), ["tracking_uri=http://other"])) == {}


@pytest.mark.parametrize("address", ["auto", "127.0.0.1:6379", "ray://host:10001", "http://me:secret@host:8265"])
def test_what_is_no_address_of_jobs(address: str) -> None:
    """Addresses for `run`, and those with a password, are refused with the right form."""
    with pytest.raises(StudyError, match="http://HOST:8265") as caught:
        ray_jobs.connect_jobs(address)
    assert "secret" not in str(caught.value)


def test_nobody_answers() -> None:
    """Where no job server is, it is said at once."""
    with pytest.raises(StudyError, match="must lead to a Ray cluster's job server"):
        ray_jobs.connect_jobs(f"http://127.0.0.1:{free_port()}")


def test_variables_that_overrule_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's client would follow RAY_ADDRESS to another cluster than the one that was named."""
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(StudyError, match="unset RAY_ADDRESS"):
        ray_jobs.connect_jobs(URL)


def test_a_wrong_study_is_not_shipped(tiny_study: Path) -> None:
    """What is wrong with a study is said here, before any cluster is asked."""
    result = submit(tiny_study, "--address", URL, "--set", "seeds=0")
    assert result.returncode == 2
    assert "seeds" in result.stderr


@dataclass(frozen=True)
class Jobs:
    """A job server that has one job, which prints and then stands as it is told."""

    details: JobDetails
    lost: Exception | None = None

    def get_address(self) -> str:
        return URL

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        yield f"log of {job_id}"
        if self.lost:
            raise self.lost

    def get_job_info(self, job_id: str) -> JobDetails:
        return self.details


def job(status: JobStatus, exit_code: int | None = None) -> JobDetails:
    return JobDetails(type=JobType.SUBMISSION, entrypoint="", status=status, message="its end", driver_exit_code=exit_code)


@pytest.mark.parametrize(
    ("details", "exit_code", "shown"),
    [
        (job(JobStatus.SUCCEEDED, 0), 0, "log of it"),
        (job(JobStatus.FAILED, 2), 2, "log of it"),
        (job(JobStatus.FAILED), 1, "log of itits end\n"),
        (job(JobStatus.STOPPED), 1, "log of itits end\n"),
    ],
)
def test_following(details: JobDetails, exit_code: int, shown: str) -> None:
    """Following shows what a job prints, ends as it does, and says why where no exit code does."""
    texts: list[str] = []
    assert ray_jobs.follow_job(Jobs(details), "it", texts.append) == exit_code
    assert "".join(texts) == shown


@pytest.mark.parametrize("error", [RuntimeError("closed"), ServerDisconnectedError("closed"), ConnectionError("closed")])
def test_a_lost_connection(error: Exception) -> None:
    """A job server that goes away while a job is followed is a problem, not a traceback."""
    with pytest.raises(StudyError, match=r"must lead to a Ray cluster's job server\n.*closed"):
        ray_jobs.follow_job(Jobs(job(JobStatus.RUNNING), error), "it", print)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Namespace]:
    """A head with its dashboard and a token."""
    with namespace(tmp_path) as inside:
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
        inside.check("ray", "start", "--head", "--node-ip-address", "127.0.0.1", "--num-cpus", "2", **token)
        yield inside


def job_of(output: str) -> str:
    """The id in what submit prints."""
    return next(word for word in output.split() if word.startswith("raysubmit_"))


@needs_namespaces
@pytest.mark.slow
def test_a_study_as_a_job(cluster: Namespace, tiny_study: Path, tmp_path: Path) -> None:
    """A job runs the code that is on disk where it is submitted, and needs the cluster's token; a second one of the same study
    refuses; a stopped one leaves no run RUNNING, and the next ends the study whole. Values of variables are shown nowhere."""
    storage, checkout = tmp_path / "results", tmp_path / "checkout"
    ray_jobs.stage_code(tiny_study, checkout)
    shutil.copy(checkout / "trainables" / "bitnet.py", checkout / "trainables" / "my_bitnet.py")  # what the nodes do not have
    tiny_study.write_text(tiny_study.read_text().replace("trainable: bitnet", "trainable: my_bitnet"))
    here = {"PYTHONPATH": str(checkout)}
    cluster = replace(cluster, folder=checkout, variables={**cluster.variables, **here})
    arguments = ("submit", tiny_study, "--address", URL, "--set", "config.epochs=100", "--env", "A_SECRET")
    refused = cluster.spikesweep(*arguments, A_SECRET="xyzzy")
    assert refused.returncode == 2
    assert "RAY_AUTH_MODE=token" in refused.stdout

    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "A_SECRET": "xyzzy"}
    first = cluster.spikesweep(*arguments, **token)
    assert first.returncode == 0, first.stdout
    assert f"ray job stop {job_of(first.stdout)} --address {URL}" in first.stdout
    wait_until_files(storage, "checkpoints/*/checkpoint.pt", 1)
    cluster.signal_workers(signal.SIGSTOP)  # so that it is there for long enough
    second = cluster.spikesweep(*arguments, "--follow", **token)
    assert second.returncode == 2, second.stdout
    assert "a study has one driver at a time" in second.stdout

    cluster.signal_workers(signal.SIGCONT)
    cluster.check("ray", "job", "stop", job_of(first.stdout), "--address", URL, **token)
    parents, children, _ = mlflow_runs(storage)
    assert [parent.info.status for parent in parents] == ["KILLED"]
    assert {child.info.status for child in children} <= {"KILLED", "FINISHED"}
    last = cluster.spikesweep(*arguments, "--follow", **token)
    assert last.returncode == 0, last.stdout
    assert "6/6 done" in last.stdout
    assert_whole(storage, epochs=100)
    assert "xyzzy" not in first.stdout + second.stdout + last.stdout
