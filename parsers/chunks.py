"""Decoded events that wait for their place in time: arrays, one row each, and their arguments."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from traceview.parsers.columns import Flags, Ints

MAX_CPUS: Final = 1 << 13  # NR_CPUS may be 8192 at most
NO_CPU: Final = -1
NO_TID: Final = -1
NO_DURATION: Final = np.iinfo(np.int64).min
NO_DEPTH: Final = np.iinfo(np.int32).min
NO_IP: Final = 0


@dataclass(frozen=True, slots=True)
class Numbers:
    """Arguments that are numbers: `row` of the event, code of the `name`, `value`."""

    row: Ints
    name: NDArray[np.uint32]
    value: Ints


@dataclass(frozen=True, slots=True)
class Texts:
    """Arguments that are text."""

    row: Ints
    name: NDArray[np.uint32]
    text: pl.Series


@dataclass(frozen=True, slots=True)
class Samples:
    """What samples have beyond other events: `row` of the event, and its callchain.

    `frames` says how many of the addresses in `ip` belong to each sample, innermost first;
    `cpumode` is an index into schema.CPUMODES; a `period` of 0 is not known.
    """

    row: Ints
    cpumode: NDArray[np.uint8]
    period: Ints
    frames: Ints
    ip: NDArray[np.uint64]


OfRows = TypeVar("OfRows", Numbers, Texts, Samples)


@dataclass(frozen=True, slots=True)
class Hole:
    """A stretch of time of which events of a CPU are missing; an end is null where unknown.

    `count`: how many are missing, where the file says so.
    """

    buffer: str | None
    cpu: int
    kind: str
    from_ns: int | None
    to_ns: int | None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Comms:
    """Who a task was called at some time: `task` is the tid, or for idle tasks -1 - cpu."""

    ts_ns: Ints
    task: Ints
    comm: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Events in file order; `what` is the code of the Class, `buffer` that of a name."""

    ts_ns: Ints
    cpu: NDArray[np.int32]
    tid: NDArray[np.int32]
    what: NDArray[np.uint32]
    buffer: NDArray[np.uint32]
    probe_ip: NDArray[np.uint64]
    duration_ns: Ints
    depth: NDArray[np.int32]
    numbers: Numbers
    texts: Texts
    comms: Comms
    samples: Samples
    holes: list[Hole] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)

    @classmethod
    def blank(cls, ts_ns: Ints, **columns: object) -> Chunk:
        """A chunk of events at *ts_ns*; columns that are not given say nothing."""
        n = len(ts_ns)
        return replace(
            cls(
                ts_ns=ts_ns,
                cpu=np.zeros(n, dtype=np.int32),
                tid=np.full(n, NO_TID, dtype=np.int32),
                what=np.zeros(n, dtype=np.uint32),
                buffer=np.zeros(n, dtype=np.uint32),
                probe_ip=np.zeros(n, dtype=np.uint64),
                duration_ns=np.full(n, NO_DURATION),
                depth=np.full(n, NO_DEPTH, dtype=np.int32),
                numbers=joined_numbers([]),
                texts=joined_texts([]),
                comms=joined_comms([]),
                samples=joined_samples([]),
            ),
            **columns,  # type: ignore[arg-type]
        )

    def __len__(self) -> int:
        """How many events there are."""
        return len(self.ts_ns)

    def columns(self) -> dict[str, Any]:
        """The arrays with one value per event."""
        return {one.name: getattr(self, one.name) for one in fields(self)[:8]}


def joined_numbers(parts: Sequence[Numbers]) -> Numbers:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    none = np.empty(0, dtype=np.int64)
    return Numbers(
        np.concatenate([none, *(part.row for part in parts)]),
        np.concatenate([none.astype(np.uint32), *(part.name for part in parts)]),
        np.concatenate([none, *(part.value for part in parts)]),
    )


def joined_texts(parts: Sequence[Texts]) -> Texts:
    """One after the other."""
    none = np.empty(0, dtype=np.int64)
    return Texts(
        np.concatenate([none, *(part.row for part in parts)]),
        np.concatenate([none.astype(np.uint32), *(part.name for part in parts)]),
        pl.concat([pl.Series(dtype=pl.String), *(part.text for part in parts)]),
    )


def joined_samples(parts: Sequence[Samples]) -> Samples:
    """One after the other."""
    if len(parts) == 1:
        return parts[0]
    none = np.empty(0, dtype=np.int64)
    return Samples(
        np.concatenate([none, *(part.row for part in parts)]),
        np.concatenate([none.astype(np.uint8), *(part.cpumode for part in parts)]),
        np.concatenate([none, *(part.period for part in parts)]),
        np.concatenate([none, *(part.frames for part in parts)]),
        np.concatenate([none.astype(np.uint64), *(part.ip for part in parts)]),
    )


def joined_comms(parts: Sequence[Comms]) -> Comms:
    """One after the other."""
    none = np.empty(0, dtype=np.int64)
    return Comms(
        np.concatenate([none, *(part.ts_ns for part in parts)]),
        np.concatenate([none, *(part.task for part in parts)]),
        np.concatenate([none.astype(np.uint32), *(part.comm for part in parts)]),
    )


def _counted_on(parts: list[OfRows], starts: list[int]) -> list[OfRows]:
    """*parts* with the rows that they speak of counted from *starts* on."""
    return [replace(part, row=part.row + start) for part, start in zip(parts, starts, strict=False)]


def joined_chunks(parts: Sequence[Chunk]) -> Chunk:
    """One after the other; rows of arguments are counted on."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Chunk.blank(np.empty(0, dtype=np.int64))
    starts = np.cumsum([0, *(len(part) for part in parts)]).tolist()
    columns = [part.columns() for part in parts]
    skipped: dict[str, int] = {}
    for part in parts:
        for name, count in part.skipped.items():
            skipped[name] = skipped.get(name, 0) + count
    return Chunk(
        **{name: np.concatenate([c[name] for c in columns]) for name in columns[0]},
        numbers=joined_numbers(_counted_on([part.numbers for part in parts], starts)),
        texts=joined_texts(_counted_on([part.texts for part in parts], starts)),
        comms=joined_comms([part.comms for part in parts]),
        samples=joined_samples(_counted_on([part.samples for part in parts], starts)),
        holes=[hole for part in parts for hole in part.holes],
        skipped=skipped,
    )


def kept(chunk: Chunk, keep: Flags) -> Chunk:
    """The events of *chunk* that *keep* names, with their arguments; the rest goes along."""
    if keep.all():
        return chunk
    place = np.cumsum(keep) - 1
    number = np.flatnonzero(keep[chunk.numbers.row])
    text = np.flatnonzero(keep[chunk.texts.row])
    return replace(
        chunk,
        **{name: column[keep] for name, column in chunk.columns().items()},
        numbers=Numbers(
            place[chunk.numbers.row[number]],
            chunk.numbers.name[number],
            chunk.numbers.value[number],
        ),
        texts=Texts(
            place[chunk.texts.row[text]], chunk.texts.name[text], chunk.texts.text.gather(text)
        ),
        samples=_kept_samples(chunk.samples, keep, place),
    )


def _kept_samples(samples: Samples, keep: Flags, place: Ints) -> Samples:
    mine = keep[samples.row]
    return Samples(
        place[samples.row[mine]],
        samples.cpumode[mine],
        samples.period[mine],
        samples.frames[mine],
        samples.ip[np.repeat(mine, samples.frames)],
    )
