"""What the CPU executed in each flush: the order of TLBI and DSB, and every operand.

Of evidence `insn` alone: an emulator's record of each instruction. A flush must make the cleared
entry visible before its first TLBI (a DSB of at least ISHST), wait for the stage-2 operations (DSB
ISH or more) before it drops stage 1 of the VMID, and wait for that before it returns. As calls of
one task follow one another, a page-table page that is released after the flush's return is
released after its last DSB.

Source: arch/arm64/kvm/hyp/vhe/tlb.c; Arm ARM, "Ordering and completion of TLB maintenance
instructions".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.range_operations import whole

if TYPE_CHECKING:
    from collections.abc import Iterable

STAGE_2: Final = r"^r?ipas2"
BY_IPA: Final = r"^ipas2"
WAITS: Final = ("ish", "osh", "sy")
SHOWS: Final = ("ishst", "oshst", "st", *WAITS)
NAMED_LEVELS: Final = (1, 2, 3)

# Calls whose instructions are judged: of invalidate_ipa and invalidate_range.
CALLS: Final = {
    "call_id": pl.Int64(), "unmap_id": pl.Int64(), "operation": pl.String(), "ipa": pl.Int64(),
    "level": pl.Int64(),
}  # fmt: skip

PROBLEMS: Final = {
    "no_tlbi": "executed no TLBI",
    "not_visible": "executed a TLBI that no DSB precedes, so the cleared entry may not be visible",
    "early_stage_1": "dropped stage 1 before a DSB had waited for the stage-2 operations",
    "not_waited": "returned with a TLBI that no DSB ISH had waited for",
}


def order_problems(instructions: pl.DataFrame, calls: pl.DataFrame) -> pl.DataFrame:
    """Rows of *calls* with `tlbi_insns`, `dsb_insns` and a Boolean for each of PROBLEMS."""
    at, op = pl.col("at"), pl.col("op").cast(pl.String)
    is_tlbi, is_dsb = pl.col("insn") == "tlbi", pl.col("insn") == "dsb"
    waits = is_dsb & op.is_in(WAITS)
    stage_2 = is_tlbi & op.str.contains(STAGE_2)
    rows = instructions.filter(pl.col("call_id").is_not_null()).with_row_index("at")
    found = rows.group_by("call_id").agg(
        is_tlbi.sum().cast(pl.Int64).alias("tlbi_insns"),
        is_dsb.sum().cast(pl.Int64).alias("dsb_insns"),
        at.filter(is_tlbi).min().alias("first_tlbi"),
        at.filter(is_tlbi).max().alias("last_tlbi"),
        at.filter(is_dsb & op.is_in(SHOWS)).min().alias("shown"),
        at.filter(waits).max().alias("waited"),
        at.filter(stage_2).max().alias("last_stage_2"),
        at.filter(is_tlbi & ~op.str.contains(STAGE_2)).min().alias("first_stage_1"),
        at.filter(waits).alias("waits"),
    )
    joined = calls.join(found, on="call_id", how="left", maintain_order="left")
    return _judged(joined)


def _judged(joined: pl.DataFrame) -> pl.DataFrame:
    none = pl.col("tlbi_insns").fill_null(0) == 0
    # The first wait behind the last stage-2 operation must lie before the first of stage 1.
    waits = joined.select("call_id", "last_stage_2", "waits").explode("waits")
    behind = (
        waits.filter(pl.col("waits") > pl.col("last_stage_2"))
        .group_by("call_id")
        .agg(pl.col("waits").min().alias("stage_2_waited"))
    )
    joined = joined.join(behind, on="call_id", how="left", maintain_order="left")
    both = pl.col("last_stage_2").is_not_null() & (pl.col("first_stage_1") > pl.col("last_stage_2"))
    return joined.select(
        *CALLS, pl.col("tlbi_insns", "dsb_insns").fill_null(0),
        none.alias("no_tlbi"),
        (~none & (pl.col("shown").is_null() | (pl.col("shown") > pl.col("first_tlbi"))))
        .alias("not_visible"),
        (both & (pl.col("stage_2_waited").is_null()
         | (pl.col("stage_2_waited") > pl.col("first_stage_1"))))
        .fill_null(value=False).alias("early_stage_1"),
        (~none & (pl.col("waited").is_null() | (pl.col("waited") < pl.col("last_tlbi"))))
        .alias("not_waited"),
    )  # fmt: skip


def single_operands(
    instructions: pl.DataFrame, calls: pl.DataFrame, page_bytes: int
) -> pl.DataFrame:
    """Rows of *calls* by IPA with `known`, `operands`, `wrong` and, if one is, that `operand`.

    Each operation by IPA must name the page that the call was given, and at no other level.
    """
    rows = instructions.filter(
        pl.col("call_id").is_not_null(),
        pl.col("insn") == "tlbi",
        pl.col("op").cast(pl.String).str.contains(BY_IPA),
        pl.col("operand").is_not_null(),
    ).select(
        "call_id", "operand", pl.col("ipa").reinterpret(signed=True).alias("of_ipa"),
        pl.col("level").cast(pl.Int64).alias("of_level"),
    )  # fmt: skip
    mine = calls.filter(pl.col("operation") == "invalidate_ipa")
    joined = mine.join(rows, on="call_id", how="left", maintain_order="left")
    page = pl.col("ipa") // page_bytes
    elsewhere = pl.col("of_ipa").is_null() | (pl.col("of_ipa") // page_bytes != page)
    hinted = pl.col("of_level").is_not_null() & pl.col("level").is_in(NAMED_LEVELS)
    wrong = elsewhere | (hinted & (pl.col("of_level") != pl.col("level"))).fill_null(value=False)
    return joined.group_by(*CALLS, maintain_order=True).agg(
        pl.col("ipa").first().is_not_null().alias("known"),
        wrong.any().alias("wrong"),
        pl.col("operand").filter(wrong).first().alias("operand"),
        pl.col("operand").is_not_null().sum().cast(pl.Int64).alias("operands"),
    ).with_columns((pl.col("known") & pl.col("wrong")).alias("wrong"))  # fmt: skip


def range_operands(
    instructions: pl.DataFrame, pieces: pl.DataFrame, page_bytes: int
) -> dict[int, tuple[int, int, bool]]:
    """Of each flush of a range that was asked something: bytes asked, bytes covered, any overlap.

    A flush of which an operand has no known address is left out. A single operation is one page.
    """
    rows = instructions.filter(
        pl.col("call_id").is_not_null(),
        pl.col("insn") == "tlbi",
        pl.col("op").cast(pl.String).str.contains(STAGE_2),
    ).select("call_id", "ipa", pl.col("pages").fill_null(1))
    executed = _by_call(rows.iter_rows())
    found = {}
    asked = pieces.group_by("flush_id", maintain_order=True).agg("ipa", "length_bytes")
    for flush, starts, lengths in asked.iter_rows():
        operations = executed.get(flush)
        if operations is None or any(ipa is None for ipa, _ in operations):
            continue
        ranges = [
            (int(ipa), int(ipa) + pages * page_bytes)
            for ipa, pages in operations
            if ipa is not None
        ]
        total, inside, overlap = 0, 0, False
        for start, length in zip(starts, lengths, strict=True):
            covers, over = whole(ranges, start // page_bytes * page_bytes, start + length)
            total, inside, overlap = total + length, inside + covers, overlap or over
        found[flush] = (total, inside, overlap)
    return found


def _by_call(
    rows: Iterable[tuple[int, int | None, int]],
) -> dict[int, list[tuple[int | None, int]]]:
    found: dict[int, list[tuple[int | None, int]]] = {}
    for call, ipa, pages in rows:
        found.setdefault(call, []).append((ipa, pages))
    return found
