"""``spikesweep submit``: a study as a job of a Ray cluster, which needs this machine no more."""

from typing import TYPE_CHECKING, Annotated

import typer

from studies.commands.options import (
    RetryFailedOption,
    SetOption,
    StorageOption,
    StudyArgument,
    TrackingOption,
    all_overrides,
    err,
    out,
    problems_exit_2,
)

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

EXIT_CODE_OF_CTRL_C = 130


def submit(
    study: StudyArgument,
    address: Annotated[str, typer.Option(metavar="URL", help="The cluster's dashboard, e.g. http://HEAD:8265.")],
    overrides: SetOption = None,
    storage: StorageOption = None,
    tracking_uri: TrackingOption = None,
    env: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME", help="Pass this environment variable to the job; may be repeated."),
    ] = None,
    retry_failed: RetryFailedOption = False,
    follow: Annotated[bool, typer.Option("--follow", help="Show what the job prints, and exit with its exit code.")] = False,
) -> None:
    """Run a study as a job on a Ray cluster.

    Checks the study here, uploads this code and starts spikesweep run on the cluster; this machine may then be switched off.
    The study's storage must be one that all nodes of the cluster share.

    Exit codes: 0 the job was submitted; 2 the input is wrong, and nothing was submitted. With --follow, that of the job; Ctrl-C
    stops following (130), not the job.

    Example: spikesweep submit my_study.yaml --address http://head:8265
    """
    from studies.engine.definition.loading import load_study
    from studies.engine.execution import ray_jobs

    changes = all_overrides(overrides, storage, tracking_uri)
    with problems_exit_2():
        loaded = load_study(study, changes)
        ray_jobs.check_portable(loaded, changes)
        variables = ray_jobs.job_variables(env or [], loaded)
        client = ray_jobs.connect_jobs(address)
        job = ray_jobs.submit_study(client, loaded, changes, ["--retry-failed"] * retry_failed, variables)
    out.print(f"{loaded.stores.name} is job {job} of {address}", highlight=False, soft_wrap=True)
    for purpose, command in ray_jobs.next_commands(job, address, study, changes).items():
        out.print(f"  {purpose + ':':8}{command}", highlight=False, soft_wrap=True)
    if follow:
        raise typer.Exit(follow_to_its_end(client, job))


def follow_to_its_end(client: "JobSubmissionClient", job: str) -> int:
    """Show what a job prints; its exit code. Neither Ctrl-C nor a lost connection ends the job."""
    from studies.engine.errors import StudyError
    from studies.engine.execution.ray_jobs import follow_job

    try:
        return follow_job(client, job, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        code = EXIT_CODE_OF_CTRL_C
    except StudyError as error:
        err.print(str(error), highlight=False, soft_wrap=True)
        code = 1
    err.print(f"no longer following job {job}, which goes on", style="yellow", highlight=False)
    return code
