"""What becomes of a command whose output nobody reads, and in a locale that cannot write it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import SPIKESWEEP

GO_ON = """
import os, sys
from studies.commands.options import err, out

out.words_when_closed = "it is closed"
os.read(0, 1)
for number in range(3):
    out.print("a line")
err.print("the end")
"""


def test_a_command_goes_on_without_its_output() -> None:
    """Standard error is told once, and nothing ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", GO_ON], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    process.stdin.write("x")
    process.stdin.close()
    assert process.stderr.read() == "it is closed\nthe end\n"
    assert process.wait() == 0


def test_a_full_disk_is_no_end_either() -> None:
    """The log of a study that is written to it."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", GO_ON], input="x", stdout=full, stderr=subprocess.PIPE, text=True, check=True
        )
    assert done.stderr == "it is closed\nthe end\n"


def test_a_locale_without_letters_is_no_hindrance() -> None:
    """Even where Python is told to do as the locale says, arguments and messages have their letters."""
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run([*SPIKESWEEP, "status", "größe"], env=plain, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 2
    assert "value:  größe" in done.stderr
