"""Real text of real kernels: as line by line, and with the counts that the workload had."""

from __future__ import annotations

import itertools
import re

import polars as pl
import pytest

from tests.ftrace_text_reading import Table, differences, read
from tests.truth import TRACES, step_counts
from traceview.parsers.ftrace_text import detect
from traceview.parsers.source import open_source
from traceview.parsers.tlbi_operand import BY_IPA_RANGE

pytestmark = [
    pytest.mark.captures,
    pytest.mark.skipif(not TRACES.is_dir(), reason="no captures in ../shared/traces"),
]
PREFIX_BYTES = 25_000
OTHERS = re.compile(r"script|header|evlist|dump|stat\.txt|cpuclock|step-counts|README|/run-0[2-6]/")
STEPS = re.compile(r"KVMLAB (begin|end) (\S+)")
SYMBOLS = {
    "s2_unmap": "kvm_pgtable_stage2_unmap",
    "walker": "stage2_unmap_walker",
    "tlbi_ipa": "__kvm_tlb_flush_vmid_ipa",
    "tlbi_range": "__kvm_tlb_flush_vmid_range",
    "put_page": "kvm_s2_put_page",
    "cmo_page": "clean_dcache_guest_page",
    "s2_destroy": "kvm_pgtable_stage2_destroy",
}


def texts() -> list[str]:
    found = [path for path in TRACES.rglob("*.txt*") if not OTHERS.search(str(path))]
    return sorted(str(path.relative_to(TRACES)) for path in found if path.stat().st_size > 1000)


def whole(path: str) -> Table:
    return read(b"".join(open_source(TRACES / path).chunks()))


@pytest.mark.parametrize("path", texts())
def test_a_capture_reads_as_line_by_line(path: str) -> None:
    head = open_source(TRACES / path).head()
    assert detect(head)
    data = head[:PREFIX_BYTES]
    data = data[: data.rfind(b"\n") + 1]
    all_events = len(path) % 2 == 0
    assert differences(data, all_events=all_events) == []
    assert differences(data[:5000], all_events=not all_events, chunk_bytes=900) == []


def counts(table: Table) -> dict[str, dict[str, int]]:
    """How often each function began, by step: between the markers, on the task that wrote them."""
    found: dict[str, dict[str, int]] = {}
    begins = table.events.filter(
        pl.col("phase").is_in(["entry", "complete"]) & pl.col("symbol").is_not_null()
    ).select("tid", "seq", pl.col("symbol").cast(pl.String))
    marks = table.events.filter(name="print").join(
        table.args.filter(name="buf"), on="seq", maintain_order="left"
    )
    edges = [
        (tid, seq, *match.groups())
        for tid, seq, text in marks.select("tid", "seq", "text").iter_rows()
        if (match := STEPS.match(text))
    ]
    for tid, group in itertools.groupby(sorted(edges), key=lambda edge: edge[0]):
        for (_, first, edge, step), (_, last, closing, other) in itertools.pairwise(group):
            if (edge, closing, step) == ("begin", "end", other):
                inside = begins.filter(
                    (pl.col("tid") == tid) & pl.col("seq").is_between(first, last)
                )
                found[step] = dict(inside["symbol"].value_counts().iter_rows())
    return found


@pytest.mark.parametrize(
    "path",
    [
        f"{folder}/{name}"
        for folder in ("6.1-max", "6.12-max", "6.12-neoverse-n1")
        for name in ("fgraph-default.txt.zst", "fgraph-full.txt.zst", "function.txt.zst")
    ],
)
def test_every_step_has_the_calls_that_it_made(path: str) -> None:
    truth, seen = step_counts(path.partition("/")[0]), counts(whole(path))
    assert len(seen) > 40
    checked = 0
    for step, calls in seen.items():
        for probe, symbol in SYMBOLS.items():
            traced = any(symbol in others for others in seen.values())
            if traced and probe in truth.get(step, {}):
                assert calls.get(symbol, 0) == truth[step][probe], (step, probe)
                checked += 1
    assert checked > 100


def test_instructions_are_those_that_the_unmaps_executed() -> None:
    table = whole("insn/6.12-max/insn.txt.zst")
    tlbi = table.events.filter(name="tlbi").select("seq")
    args = table.args.join(tlbi, on="seq").with_columns(pl.col("name").cast(pl.String))
    values = args.pivot(on="name", index="seq", values="value")
    ops = args.filter(name="op").select("seq", op="text")
    rows = values.drop("op", strict=False).join(ops, on="seq")
    ranges = rows.filter(pl.col("op").str.contains(BY_IPA_RANGE))
    assert len(ranges) == 36
    unmaps = table.events.filter(name="kvm_pgtable_stage2_unmap").select("seq")
    lengths = table.args.filter(name="x2").join(unmaps, on="seq").select("seq", length="value")
    asked = ranges.sort("seq").join_asof(lengths.sort("seq"), on="seq")
    assert (asked["ipa"] == 0x80000000).all()
    # `half` unmaps 1 MiB of which every other page was mapped: the range covers all of it.
    assert (asked["pages"] * 4096 == asked["length"]).all()


def test_a_capture_with_loss_says_where() -> None:
    table = whole("6.12-max/kprobes-lost-pipe.txt.zst")
    assert table.losses["count"].to_list() == [136] * 4
    assert table.losses["cpu"].to_list() == [0] * 4
    assert (table.losses["from_ns"] < table.losses["to_ns"]).all()
    assert (table.losses["to_seq"] == table.losses["from_seq"] + 1).all()


@pytest.mark.parametrize("name", ["fgraph-default.txt.zst", "fgraph-full.txt.zst"])
def test_graph_text_never_states_loss(name: str) -> None:
    assert whole(f"6.12-max/{name}").facts["loss_known"] is False
