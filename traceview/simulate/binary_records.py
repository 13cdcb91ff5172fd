"""Records as the kernel lays them out, many at once: how long each is, and its bytes in place.

The layouts are those of arm64 with Linux 6.12: kernel/trace/trace_entries.h for the tracers' own
events (funcgraph_entry, funcgraph_exit, print), trace_probe.h for probes. A record begins with
common_type, common_flags, common_preempt_count and common_pid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.byte_columns import Pool, copy
from traceview.simulate.probe_events import GROUP, event_format, field, probe_events
from traceview.simulate.record_columns import ENTRY, EXIT, KRETPROBE, PRINT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.simulate.probe_events import ProbeEvent
    from traceview.simulate.record_columns import Columns, Ints, Symbols
    from traceview.simulate.recording import Recorded

WORD_BYTES: Final = 4
ENTRY_ID, EXIT_ID, PRINT_ID = 11, 10, 5
IRQS_OFF: Final = 1 << 16  # TRACE_FLAG_IRQS_OFF in common_flags: probes run with interrupts off
PLACE_BYTES: Final = 8  # the common fields
MARKER_SYMBOL: Final = "tracing_mark_write"
MARKER_BYTES: Final = 1024  # TRACE_BUF_SIZE: what is longer is cut, as by kernels up to 6.6
MARKER_SPACING_BYTES: Final = 4096

TRACER_FORMATS: Final = (
    event_format(
        "funcgraph_entry", ENTRY_ID,
        [field("unsigned long", "func", 8, 8), field("int", "depth", 16, 4, signed=True)],
        '"--> %ps (%d)", (void *)REC->func, REC->depth',
    ),
    event_format(
        "funcgraph_exit", EXIT_ID,
        [
            field("unsigned long", "func", 8, 8), field("int", "depth", 16, 4, signed=True),
            field("unsigned int", "overrun", 20, 4),
            field("unsigned long long", "calltime", 24, 8),
            field("unsigned long long", "rettime", 32, 8),
        ],
        '"<-- %ps (%d) (start: %llx  end: %llx) over: %d", (void *)REC->func, REC->depth,'
        " REC->calltime, REC->rettime, REC->depth",
    ),
    event_format(
        "print", PRINT_ID, [field("unsigned long", "ip", 8, 8), field("char", "buf[]", 16, 0)],
        '"%ps: %s", (void *)REC->ip, REC->buf',
    ),
)  # fmt: skip
ENTRY_BYTES, EXIT_BYTES, PRINT_BYTES = 20, 40, 16


def symbol_table(recorded: Recorded) -> dict[str, int]:
    """Addresses of the functions, and of the one that writes markers."""
    found = dict(recorded.addresses)
    last = max(found.values(), default=0xFFFF_8000_8000_0000)
    found.setdefault(MARKER_SYMBOL, last + MARKER_SPACING_BYTES)
    return found


class BinaryRecords:
    """Lays out records. `formats`: of the group of probes."""

    def __init__(self, recorded: Recorded, symbols: Symbols) -> None:
        """The functions and probes of *recorded*."""
        self._symbols = symbols
        self._addresses = symbol_table(recorded)
        self._probes = probe_events(recorded)
        self._table = np.zeros(0, dtype=np.uint64)  # addresses by number of the symbol

    @property
    def formats(self) -> dict[str, list[str]]:
        """The format files of the probes, by system."""
        found = [one.format() for one in self._probes.values()]
        return {GROUP: found} if found else {}

    def sizes(self, rows: Columns) -> Ints:
        """How many bytes each record has, filled up to words."""
        probe = self._sizes_of_probes()
        number = np.maximum(rows.symbol, 0) * 2 + (rows.kind == KRETPROBE)
        sizes = probe[number]
        sizes[rows.kind == ENTRY] = ENTRY_BYTES
        sizes[rows.kind == EXIT] = EXIT_BYTES
        at = np.flatnonzero(rows.kind == PRINT)
        if at.size:
            sizes[at] = PRINT_BYTES + _markers(rows, at)[1]
        words: Ints = -(-sizes // WORD_BYTES)
        return words * WORD_BYTES

    def write(self, rows: Columns, which: Ints, at: Ints, words: NDArray[np.uint32]) -> None:
        """The records *which*, each at its word *at* of *words*, which are zeros."""
        kind = rows.kind[which]
        words[at + 1] = rows.tid[which]
        func = self._functions(rows.symbol[which])
        for code, write in ((ENTRY, self._entries), (EXIT, self._exits), (PRINT, self._prints)):
            some = np.flatnonzero(kind == code)
            if some.size:
                write(rows, which[some], at[some], words, func[some])
        number = np.where((kind > EXIT) & (kind < PRINT), rows.symbol[which] * 2, -1)
        number += kind == KRETPROBE
        for one in np.unique(number[number >= 0]).tolist():
            some = np.flatnonzero(number == one)
            event = self._probes[self._symbols.names[one // 2], bool(one % 2)]
            _write_probes(event, rows, which[some], at[some], words, func[some])

    def _entries(
        self, rows: Columns, which: Ints, at: Ints, words: NDArray[np.uint32],
        func: NDArray[np.uint64],
    ) -> None:  # fmt: skip
        words[at] = ENTRY_ID
        _write_words(words, at + 2, func)
        words[at + 4] = rows.numbers("depth", which)

    def _exits(
        self, rows: Columns, which: Ints, at: Ints, words: NDArray[np.uint32],
        func: NDArray[np.uint64],
    ) -> None:  # fmt: skip
        words[at] = EXIT_ID
        _write_words(words, at + 2, func)
        words[at + 4] = rows.numbers("depth", which)
        _write_words(words, at + 6, rows.numbers("calltime_ns", which).view(np.uint64))
        _write_words(words, at + 8, rows.numbers("rettime_ns", which).view(np.uint64))

    def _prints(
        self, rows: Columns, which: Ints, at: Ints, words: NDArray[np.uint32],
        func: NDArray[np.uint64],
    ) -> None:  # fmt: skip
        words[at] = PRINT_ID
        _write_words(words, at + 2, np.full_like(func, self._addresses[MARKER_SYMBOL]))
        pool, length = _markers(rows, which)
        start = at * WORD_BYTES + PRINT_BYTES
        copy(words.view(np.uint8), start, pool.data, pool.start, length)

    def _functions(self, symbols: Ints) -> NDArray[np.uint64]:
        names = self._symbols.names
        if len(self._table) <= len(names):
            known = [self._addresses[name] for name in names]
            self._table = np.array([*known, 0], dtype=np.uint64)  # the last one: of no function
        return self._table[symbols]

    def _sizes_of_probes(self) -> Ints:
        """By twice the number of the symbol, plus 1 for the return."""
        found = np.full(2 * len(self._symbols.names) + 2, PLACE_BYTES)
        for number, name in enumerate(self._symbols.names):
            for returns in (False, True):
                event = self._probes.get((name, returns))
                if event is not None:
                    found[2 * number + returns] = event.size
        return found


def _markers(rows: Columns, at: Ints) -> tuple[Pool, Ints]:
    """What was written to trace_marker, with a newline and a zero; and its bytes."""
    texts = rows.rows["text"].gather(at).fill_null("").to_list()  # markers are few
    cut = [f"{text}".encode().removesuffix(b"\n")[:MARKER_BYTES] + b"\n\0" for text in texts]
    pool = Pool.of(cut)
    return pool, pool.length


def _write_words(words: NDArray[np.uint32], at: Ints, values: NDArray[np.uint64]) -> None:
    """64-bit *values* at the words *at*."""
    halves = np.ascontiguousarray(values).view(np.uint32)
    words[at] = halves[::2]
    words[at + 1] = halves[1::2]


def _write_probes(
    event: ProbeEvent, rows: Columns, which: Ints, at: Ints, words: NDArray[np.uint32],
    func: NDArray[np.uint64],
) -> None:  # fmt: skip
    words[at] = event.id | IRQS_OFF
    _write_words(words, at + 2, func)  # where an entry's probe sits, or which function returns
    raw = words.view(np.uint8)
    for one, offset in zip(event.values, event.offsets, strict=True):
        values = np.ascontiguousarray(rows.numbers(one.column, which))
        content = values.view(np.uint8).reshape(-1, 8)
        start = at * WORD_BYTES + offset
        for n in range(one.width):
            raw[start + n] = content[:, n]
