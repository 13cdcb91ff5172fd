"""Hypervisor events put among the events of the host: what EL2 did, on the task that called it.

The hypervisor (nVHE and pKVM, Linux 7.1) writes its own buffers, tracefs remotes/hypervisor, in
whole microseconds of the boot clock, and names no task. One entry and its exit lie in a gap between
two events of the host on that CPU (hypervisor_gaps.py), and belong to the task that ran there: that
of the event before, or the next one where that is a switch. Each is put at the middle of the times
that are possible for it. A leaf line of function_graph text is one event: around stays it becomes
two, an entry and an exit.

A hole in the hypervisor's buffer is a hole of that CPU: its calls cannot be vouched for.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.errors import ParseError
from traceview.parsers.hypervisor_gaps import NEVER, Host, placed
from traceview.parsers.hypervisor_holes import Holes
from traceview.parsers.hypervisor_host import (
    FIRST,
    LANE,
    LAST,
    TASK,
    HostBatch,
    HostEvents,
    Lanes,
)
from traceview.parsers.hypervisor_numbers import Numbers
from traceview.parsers.hypervisor_text import parse, pieces
from traceview.parsers.hypervisor_times import (
    CLOCK,
    CUT_NS,
    NOT_RECORDED,
    Stays,
    hole,
    holes_of,
    stays_of,
)
from traceview.parsers.source import mapped_file
from traceview.schema import ARGS, EVENTS, conform
from traceview.trace import Batch, Diagnostic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from traceview.parsers.hypervisor_gaps import Places
    from traceview.parsers.hypervisor_text import HypervisorText
    from traceview.trace import Read, Want

    Ints = NDArray[np.int64]

BUFFER: Final = "hypervisor"
NAMES: Final = ("hyp_enter", "hyp_exit")
UNKNOWN: Final = ("symbol", "probe_ip", "duration_ns", "depth")
# Events, when they come, their order at one time (hypervisor_host.py), and why EL2 was entered.
ROWS: Final = {**EVENTS, "at_ns": pl.Int64(), "order": pl.Int64(), "reason": pl.Categorical()}
NOBODY: Final = (
    Host(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)),
    pl.DataFrame(schema={name: LANE[name] for name in TASK}),
)


def beside_host(read: Read, file: Path, clock: str | None) -> Read:
    """*read*, with what *file* says of the hypervisor; *clock* is that of the host, where stated.

    Raises ParseError, when it is read, where *file* cannot be.
    """

    def both(want: Want, progress: Callable[[float], None]) -> Iterator[Batch]:
        try:
            text = parse(pieces(mapped_file(file)))
        except OSError as err:
            raise ParseError(f"cannot be read: {err.strerror}", path=str(file)) from err
        return Hypervisor(text, want, clock).merge(read(want, progress))

    return both


class Hypervisor:
    """Merges the hypervisor's stays into the batches of the host, which it numbers anew.

    A batch leaves when all events of the host are known until the stays that begin in it end.
    """

    def __init__(self, text: HypervisorText, want: Want, clock: str | None = None) -> None:
        """Begin before the first batch. *clock*: what somebody states of the host's."""
        self._text, self._want = text, want
        self._stated = self._clock = clock
        self._merging: _Merging | None = None

    def merge(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The *batches* with what the hypervisor did; at the end, what is to be known of it."""
        for batch in batches:
            self._clock = self._stated or batch.facts.get("clock", self._clock)
            times = batch.events["ts_ns"].drop_nulls()
            if self._merging is None and len(times) and self._clock == "boot":
                stays = stays_of(self._text, int(times[0]))
                self._merging = _Merging(stays, self._want)
            if self._merging is None:
                yield batch
            else:
                yield from self._merging.add(batch)
        if self._merging is not None:
            yield from self._merging.rest()
        yield Batch(diagnostics=tuple(self._diagnostics()))

    def _diagnostics(self) -> Iterator[Diagnostic]:
        """What must be known of the merging."""
        text = self._text
        if self._clock != "boot":
            clock = "an unknown clock" if self._clock is None else f"the clock {self._clock}"
            message = (
                f"the hypervisor's events are not used: they are of the boot clock, the host's of"
                f" {clock} (record with trace_clock boot)"
            )
            yield Diagnostic("hypervisor-clock", "warning", message, len(text.events))
            return
        if text.unparsed:
            message = f"{text.unparsed} lines of the hypervisor's text were not understood"
            yield Diagnostic("hypervisor-unparsed", "warning", message, text.unparsed)
        if self._merging is not None:
            yield from self._merging.diagnostics()


class _Merging:
    """The merging itself, once the clock is known to be the same."""

    def __init__(self, stays: Stays, want: Want) -> None:
        self._stays, self._want = stays, want
        self._host = HostEvents(
            want, {cpu: stays.enter_ns[stays.cpu == cpu] for cpu in np.unique(stays.cpu).tolist()}
        )
        self._longest_ns = int((stays.exit_ns - stays.enter_ns).max(initial=0))
        self._holes = Holes(stays.holes, BUFFER)
        self._lanes, self._numbers = Lanes(), Numbers()
        self._unseen: set[int] = set()  # CPUs with unmaps, and without anything of the hypervisor
        self._queue: deque[Batch | HostBatch] = deque()
        self._next = 0  # the first stay that has not been placed
        self._waiting: pl.DataFrame | None = None  # rows behind all events that have left
        self._placed_ns: dict[int, int] = {}  # of each CPU, the end of its last stay
        self._several = self._none = 0

    def add(self, batch: Batch) -> Iterator[Batch]:
        """Take in a batch; those that leave."""
        self._queue.append(batch if batch.events.is_empty() else self._host.prepare(batch))
        while self._queue and self._is_known(self._queue[0]):
            yield self._leave()

    def rest(self) -> Iterator[Batch]:
        """What is left, and the stays behind the last event of the host."""
        while self._queue:
            yield self._leave()
        rows = self._rows(np.arange(self._next, len(self._stays.cpu)))
        if len(rows):
            numbers = np.arange(self._numbers.next, self._numbers.next + len(rows))
            rows = rows.sort("at_ns", "order", maintain_order=True)
            yield self._batch(Batch(), rows, numbers)

    def diagnostics(self) -> Iterator[Diagnostic]:
        """What must be known of the times."""
        single, foreign = self._stays.single, self._stays.guest_clock
        if single:
            message = f"{single} entries or exits of the hypervisor have no partner"
            yield Diagnostic("hypervisor-unpaired", "info", message, single)
        if foreign:
            message = (
                f"{foreign} events of the hypervisor have the time of a guest, not of the host: its"
                " clock is offset while a vCPU is loaded; they are not used"
            )
            yield Diagnostic("hypervisor-clock-of-guest", "info", message, foreign)
        if self._several:
            message = (
                f"{self._several} stays at EL2 could lie on either side of an event of the host:"
                " the hypervisor's times are whole microseconds; inside an unmap was preferred,"
                " then the larger gap"
            )
            yield Diagnostic("hypervisor-ambiguous", "info", message, self._several)
        if self._none:
            message = (
                f"{self._none} stays at EL2 contain events of the host on their CPU, so the two"
                " clocks differ there: calls that overlap them cannot be vouched for"
            )
            yield Diagnostic("hypervisor-contradicts", "warning", message, self._none)
        if self._unseen:
            message = (
                f"nothing was read of the hypervisor on {len(self._unseen)} CPUs that unmapped:"
                " their unmaps cannot be vouched for"
            )
            yield Diagnostic("hypervisor-not-recorded", "warning", message, len(self._unseen))

    def _is_known(self, first: Batch | HostBatch) -> bool:
        """Whether all events of the host are known until what begins in *first* has ended."""
        if isinstance(first, Batch):
            return True
        latest = next(one for one in reversed(self._queue) if isinstance(one, HostBatch))
        due = self._due(first.last_ns)
        ends = self._stays.exit_ns[due].max(initial=NEVER) + CUT_NS
        if len(first.returns):
            ends = max(ends, first.returns["at_ns"].max())
        return bool(latest.last_ns > ends)

    def _due(self, until_ns: int) -> Ints:
        """The stays not yet placed that may begin until then."""
        until = int(np.searchsorted(self._stays.enter_ns, until_ns, side="right"))
        return np.arange(self._next, max(until, self._next))

    def _leave(self) -> Batch:
        first = self._queue[0]
        if isinstance(first, Batch):
            self._queue.popleft()
            return replace(first, losses=self._numbers.moved(first.losses, "from_seq", "to_seq"))
        self._see(first.lane)
        due = self._due(first.last_ns)
        rows = self._rows(due, first)
        self._next += len(due)
        self._queue.popleft()
        self._lanes.leave(first)
        now = rows["at_ns"] <= first.last_ns
        self._waiting = rows.filter(~now).with_columns(
            pl.when(pl.col("order") != LAST).then(FIRST).otherwise("order").alias("order")
        )
        both = pl.concat([first.events, rows.filter(now)], how="diagonal")
        both = both.sort("at_ns", "order", maintain_order=True)
        numbers = self._numbers.add(both["seq"].fill_null(-1).to_numpy())
        holes = self._holes.among(both["at_ns"].to_numpy(), numbers)
        about = self._about(first.batch)
        return self._batch(replace(about, losses=pl.concat([about.losses, holes])), both, numbers)

    def _rows(self, due: Ints, first: HostBatch | None = None) -> pl.DataFrame:
        """What waits, the returns of *first*, and two rows per stay of *due*."""
        rows = [] if self._waiting is None else [self._waiting]
        if first is not None:
            rows.append(first.returns)
        known = [one for one in self._queue if isinstance(one, HostBatch)]
        lanes = self._lanes.of_cpus(known) if len(due) else {}
        of = self._stays.cpu[due]
        for cpu in np.unique(of).tolist():
            host, tasks = lanes.get(cpu, NOBODY)
            mine = due[of == cpu]
            since = self._placed_ns.get(cpu, NEVER)
            places = placed(host, self._stays.enter_ns[mine], self._stays.exit_ns[mine], since)
            self._placed_ns[cpu] = int(places.exit_ns[-1])
            self._several += int(places.several.sum())
            self._contradicted(cpu, mine[places.none])
            rows.append(self._events(cpu, mine, places, tasks))
        empty = pl.DataFrame(schema=ROWS)
        found = pl.concat([empty, *rows], how="diagonal")
        return found.select(list(ROWS))

    def _contradicted(self, cpu: int, stays: Ints) -> None:
        """Holes where the clocks differ: the host cannot have recorded anything at EL2."""
        self._none += len(stays)
        if len(stays):
            enter, leave = self._stays.enter_ns[stays], self._stays.exit_ns[stays]
            self._holes.add(holes_of(cpu, CLOCK, enter, leave))

    def _events(self, cpu: int, stays: Ints, places: Places, tasks: pl.DataFrame) -> pl.DataFrame:
        """Two rows per stay, of the task that ran."""
        at = np.where(places.after < 0, len(tasks), places.after)
        nobody = pl.DataFrame({name: [None] for name in TASK}, schema=tasks.schema)
        rows = pl.concat([tasks, nobody])[np.repeat(at, 2).tolist()]
        at_ns = pl.Series("at_ns", np.stack([places.enter_ns, places.exit_ns], axis=1).ravel())
        entry = pl.Series(np.arange(2 * len(stays)) % 2 == 0)
        return rows.with_columns(
            at_ns, at_ns.alias("ts_ns"), pl.lit(LAST).alias("order"),
            pl.lit(cpu, pl.Int32).alias("cpu"), pl.lit(None, pl.Int64).alias("seq"),
            *(pl.lit(None, EVENTS[name]).alias(name) for name in UNKNOWN),
            *(
                pl.when(entry).then(pl.lit(one)).otherwise(pl.lit(other)).cast(EVENTS[name]).alias(name)
                for name, one, other in (("name", *NAMES), ("phase", "entry", "exit"))
            ),
            pl.lit("tracepoint").cast(EVENTS["evidence"]).alias("evidence"),
            pl.lit(BUFFER).cast(EVENTS["buffer"]).alias("buffer"),
            self._stays.reason.gather(np.repeat(stays, 2)).alias("reason"),
        )  # fmt: skip

    def _about(self, batch: Batch) -> Batch:
        """*batch* with the new numbers in all that speaks of its events."""
        new = self._numbers
        return replace(
            batch,
            args=new.moved(batch.args, "seq"),
            samples=new.moved(batch.samples, "seq"),
            losses=new.moved(batch.losses, "from_seq", "to_seq"),
        )

    def _batch(self, batch: Batch, rows: pl.DataFrame, seq: Ints) -> Batch:
        """*batch* with *rows* as its events, numbered *seq*."""
        rows = rows.with_columns(pl.Series("seq", seq))
        args = batch.args
        if self._want.all_events:
            reasons = rows.filter(name="hyp_enter").drop_nulls("reason")
            name = pl.lit("reason").cast(ARGS["name"]).alias("name")
            said = reasons.select("seq", name, pl.col("reason").cast(pl.String).alias("text"))
            args = pl.concat([args, conform("args", said)])
        return replace(batch, events=conform("events", rows), args=args)

    def _see(self, lane: pl.DataFrame) -> None:
        """Holes of CPUs that unmap and of which the hypervisor's text says nothing."""
        cpus = set(lane.filter(pl.col("unmapping").is_not_null())["cpu"].drop_nulls().to_list())
        for cpu in sorted(cpus - self._stays.cpus - self._unseen):
            self._holes.add(hole(cpu, NOT_RECORDED))
            self._unseen.add(cpu)
