"""Which TLBI operations the kernel makes of a range, and how much of the range they cover.

A range operation covers (NUM + 1) << (5*SCALE + 1) pages, NUM 0..31, SCALE 0..3: 2 to 2^21. The
loop that cuts a range into such operations had three forms in kernels with
`kvm_tlb_flush_vmid_range` (6.6 and later):

- ascending: an odd page first by itself, SCALE 0 -> 3, NUM at most 30. 6.6.0 .. 6.6.28, 6.7.
- descending_30: SCALE 3 -> 0 (e2768b798a19), a last page by itself, NUM at most 30. 6.8.0 .. 6.8.6,
  and early release candidates of 6.9.
- descending_31: the same, NUM at most 31 (e3ba51ab24fd). 6.6.29, 6.8.7, 6.9 and later.

With NUM at most 30 no SCALE takes exactly 2^21 pages, which is what KVM hands on of any longer
range. The loop then runs SCALE out of its field. Descending, SCALE -9 and NUM 1 read as SCALE 3 and
NUM 1: 512 MiB of 8 GiB (4K pages), the operand 0xffff708000040000 of e3ba51ab24fd. Ascending,
SCALE 4 falls into the field of the granule (derived from the source; e3ba51ab24fd is marked for
6.6 too). What a shift by too much gives is arm64's: the amount is taken modulo 64.

With LPA2 (6.8 and later) a base counts 64 KiB, so pages before the first multiple of 64 KiB are
invalidated one by one.

Source: arch/arm64/include/asm/tlbflush.h (__flush_tlb_range_op, __TLBI_RANGE_NUM,
__TLBI_VADDR_RANGE), arch/arm64/kvm/hyp/pgtable.c (kvm_tlb_flush_vmid_range) of these versions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

MAX_PAGES: Final = 1 << 21  # MAX_TLBI_RANGE_PAGES
GRANULES: Final = {4096: 1, 16384: 2, 65536: 3}  # the field TG
LPA2_BYTES: Final = 1 << 16
WORD: Final = (1 << 64) - 1

# X.Y, perhaps .Z, perhaps -rcN, and what a distribution appends.
RELEASE: Final = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:-rc(\d+))?(.*)", re.DOTALL)
# A distribution's own number, with .0 where the stable one would be: 6.8.0-45-generic. Which fixes
# of 6.8.y it has, nobody knows.
REBUILT: Final = re.compile(r"-\d+")


@dataclass(frozen=True, slots=True)
class Formula:
    """How a kernel cuts a range into operations."""

    name: str
    kernels: str
    ascending: bool
    largest_num: int
    knows_lpa2: bool

    def __str__(self) -> str:
        order = "SCALE 0 to 3" if self.ascending else "SCALE 3 to 0"
        return f"{order}, NUM at most {self.largest_num}, as in {self.kernels}"


ASCENDING: Final = Formula(
    "ascending", "6.6.0 to 6.6.28, 6.7", ascending=True, largest_num=30, knows_lpa2=False
)
DESCENDING_30: Final = Formula(
    "descending_30", "6.8.0 to 6.8.6", ascending=False, largest_num=30, knows_lpa2=True
)
DESCENDING_31: Final = Formula(
    "descending_31", "6.6.29, 6.8.7, 6.9 and later", ascending=False, largest_num=31,
    knows_lpa2=True,
)  # fmt: skip
FORMULAS: Final = (ASCENDING, DESCENDING_30, DESCENDING_31)
# Of each stable series: the formula it began with, and the release that has e3ba51ab24fd.
FIRST_FIXED: Final = {
    (6, 6): (ASCENDING, 29), (6, 7): (ASCENDING, None), (6, 8): (DESCENDING_30, 7),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """One TLBI. `scale` and `num` as the kernel computed them, None of a single page.

    `operand` is what a range operation is given; `covers_pages` what the CPU makes of it: 0 where
    its granule is another than the kernel's.
    """

    start: int
    pages: int
    covers_pages: int
    scale: int | None = None
    num: int | None = None
    operand: int | None = None


def possible_formulas(release: str | None) -> tuple[Formula, ...]:
    """The formulas that a kernel of that release (`uname -r`) may have; all where it says nothing.

    Before 6.6 KVM has no range operations, so one that has them is a back-port of any of them.
    """
    match = RELEASE.match(release or "")
    if match is None:
        return FORMULAS
    version, patch = (int(match[1]), int(match[2])), int(match[3] or 0)
    if version < min(FIRST_FIXED):
        return FORMULAS
    if version == (6, 9) and 0 < int(match[4] or 0) < 4:
        return (DESCENDING_30,)
    if version not in FIRST_FIXED:
        return (DESCENDING_31,)
    before, fixed = FIRST_FIXED[version]
    if patch == 0 and REBUILT.match(match[5]):
        return (before, DESCENDING_31)
    return (DESCENDING_31,) if fixed is not None and patch >= fixed else (before,)


def sequence(
    formula: Formula, start: int, pages: int, page_bytes: int, *, lpa2: bool = False
) -> list[Operation]:
    """The operations for one call of __kvm_tlb_flush_vmid_range(), in order."""
    lpa2 = lpa2 and formula.knows_lpa2 and page_bytes < LPA2_BYTES
    found: list[Operation] = []
    start -= start % page_bytes
    scale = 0 if formula.ascending else 3
    while pages > 0:
        alone = pages % 2 == 1 if formula.ascending else pages == 1
        if alone or (lpa2 and start % LPA2_BYTES):
            found.append(Operation(start, 1, 1))
            start, pages = start + page_bytes, pages - 1
            continue
        num = _num(formula, pages, scale)
        if num >= 0:
            unit = LPA2_BYTES if lpa2 else page_bytes
            one = _range(start, scale, num, page_bytes, unit)
            found.append(one)
            start, pages = start + one.pages * page_bytes, pages - one.pages
        scale += 1 if formula.ascending else -1
    return found


def covered(
    formula: Formula, start: Ints, pages: Ints, page_bytes: int, *, lpa2: bool = False
) -> Ints:
    """How many pages of each range [start, start + pages) its operations cover.

    At most 2^21 pages each. Only where the loop leaves SCALE's field can it be less than all.
    """
    found = pages.copy()
    if formula.largest_num == 31:
        return found
    # 31 is what NUM must be for a SCALE to take them, and the one number that it cannot be.
    left = pages.copy()
    if lpa2 and formula.knows_lpa2 and page_bytes < LPA2_BYTES:
        left -= np.minimum(-(start // page_bytes) % (LPA2_BYTES // page_bytes), pages)
    odd = np.flatnonzero(left >= MAX_PAGES)
    for at in odd.tolist():
        operations = sequence(formula, int(start[at]), int(pages[at]), page_bytes, lpa2=lpa2)
        found[at] = sum(one.covers_pages for one in operations)
    return found


def covered_by_operand(operand: int, page_bytes: int) -> int:
    """How many pages the operand of a range operation covers: 0 with the granule of another size.

    Arm ARM, TLBI RIPAS2E1IS: TG 47:46, SCALE 45:44, NUM 43:39, BaseADDR 36:0.
    """
    scale, num, tg = (operand >> 44) & 3, (operand >> 39) & 31, (operand >> 46) & 3
    return (num + 1) << (5 * scale + 1) if tg == GRANULES[page_bytes] else 0


def bases_of_operand(operand: int, page_bytes: int) -> tuple[int, int]:
    """Where the range of an operand begins: if its base counts pages, and if it counts 64 KiB."""
    base = operand & ((1 << 37) - 1)
    return base * page_bytes, base * LPA2_BYTES


def whole(ranges: list[tuple[int, int]], start: int, end: int) -> tuple[int, bool]:
    """How many bytes of [start, end) the *ranges* (start, end) cover, and whether any overlap."""
    reach, inside, overlap = start, 0, False
    last_end: int | None = None
    for first, last in sorted(ranges):
        overlap |= last_end is not None and first < last_end
        last_end = last if last_end is None else max(last, last_end)
        inside += max(0, min(last, end) - max(first, reach, start))
        reach = max(reach, last)
    return inside, overlap


def _num(formula: Formula, pages: int, scale: int) -> int:
    """__TLBI_RANGE_NUM."""
    if formula.largest_num == 31:
        return (min(pages, 32 << (5 * scale + 1)) >> (5 * scale + 1)) - 1
    return ((pages >> ((5 * scale + 1) % 64)) & 31) - 1


def _range(start: int, scale: int, num: int, page_bytes: int, unit: int) -> Operation:
    """One range operation, as the kernel makes it and as the CPU reads it."""
    tg = GRANULES[page_bytes]
    operand = (start // unit) & ((1 << 37) - 1)
    operand |= (num << 39) | ((scale << 44) & WORD) | (tg << 46)
    covers = covered_by_operand(operand, page_bytes)
    pages = (num + 1) << ((5 * scale + 1) % 64)
    return Operation(start, pages, min(covers, pages), scale, num, operand)
