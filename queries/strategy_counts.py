"""What an unmap does under the other strategy: counts that follow from its page table.

Which leaves and tables an unmap clears is geometry, and the same under every strategy. The rest is
the kernel's rule (arch/arm64/kvm/hyp/pgtable.c, stage2_unmap_walker, stage2_unmap_put_pte,
kvm_pgtable_stage2_unmap):

- `per_pte`: one `__kvm_tlb_flush_vmid_ipa` per leaf, one per freed table, no range flush.
- `deferred_range`: none per leaf; one range flush per unmap, also of an empty one. Freed tables are
  invalidated each by itself (eager: 6.9 and later, and 6.6.47: f62d4c3eb687) or by the range flush
  (deferred: 6.6.0 to 6.6.46, 6.7, 6.8).

A kernel defers where the machine has TLBIRANGE and FWB, and there it maintains no cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from traceview.queries.range_operations import (
    DESCENDING_31,
    MAX_PAGES,
    possible_formulas,
    sequence,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

Strategy = Literal["per_pte", "deferred_range"]
Tables = Literal["eager", "deferred"]
STRATEGIES: Final[tuple[Strategy, ...]] = ("per_pte", "deferred_range")
TABLES: Final[tuple[Tables, ...]] = ("eager", "deferred")
# An unmap is of one minimum block level at most (stage2_apply_range): 1 GiB of 4K pages, 32 MiB of
# 16K and 512 MiB of 64K ones.
LARGEST_BYTES: Final = {4096: 1 << 30, 16384: 32 << 20, 65536: 512 << 20}
LEAF_PUTS, TABLE_PUTS = 1, 2


@dataclass(frozen=True, slots=True)
class Counts:
    """What one unmap does; None where that is not known.

    `range_operations`: fewest and most TLBI operations of its range flush.
    """

    leaves: int
    tables: int
    invalidate_leaf: int
    invalidate_table: int
    invalidate_range: int
    cmo: int | None
    table_put: int | None
    range_operations: tuple[int, int]


def counts(
    done: Mapping[str, int | None], strategy: Strategy, tables: Tables, operations: tuple[int, int]
) -> Counts:
    """What an unmap that did *done* (columns of schema.UNMAPS) does under *strategy*.

    *operations*: of its range flush, from range_operations().
    """
    leaves, freed = done["leaves"] or 0, freed_tables(done)
    puts = done["table_put"]
    if strategy == "per_pte":
        return Counts(leaves, freed, leaves, freed, 0, done["cmo"], puts, (0, 0))
    eager = freed if tables == "eager" else 0
    # A machine that defers has FWB: the function is called, and maintains nothing.
    return Counts(leaves, freed, 0, eager, 1, 0 if done["cmo"] is not None else None, puts,
                  operations)  # fmt: skip


def freed_tables(done: Mapping[str, int | None]) -> int:
    """How many tables an unmap freed: two references each, and one of a leaf.

    By their own flushes where they were not deferred into that of the range.
    """
    seen, puts = done["invalidate_table"] or 0, done["table_put"]
    if seen or not puts:
        return seen
    return max(0, puts - LEAF_PUTS * (done["leaves"] or 0)) // TABLE_PUTS


def range_operations(
    length_bytes: int | None, page_bytes: int, kernel: str | None, *, lpa2: bool | None
) -> tuple[int, int]:
    """Fewest and most operations of the range flush of an unmap of *length_bytes*.

    Of every formula that *kernel* may have if it has range operations, else of the newest. Where
    the length was not recorded: of any unmap, which is of LARGEST_BYTES at most.
    """
    formulas = (DESCENDING_31,) if _before_ranges(kernel) else possible_formulas(kernel)
    wide = (False, True) if lpa2 is None else (lpa2,)
    if length_bytes is None:
        # One of each SCALE, and a last page; single pages up to a multiple of 64 KiB with LPA2.
        more = (1 << 16) // page_bytes - 1 if any(wide) else 0
        return 1, 5 + more
    pages = min(max(1, length_bytes // page_bytes), MAX_PAGES)
    found = [
        len(sequence(one, start, pages, page_bytes, lpa2=is_wide))
        for one in formulas
        for is_wide in wide
        for start in ((0, page_bytes) if is_wide else (0,))
    ]
    return min(found), max(found)


def _before_ranges(kernel: str | None) -> bool:
    """Whether that kernel has no range operations, so that another one is predicted."""
    parts = (kernel or "").split(".")
    known = len(parts) > 1 and parts[0].isdigit() and parts[1].isdigit()
    return known and (int(parts[0]), int(parts[1])) < (6, 6)
