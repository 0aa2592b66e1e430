"""``python -m studies`` is ``spikesweep``."""

from studies.cli import app

if __name__ == "__main__":
    app(prog_name="spikesweep")
