"""``spikesweep submit --follow``: what a job of a Ray cluster prints, as it prints it."""

from ray.job_submission import JobSubmissionClient

from studies.commands.options import err
from studies.engine.errors import StudyError
from studies.engine.execution.ray_jobs import follow_job

EXIT_CODE_OF_CTRL_C = 130


def follow_to_its_end(client: JobSubmissionClient, job: str) -> int:
    """Show what a job prints; its exit code. Neither Ctrl-C nor a lost connection ends the job."""
    try:
        return follow_job(client, job, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        code = EXIT_CODE_OF_CTRL_C
    except StudyError as error:
        err.print(str(error), highlight=False, soft_wrap=True)
        code = 1
    err.print(f"no longer following job {job}, which goes on", style="yellow", highlight=False)
    return code
