"""The records of perf.data: a chain, each with its type and its size, walked in windows.

    struct perf_event_header { u32 type; u16 misc; u16 size; };

All records of a window lie at multiples of 8 bytes from its start. One whose size is no such
multiple, which only perf's own types have (features in a pipe, COMPRESSED), is the last of its
window. So is one that has more behind it than it says: the data of AUXTRACE and of
HEADER_TRACING_DATA, and those of a COMPRESSED2 whose size overflowed its 16 bits (perf record -z
of Linux 6.16 and later: the size is aligned up to 65536, and the padding is not written).

Where the chain breaks, the next place is looked for from which records follow that make sense.
Sources of truth: include/uapi/linux/perf_event.h, tools/lib/perf/include/perf/event.h,
tools/perf/util/session.c and builtin-record.c (record__pushfn) of Linux 6.1 to 7.2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from traceview.parsers.perf_chain import SIZE_SHIFT, chain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from traceview.parsers.columns import Flags, Ints, Words

# enum perf_event_type, then enum perf_user_event_type
NAMES: Final = {
    1: "MMAP", 2: "LOST", 3: "COMM", 4: "EXIT", 5: "THROTTLE", 6: "UNTHROTTLE", 7: "FORK",
    8: "READ", 9: "SAMPLE", 10: "MMAP2", 11: "AUX", 12: "ITRACE_START", 13: "LOST_SAMPLES",
    14: "SWITCH", 15: "SWITCH_CPU_WIDE", 16: "NAMESPACES", 17: "KSYMBOL", 18: "BPF_EVENT",
    19: "CGROUP", 20: "TEXT_POKE", 21: "AUX_OUTPUT_HW_ID", 22: "CALLCHAIN_DEFERRED",
    64: "HEADER_ATTR", 65: "HEADER_EVENT_TYPE", 66: "HEADER_TRACING_DATA", 67: "HEADER_BUILD_ID",
    68: "FINISHED_ROUND", 69: "ID_INDEX", 70: "AUXTRACE_INFO", 71: "AUXTRACE",
    72: "AUXTRACE_ERROR", 73: "THREAD_MAP", 74: "CPU_MAP", 75: "STAT_CONFIG", 76: "STAT",
    77: "STAT_ROUND", 78: "EVENT_UPDATE", 79: "TIME_CONV", 80: "HEADER_FEATURE",
    81: "COMPRESSED", 82: "FINISHED_INIT", 83: "COMPRESSED2", 84: "BPF_METADATA",
    85: "SCHEDSTAT_CPU", 86: "SCHEDSTAT_DOMAIN",
}  # fmt: skip
NUMBERS: Final = {name: number for number, name in NAMES.items()}
SAMPLE: Final = NUMBERS["SAMPLE"]
TRACING_DATA: Final = NUMBERS["HEADER_TRACING_DATA"]
AUXTRACE: Final = NUMBERS["AUXTRACE"]
COMPRESSED: Final = NUMBERS["COMPRESSED"]
COMPRESSED2: Final = NUMBERS["COMPRESSED2"]

# The kernel's types end below 32 and perf's below 128, with room for years to come.
KERNEL_TYPES: Final = 32
PERF_TYPES: Final = 64
MAX_TYPE: Final = 128

HEADER_BYTES: Final = 8
COMPRESSED2_BYTES: Final = 16  # its header and data_size
MAX_RECORD_BYTES: Final = 1 << 16
WINDOW_BYTES: Final = 1 << 21
FIRST_WINDOW_BYTES: Final = 1 << 12  # behind a record that ended a window: so may the next
SEARCH_BYTES: Final = 1 << 20
# Where so much is broken the file is no trace any more; looking on would take for ever.
MAX_DAMAGES: Final = 200
# Records that must follow one another before a place counts as the start of one.
HOPS: Final = 4


@dataclass(slots=True)
class Damage:
    """What could not be read: byte offsets, and how many bytes were passed over."""

    places: list[int] = field(default_factory=list)
    lost_bytes: int = 0
    truncated_at: int | None = None
    gave_up_at: int | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """Whole records one behind the other, from byte `offset` to byte `stop`.

    Record i begins `at[i]` words of 8 bytes behind `offset`; `heads` are their headers, `words`
    what they hold.
    """

    offset: int
    stop: int
    words: Words
    at: Ints
    heads: Words

    @property
    def type(self) -> NDArray[np.uint32]:
        """The type of each record."""
        return self.heads.astype(np.uint32)

    @property
    def misc(self) -> NDArray[np.uint16]:
        """The flags of each record."""
        return (self.heads >> 32).astype(np.uint16)

    @property
    def length(self) -> Ints:
        """How many words each record has."""
        return (self.heads >> SIZE_SHIFT).view(np.int64)

    def place(self, record: int) -> int:
        """The byte at which *record* begins."""
        return self.offset + 8 * int(self.at[record])

    def payload(self, view: memoryview, record: int) -> bytes:
        """What *record* of *view* holds behind its header."""
        begin, size = self.place(record), int(self.heads[record]) >> 48
        return bytes(view[begin + HEADER_BYTES : begin + size])


class Outside(NamedTuple):
    """Bytes of a record that are not counted in its size."""

    begin: int
    stop: int


def windows(view: memoryview, begin: int, end: int, damage: Damage) -> Iterator[Window]:
    """The records of view[begin:end]; what is skipped goes to *damage*."""
    at, want = begin, FIRST_WINDOW_BYTES
    while at < end:
        window, ended = _read(view, at, end, want)
        if len(window.at):
            yield window
        at = window.stop
        want = FIRST_WINDOW_BYTES if ended else min(4 * want, WINDOW_BYTES)
        if ended == "broken":
            at = _behind_damage(view, at, end, damage)


def outside(view: memoryview, at: int) -> Outside | None:
    """What belongs to the record at byte *at* beyond its size, if anything does."""
    head = int.from_bytes(view[at : at + 8], "little")
    kind, size = head & 0xFFFFFFFF, head >> 48
    if kind == AUXTRACE:
        return Outside(at + size, at + size + int.from_bytes(view[at + 8 : at + 16], "little"))
    if kind == TRACING_DATA:
        return Outside(at + size, at + size + int.from_bytes(view[at + 8 : at + 12], "little"))
    if kind == COMPRESSED2:
        whole = COMPRESSED2_BYTES + int.from_bytes(view[at + 8 : at + 16], "little")
        aligned = whole + -whole % 8
        if aligned > size and aligned % MAX_RECORD_BYTES == size:
            return Outside(at + COMPRESSED2_BYTES, at + whole)
    return None


def _read(view: memoryview, at: int, end: int, want: int) -> tuple[Window, str]:
    """The records from *at* on, in about *want* bytes, and what ended them.

    "": nothing did; "last": the last record, which is not aligned or has more behind it; "broken":
    what follows is no record.
    """
    words = _words(view, at, min(at + want, end))
    begins = chain(words)
    heads = words[begins]
    size = (heads >> 48).view(np.int64)
    kind = heads.astype(np.uint32)
    bad = _bad(kind, size) | (8 * begins + size > end - at)
    last = (size % 8 != 0) | (kind == AUXTRACE) | (kind == TRACING_DATA) | (kind == COMPRESSED2)
    broken = int(bad.argmax()) if bad.any() else len(begins)
    for record in np.flatnonzero(last).tolist():
        if record > broken or (record == broken and kind[record] != COMPRESSED2):
            break
        stop = _stop(view, at + 8 * int(begins[record]), end)
        if stop is not None:
            return _window(view, at, begins[: record + 1], heads, stop), "last"
        if kind[record] != COMPRESSED2:
            broken = min(broken, record)
    if broken < len(begins):
        return _window(view, at, begins[:broken], heads, at + 8 * int(begins[broken])), "broken"
    if not len(begins):  # fewer bytes than a header has
        return _window(view, at, begins, heads, at), "broken"
    return _window(view, at, begins, heads, at + 8 * int(begins[-1]) + int(size[-1])), ""


def _words(view: memoryview, begin: int, stop: int) -> Words:
    """The bytes from *begin* on as words."""
    stop -= (stop - begin) % 8
    piece = view[begin:stop]
    return np.frombuffer(bytes(piece) if begin % 8 else piece, dtype="<u8")


def _window(view: memoryview, at: int, begins: Ints, heads: Words, stop: int) -> Window:
    """The window of the records at *begins*; the last may be longer than what was walked."""
    size = 0
    if len(begins):
        size = 8 * int(begins[-1]) + max(int(heads[len(begins) - 1]) >> 48, HEADER_BYTES)
    words = _words(view, at, min(at + size + -size % 8, len(view)))
    return Window(at, stop, words, begins, heads[: len(begins)])


def _stop(view: memoryview, at: int, end: int) -> int | None:
    """Where the record at *at* ends that may end a window; None: it does not, or is no record."""
    found = outside(view, at)
    size = int.from_bytes(view[at + 6 : at + 8], "little")
    if found is not None:
        return found.stop if found.stop <= end else None
    return at + size if size % 8 and at + size <= end else None


def _bad(kind: NDArray[np.uint32], size: Ints) -> Flags:
    """Which headers are none: unknown types, and sizes that no record of the type has."""
    known = ((kind > 0) & (kind < KERNEL_TYPES)) | ((kind >= PERF_TYPES) & (kind < MAX_TYPE))
    aligned = (size % 8 == 0) | (kind >= PERF_TYPES)
    bad: Flags = ~(known & aligned & (size >= HEADER_BYTES))
    return bad


def _behind_damage(view: memoryview, at: int, end: int, damage: Damage) -> int:
    """Note the damage at *at* and find where records go on (*end*, where they do not)."""
    found = _resync(view, at, end)
    if found is None and _is_cut(view, at, end):
        damage.truncated_at = at
        damage.lost_bytes += end - at
        return end
    found = end if found is None else found
    damage.places.append(at)
    damage.lost_bytes += found - at
    if len(damage.places) == MAX_DAMAGES and found < end:
        damage.gave_up_at = found
        damage.lost_bytes += end - found
        return end
    return found


def _is_cut(view: memoryview, at: int, end: int) -> bool:
    """Whether a record may begin at *at* that is longer than what is left."""
    if end - at < HEADER_BYTES:
        return True
    head = np.frombuffer(bytes(view[at : at + 8]), dtype="<u8")
    return not _bad(head.astype(np.uint32), (head >> 48).view(np.int64)).any()


def _resync(view: memoryview, at: int, end: int) -> int | None:
    """The first place behind *at* from which records follow.

    Near the damage at any byte, because what is lost may have been of any length; farther away in
    steps of 8 bytes.
    """
    near = [_first_chain(view, at + 1 + shift, end) for shift in range(8)]
    found = [one for one in near if one is not None]
    if found:
        return min(found)
    while at < end:
        at += SEARCH_BYTES - HOPS * MAX_RECORD_BYTES
        place = _first_chain(view, at, end)
        if place is not None:
            return place
    return None


def _first_chain(view: memoryview, at: int, end: int) -> int | None:
    """The first place from which records follow, in SEARCH_BYTES from *at* in steps of 8 bytes.

    Not behind the last bytes of these, unless they are the last of all.
    """
    stop = min(at + SEARCH_BYTES, end)
    if at >= stop:
        return None
    words = _words(view, at, stop)
    size = (words >> 48).view(np.int64)
    sound = ~_bad(words.astype(np.uint32), size) & (size % 8 == 0)
    follows = np.minimum(np.arange(len(words)) + (size >> 3), len(words))
    # A chain that leaves the stretch proves nothing, unless it ends where the records do.
    fits = np.append(sound, stop == end and (stop - at) % 8 == 0)
    for _ in range(HOPS):
        fits[:-1] = sound & fits[follows]
    found = np.flatnonzero(fits[:-1])
    usable = len(words) if stop == end else len(words) - HOPS * MAX_RECORD_BYTES // 8
    return at + 8 * int(found[0]) if found.size and found[0] < usable else None
