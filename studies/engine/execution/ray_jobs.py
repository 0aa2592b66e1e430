"""Runs a study as a job of a Ray cluster: uploads the code that is on disk here and the study file, and nothing else.

The job is an ordinary ``spikesweep run`` on the cluster's head node, which does not need the submitting machine any more.
"""

import asyncio
import os
import re
import shlex
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import ClientError
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from studies.credentials import has_credentials, mask_credentials, mask_uri
from studies.engine.definition.study import Study
from studies.engine.errors import Problem, StudyError
from studies.engine.execution.ray_patches import silence_job_client
from studies.engine.recording.environment import COMMIT_VARIABLE, git_commit
from studies.own_packages import FOLDER, PACKAGES
from studies.plain_text import first_line
from studies.process_folders import temporary_folder

SHIPPED_SUFFIXES = (".py", ".yaml", ".json", ".jinja", ".typed")
"""The files of a package that are uploaded; other files in its folder (data, stores, caches) are not."""
MOST_BYTES = 100 * 2**20
"""The largest upload that Ray's job server accepts."""
SECONDS_TO_STOP = 60
"""How long ``ray job stop`` waits for the driver to record the end of its runs before it kills it."""
SECONDS_TO_CONNECT = 10.0
SECONDS_BETWEEN_LOOKS = 0.5
EXIT_CODE_STOPPED = 1

_STOP_AS_CTRL_C = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(SECONDS_TO_STOP)}
_OVERRULING = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Environment variables that Ray's job client follows instead of the address that it is given."""
QUOTES = "'\" "
"""What may stand around an override's value."""
_CONNECTION_ERRORS = (OSError, RuntimeError, ValueError, AuthenticationError, ClientError)


def connect_jobs(address: str) -> JobSubmissionClient:
    """A client of the job server at ``address``, which has answered.

    Raises:
        StudyError: The address is no URL, a variable would replace it, nobody answers there, or a token is missing.
    """
    silence_job_client()
    where = "--address"
    if not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", address):
        rule = "--address must be the head's dashboard, http://HOST:8265 (the cluster's own address is for run)"
        raise StudyError([Problem(where, rule, mask_uri(address), "give its URL, without user and password")])
    for name in _OVERRULING:
        if name in os.environ:
            rule, repair = "no variable may name another cluster, since Ray would use that one", f"unset {name}"
            raise StudyError([Problem(where, rule, f"{address}, but {name} is set", repair)])
    try:
        with suppress(urllib.error.HTTPError):  # an answer, if only to ask for a token
            # Ray itself would wait for minutes
            urllib.request.urlopen(f"{address.rstrip('/')}/api/version", timeout=SECONDS_TO_CONNECT).close()  # noqa: S310  # http(s)
        return JobSubmissionClient(address)
    except AuthenticationError:
        rule = "a cluster with a token must be given it"
        repair = "set RAY_AUTH_MODE=token, and put the cluster's token into RAY_AUTH_TOKEN or ~/.ray/auth_token"
        raise StudyError([Problem(where, rule, address, repair)]) from None
    except _CONNECTION_ERRORS as error:
        raise StudyError([_unanswered(address, error)]) from None


def submit_study(
    client: JobSubmissionClient, study: Study, overrides: Sequence[str], options: Sequence[str], variables: Mapping[str, str]
) -> str:
    """Upload the code and start the job; returns the job's id.

    Args:
        client: A client of the cluster's job server.
        study: The study, as it was checked here.
        overrides: The changes that it was loaded with; the job makes the same.
        options: Further options of ``spikesweep run``.
        variables: Environment variables of the job.

    Raises:
        StudyError: The upload would be too large, or the job server refused it.
    """
    with temporary_folder("job") as staged:
        settings = {**_STOP_AS_CTRL_C, COMMIT_VARIABLE: git_commit(), **variables}
        file = stage_code(Path(study.file), staged)
        command = ["python", "-m", "studies", "run", f"./{file}", "--address", "auto", *options]
        command += [word for override in overrides for word in ("--set", override)]
        try:
            job_id: str = client.submit_job(
                entrypoint=shlex.join(command),
                runtime_env={"working_dir": str(staged), "env_vars": settings},
                metadata={"study": study.stores.name, "git_commit": git_commit()},
            )
        except _CONNECTION_ERRORS as error:
            raise StudyError([_unanswered(client.get_address(), error)]) from None
    return job_id


def check_portable(study: Study, overrides: Iterable[str]) -> None:
    """Check that a study can run on the cluster's head node, in a folder that is deleted after the job.

    Raises:
        StudyError: A relative path would lead into that folder, or the command would show a password.
    """
    content, problems = study.content, []
    tracking_uri = content.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    places = {"storage": content.storage, "ledger": content.ledger, "tracking_uri": tracking_uri}
    for key, place in places.items():
        if place and _is_relative(place):
            rule = f"{key} must be an absolute path or a URI; a job's own folder is deleted with it"
            example = f"--storage /shared/{place}" if key == "storage" else f"/shared/{Path(place).name}"
            repair = f"give a folder that all nodes share, e.g. {example}, or the URI of a server"
            problems.append(Problem(key, rule, mask_uri(place), repair))
    for data in study.binder.datasets:
        if data.endswith(".npz") and _is_relative(data):
            rule, repair = "data must be an absolute path, since data files are not uploaded", f"e.g. /shared/{Path(data).name}"
            problems.append(Problem("data", rule, data, repair))
    for override in overrides:
        key, mark, value = override.partition("=")
        shown = f"{key}{mark}{mask_uri(value.strip(QUOTES))}"
        if has_credentials(value.strip(QUOTES)):
            rule = "a job's command must hold no password; Ray's dashboard shows it"
            repair = "leave it out of the URI, and pass it with --env PGPASSWORD or --env MLFLOW_TRACKING_PASSWORD"
            problems.append(Problem(key, rule, shown, repair))
    if problems:
        raise StudyError(problems)


def job_variables(names: Iterable[str], study: Study) -> dict[str, str]:
    """The named environment variables with their values, and MLflow's address if the study takes it from the environment.

    Raises:
        StudyError: A variable is not set.
    """
    names = list(names)
    rule, repair = "--env must name a variable that is set here; its value is not written", "export it, or correct the name"
    if unknown := [name for name in names if name not in os.environ]:
        raise StudyError([Problem("--env", rule, name.partition("=")[0], repair) for name in unknown])
    if not study.content.tracking_uri and os.environ.get("MLFLOW_TRACKING_URI"):
        names.append("MLFLOW_TRACKING_URI")
    return {name: os.environ[name] for name in names}


def stage_code(file: Path, folder: Path) -> Path:
    """Copy the packages and the study file to a folder; returns the study file's path in it.

    Raises:
        StudyError: Together they are larger than Ray accepts.
    """
    sources = {source.relative_to(FOLDER): source for package in PACKAGES for source in sorted((FOLDER / package).rglob("*"))}
    copies = {path: source for path, source in sources.items() if source.suffix in SHIPPED_SUFFIXES and source.is_file()}
    file = file.resolve()
    staged_file = file.relative_to(FOLDER) if file.is_relative_to(FOLDER / "studies") else Path(file.name)
    copies[staged_file] = file
    sizes = {path: source.stat().st_size for path, source in copies.items()}
    if sum(sizes.values()) >= MOST_BYTES:
        largest = max(sizes, key=lambda path: sizes[path])
        rule = f"the code that is uploaded must be less than Ray's limit of {MOST_BYTES / 2**20:g} MiB"
        value = f"{sum(sizes.values()) / 2**20:.0f} MiB, {largest} the largest with {sizes[largest] / 2**20:.0f} MiB"
        raise StudyError([Problem(str(FOLDER), rule, value, "move files that are not code out of the four packages")])
    for path, source in copies.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / path)
    return staged_file


def next_commands(job_id: str, address: str, study: str, overrides: Iterable[str]) -> dict[str, str]:
    """Commands that watch a job, stop it, and show its study; by purpose (watch, stop, state, answer)."""
    job = shlex.join([job_id, "--address", address])
    named = shlex.join([study, *(word for override in overrides for word in ("--set", override))])
    return {
        "watch": f"ray job logs --follow {job}",
        "stop": f"ray job stop {job}",
        "state": f"spikesweep status {named}",
        "answer": f"spikesweep report {named}",
    }


def follow_job(client: JobSubmissionClient, job_id: str, show: Callable[[str], Any]) -> int:
    """Show what a job prints until it ends; returns its exit code, 1 if it was stopped.

    Raises:
        StudyError: The connection was lost; the job continues.
    """

    async def show_logs() -> None:
        async for text in client.tail_job_logs(job_id):
            show(text)

    try:
        asyncio.run(show_logs())
        while not (details := client.get_job_info(job_id)).status.is_terminal():
            time.sleep(SECONDS_BETWEEN_LOOKS)
    except _CONNECTION_ERRORS as error:
        raise StudyError([_unanswered(client.get_address(), error)]) from None
    return _exit_code(details, show)


def _exit_code(details: JobDetails, show: Callable[[str], Any]) -> int:
    if details.status == JobStatus.SUCCEEDED:
        return 0
    if details.driver_exit_code is None and details.message:  # it never started, or its node died
        show(f"{details.message}\n")
    return details.driver_exit_code or EXIT_CODE_STOPPED


def _is_relative(place: str) -> bool:
    """Whether a path, or the path in a database's URL, depends on the folder that a command runs in."""
    place = re.sub(r"^(sqlite(\+\w+)?:///|file:(//)?(?=[^/]))", "", place)
    return "://" not in place and not place.startswith(("/", "~", "file:/"))


def _unanswered(address: str, error: Exception) -> Problem:
    reason = mask_credentials(first_line(error))
    rule, repair = "--address must lead to a Ray cluster's job server", "start the head with its dashboard (docs/clusters.md)"
    return Problem("--address", rule, f"{address} ({reason})", repair)
