"""The Perfetto parser on the captures, against a slow decoder and against their sidecars."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import polars as pl
import pytest

from tests.perfetto_reading import expected_rows, read
from tests.perfetto_reference import Reference, class_counts
from tests.truth import TRACES
from traceview.parsers.source import open_source
from traceview.symbols import SymbolSources, name_probes, parse_kprobe_events

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.captures,
    pytest.mark.skipif(not TRACES.is_dir(), reason="no captures: ../shared/traces is not there"),
]

CAPTURES = sorted(TRACES.glob("6*/pf-*.pftrace*"))
# Every event with every argument is compared where the slow decoder does not take too long.
SMALL = [one for one in CAPTURES if "olddense" in one.name or "roots" in one.name]
SMALL += [one for one in CAPTURES if "6.12-max/" in str(one) and one not in SMALL]
# No probe fired while the one of 6.1 was recorded.
LEGACY = [one for one in CAPTURES if "olddense" in one.name and "6.12-" in str(one)]


def name(path: Path) -> str:
    return f"{path.parent.name}/{path.name.split('.')[0]}"


def content(path: Path) -> bytes:
    return b"".join(open_source(path).chunks())


def sidecar(path: Path) -> Path:
    return path.parent / f"{path.name.split('.')[0]}.kprobe_events"


@pytest.mark.parametrize("path", SMALL, ids=name)
def test_every_event_is_as_a_slow_decoder_reads_it(path: Path) -> None:
    trace = content(path)
    found = read(trace, all_events=True, batch_events=1000)
    assert found.rows() == expected_rows(Reference(trace).events())
    assert found.skipped == {}


@pytest.mark.parametrize("path", CAPTURES, ids=name)
def test_there_are_as_many_events_of_each_function_as_a_slow_decoder_counts(path: Path) -> None:
    trace = content(path)
    found = read(trace)
    counts = Counter(found.skipped)
    names = pl.coalesce(pl.col("symbol"), pl.col("name")).cast(pl.String)
    graph = found.events.select("name", names.alias("symbol"), "evidence").to_dicts()
    for row in graph:
        half = f" {row['name']}" if row["evidence"] == "fgraph" else ""
        counts[f"{row['symbol']}{half}"] += 1
    assert counts == class_counts(trace)
    times = found.events["ts_ns"]
    assert times.is_sorted()
    assert found.events["seq"].to_list() == list(range(len(times)))


@pytest.mark.parametrize("path", CAPTURES, ids=name)
def test_the_kernel_is_stated_and_only_known_trouble_is_reported(path: Path) -> None:
    found = read(content(path))
    assert found.facts["kernel"].startswith("6.1")
    assert found.facts["clock"] == "boot"
    assert found.facts["cpus"] in (2, 4)
    expected = {"ftrace-parse-errors"} if "parse_error" in set(found.losses["kind"]) else set()
    if "badfilter" in path.name:
        expected = {"no-ftrace-events"}
        assert "clean_dcache_guest_page" in found.diagnostics["no-ftrace-events"].message
    assert set(found.diagnostics) == expected
    assert set(found.losses["kind"]) <= {"parse_error"}


@pytest.mark.parametrize("path", LEGACY, ids=name)
def test_old_generic_events_are_the_halves_that_their_definitions_say(path: Path) -> None:
    defined = parse_kprobe_events(sidecar(path).read_text(encoding="utf-8"))
    probes = read(content(path)).events.filter(pl.col("evidence") == "kprobe")
    phases = {row[0]: row[1] for row in probes.select("name", "phase").unique().iter_rows()}
    assert len(phases) > 5
    assert phases == {probe: defined[probe].phase for probe in phases}


@pytest.mark.parametrize("path", LEGACY, ids=name)
def test_definitions_beside_the_trace_overrule_the_halves(path: Path) -> None:
    defined = parse_kprobe_events(sidecar(path).read_text(encoding="utf-8"))
    events = read(content(path)).events
    wrong = events.with_columns(
        pl.when(pl.col("evidence") == "kprobe")
        .then(pl.lit("exit", dtype=events["phase"].dtype))
        .otherwise("phase")
        .alias("phase")
    )
    named = name_probes(wrong, SymbolSources(defined)).filter(pl.col("evidence") == "kprobe")
    for row in named.select("name", "symbol", "phase").unique().iter_rows():
        probe = defined[row[0]]
        assert row[1:] == (probe.symbol, probe.phase)


def test_comm_and_tgid_come_from_the_trace() -> None:
    path = next(one for one in CAPTURES if "6.12-max/pf-kprobes-args.pf" in str(one))
    events = read(content(path)).events
    unmaps = events.filter(pl.col("name") == "s2_unmap")
    assert set(unmaps["comm"]) == {"kvmunmap"}
    known = events.filter(pl.col("tid") > 0)
    assert known["comm"].null_count() == 0
    # Processes that ended before Perfetto looked at them are in no process tree.
    assert known["tgid"].null_count() < len(known) // 2
