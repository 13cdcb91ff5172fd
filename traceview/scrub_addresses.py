"""Addresses -> other addresses: each region of addresses begins at a base of its own.

Distances within a region stay, because lengths are computed from them, and so do the order of
addresses and their offsets in a page. A region ends where no address follows within REGION_GAP:
the kernel's image, its modules, stacks and the linear map lie farther apart, so that nothing says
where one is from where another is (KASLR: arch/arm64/kernel/pi/kaslr_early.c). What comes out is
no address that a CPU has: neither arm64 nor x86-64 can use 0x4000... or 0xc000....
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Addresses = NDArray[np.uint64]

KERNEL: Final = 1 << 63  # addresses above are the kernel's
# No address, but small negative numbers (arch/arm64/include/asm/memory.h: FIXADDR_TOP).
KERNEL_END: Final = (1 << 64) - (1 << 23)
GIB_SHIFT: Final = 30
REGION_GAP: Final = 1 << GIB_SHIFT  # the largest block of memory of which both ends are recorded
NEW_KERNEL: Final = 0xC000 << 48
NEW_USER: Final = 0x4000 << 48
PAGE_SHIFT: Final = 12
HEX: Final = re.compile(r"(?<![0-9A-Za-z])(0[xX])?([89a-fA-F][0-9a-fA-F]{15})(?![0-9A-Za-z])")

# Operands of TLBI by virtual address: VA[55:12] in 43:0, of ranges VA[48:12] in 36:0 (DDI 0487).
BY_VA: Final = r"^va[a-z]*\d"
BY_VA_RANGE: Final = r"^rva[a-z]*\d"


def is_kernel(addresses: Addresses) -> NDArray[np.bool_]:
    """Which of *addresses* are the kernel's."""
    found: NDArray[np.bool_] = (addresses > np.uint64(KERNEL)) & (addresses < np.uint64(KERNEL_END))
    return found


class Regions:
    """Where addresses lie, and where they are moved to. `add` all of them, then `settle`."""

    def __init__(self) -> None:
        """Know no address."""
        self._low = np.zeros(0, dtype=np.uint64)
        self._high = self._low
        self._to = self._low
        self._next = {False: 1, True: 1}  # GiB in use behind each new base

    def add(self, addresses: Addresses) -> None:
        """Learn *addresses*."""
        if addresses.size:
            self._low, self._high = _merged(
                np.concatenate([self._low, addresses]), np.concatenate([self._high, addresses])
            )

    def settle(self) -> None:
        """Say where the regions go."""
        self._to = self._places(self._low, self._high)

    def moved(self, addresses: Addresses) -> Addresses:
        """Where *addresses* are moved to; 0 stays. Those that are new get regions of their own."""
        if addresses.size == 0:
            return addresses
        at, inside = self._at(addresses)
        new = addresses[~inside & (addresses != 0)]
        if new.size:
            self._append(new)
            at, inside = self._at(addresses)
        low = self._low[at] if self._low.size else addresses
        to = self._to[at] if self._low.size else addresses
        return np.where(inside, addresses - low + to, addresses)

    def text(self, text: str) -> str:
        """*text* with the kernel addresses in it moved."""

        def move(match: re.Match[str]) -> str:
            value = np.array([int(match[2], 16)], dtype=np.uint64)
            if not is_kernel(value)[0]:
                return match[0]
            return f"{match[1] or ''}{int(self.moved(value)[0]):016x}"

        return HEX.sub(move, text)

    def _at(self, addresses: Addresses) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        if self._low.size == 0:
            return np.zeros(addresses.size, np.int64), np.zeros(addresses.size, np.bool_)
        at = np.searchsorted(self._low, addresses, side="right") - 1
        inside = (at >= 0) & (addresses <= self._high[at]) & (addresses != 0)
        return np.maximum(at, 0), inside

    def _append(self, addresses: Addresses) -> None:
        """Regions for addresses in none; those that are settled stay where they are."""
        values = np.unique(addresses)
        low, high = np.array(values), np.array(values)
        to = self._places(low, high)
        order = np.argsort(np.concatenate([self._low, low]), kind="stable")
        self._low = np.concatenate([self._low, low])[order]
        self._high = np.concatenate([self._high, high])[order]
        self._to = np.concatenate([self._to, to])[order]

    def _places(self, low: Addresses, high: Addresses) -> Addresses:
        to = np.zeros(low.size, dtype=np.uint64)
        for kernel, base in ((False, NEW_USER), (True, NEW_KERNEL)):
            mine = (low >= np.uint64(KERNEL)) == kernel
            size = ((high[mine] - low[mine]) >> np.uint64(GIB_SHIFT)) + np.uint64(2)
            before = np.cumsum(size) - size + np.uint64(self._next[kernel])
            offset = low[mine] & np.uint64((1 << PAGE_SHIFT) - 1)
            to[mine] = np.uint64(base) + (before << np.uint64(GIB_SHIFT)) + offset
            self._next[kernel] += int(size.sum())
        return to


def _merged(low: Addresses, high: Addresses) -> tuple[Addresses, Addresses]:
    order = np.argsort(low, kind="stable")
    low, reach = low[order], np.maximum.accumulate(high[order])
    apart = low[1:] > reach[:-1]
    far = apart & (low[1:] - reach[:-1] > np.uint64(REGION_GAP))
    far |= (low[1:] >= np.uint64(KERNEL)) & (reach[:-1] < np.uint64(KERNEL))
    first, last = np.append([True], far), np.append(far, [True])
    return low[first], reach[last]


def text_addresses(texts: pl.Series) -> Addresses:
    """The kernel addresses that are written in *texts*."""
    written = texts.str.extract_all(r"[89a-fA-F][0-9a-fA-F]{15}").explode(empty_as_null=False)
    values = written.drop_nulls().unique().str.to_integer(base=16, dtype=pl.UInt64)
    found = values.to_numpy().astype(np.uint64)
    return found[is_kernel(found)]


def operand_addresses(op: pl.Series, operand: Addresses) -> tuple[Addresses, Addresses]:
    """Of operands of TLBI: the virtual addresses that they name, and the masks of their bits.

    The mask is 0 where an operand names none.
    """
    ranged = op.str.contains(BY_VA_RANGE).fill_null(value=False).to_numpy()
    single = op.str.contains(BY_VA).fill_null(value=False).to_numpy()
    bits = np.where(ranged, np.uint64(37), np.where(single, np.uint64(44), np.uint64(0)))
    mask = (np.uint64(1) << bits) - np.uint64(1)
    page = operand & mask
    top = (page >> np.where(bits > 0, bits - np.uint64(1), np.uint64(0))) & np.uint64(1)
    extended = np.where((bits > 0) & (top == 1), page | ~mask, page)
    return extended << np.uint64(PAGE_SHIFT), mask
