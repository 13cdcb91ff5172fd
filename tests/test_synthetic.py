"""A simulated trace says what it is, also without its sidecar."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import traceview
from traceview.cli.app import run
from traceview.errors import SettingError
from traceview.host import read_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["txt", "dat", "perfetto"])
def bare(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A simulated trace whose sidecar got lost."""
    trace = tmp_path / f"made.{request.param}"
    assert run(["simulate", "posted-like", "-o", str(trace), "--unmaps", "3", "-q"]) == 0
    (tmp_path / f"{trace.name}.host.json").unlink()
    return trace


def test_the_trace_itself_says_that_it_is_synthetic(bare: Path) -> None:
    found = traceview.analyze(traceview.open_trace(bare))
    assert found.sources["origin"].to_list() == ["synthetic"]


@pytest.mark.parametrize("origin", ["hardware", "emulated", "unknown"])
def test_no_other_origin_can_be_stated_of_it(bare: Path, origin: str) -> None:
    settings = read_settings(bare, stated={"origin": origin})
    with pytest.raises(SettingError, match="says of itself that it is synthetic"):
        traceview.analyze(traceview.open_trace(bare, settings=settings))


def test_the_command_refuses_it_in_words(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["analyze", str(bare), "--origin", "hardware"]) == 2
    assert "written by traceview simulate" in capsys.readouterr().err
