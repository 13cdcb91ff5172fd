"""The events of many bundles at a time: first their heads, then the fields of those wanted.

`read_events` reads what all FtraceEvents share: time, task, and which field holds the payload.
`read_columns` reads the payloads through the slots of perfetto_kinds.Table. As protobuf has it, the
last value of a field wins where a message has it twice: Perfetto writes the fields of an event
that is gone before those of the one that has its id now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from traceview.parsers.chunks import Numbers
from traceview.parsers.perfetto_kinds import (
    ACTIONS,
    IGNORE,
    IS_TEXT,
    NEXT_PID,
    NUMBER,
    STRING,
)
from traceview.parsers.perfetto_wire import LENGTH, walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.parsers.columns import Flags, Ints
    from traceview.parsers.perfetto_bundles import Bundle
    from traceview.parsers.perfetto_kinds import Table
    from traceview.parsers.perfetto_wire import Blob

TIMESTAMP: Final = 1  # fields of FtraceEvent; the one of another number is the payload
PID: Final = 2
COMMON_FLAGS: Final = 5
MISSING: Final = np.iinfo(np.int64).min


class Events(NamedTuple):
    """The events of a group of bundles."""

    owner: Ints  # which bundle of the group
    ts_ns: Ints
    tid: Ints  # -1: not recorded
    number: Ints  # of the field that holds its payload; 0: none
    start: Ints  # the payload
    stop: Ints
    bad: Flags


def read_events(blob: Blob, bundles: list[Bundle]) -> Events:
    """The heads of all events of *bundles*, in their order."""
    none = np.empty(0, dtype=np.int64)
    begin = np.concatenate([none, *(bundle.events[0] for bundle in bundles)])
    end = np.concatenate([none, *(bundle.events[1] for bundle in bundles)])
    n = len(begin)
    owner = np.repeat(np.arange(len(bundles)), [len(bundle.events[0]) for bundle in bundles])
    ts, tid = np.full(n, MISSING), np.full(n, -1)
    number, start, stop = (np.zeros(n, dtype=np.int64) for _ in range(3))
    steps, bad = walk(blob, begin, end)
    for step in steps:
        value = step.value.view(np.int64)
        kinds = {int(step.number.min()), int(step.number.max())} if len(step.row) else set()
        if kinds == {TIMESTAMP}:
            ts[step.row] = value
            odd = step.wire == LENGTH
        elif kinds == {PID}:
            tid[step.row] = value
            odd = step.wire == LENGTH
        else:
            for column, of in ((ts, TIMESTAMP), (tid, PID)):
                mine = step.number == of
                column[step.row[mine]] = value[mine]
            payload = (step.number > PID) & (step.number != COMMON_FLAGS)
            row = step.row[payload]
            number[row], start[row] = step.number[payload], step.payload[payload]
            stop[row] = step.payload[payload] + value[payload]
            odd = (step.wire == LENGTH) != payload
        if odd.any():
            bad[step.row[odd]] = True
    bad |= (ts < 0) | (tid < -1) | (tid >= 1 << 31)
    return Events(owner, ts, tid, number, start, stop, bad)


@dataclass(slots=True)
class Spans:
    """Strings, by where they lie: row of the event, argument's name, start, length in bytes."""

    row: Ints
    name: NDArray[np.uint32]
    start: Ints
    length: Ints


_NONE: Final = np.empty(0, dtype=np.int64)
NO_SPANS: Final = Spans(_NONE, _NONE.astype(np.uint32), _NONE, _NONE)


@dataclass(slots=True)
class Columns:
    """The payloads of events. Columns are keyed by the action of the field; MISSING: absent."""

    numbers: Numbers
    strings: Spans
    column: dict[int, Ints]
    spans: dict[int, Spans]
    bad: Flags


@dataclass(slots=True)
class _Parts:
    """Fields with the same action, step by step: row, slot, value, payload."""

    steps: list[tuple[Ints, Ints, Ints, Ints]] = field(default_factory=list)

    def joined(self) -> tuple[Ints, Ints, Ints, Ints]:
        if len(self.steps) == 1:
            return self.steps[0]
        none = np.empty(0, dtype=np.int64)
        columns = zip(*self.steps, strict=True) if self.steps else [()] * 4
        row, slot, value, payload = (np.concatenate([none, *column]) for column in columns)
        return row, slot, value, payload


def read_columns(
    blob: Blob, table: Table, kind: NDArray[np.uint16], start: Ints, stop: Ints
) -> Columns:
    """The fields of the payloads in [start, stop), whose kinds are *kind*."""
    first, last = table.first_slot[kind], table.last_slot[kind]
    steps, bad = walk(blob, start, stop)
    parts = [_Parts() for _ in range(ACTIONS)]
    before = np.full(len(start), -1)
    twice = False
    for step in steps:
        slot = np.minimum(first[step.row] + step.number, last[step.row])
        twice = twice or bool((slot <= before[step.row]).any())
        before[step.row] = slot
        action = table.action[slot]
        odd = (IS_TEXT[action] != (step.wire == LENGTH)) & (action != IGNORE)
        if odd.any():
            bad[step.row[odd]] = True
            action = np.where(odd, IGNORE, action)
        value = step.value.view(np.int64)
        present = np.flatnonzero(np.bincount(action, minlength=ACTIONS)).tolist()
        for one in present:
            if one == IGNORE:
                continue
            if len(present) == 1:
                parts[one].steps.append((step.row, slot, value, step.payload))
            else:
                mine = np.flatnonzero(action == one)
                parts[one].steps.append(
                    (step.row[mine], slot[mine], value[mine], step.payload[mine])
                )
    return _columns(table, parts, bad, twice=twice)


def _columns(table: Table, parts: list[_Parts], bad: Flags, *, twice: bool) -> Columns:
    """The fields by what becomes of them."""
    numbers, strings = _Parts(), _Parts()
    column: dict[int, Ints] = {}
    spans: dict[int, Spans] = {}
    for action, part in enumerate(parts):
        if not part.steps:
            continue
        if action in (NUMBER, NEXT_PID):
            numbers.steps += part.steps
        elif action == STRING:
            strings.steps += part.steps
        if action in (NUMBER, STRING):
            continue
        row, slot, value, payload = part.joined()
        if IS_TEXT[action]:
            spans[action] = Spans(row, table.arg[slot], payload, value)
        else:
            column[action] = np.full(len(bad), MISSING)
            column[action][row] = value  # of two values the later one stays
    row, slot, value, _ = _last(numbers.joined(), table, twice=twice)
    args = Numbers(row, table.arg[slot], value)
    row, slot, length, payload = _last(strings.joined(), table, twice=twice)
    return Columns(args, Spans(row, table.arg[slot], payload, length), column, spans, bad)


def _last(
    fields: tuple[Ints, Ints, Ints, Ints], table: Table, *, twice: bool
) -> tuple[Ints, Ints, Ints, Ints]:
    """Of fields that a message has twice, the last; repeated fields stay as they are."""
    if not twice:
        return fields
    row, slot, value, payload = fields
    key = row * len(table.action) + slot
    _, at = np.unique(key[::-1], return_index=True)
    keep = table.repeated[slot]
    keep[len(key) - 1 - at] = True
    kept = np.flatnonzero(keep)
    return row[kept], slot[kept], value[kept], payload[kept]
