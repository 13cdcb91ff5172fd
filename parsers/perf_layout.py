"""Where the fields of samples lie, and those that other records have behind their own.

Which fields there are is said by the sample_type of the event that a record belongs to, which its
id names; the ids of all events stand in the same place. Up to PERIOD a field has 8 bytes; READ,
CALLCHAIN and RAW behind it are as long as they say. What follows RAW (branches, registers, stacks,
weights, addresses, AUX) is not read, so where it lies does not matter.

    IDENTIFIER IP TID TIME ADDR ID STREAM_ID CPU PERIOD | READ CALLCHAIN RAW ...   samples
    ... TID TIME ID STREAM_ID CPU IDENTIFIER                                       sample_id_all

Source of truth: include/uapi/linux/perf_event.h (PERF_RECORD_SAMPLE, struct sample_id),
tools/perf/util/evsel.c (evsel__parse_sample) of Linux 6.1 to 7.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from traceview.errors import UnsupportedError
from traceview.parsers import perf_attr as a
from traceview.parsers.chunks import MAX_CPUS, NO_CPU, NO_TID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from traceview.parsers.columns import Flags, Ints, Words
    from traceview.parsers.perf_session import Session

IN_SAMPLES: Final = (
    a.IDENTIFIER, a.IP, a.TID, a.TIME, a.ADDR, a.ID, a.STREAM_ID, a.CPU, a.PERIOD,
)  # fmt: skip
STAMPS: Final = (a.TIME, a.CPU, a.TID)
BEHIND_OTHERS: Final = (a.IDENTIFIER, a.CPU, a.STREAM_ID, a.ID, a.TIME, a.TID)
MAX_DENSE_ID: Final = 1 << 20
MAX_TIME_NS: Final = 1 << 62
UNKNOWN: Final = -1


class Spans(NamedTuple):
    """Where the parts of samples lie that differ in length; `bad`: they do not fit.

    `chain`: the word behind the number of addresses, `frames`: that number; `raw`: the byte at
    which raw data begin, `raw_size`: how many there are.
    """

    chain: Ints
    frames: Ints
    raw: Ints
    raw_size: Ints
    bad: Flags


class Stamps(NamedTuple):
    """When and where records were made, and for whom; 0, NO_CPU and NO_TID: they do not say."""

    ts_ns: Ints
    cpu: NDArray[np.int32]
    pid: NDArray[np.int32]
    tid: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of the records of some events: fields by their bit, in words from the start.

    In `trailer` they count from the end; `words` are those before READ.
    """

    sample_type: int
    read_format: int
    fields: dict[int, int]
    words: int
    trailer: dict[int, int]

    @classmethod
    def of(cls, attr: a.Attr) -> Layout:
        """The layout of records of an event with *attr*."""
        present = [bit for bit in IN_SAMPLES if attr.sample_type & bit]
        behind = [bit for bit in BEHIND_OTHERS if attr.sample_type & bit]
        if not attr.flags & a.SAMPLE_ID_ALL:
            behind = []
        return cls(
            attr.sample_type,
            attr.read_format if attr.sample_type & a.READ else 0,
            {bit: 1 + i for i, bit in enumerate(present)},
            1 + len(present),
            {bit: 1 + i for i, bit in enumerate(behind)},
        )

    def spans(self, words: Words, at: Ints, length: Ints) -> Spans:
        """The parts behind PERIOD of the samples at *at*, each of which has *length* words."""
        end = at + length
        cursor = _Cursor(words, at + self.words, end)
        none = np.zeros(len(at), dtype=np.int64)
        chain, frames, raw, raw_size = none, none, none, none
        if self.sample_type & a.READ:
            self._skip_read(cursor)
        if self.sample_type & a.CALLCHAIN:
            frames = cursor.count()
            chain = cursor.at
            cursor.skip(frames)
        if self.sample_type & a.RAW:
            raw_size = cursor.number() & 0xFFFFFFFF
            raw = 8 * cursor.at - 4
            cursor.bad |= raw + raw_size > 8 * end
        return Spans(chain, frames, raw, raw_size, cursor.bad)

    def _skip_read(self, cursor: _Cursor) -> None:
        """Step over struct read_format."""
        said = self.read_format
        times = (said & (a.TOTAL_TIME_ENABLED | a.TOTAL_TIME_RUNNING)).bit_count()
        each = 1 + (said & (a.FORMAT_ID | a.FORMAT_LOST)).bit_count()
        if said & a.GROUP:
            members = cursor.count()
            cursor.skip(times + each * members)
        else:
            cursor.skip(np.full(len(cursor.at), times + each))


class _Cursor:
    """A place in each of many samples; those that run out of words become `bad` and stay put."""

    def __init__(self, words: Words, at: Ints, end: Ints) -> None:
        self._words, self.at, self._end = words, at, end
        self.bad = at > end

    def number(self) -> Ints:
        """The number here, which is stepped over."""
        self.bad = self.bad | (self.at >= self._end)
        found = self._words[np.where(self.bad, 0, self.at)].view(np.int64)
        self.at = self.at + 1
        return found

    def count(self) -> Ints:
        """A number that counts what follows, of which each has a word at least."""
        found = self.number()
        self.bad = self.bad | (found < 0) | (found > self._end - self.at)
        return found

    def skip(self, count: Ints) -> None:
        """Step over *count* words."""
        self.bad = self.bad | (count < 0) | (count > self._end - self.at)
        self.at = self.at + np.where(self.bad, 0, count)


class Layouts:
    """The layouts of all events, and which event a record belongs to."""

    def __init__(self, session: Session) -> None:
        """Raises UnsupportedError when the records of events cannot be told apart."""
        self.events = session.events
        distinct = dict.fromkeys(_key(event.attr) for event in self.events)
        numbers = {key: number for number, key in enumerate(distinct)}
        self.of_event = np.array([numbers[_key(one.attr)] for one in self.events], dtype=np.int64)
        first = {numbers[_key(one.attr)]: one.attr for one in reversed(self.events)}
        self.layouts = [Layout.of(first[number]) for number in range(len(distinct))]
        places = [[one.fields.get(bit) for bit in STAMPS] for one in self.layouts]
        self._stamped_alike = bool(places) and all(one == places[0] for one in places)
        self._to_id = self._behind_id = None
        if len(self.events) > 1:
            self._to_id = _same([one.attr.words_to_id for one in self.events], session)
            self._behind_id = _same([one.attr.words_behind_id for one in self.events], session)
        order = {id(event): number for number, event in enumerate(self.events)}
        ids = sorted((one, order[id(event)]) for one, event in session.by_id.items())
        self._ids = np.array([one for one, _ in ids], dtype=np.uint64)
        self._event = np.array([number for _, number in ids], dtype=np.int64)
        self._dense = _dense(self._ids, self._event)

    @property
    def told_apart(self) -> bool:
        """Whether samples say which event they are of, or there is one only."""
        return self._to_id is not None or len(self.events) < 2

    @property
    def have_time(self) -> bool:
        """Whether all records say when they were made."""
        return all(one.sample_type & a.TIME for one in self.layouts)

    def events_of_samples(self, words: Words, at: Ints, length: Ints) -> Ints:
        """The event of each sample, UNKNOWN where its id says nothing."""
        if self._to_id is None:
            return self._only(at)
        short = length <= self._to_id
        if short.any():
            found = self._look_up(words[np.where(short, at, at + self._to_id)])
            return np.where(short, UNKNOWN, found)
        return self._look_up(words[at + self._to_id])

    def events_of_others(self, words: Words, at: Ints, length: Ints) -> Ints:
        """The event that records of other types name behind their own fields."""
        if self._behind_id is None:
            return self._only(at)
        short = length <= self._behind_id
        found = self._look_up(words[np.where(short, at, at + length - self._behind_id)])
        return np.where(short, UNKNOWN, found)

    def stamps_of_samples(self, words: Words, at: Ints, length: Ints) -> Stamps:
        """The stamps of the samples at *at*, of *length* words."""
        if self._stamped_alike:
            one = min(self.layouts, key=lambda one: one.words)
            short = length < one.words
            return _stamps(words, np.where(short, UNKNOWN, at) if short.any() else at, one.fields)
        found = blank_stamps(len(at))
        event = self.events_of_samples(words, at, length)
        for rows, one in self._by_layout(event):
            mine = np.where(length[rows] < one.words, UNKNOWN, at[rows])
            put_stamps(found, rows, _stamps(words, mine, one.fields))
        return found

    def stamps_of_others(self, words: Words, at: Ints, length: Ints) -> Stamps:
        """The stamps of records of other types at *at*, of *length* words."""
        found = blank_stamps(len(at))
        event = self.events_of_others(words, at, length)
        for rows, one in self._by_layout(event):
            fields = {bit: -behind for bit, behind in one.trailer.items()}
            short = length[rows] <= len(fields)
            end = np.where(short, UNKNOWN, at[rows] + length[rows])
            put_stamps(found, rows, _stamps(words, end, fields))
        return found

    def of_events(self, event: Ints) -> Ints:
        """The layout of each event, UNKNOWN where that is."""
        if not self.events:
            return np.full(len(event), UNKNOWN)
        found = self.of_event[event]
        return np.where(event == UNKNOWN, UNKNOWN, found) if (event == UNKNOWN).any() else found

    def _by_layout(self, event: Ints) -> Iterator[tuple[Ints, Layout]]:
        """Which of *event* have each layout."""
        of = self.of_events(event)
        for number, one in enumerate(self.layouts):
            rows = np.flatnonzero(of == number)
            if rows.size:
                yield rows, one

    def _only(self, at: Ints) -> Ints:
        """The first event for all records; there may be none."""
        return np.full(len(at), 0 if self.events else UNKNOWN)

    def _look_up(self, ids: Words) -> Ints:
        """The events with these *ids*; what perf made up itself has the id 0."""
        if self._dense is not None:
            return self._dense[np.minimum(ids, np.uint64(len(self._dense) - 1)).view(np.int64)]
        if not len(self._ids):
            return np.where(ids == 0, 0, UNKNOWN)
        at = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
        found = np.where(self._ids[at] == ids, self._event[at], UNKNOWN)
        return np.where((ids == 0) & (found == UNKNOWN), 0, found)


def blank_stamps(count: int) -> Stamps:
    """Stamps that say nothing."""
    return Stamps(
        np.zeros(count, dtype=np.int64),
        np.full(count, NO_CPU, dtype=np.int32),
        np.full(count, NO_TID, dtype=np.int32),
        np.full(count, NO_TID, dtype=np.int32),
    )


def put_stamps(found: Stamps, rows: Ints, part: Stamps) -> None:
    """Fill in *part* for *rows*."""
    found.ts_ns[rows], found.cpu[rows] = part.ts_ns, part.cpu
    found.pid[rows], found.tid[rows] = part.pid, part.tid


def _stamps(words: Words, at: Ints, fields: dict[int, int]) -> Stamps:
    """The stamps of records at *at*, or UNKNOWN where a record is too short to have any."""
    count = len(at)
    if count and at.min() == UNKNOWN:
        found, rows = blank_stamps(count), np.flatnonzero(at != UNKNOWN)
        put_stamps(found, rows, _stamps(words, at[rows], fields))
        return found
    ts_ns, cpu = np.zeros(count, dtype=np.int64), np.full(count, NO_CPU, dtype=np.int32)
    pid = tid = np.full(count, NO_TID, dtype=np.int32)
    if a.TIME in fields:
        ts_ns = words[at + fields[a.TIME]].view(np.int64)
        if count and ts_ns.view(np.uint64).max() >= MAX_TIME_NS:
            ts_ns = np.where(ts_ns.view(np.uint64) < MAX_TIME_NS, ts_ns, 0)
    if a.CPU in fields:
        cpu = words[at + fields[a.CPU]].astype(np.uint32).view(np.int32)
        if count and cpu.view(np.uint32).max() >= MAX_CPUS:
            cpu = np.where(cpu.view(np.uint32) < MAX_CPUS, cpu, NO_CPU)
    if a.TID in fields:
        pids_and_tids = np.maximum(words[at + fields[a.TID]].view(np.int32), NO_TID)
        pid, tid = pids_and_tids[::2], pids_and_tids[1::2]
    return Stamps(ts_ns, cpu, pid, tid)


def _key(attr: a.Attr) -> tuple[int, int, bool]:
    """What two events must share for their records to be laid out alike."""
    read_format = attr.read_format if attr.sample_type & a.READ else 0
    return attr.sample_type, read_format, bool(attr.flags & a.SAMPLE_ID_ALL)


def _same(places: list[int | None], session: Session) -> int | None:
    """Where the id stands; like perf, this refuses events that disagree on that."""
    if len(set(places)) > 1:
        raise UnsupportedError(
            "its events write their ids in different places, so that their records cannot be told"
            " apart",
            path=session.path,
        )
    return places[0] if places else None


def _dense(ids: Words, event: Ints) -> NDArray[np.int64] | None:
    """The events by id, where ids are small enough; behind the last one: UNKNOWN."""
    if not len(ids) or ids[-1] >= MAX_DENSE_ID:
        return None
    table = np.full(int(ids[-1]) + 2, UNKNOWN)
    table[ids.astype(np.int64)] = event
    table[0] = max(table[0], 0)
    return table
