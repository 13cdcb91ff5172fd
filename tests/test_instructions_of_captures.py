"""What an emulated CPU really executed, against the counts known of those recordings."""

from __future__ import annotations

from itertools import pairwise

import polars as pl
import pytest

import traceview
from tests.observer_captures import observed
from tests.truth import TRACES, steps

pytestmark = [
    pytest.mark.captures,
    pytest.mark.skipif(not TRACES.is_dir(), reason="no captures: ../shared/traces is not there"),
]

FOLDERS = ("6.1-max", "6.12-max", "6.12-neoverse-n1")
PAGE = 4096


def counts(folder: str) -> dict[str, int]:
    unmaps = observed(folder, "insn").unmaps
    found: dict[str, int] = (
        unmaps.select("tlbi_insns", "dsb_insns", "cmo_lines").sum().row(0, named=True)
    )
    return found


def ops(folder: str, insn: str) -> dict[str | None, int]:
    rows = observed(folder, "insn").instructions.filter(pl.col("insn") == insn)
    return dict(rows.group_by(pl.col("op").cast(pl.String)).len().rows())


@pytest.mark.parametrize("folder", FOLDERS)
def test_unmaps_match_the_steps_by_order(folder: str) -> None:
    truth = list(steps(f"insn/{folder}", TRACES / "insn" / folder / "insn.truth.jsonl").values())
    unmaps = observed(folder, "insn").unmaps
    assert unmaps["leaves"].to_list() == [step.leaves for step in truth]
    assert unmaps["invalidate_table"].to_list() == [step.tables for step in truth]
    assert unmaps["evidence"].unique().to_list() == ["insn"]
    assert observed(folder, "insn").sources["origin"].to_list() == ["emulated"]


def test_without_fwb_every_page_is_64_lines_of_cache_maintenance() -> None:
    assert counts("6.12-neoverse-n1")["cmo_lines"] == 2_513_280 == 39_270 * 64
    lines = 0

    def count(_source: int, table: str, rows: pl.DataFrame) -> None:
        nonlocal lines
        lines += rows.filter(pl.col("op") == "civac").height if table == "instructions" else 0

    traceview.analyze(
        traceview.open_trace(TRACES / "insn" / "6.12-neoverse-n1" / "insn.txt.zst"), sink=count
    )
    assert lines == 2_513_280
    assert counts("6.1-max")["cmo_lines"] == counts("6.12-max")["cmo_lines"] == 0


def test_per_pte_machines_flush_every_leaf_and_table_and_the_vmid_each_time() -> None:
    both = {"ipas2e1is": 14_832, "vmalle1is": 14_832}
    assert ops("6.1-max", "tlbi") == both
    # REPEAT_TLBI adds one vale2is per flush (traces/README.md).
    assert ops("6.12-neoverse-n1", "tlbi") == {**both, "vale2is": 14_832}
    for folder in ("6.1-max", "6.12-neoverse-n1"):
        unmaps = observed(folder, "insn").unmaps
        assert (
            unmaps.select(pl.sum("invalidate_leaf", "invalidate_table")).sum_horizontal()[0]
            == 14_832
        )


def test_tlbi_and_dsb_are_counted_apart() -> None:
    assert counts("6.1-max") == {"tlbi_insns": 29_664, "dsb_insns": 44_496, "cmo_lines": 0}
    assert counts("6.12-max") == {"tlbi_insns": 264, "dsb_insns": 396, "cmo_lines": 0}
    assert counts("6.12-neoverse-n1")["tlbi_insns"] == 3 * 14_832


def test_every_range_operand_decodes_to_exactly_the_unmapped_range() -> None:
    analysis = observed("6.12-max", "insn")
    assert ops("6.12-max", "tlbi") == {"ripas2e1is": 36, "ipas2e1is": 96, "vmalle1is": 132}
    # A single operation without a level hint says one page and nothing of its level.
    flushes = analysis.instructions.filter(pl.col("ipa").is_not_null()).with_columns(
        pl.col("pages").fill_null(1)
    )
    for unmap, ipa, length in analysis.unmaps.select("unmap_id", "ipa", "length_bytes").rows():
        inside = flushes.filter(pl.col("unmap_id") == unmap)
        # The last flush call of a deferred unmap is the range's; tables are flushed before it.
        last = inside.filter(pl.col("call_id") == inside["call_id"].max())
        covered = sorted(
            (at, at + pages * PAGE) for at, pages in last.select("ipa", "pages").rows()
        )
        assert covered[0][0] == ipa
        assert covered[-1][1] == ipa + length
        assert all(end == start for (_, end), (start, _) in pairwise(covered))


def test_the_medians_of_512_page_unmaps_are_those_that_were_published() -> None:
    for folder, median_ns in (("6.12-max", 78_233), ("6.12-neoverse-n1", 282_268)):
        unmaps = observed(folder, "insn").unmaps.filter(pl.col("length_bytes") == 512 * PAGE)
        assert unmaps["duration_ns"].median() == median_ns
