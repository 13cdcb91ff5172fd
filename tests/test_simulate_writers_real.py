"""Records of real kernels, written anew: as text it is what that kernel printed of them."""

from __future__ import annotations

import io
import lzma
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import polars as pl
import pytest

import traceview
from tests.test_trace_dat_live import trace_cmd_report
from tests.truth import TRACES
from tests.unpacking import unpack
from tests.writers.recorded import long_recording
from traceview.parsers.source import open_source
from traceview.simulate.ftrace_text import write_ftrace_text
from traceview.simulate.perfetto import write_perfetto
from traceview.simulate.recording import RECORDS, Argument, Recorded, Task
from traceview.simulate.trace_dat import write_trace_dat

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DATA = Path(__file__).parent / "data"
KINDS = {"funcgraph_entry": "funcgraph_entry", "funcgraph_exit": "funcgraph_exit",
         "print": "print"}  # fmt: skip
PROBE = re.compile(r"^([pr])\d*:\w+/(\w+) (\S+)(.*)$")
FETCHED = re.compile(r" (\w+)=[^\s:]+(?::(\w+))?")  # without a type: a BTF field, here u64


def unpacked(name: str, folder: Path) -> Path:
    unpack(DATA / f"{name}.tar.xz", folder)
    return folder / name


def printed(name: str) -> str:
    return lzma.decompress((DATA / f"{name}.trace.txt.xz").read_bytes()).decode()


def recorded_of(path: Path, probes: Mapping[str, Sequence[Argument]], clock: str) -> Recorded:
    """What is in a trace, as a recording: function_graph, markers and the *probes*."""
    found = traceview.open_trace(path).tables()
    args = found.args.with_columns(pl.col("name").cast(pl.String))
    texts = args.filter(pl.col("name") == "buf").select("seq", "text")
    name, evidence = pl.col("name").cast(pl.String), pl.col("evidence").cast(pl.String)
    probe = pl.when(pl.col("phase") == "exit").then(pl.lit("kretprobe")).otherwise(pl.lit("kprobe"))
    rows = found.events.join(texts, on="seq", how="left").with_columns(
        kind=pl.when(evidence == "kprobe").then(probe).otherwise(
            name.replace_strict(KINDS, default=None)
        ),
        # Only their difference is known.
        calltime_ns=pl.lit(0), rettime_ns=pl.col("duration_ns"),
        lost_before=pl.lit(0),
    ).filter(pl.col("kind").is_not_null())  # fmt: skip
    for n in range(3):
        values = [(symbol, of[n].name) for symbol, of in probes.items() if len(of) > n]
        columns = {"symbol": pl.String, "wanted": pl.String}
        of_probe = pl.DataFrame(values, schema=columns, orient="row")
        rows = rows.with_columns(symbol=pl.col("symbol").cast(pl.String)).join(
            of_probe, on="symbol", how="left"
        ).join(
            args.select("seq", pl.col("name").alias("wanted"), pl.col("value").alias(f"arg{n}")),
            on=["seq", "wanted"], how="left",
        ).drop("wanted")  # fmt: skip
        rows = rows.with_columns(pl.col(f"arg{n}").reinterpret(signed=False))
    rows = rows.sort("seq").select(pl.col(one).cast(dtype) for one, dtype in RECORDS.items())
    tasks = found.events.select("tid", "tgid", pl.col("comm").cast(pl.String)).unique()
    symbols = sorted(set(rows["symbol"].drop_nulls().cast(pl.String)))
    return Recorded(
        batches=iter([rows[:100], rows[100:]]),
        tasks=tuple(Task(t, t if g is None else g, c or "<...>") for t, g, c in tasks.rows()),
        cpus=2, clock=clock, probes={symbol: tuple(of) for symbol, of in probes.items()},
        returns=frozenset(probes), lost_at_end={}, overwrite=True, kernel="6.12.95",
        addresses={symbol: 0xFFFF_8000_8000_0000 + 4096 * n for n, symbol in enumerate(symbols)},
        page_size_bytes=4096, facts={}, graph=not probes,
    )  # fmt: skip


def probes_of(lines: str) -> dict[str, tuple[Argument, ...]]:
    """The arguments of the entry probes that kprobe_events defines, by function."""
    found: dict[str, tuple[Argument, ...]] = {}
    for line in lines.splitlines():
        match = PROBE.match(line)
        assert match is not None
        if match[1] == "p":
            found[match[3]] = tuple(
                Argument(name, kind or "u64") for name, kind in FETCHED.findall(match[4])
            )
    return found


def test_function_graph_text_is_byte_for_byte_what_the_kernel_printed(tmp_path: Path) -> None:
    out = io.BytesIO()
    write_ftrace_text(recorded_of(unpacked("raw-fgraph", tmp_path), {}, "local"), out)
    assert out.getvalue().decode() == printed("raw-fgraph")


def test_lines_of_kprobes_are_those_that_the_kernel_printed(tmp_path: Path) -> None:
    folder = unpacked("raw-kprobes", tmp_path)
    probes = probes_of((folder / "kprobe_events").read_text(encoding="ascii"))
    out = io.BytesIO()
    write_ftrace_text(recorded_of(folder, probes, "local"), out)
    shown = [_comparable(line) for line in out.getvalue().decode().splitlines()]
    real = [_comparable(line) for line in printed("raw-kprobes").splitlines()]
    assert [one for one in shown if one] == [one for one in real if one]
    assert len([one for one in shown if one]) > 300


@pytest.mark.parametrize("write", [write_ftrace_text, write_trace_dat, write_perfetto])
@pytest.mark.parametrize("graph", [True, False])
def test_batches_without_records_change_nothing(
    write: Callable[[Recorded, BinaryIO], None],
    graph: bool,  # noqa: FBT001
) -> None:
    files = []
    none = pl.DataFrame(schema=RECORDS)
    for more in ([], [none]):
        recorded = long_recording(1, 20, [50])
        batches = [one for batch in recorded.batches for one in (*more, batch, *more)]
        if not graph:
            batches = [one.filter(~pl.col("kind").is_in(list(KINDS)[:2])) for one in batches]
        out = io.BytesIO()
        write(replace(recorded, batches=iter(batches), graph=graph), out)
        files.append(out.getvalue())
    assert files[0] == files[1]
    assert len(files[0]) > 1000


def _comparable(line: str) -> str | None:
    """A line without what is not simulated: flags, names of events, sizes, callers, what returned.

    None: it is of another kind.
    """
    found = re.sub(r"^(.{48}\] ).{5}", r"\1", line)
    if "tracing_mark_write: " in line:
        return found
    if not re.search(r": \w+: \((\S+\+0x0/|\S+ <- )", line):
        return None
    found = re.sub(r": \w+: \((\S+ <- [^)]*\)).*", lambda at: f": {at[1].split(' <- ')[1]}", found)
    return re.sub(r": \w+: \((\S+)\+0x0/0x[0-9a-f]+\)", r": \1", found)


@pytest.mark.captures
@pytest.mark.skipif(not TRACES.is_dir(), reason="no captures: ../shared/traces is not there")
@pytest.mark.parametrize("version", [6, 7])
def test_trace_cmd_prints_the_same_of_a_real_recording_written_anew(
    tmp_path: Path, version: int
) -> None:
    original = tmp_path / "original.dat"
    packed = TRACES / "6.12-max/tc-fgraph.dat.zst"
    original.write_bytes(b"".join(open_source(packed).chunks()))
    anew = tmp_path / "anew.dat"
    with anew.open("wb") as file:
        write_trace_dat(recorded_of(original, {}, "mono"), file, version=version)
    reports = [re.sub(r"(\] )[^ ]{5} ", r"\1", trace_cmd_report(one)) for one in (original, anew)]
    assert reports[0].count("\n") > 50_000
    assert reports[0] == reports[1]
