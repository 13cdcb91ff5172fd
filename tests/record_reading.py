"""Records through the parser's decoder, as plain events that a test can compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tests.record_reference import Event
from traceview.parsers.chunks import NO_DEPTH, NO_DURATION
from traceview.parsers.classes import Classes
from traceview.parsers.names import Names
from traceview.parsers.records import RecordDecoder, Records
from traceview.symbols import Kallsyms
from traceview.trace import Want
from traceview.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from traceview.parsers.chunks import Chunk
    from traceview.parsers.event_format import EventFormat

EVERYTHING = Want(Vocabulary.builtin(), all_events=True)
NEEDED = Want(Vocabulary.builtin())
GAP = b"\xa5"  # between records, so that they begin at any byte


@dataclass
class Decoded:
    """What a decoder made of records: events by the number of their record."""

    events: dict[int, Event]
    skipped: dict[str, int]
    counts: dict[str, int]  # of diagnostics, by code
    messages: str
    chunk: Chunk
    classes: Classes


def decode(
    formats: Iterable[EventFormat],
    contents: Sequence[bytes],
    want: Want = EVERYTHING,
    symbols: dict[int, str] | None = None,
    printk: dict[int, str] | None = None,
) -> Decoded:
    """Decode *contents*, one record each, twice: what was learned may not change the outcome."""
    names, classes = Names(), Classes()
    decoder = RecordDecoder(formats, want, names, classes, table(symbols or {}), printk or {})
    data = np.frombuffer(GAP + GAP.join(contents) + GAP, dtype=np.uint8)
    size = np.array([len(one) for one in contents], dtype=np.int64)
    n = len(contents)
    records = Records(
        np.cumsum(size + 1) - size, size, np.arange(n) * 10, np.full(n, 3, dtype=np.int32),
        np.zeros(n, dtype=np.uint32),
    )  # fmt: skip
    chunk, rows = decoder.decode(data, records)
    found = decoder.diagnostics()
    again, rows_again = decoder.decode(data, records)
    events = plain(chunk, names, classes)
    assert plain(again, names, classes) == events
    assert rows.tolist() == rows_again.tolist() == sorted(rows.tolist())
    assert chunk.ts_ns.tolist() == (rows * 10).tolist()
    return Decoded(
        dict(zip(rows.tolist(), events, strict=True)),
        chunk.skipped,
        {one.code: one.count or 0 for one in found},
        "\n".join(one.message for one in found),
        chunk,
        classes,
    )


def table(symbols: dict[int, str]) -> Kallsyms | None:
    """A symbol table."""
    ordered = sorted(symbols.items())
    addresses = np.array([address for address, _ in ordered], dtype=np.uint64)
    return Kallsyms(addresses, np.array([name for _, name in ordered], object)) if ordered else None


def plain(chunk: Chunk, names: Names, classes: Classes) -> list[Event]:
    """The events of a chunk."""
    events = []
    for i in range(len(chunk)):
        what = classes.known[int(chunk.what[i])]
        duration, depth = int(chunk.duration_ns[i]), int(chunk.depth[i])
        events.append(
            Event(
                int(chunk.tid[i]), what.name, what.phase, what.evidence, what.symbol,
                int(chunk.probe_ip[i]) or None,
                None if duration == NO_DURATION else duration,
                None if depth == NO_DEPTH else depth,
            )
        )  # fmt: skip
    numbers, texts = chunk.numbers, chunk.texts
    for row, code, value in zip(numbers.row, numbers.name, numbers.value, strict=True):
        events[row].args[str(names[int(code)])] = int(value)
    for row, code, text in zip(texts.row, texts.name, texts.text, strict=True):
        events[row].args[str(names[int(code)])] = text
    row_at = {int(ts): i for i, ts in enumerate(chunk.ts_ns)}
    comms = chunk.comms
    for ts, task, code in zip(comms.ts_ns, comms.task, comms.comm, strict=True):
        tid = 0 if task == -1 - 3 else int(task)  # the idle task of CPU 3
        events[row_at[int(ts)]].comms.append((tid, str(names[int(code)])))
    return events
