"""What repeats in records, as small codes: functions by address, tasks by the bytes of their name.

Both are looked up in a table with a slot for each hash; what is not there is learned, and takes
the place of what was in its slot. So a look-up costs a few array operations whatever the number of
distinct values, and memory is bounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.parsers.record_fields import gather

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from traceview.parsers.columns import Bytes, Ints, Words
    from traceview.parsers.names import Names
    from traceview.symbols import Kallsyms

    Codes = NDArray[np.uint32]

SLOT_BITS: Final = 14
# Odd multipliers that spread neighbouring addresses: 2**64 over the golden ratio, and a prime.
SPREAD: Final = np.uint64(0x9E3779B97F4A7C15)
SPREAD_MORE: Final = np.uint64(0xC2B2AE3D27D4EB4F)

COMM_BYTES: Final = 16  # include/linux/sched.h: TASK_COMM_LEN


class AddressCodes:
    """Addresses -> codes; *make* gives the codes of new addresses (distinct, ascending)."""

    def __init__(self, make: Callable[[Words], Codes], bits: int = SLOT_BITS) -> None:
        """Know no address but 0; remember 2^*bits* of them at most."""
        self._make = make
        self._shift = np.uint64(64 - bits)
        self._address = np.zeros(1 << bits, dtype=np.uint64)
        # Free slots hold address 0, wherever it would go.
        self._code = np.repeat(make(np.zeros(1, dtype=np.uint64)), 1 << bits)

    def look_up(self, addresses: Words) -> Codes:
        """The code of each address."""
        if len(addresses) and (addresses == addresses[0]).all():
            one = self._codes(addresses[:1])
            return np.full(len(addresses), one[0], dtype=np.uint32)
        return self._codes(addresses)

    def _codes(self, addresses: Words) -> Codes:
        slot = (addresses * SPREAD) >> self._shift
        codes: Codes = self._code[slot]
        missed = np.flatnonzero(self._address[slot] != addresses)
        if missed.size:
            distinct, at = np.unique(addresses[missed], return_inverse=True)
            made = self._make(distinct)
            codes[missed] = made[at]
            # Of several with the same slot the last is remembered.
            learned = (distinct * SPREAD) >> self._shift
            self._address[learned] = distinct
            self._code[learned] = made
        return codes


class CommCodes:
    """Names of tasks -> codes of Names; what follows the NUL says nothing."""

    def __init__(self, names: Names) -> None:
        """Know no name."""
        self._names = names
        self._shift = np.uint64(64 - SLOT_BITS)
        self._key = np.zeros((1 << SLOT_BITS, 2), dtype=np.uint64)
        self._code = np.full(1 << SLOT_BITS, names.code(""), dtype=np.uint32)

    def look_up(self, data: Bytes, start: Ints) -> Codes:
        """The codes of the names of COMM_BYTES bytes at *start*."""
        raw = gather(data, start, np.dtype(f"V{COMM_BYTES}"))
        words = raw.view(np.uint64).reshape(-1, 2)
        slot = (words[:, 0] * SPREAD ^ words[:, 1] * SPREAD_MORE) * SPREAD >> self._shift
        codes: Codes = self._code[slot]
        missed = np.flatnonzero((self._key[slot] != words).any(axis=1))
        if missed.size:
            distinct, at = np.unique(raw[missed].view(f"S{COMM_BYTES}"), return_inverse=True)
            made = np.array([self._learn(bytes(one)) for one in distinct], dtype=np.uint32)
            codes[missed] = made[at]
            self._key[slot[missed]] = words[missed]
            self._code[slot[missed]] = codes[missed]
        return codes

    def _learn(self, raw: bytes) -> int:
        return self._names.code(raw.partition(b"\0")[0].decode("utf-8", "replace"))


class Functions:
    """Names of functions by address: exact, or the nearest below."""

    def __init__(self, kallsyms: Kallsyms | None) -> None:
        """*kallsyms*: None where addresses have no names."""
        self._kallsyms = kallsyms

    def names(self, addresses: Words) -> list[str | None]:
        """The function at each address, None where there is none."""
        if self._kallsyms is None:
            return [None] * len(addresses)
        at = np.searchsorted(self._kallsyms.addresses, addresses, side="right") - 1
        found = self._kallsyms.names[np.maximum(at, 0)].tolist()
        return [name if i >= 0 else None for i, name in zip(at.tolist(), found, strict=True)]

    def offsets(self, addresses: Words) -> Ints:
        """How far into its function each address lies, 0 where it has none."""
        if self._kallsyms is None:
            return np.zeros(len(addresses), dtype=np.int64)
        at = np.searchsorted(self._kallsyms.addresses, addresses, side="right") - 1
        base = self._kallsyms.addresses[np.maximum(at, 0)]
        return np.where(at >= 0, addresses - base, np.uint64(0)).view(np.int64)
