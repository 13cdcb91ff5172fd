"""Simulated recordings as trace.dat: they read back exactly, here and in trace-cmd."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulated_reading import (
    args_of,
    events_of,
    expected,
    expected_args,
    losses_of,
    tables,
)
from tests.test_trace_dat_live import trace_cmd_report
from tests.trace_dat_report import agrees
from tests.writers.recorded import (
    ADDRESSES,
    SYMBOLS,
    Recording,
    as_recorded,
    long_recording,
    recordings,
)
from traceview.simulate.trace_dat import write_trace_dat

if TYPE_CHECKING:
    from pathlib import Path

    from traceview.simulate.recording import Recorded

KINDS = [(6, False), (7, False), (7, True)]
FILES = st.sampled_from(KINDS)


EXAMPLES = 25


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulated")


def assert_reads_back(recorded: Recorded, path: Path, version: int, *, packed: bool) -> None:
    batches = list(recorded.batches)
    rows = [row for batch in batches for row in batch.iter_rows(named=True)]
    with path.open("wb") as file:
        given_batches = replace(recorded, batches=iter(batches))
        write_trace_dat(given_batches, file, version=version, packed=packed)
    found = tables(path)
    assert events_of(found) == events_of(expected(recorded, rows))
    assert losses_of(found) == losses_of(rows, recorded.lost_at_end, placed=False)
    assert args_of(found, ("ip", "__probe_ret_ip", "overrun")) == expected_args(rows)
    codes = {one.code for one in found.diagnostics if one.severity != "info"}
    assert codes <= ({"no-events"} if not rows else set())
    facts = found.sources.row(0, named=True)
    assert (facts["clock"], facts["cpus"]) == (recorded.clock, recorded.cpus)
    assert (facts["kernel"], facts["machine"]) == (recorded.kernel, "aarch64")


@settings(max_examples=EXAMPLES)
@given(recordings(), FILES)
def test_trace_dat_reads_back(folder: Path, recorded: Recorded, kind: tuple[int, bool]) -> None:
    assert_reads_back(recorded, folder / "trace.dat", kind[0], packed=kind[1])


@pytest.mark.parametrize(("version", "packed"), KINDS)
def test_a_recording_of_many_pages_reads_back(folder: Path, version: int, packed: bool) -> None:  # noqa: FBT001
    assert_reads_back(long_recording(4, 700), folder / "long.dat", version, packed=packed)


@pytest.mark.parametrize(("version", "packed"), KINDS)
def test_trace_cmd_prints_the_same(folder: Path, version: int, packed: bool) -> None:  # noqa: FBT001
    path = folder / "report.dat"
    for seed in range(3):
        with path.open("wb") as file:
            write_trace_dat(long_recording(seed, 200), file, version=version, packed=packed)
        report = trace_cmd_report(path, "-t")
        events = tables(path).events
        assert agrees(events, report, raw=False) > 1000
        lost = int(losses_of_report(report))
        assert lost == sum(count for _, count, *_, to in losses_of(tables(path)) if to)


@pytest.mark.parametrize("page_bytes", [16384, 65536])
def test_pages_are_those_of_the_kernel(folder: Path, page_bytes: int) -> None:
    recorded = replace(long_recording(3, 700), page_size_bytes=page_bytes)
    path = folder / "large.dat"
    assert_reads_back(recorded, path, 7, packed=True)
    assert agrees(tables(path).events, trace_cmd_report(path, "-t"), raw=False) > 1000


def losses_of_report(report: str) -> int:
    """How many events trace-cmd says were dropped."""
    counts = re.findall(r"^CPU:\d+ \[(\d+) EVENTS DROPPED\]", report, re.MULTILINE)
    return sum(int(one) for one in counts)


def test_the_file_is_the_same_whatever_the_batches() -> None:
    files = set()
    for size in (1, 7, 100_000):
        out = io.BytesIO()
        write_trace_dat(long_recording(1, 40, [size]), out, packed=False)
        files.add(out.getvalue())
    assert len(files) == 1


def test_arguments_and_names_are_what_trace_cmd_shows(folder: Path) -> None:
    path = folder / "shown.dat"
    recording = Recording(1, running={0: 301})
    recording.add(0, "kprobe", SYMBOLS[2], arg0=0xFFFF_8000_8420_59C8, arg1=0x8000_0000, arg2=3)
    recording.add(0, "kretprobe", SYMBOLS[2])
    recording.add(0, "print", None, text="KVMLAB begin s01.1")
    with path.open("wb") as file:
        write_trace_dat(as_recorded(recording, [10]), file)
    lines = [line.partition(": ")[2].strip() for line in trace_cmd_report(path).splitlines()[1:]]
    at = f"{ADDRESSES[SYMBOLS[2]]:x}"
    assert lines == [
        f"{SYMBOLS[2]}: ({at}) mmu=0xffff8000842059c8 ipa=0x80000000 level=3",
        f"{SYMBOLS[2]}_ret: ({at} <- 0)",
        "print:                tracing_mark_write: KVMLAB begin s01.1",
    ]
