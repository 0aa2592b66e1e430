"""The benchmark of Numba against C++, in its smallest form."""

import sys
from pathlib import Path

import pytest

from tests.benchmarks import numba_against_cpp
from tests.benchmarks.numba_against_cpp import build, cases, compiled, has_compiler, timed


@pytest.mark.skipif(not has_compiler(), reason="there is no g++")
def test_both_sides_fire_the_same(tmp_path: Path) -> None:
    """C++ fires the spikes that Numba fires, in all four layers, where channels do not fill their words; a spike more is seen."""
    function, compile_s, load_s = compiled(tmp_path)
    assert compile_s > load_s > 0
    layers = cases(build(0.3), 1, function)
    assert len(layers) == 4
    for case in layers:
        case.check()
        assert 0 < case.rate < 1
        assert case.cpp.spikes.any()
        assert min(timed({"numba": case.numba, "cpp": case.cpp}, 1, 1).values()) > 0
    case.cpp.spikes[0, 0, 0, 0, 0] ^= 1
    with pytest.raises(ValueError, match=r"^both sides must fire the same spikes, but 1 differ"):
        case.compare()


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no g++ it says so, and the exit code is 2."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "argv", ["numba_against_cpp"])
    with pytest.raises(SystemExit) as stop:
        numba_against_cpp.main()
    assert stop.value.code == 2
    assert "needs g++" in capsys.readouterr().err
