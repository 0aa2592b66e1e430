"""Tags that name runs, experiments and stores are rewritten for the store that their runs are imported into."""

import pytest

from studies.engine.archives.id_rewriting import IdRewriter

OLD_STORE, NEW_STORE = "sqlite:////old/mlflow.db", "sqlite:////new/mlflow.db"


@pytest.mark.parametrize("command", ["reproduce", "trial"])
def test_a_command_names_the_new_store(command: str) -> None:
    """Descriptions that this version wrote and those of earlier ones; the command's word stays, since both are known."""
    text = f"```\nspikesweep {command} 0a1b --tracking-uri '{OLD_STORE}'\n```"
    rewriter = IdRewriter("1", "2", NEW_STORE)
    assert rewriter.text(text, {}) == f"```\nspikesweep {command} 0a1b --tracking-uri '{NEW_STORE}'\n```"


@pytest.mark.parametrize("command", ["reproduce", "trial"])
def test_a_password_is_not_written(command: str) -> None:
    """Where the new store's URI has a password, the command has no URI."""
    rewriter = IdRewriter("1", "2", "postgresql://me:secret@host/db")
    assert rewriter.text(f"spikesweep {command} 0a1b --tracking-uri '{OLD_STORE}'", {}) == f"spikesweep {command} 0a1b"


def test_links_lead_to_the_new_runs() -> None:
    """The experiment and every run that is known have their new ids; an experiment whose id only begins alike stays."""
    rewriter = IdRewriter("1", "7", NEW_STORE, {"aaaa": "bbbb"})
    tags = rewriter.tags({"note": "[study](#/experiments/1/runs/aaaa), #/experiments/12, run cccc"}, {"cccc": "dddd"})
    assert tags == {"note": "[study](#/experiments/7/runs/bbbb), #/experiments/12, run dddd"}
