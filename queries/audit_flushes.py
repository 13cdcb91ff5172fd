"""Whether every flush of a range, inside unmaps and outside, covers what it was asked for.

By recorded operands where a probe or an emulator recorded them, else by the kernel's formula for
the arguments that were recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.queries.audit_instructions import (
    PROBLEMS,
    STAGE_2,
    order_problems,
    range_operands,
    single_operands,
)
from traceview.queries.audit_ranges import pieces_of
from traceview.queries.audit_results import judged
from traceview.queries.audit_unmaps import CENSORED, CONTAMINATED
from traceview.queries.range_operations import (
    FORMULAS,
    bases_of_operand,
    covered,
    covered_by_operand,
    possible_formulas,
    sequence,
    whole,
)
from traceview.schema import STATUSES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.queries.audit_results import Check
    from traceview.queries.audit_source import Facts, Heard
    from traceview.queries.range_operations import Formula

NOT_ASKED: Final = "start and length were not recorded"
MAY_BE_VMID: Final = (
    "kvm_tlb_flush_vmid_range was recorded by entry only: whether the machine makes range"
    " operations (FEAT_TLBIRANGE) is not known"
)
CUT: Final = "its calls lie in two batches"
NO_INSTRUCTION: Final = "no instruction of the flush was recorded: not even a barrier"
BY_OPERAND: Final = "recorded operands"
BY_EXECUTION: Final = "executed operands"
BY_FORMULA: Final = "the kernel's formula, operands not recorded"
BY_VMID: Final = "the whole VMID was invalidated"
BY_OPERANDS: Final = {
    "flush_id": pl.Int64(), "operand_short": pl.Boolean(), "operand_text": pl.String(),
    "operand_by": pl.String(),
}  # fmt: skip
SHOWN: Final = 4  # operands of one flush
BINARY: Final = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def ranges_covered(
    source_id: int, heard: Heard, facts: Facts, instructions: pl.DataFrame, kept: pl.DataFrame
) -> tuple[Check, pl.DataFrame]:
    """Whether each flush of a range covers what it was asked for. *kept*: which flush_ids."""
    flushes = heard.ranges.flushes.join(kept, on="flush_id", how="semi", maintain_order="left")
    if facts.inner_seen:  # then an entry-only wrapper is the same request once more
        entry = pl.col("status") == STATUSES.index("point")
        flushes = flushes.filter(~(pl.col("wrapper") & entry))
    by_formula = _by_formula(heard, facts)
    spans = flushes.filter("spans")["flush_id"]
    executed = _by_execution(heard, facts, instructions).filter(
        ~pl.col("flush_id").is_in(spans.implode())
    )
    probed = _by_operand(heard, facts).join(executed, on="flush_id", how="anti")
    by_operand = pl.concat([executed, probed])
    rows = flushes.join(by_formula, on="flush_id", how="left", maintain_order="left")
    rows = rows.join(by_operand, on="flush_id", how="left", maintain_order="left")
    vmid = pl.col("whole_vmid") | pl.lit(facts.tlbirange is False)
    recorded = pl.col("operand_short").is_not_null()
    point = pl.col("status") == STATUSES.index("point")
    reason = (
        pl.when(pl.col("status") == STATUSES.index("censored")).then(pl.lit(CENSORED))
        .when(pl.col("status") == STATUSES.index("contaminated")).then(pl.lit(CONTAMINATED))
        .when(vmid | recorded).then(None)
        .when(pl.col("wrapper") & point & pl.lit(facts.tlbirange is None))
        .then(pl.lit(MAY_BE_VMID))
        .when(pl.col("formula_short").is_null())
        .then(pl.when("spans").then(pl.lit(CUT)).otherwise(pl.lit(NOT_ASKED)))
        .otherwise("formula_open")
    )  # fmt: skip
    rows = rows.with_columns(
        reason.alias("reason"),
        pl.lit(value=False).alias("idle"),
        pl.when(vmid).then(pl.lit(value=False)).when(recorded).then("operand_short")
        .otherwise("formula_short").fill_null(value=False).alias("bad"),
        pl.when(vmid).then(pl.lit(BY_VMID)).when(recorded).then("operand_by")
        .otherwise(pl.lit(BY_FORMULA)).alias("by"),
        pl.when(recorded).then("operand_text").otherwise("formula_text").alias("text"),
        pl.when(recorded).then(pl.lit("finding")).otherwise(pl.lit("predicted")).alias("severity"),
        pl.col("flush_id").alias("call_id"),
    )  # fmt: skip
    return judged(source_id, "range-operations", "range flush", rows, doubt=facts.doubt)


def _by_formula(heard: Heard, facts: Facts) -> pl.DataFrame:
    """Per flush that says what it was asked: whether the kernel's formula falls short, and how.

    `formula_open`: why that is not known: some formula falls short, and which the kernel has is
    not known, or known by its release alone, which does not tell of patches.
    """
    asked = heard.ranges.pieces
    row, start, pages, _ = pieces_of(asked, facts.page_bytes)
    formulas = possible_formulas(facts.kernel)
    lpa2 = (False, True) if facts.lpa2 is None else (facts.lpa2,)
    short = {
        formula: [
            covered(formula, start, pages, facts.page_bytes, lpa2=wide) < pages for wide in lpa2
        ]
        for formula in FORMULAS
    }
    by_release = [one for formula in formulas for one in short[formula]]
    always, maybe = np.logical_and.reduce(by_release), np.logical_or.reduce(by_release)
    # What some formula cuts short is not covered because a release says that it has another.
    never = ~np.logical_or.reduce([one for kind in short.values() for one in kind])
    texts = {
        int(at): _formula_text(formulas, int(start[at]), int(pages[at]), facts)
        for at in np.flatnonzero(maybe)
    }
    open_ = [
        None if always[at] or never[at]
        else _open_text(formulas, facts) if maybe[at] else _assumed_text(facts)
        for at in range(row.size)
    ] if not (always | never).all() else [None] * row.size  # fmt: skip
    found = pl.DataFrame(
        {
            "flush_id": asked["flush_id"].to_numpy()[row],
            "formula_short": always,
            "formula_open": pl.Series(open_, dtype=pl.String),
            "formula_text": pl.Series([texts.get(at) for at in range(row.size)], dtype=pl.String),
        }
    )
    grouped = found.group_by("flush_id", maintain_order=True).agg(
        pl.col("formula_short").any(),
        pl.col("formula_open").drop_nulls().first(),
        pl.col("formula_text").drop_nulls().first(),
    )
    return grouped.with_columns(
        pl.when(~pl.col("formula_short")).then("formula_open").alias("formula_open")
    )


def _open_text(formulas: tuple[Formula, ...], facts: Facts) -> str:
    unknown = "the kernel's release" if facts.kernel is None else f"the fixes of {facts.kernel}"
    return (
        f"{unknown} would decide: by some formulas that it may have"
        f" ({', '.join(one.kernels for one in formulas)}) the operations cover too little"
    )


def _assumed_text(facts: Facts) -> str:
    return (
        f"the operand was not recorded: by the formula of {facts.kernel} the operations cover all,"
        " by earlier ones too little, and a release does not tell of patches"
    )


def _formula_text(formulas: tuple[Formula, ...], start: int, pages: int, facts: Facts) -> str:
    formula = next(
        one for one in formulas
        if any(op.covers_pages < op.pages for op in
               sequence(one, start, pages, facts.page_bytes, lpa2=bool(facts.lpa2)))
        or facts.lpa2 is None
    )  # fmt: skip
    operations = sequence(formula, start, pages, facts.page_bytes, lpa2=bool(facts.lpa2))
    short = next((one for one in operations if one.covers_pages < one.pages), operations[0])
    covers = sum(one.covers_pages for one in operations)
    return (
        f"asked for {size(pages * facts.page_bytes)} from {start:#x}; by the kernel's formula"
        f" ({formula}) SCALE {short.scale}, NUM {short.num}, operand {short.operand or 0:#x} covers"
        f" {size(covers * facts.page_bytes)}; the operand itself was not recorded"
    )


def _by_execution(heard: Heard, facts: Facts, instructions: pl.DataFrame) -> pl.DataFrame:
    """Per flush whose instructions were recorded: as _by_operand()."""
    covers = range_operands(instructions, heard.ranges.pieces, facts.page_bytes)
    rows = [
        (flush, inside < total, _executed_text(instructions, flush, *found), BY_EXECUTION)
        for flush, found in covers.items()
        for total, inside, _ in (found,)
    ]
    return pl.DataFrame(rows, schema=BY_OPERANDS, orient="row")


def _executed_text(
    instructions: pl.DataFrame,
    flush: int,
    total: int,
    inside: int,
    overlap: bool,  # noqa: FBT001
) -> str | None:
    """What a flush that covers too little executed."""
    if inside >= total:
        return None
    ranges = instructions.filter(
        pl.col("call_id") == flush, pl.col("op").cast(pl.String).str.contains(STAGE_2)
    )
    more = ", some of it twice" if overlap else ""
    return (
        f"asked for {size(total)}, the executed operands{_shown(ranges['operand'].to_list())}"
        f" cover {size(inside)}{more}"
    )


def _shown(operands: Sequence[int | None]) -> str:
    """Some of the operands, in brackets."""
    known = [one for one in operands if one is not None]
    some = ", ".join(f"{one:#x}" for one in known[:SHOWN])
    more = f" and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return f" ({some}{more})" if known else ""


def _by_operand(heard: Heard, facts: Facts) -> pl.DataFrame:
    """Per flush with recorded operands and a known request: whether they fall short, and how."""
    asked: dict[int, list[tuple[int, int]]] = {}
    for flush, ipa, length in heard.ranges.pieces.iter_rows():
        asked.setdefault(flush, []).append((ipa, length))
    operands: dict[int, list[tuple[int, bool]]] = {}
    for flush, operand, single in heard.ranges.operands.iter_rows():
        operands.setdefault(flush, []).append((operand, single))
    singles = bool(heard.ranges.operands["single"].any())
    rows = [
        (
            flush,
            *_operands_cover(asked.get(flush, []), recorded, facts, singles=singles),
            BY_OPERAND,
        )
        for flush, recorded in operands.items()
    ]
    return pl.DataFrame(rows, schema=BY_OPERANDS, orient="row")


def _operands_cover(
    asked: list[tuple[int, int]],
    recorded: list[tuple[int, bool]],
    facts: Facts,
    *,
    singles: bool,
) -> tuple[bool | None, str | None]:
    """Whether the operands cover less than was asked, and the words for it; None: not known.

    Pages that the kernel invalidates one by one are not missed where no probe recorded those.
    """
    if not asked:
        return None, None
    page = facts.page_bytes
    total = sum(length for _, length in asked)
    best = 0
    for wide in (False, True) if facts.lpa2 is None else (facts.lpa2,):
        ranges = []
        for operand, single in recorded:
            if single:
                start, pages = (operand & ((1 << 40) - 1)) << 12, 1
            else:
                start = bases_of_operand(operand, page)[wide]
                pages = covered_by_operand(operand, page)
            ranges.append((start, start + pages * page))
        inside = sum(whole(ranges, ipa // page * page, ipa + length)[0] for ipa, length in asked)
        best = max(best, inside + (0 if singles else _alone(asked, facts, wide=wide)))
    shown = _shown([operand for operand, _ in recorded])
    text = (
        f"asked for {size(total)} from {asked[0][0]:#x}; the recorded operands{shown}"
        f" cover {size(best)}"
    )
    return best < total, text


def _alone(asked: list[tuple[int, int]], facts: Facts, *, wide: bool) -> int:
    """The bytes that a right kernel invalidates page by page."""
    formula = possible_formulas("9999.0")[0]
    found = 0
    for ipa, length in asked:
        frame = pl.DataFrame({"ipa": [ipa], "length_bytes": [length]})
        _, *columns = pieces_of(frame, facts.page_bytes)
        for start, pages, times in zip(*(column.tolist() for column in columns), strict=True):
            operations = sequence(formula, start, pages, facts.page_bytes, lpa2=wide)
            found += times * sum(one.pages for one in operations if one.scale is None)
    return found * facts.page_bytes


def instructions_in_order(
    source_id: int, instructions: pl.DataFrame, calls: pl.DataFrame
) -> tuple[Check, pl.DataFrame]:
    """Whether DSBs make entries visible before, and wait for, the TLBIs of each flush."""
    rows = order_problems(instructions, calls)
    text = pl.concat_str(
        [pl.when(name).then(pl.lit(said)) for name, said in PROBLEMS.items()],
        separator="; ", ignore_nulls=True,
    )  # fmt: skip
    rows = rows.with_columns(
        _unrecorded(instructions).alias("reason"),
        pl.lit(value=False).alias("idle"),
        pl.any_horizontal(*PROBLEMS).alias("bad"),
        pl.lit("executed instructions").alias("by"),
        pl.format("{} {}", pl.col("operation"), text).alias("text"),
    )
    return judged(source_id, "instruction-order", "flush", rows)


def operands_right(
    source_id: int, instructions: pl.DataFrame, calls: pl.DataFrame, heard: Heard, facts: Facts
) -> tuple[Check, pl.DataFrame]:
    """Whether each executed operand is what its call was asked to invalidate."""
    unrecorded = _unrecorded(instructions)
    single = single_operands(instructions, calls, facts.page_bytes).select(
        *calls.columns,
        pl.when(~pl.col("known")).then(pl.lit(NOT_ASKED)).otherwise(unrecorded).alias("reason"),
        pl.col("wrong").alias("bad"),
        pl.format("asked for {} at level {}, executed the operand {}", pl.col("ipa"), "level",
                  "operand").alias("text"),
    )  # fmt: skip
    covers = range_operands(instructions, heard.ranges.pieces, facts.page_bytes)
    rows = []
    for call in calls.filter(pl.col("operation") == "invalidate_range").iter_rows():
        total, inside, overlap = covers.get(call[0], (0, 0, False))
        text = _executed_text(instructions, call[0], total, inside, overlap)
        rows.append((*call, None if call[0] in covers else NOT_ASKED, inside < total, text))
    ranged = pl.DataFrame(
        rows,
        schema={**dict(calls.schema), "reason": pl.String, "bad": pl.Boolean, "text": pl.String},
        orient="row",
    ).with_columns(pl.coalesce(unrecorded, "reason").alias("reason"))
    given = pl.concat([single, ranged]).with_columns(
        pl.lit(value=False).alias("idle"), pl.lit(BY_EXECUTION).alias("by")
    )
    return judged(source_id, "operands", "flush", given)


def _unrecorded(instructions: pl.DataFrame) -> pl.Expr:
    """Why a call cannot be judged of which nothing was recorded; null of others.

    A recorder that looks at some functions only has entry and return of others, and no more.
    """
    recorded = instructions["call_id"].drop_nulls().unique()
    return pl.when(~pl.col("call_id").is_in(recorded.implode())).then(pl.lit(NO_INSTRUCTION))


def size(number: int) -> str:
    """Bytes as a person says them: 512 MiB."""
    for unit, name in BINARY:
        if number >= unit:
            return f"{number / unit:.4g} {name}"
    return f"{number} bytes"
