"""Events are those that the installed trace-cmd prints, whatever its version."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.test_trace_dat import COMPRESSIONS, T, generate, trace
from tests.trace_dat_reading import read
from tests.trace_dat_report import agrees
from tests.truth import TRACES
from tests.writers.points import points
from tests.writers.trace_dat import Buffer
from traceview.parsers.source import open_source

if TYPE_CHECKING:
    from pathlib import Path

# Files of both versions, and one that lost events.
CAPTURES = ["6.12-max/tc-lost2.dat.zst", "6.1-max/tc-kprobes-none-v6.dat.zst"]


def trace_cmd_report(file: Path, *options: str) -> str:
    """What the installed trace-cmd prints; skips where it cannot read such a file."""
    program = shutil.which("trace-cmd")
    if program is None:
        pytest.skip("no trace-cmd is installed")
    done = subprocess.run([program, "report", *options, file], capture_output=True, check=False)
    said = done.stderr.decode(errors="replace")
    if done.returncode or "not supported" in said:
        pytest.skip(f"the installed trace-cmd cannot read it: {said.strip()[-200:]}")
    return done.stdout.decode(errors="replace")


@pytest.mark.parametrize("version", [6, 7])
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_trace_cmd_prints_the_same_of_a_written_file(
    tmp_path: Path, version: int, compression: str
) -> None:
    main = Buffer({0: points(*range(T, T + 5000, 7)), 1: points(*range(T, T + 5000, 9))})
    one = Buffer({1: points(*range(T + 3, T + 5000, 11))}, name="one")
    file = tmp_path / "written.dat"
    given_trace = trace(main, one, version=version, compression=compression)
    file.write_bytes(given_trace.write())
    count = agrees(read(file.read_bytes()).events, trace_cmd_report(file, "-t"), raw=False)
    assert count == 715 + 556 + 455


@pytest.mark.parametrize("seed", range(4))
def test_trace_cmd_prints_the_same_of_generated_files(tmp_path: Path, seed: int) -> None:
    given_trace = generate(seed)[0]
    given_trace.buffers = given_trace.buffers[:1]
    file = tmp_path / "generated.dat"
    file.write_bytes(given_trace.write())
    found = read(file.read_bytes())
    if len(found.events):
        agrees(found.events, trace_cmd_report(file, "-t"), raw=False)


@pytest.mark.captures
@pytest.mark.skipif(not TRACES.is_dir(), reason="no captures: ../shared/traces is not there")
@pytest.mark.parametrize("name", CAPTURES)
def test_trace_cmd_prints_the_same_of_captures(tmp_path: Path, name: str) -> None:
    file = tmp_path / "capture.dat"
    file.write_bytes(b"".join(open_source(TRACES / name).chunks()))
    agrees(read(file.read_bytes()).events, trace_cmd_report(file, "-t"), raw=False)
