"""Whether entries that were cleared are invalidated, and what they led to is released after that.

Of evidence `insn` with stores (docs/instructions.md): the one kind of trace that has the store
itself. Behind the store that clears a valid entry there must stand, in this order and before the
unmap returns: a DSB that shows it to the walkers (ISHST or more), a TLBI for all CPUs that covers
the entry, and a DSB that waits for that (ISH or more). If the entry led to a table, its page may be
put (`kvm_s2_put_page`) only after that last DSB. Instructions of one task in one unmap are compared
by their order, never by time.

Source: arch/arm64/kvm/hyp/pgtable.c (stage2_unmap_walker), 6.1 to 7.2; Arm ARM, "TLB maintenance
instructions", "Ordering and completion of TLB maintenance instructions", and "VMSAv8-64 translation
table format descriptors".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.audit_instructions import SHOWS, WAITS
from traceview.queries.audit_results import judged
from traceview.queries.rows import NIL
from traceview.queries.unmaps import owner
from traceview.queries.waiting import Waiting, positions

if TYPE_CHECKING:
    from traceview.queries.audit_order import Parts
    from traceview.queries.audit_results import Check
    from traceview.queries.calls import Chunk
    from traceview.queries.unmaps import Placed
    from traceview.trace import Batch

STORE: Final = "pte"
LOOKED_AT: Final = (STORE, "tlbi", "dsb")
VALUES: Final = ("ipa", "pages", "level", "va", "pa", "old", "new")
# For all CPUs that share memory with this one, and all entries, not those of the last level alone.
EVERYWHERE: Final = r"(?:is|os)(?:nxs)?$"
ONE_PAGE: Final = r"^ipas2l?e1"
A_RANGE: Final = r"^ripas2l?e1"
LAST_LEVEL_ALONE: Final = r"^r?ipas2le1"
WHOLE_VMID: Final = r"^(?:vmalls12e1|alle1)"

VALID, TABLE = 0b01, 0b11
LEAF_LEVEL: Final = 3
OUTPUT_ADDRESS_END: Final = 1 << 48
NONE: Final = (1 << 63) - 1

OBSERVED: Final = {
    "unmap_id": pl.Int64(), "cleared": pl.Int64(), "unread": pl.Int64(), "tables": pl.Int64(),
    "not_invalidated": pl.Int64(), "too_early": pl.Int64(), "hinted": pl.Int64(),
    "first_ipa": pl.Int64(), "first_level": pl.Int64(), "first_early_ipa": pl.Int64(),
    "first_early_level": pl.Int64(),
}  # fmt: skip
UNREAD: Final = "what an entry held, or which entry it was, was not recorded"
BY_STORES: Final = "executed stores and instructions"


class Entries:
    """The entries that one source's unmaps cleared."""

    def __init__(self) -> None:
        """Start with none."""
        self.seen = False
        self._waiting = Waiting()
        self._observed = [pl.DataFrame(schema=OBSERVED)]

    @property
    def observed(self) -> pl.DataFrame:
        """One row per unmap that cleared an entry: OBSERVED."""
        return pl.concat(self._observed)

    def hear(
        self, batch: Batch, chunk: Chunk, placed: Placed, found: Parts, page_bytes: int
    ) -> None:
        """Take a batch, and judge the unmaps that closed with it."""
        self._add(batch)
        rows = self._waiting.due(chunk)
        if rows is None or rows.is_empty() or not self.seen:
            return
        at = positions(rows, placed)
        unmap = owner(found.unmaps, at)
        rows = rows.with_columns(pl.Series("at", at), pl.Series("unmap", unmap))
        puts = pl.DataFrame(
            {
                "unmap": found.puts.unmap,
                "at": found.puts.start,
                "address": found.puts.calls["object_addr"],
            }
        ).filter(pl.col("address") != NIL)
        inside = rows.filter(pl.col("unmap") >= 0).sort("at")
        seen = _judged(inside, puts.sort("at"), page_bytes)
        ids = pl.DataFrame({"unmap_id": found.unmaps.calls["start_seq"]}).with_row_index("unmap")
        named = seen.join(ids.with_columns(pl.col("unmap").cast(pl.Int64)), on="unmap")
        self._observed.append(named.select(pl.col(name).cast(OBSERVED[name]) for name in OBSERVED))

    def _add(self, batch: Batch) -> None:
        events = batch.events.filter(
            (pl.col("evidence") == "insn") & pl.col("name").is_in(LOOKED_AT)
        ).select("seq", "tid", "cpu", pl.col("name").cast(pl.String).alias("what"))
        if events.is_empty():
            return
        self.seen = self.seen or bool((events["what"] == STORE).any())
        for name in VALUES:
            values = batch.args.filter(pl.col("name") == name).select(
                "seq", pl.col("value").alias(name)
            )
            events = events.join(values, on="seq", how="left", maintain_order="left")
        for name in ("op", "option"):
            texts = batch.args.filter(pl.col("name") == name).select(
                "seq", pl.col("text").cast(pl.String).alias(name)
            )
            events = events.join(texts, on="seq", how="left", maintain_order="left")
        self._waiting.add(events)


def _judged(rows: pl.DataFrame, puts: pl.DataFrame, page_bytes: int) -> pl.DataFrame:
    """Per unmap (`unmap`) the counts of OBSERVED."""
    entries = _cleared(rows, page_bytes)
    barriers = rows.filter(pl.col("what") == "dsb").select("unmap", "at", "option")
    shows = barriers.filter(pl.col("option").is_in(SHOWS)).select("unmap", shown="at")
    waits = barriers.filter(pl.col("option").is_in(WAITS)).select("unmap", done="at")
    entries = _next(entries, shows, "at", "shown")
    entries = _invalidated(entries, rows.filter(pl.col("what") == "tlbi"), page_bytes)
    entries = _next(entries, waits, "invalidated", "done")
    releases = puts.select(
        "unmap", released="at", child=pl.col("address").reinterpret(signed=False) // page_bytes
    )
    entries = _next(entries, releases, "at", "released", by="child")
    never = pl.col("done") == NONE
    early = pl.col("is_table") & (pl.col("released") < pl.col("done"))
    known = pl.col("known")
    return (
        entries.with_columns((known & never).alias("never"), (known & early).alias("too_early"))
        .group_by("unmap", maintain_order=True)
        .agg(
            pl.len().alias("cleared"),
            (~known).sum().alias("unread"),
            pl.col("is_table").sum().alias("tables"),
            pl.col("never").sum().alias("not_invalidated"),
            pl.col("too_early").sum(),
            (known & ~never & pl.col("hinted")).sum().alias("hinted"),
            pl.col("ipa").filter("never").first().alias("first_ipa"),
            pl.col("level").filter("never").first().alias("first_level"),
            pl.col("ipa").filter("too_early").first().alias("first_early_ipa"),
            pl.col("level").filter("too_early").first().alias("first_early_level"),
        )
    )


def _cleared(rows: pl.DataFrame, page_bytes: int) -> pl.DataFrame:
    """The stores that clear a valid entry, or may: `known`, `is_table`, `page`, `child`."""
    old, new = (pl.col(name).reinterpret(signed=False) for name in ("old", "new"))
    stores = rows.filter(
        pl.col("what") == STORE,
        (old & VALID).fill_null(VALID) == VALID,
        (new & VALID).fill_null(0) == 0,
    )
    names = ("old", "ipa", "level", "va", "pa")
    address = old % OUTPUT_ADDRESS_END // page_bytes * page_bytes
    # Tables lie in the linear map, where all addresses differ from the physical by the same.
    offset = pl.col("va").reinterpret(signed=False) - pl.col("pa").reinterpret(signed=False)
    return stores.select(
        "unmap", "at", "ipa", "level",
        pl.all_horizontal(pl.col(name).is_not_null() for name in names).alias("known"),
        (((old & TABLE) == TABLE) & (pl.col("level") < LEAF_LEVEL)).fill_null(value=False)
        .alias("is_table"),
        (pl.col("ipa") // page_bytes).alias("page"),
        ((address + offset) // page_bytes).alias("child"),
    )  # fmt: skip


def _invalidated(entries: pl.DataFrame, tlbi: pl.DataFrame, page_bytes: int) -> pl.DataFrame:
    """*entries* with `invalidated`: the first TLBI behind `shown` that covers each, or NONE.

    `hinted`: that of a table names a level. Hints speak of leaves (36e008323926).
    """
    op = pl.col("op")
    tlbi = tlbi.filter(op.str.contains(EVERYWHERE)).select(
        "unmap", "op", "ipa", "pages", pl.col("level").alias("hint"), by="at",
        leaves_alone=op.str.contains(LAST_LEVEL_ALONE), page=pl.col("ipa") // page_bytes,
    )  # fmt: skip
    pages = tlbi.filter(op.str.contains(ONE_PAGE))
    ranges = tlbi.filter(op.str.contains(A_RANGE))
    whole = tlbi.filter(op.str.contains(WHOLE_VMID))
    entries = entries.with_row_index("entry")
    fits = pl.col("hint").is_null() | (pl.col("hint") == pl.col("level"))
    fits &= ~(pl.col("is_table") & pl.col("leaves_alone")) & (pl.col("by") > pl.col("shown"))
    reaches = (pl.col("ipa") >= pl.col("ipa_right")) & (
        pl.col("ipa") < pl.col("ipa_right") + pl.col("pages") * page_bytes
    )
    found = [
        entries.join(pages, on=["unmap", "page"], how="inner").filter(fits),
        entries.join(ranges, on="unmap", how="inner").filter(fits & reaches),
        entries.join(whole, on="unmap", how="inner").filter(pl.col("by") > pl.col("shown")),
    ]
    first = (
        pl.concat([one.select("entry", "by", "hint") for one in found])
        .sort("by")
        .group_by("entry")
        .agg(pl.col("by").first().alias("invalidated"), pl.col("hint").first())
    )
    joined = entries.join(first, on="entry", how="left", maintain_order="left")
    return joined.select(
        pl.exclude("entry", "hint", "invalidated"),
        pl.col("invalidated").fill_null(NONE),
        (pl.col("is_table") & pl.col("hint").is_not_null()).alias("hinted"),
    )


def _next(
    rows: pl.DataFrame, others: pl.DataFrame, after: str, name: str, by: str | None = None
) -> pl.DataFrame:
    """*rows* with *name*, the first of *others* of the same unmap behind *after*, or NONE."""
    keys = ["unmap"] if by is None else ["unmap", by]
    joined = rows.sort(after).join_asof(
        others.sort(name), left_on=after, right_on=name, by=keys, strategy="forward",
        allow_exact_matches=False, check_sortedness=False,
    )  # fmt: skip
    return joined.with_columns(pl.col(name).fill_null(NONE)).sort("at")


def entries_invalidated(
    source_id: int, rows: pl.DataFrame, entries: Entries, doubt: str | None
) -> tuple[Check, pl.DataFrame]:
    """Whether the entries that unmaps (*rows*) cleared were invalidated, and tables in order."""
    rows = rows.join(entries.observed, on="unmap_id", how="left", maintain_order="left")
    bad = pl.any_horizontal(pl.col(name) > 0 for name in ("not_invalidated", "too_early", "hinted"))
    rows = rows.with_columns(bad.fill_null(value=False).alias("bad"))
    reason = (
        pl.when(pl.col("excluded").is_not_null()).then("excluded")
        .when(~pl.col("bad") & (pl.col("unread") > 0)).then(pl.lit(UNREAD))
    )  # fmt: skip
    texts = [_said(row) if row["bad"] else None for row in rows.select("bad", *OBSERVED).to_dicts()]
    given = rows.with_columns(
        reason.alias("reason"),
        pl.col("cleared").is_null().alias("idle"),
        pl.lit(BY_STORES).alias("by"),
        pl.Series("text", texts, pl.String),
    )
    return judged(source_id, "entries-invalidated", "unmap", given, doubt=doubt)


def _said(row: dict[str, int]) -> str:
    """What is wrong with one unmap."""
    parts = []
    if row["not_invalidated"]:
        parts.append(
            f"{_of(row['not_invalidated'], row['cleared'], 'cleared entry', 'cleared entries')} not"
            f" invalidated before it returned (the first: {row['first_ipa']:#x}, level"
            f" {row['first_level']})"
        )
    if row["too_early"]:
        pages = _of(row["too_early"], row["tables"], "page-table page", "page-table pages")
        parts.append(
            f"{pages} released before the invalidation of the entry that led there was complete"
            f" (the first: {row['first_early_ipa']:#x}, level {row['first_early_level']})"
        )
    if row["hinted"]:
        parts.append(
            f"{_of(row['hinted'], row['tables'], 'table entry', 'table entries')} invalidated with"
            " the hint of a level, which speaks of leaves alone (36e008323926)"
        )
    return "; ".join(parts)


def _of(number: int, total: int, one: str, several: str) -> str:
    """The number of the total, their noun, and the verb."""
    of = f"{number} of " if number != total else ""
    return f"{of}{total} {one if total == 1 else several} {'was' if number == 1 else 'were'}"
