"""Hypervisor events put among the events of the host: what EL2 did, on the task that called it.

The hypervisor (nVHE and pKVM, Linux 7.1) writes its own buffers, tracefs remotes/hypervisor, in
whole microseconds of the boot clock, and names no task. One entry and its exit lie in a gap between
two events of the host on that CPU (hypervisor_gaps.py), and belong to the task that ran there: that
of the event before, or the next one where that is a switch, and nobody's once that task was seen
on another CPU. Each is put at the middle of the times
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
    RETURNS,
    TASK,
    WHOSE,
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
# Of an entry or exit: its time, order at that time (hypervisor_host.py), task, why EL2 was entered.
ROWS: Final = {
    "at_ns": pl.Int64(), "order": pl.Int64(), **{name: LANE[name] for name in ("cpu", *TASK)},
    "entry": pl.Boolean(), "reason": pl.Categorical(),
}  # fmt: skip
FOREVER: Final = np.iinfo(np.int64).max
NOBODY: Final = (
    Host(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.bool_)),
    pl.DataFrame(schema={**{name: LANE[name] for name in TASK}, "moved_ns": pl.Int64()}),
)


def beside_host(read: Read, path: str, file: Path, clock: str | None) -> Read:
    """*read*, of *path*, with what *file* says of the hypervisor; *clock*: the host's, if stated.

    Raises ParseError, when it is read, where *file* cannot be.
    """

    def both(want: Want, progress: Callable[[float], None]) -> Iterator[Batch]:
        try:
            text = parse(pieces(mapped_file(file)))
        except OSError as err:
            raise ParseError(f"cannot be read: {err.strerror}", path=str(file)) from err
        return Hypervisor(text, want, path, clock).merge(read(want, progress))

    return both


class Hypervisor:
    """Merges the hypervisor's stays into the batches of the host, which it numbers anew.

    A batch leaves when all events of the host are known until the stays that begin in it end.
    """

    def __init__(
        self, text: HypervisorText, want: Want, path: str, clock: str | None = None
    ) -> None:
        """Begin before the first batch of *path*. *clock*: what somebody states of the host's."""
        self._text, self._want, self._path = text, want, path
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
            elif (batch.events["name"].cast(pl.String) == NAMES[0]).any():
                raise ParseError(
                    "holds what the hypervisor did already: the sidecar must not name it once more"
                    " (hypervisor)",
                    path=self._path,
                )
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
        self._holes = Holes(stays.holes, BUFFER)
        self._lanes, self._numbers = Lanes(), Numbers()
        self._unseen: set[int] = set()  # CPUs with unmaps, and without anything of the hypervisor
        self._queue: deque[Batch | HostBatch] = deque()
        self._next = 0  # the first stay that has not been placed
        # Behind all events that have left: rows of stays, and returns of leaf lines.
        self._waiting = pl.DataFrame(schema=ROWS)
        self._returns = pl.DataFrame(schema=RETURNS)
        self._placed_ns: dict[int, int] = {}  # of each CPU, the end of its last stay
        self._several = self._none = 0

    def add(self, batch: Batch) -> Iterator[Batch]:
        """Take in a batch; those that leave."""
        self._queue.append(batch if batch.events.is_empty() else self._host.prepare(batch))
        while self._queue and self._is_known(self._queue[0]):
            yield from self._leave()

    def rest(self) -> Iterator[Batch]:
        """What is left, and the stays behind the last event of the host."""
        while self._queue:
            yield from self._leave()
        stays = self._placed(np.arange(self._next, len(self._stays.cpu)))
        returns = self._returns
        if len(stays) or len(returns):
            at = _order(returns, stays)
            yield from self._pieces(Batch(), returns, stays, at, self._numbers.next)

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

    def _leave(self) -> Iterator[Batch]:
        first = self._queue[0]
        if isinstance(first, Batch):
            self._queue.popleft()
            yield replace(first, losses=self._numbers.moved(first.losses, "from_seq", "to_seq"))
            return
        self._see(first.lane)
        due = self._due(first.last_ns)
        stays = self._placed(due)
        self._next += len(due)
        self._queue.popleft()
        self._lanes.leave(first)
        until = pl.col("at_ns") <= first.last_ns
        returns = pl.concat([self._returns, first.returns])
        self._returns = returns.filter(~until).with_columns(pl.lit(FIRST, pl.Int64).alias("order"))
        self._waiting = stays.filter(~until)
        host = pl.concat([first.events, returns.filter(until)])
        yield from self._numbered(first.batch, host, stays.filter(until))

    def _numbered(self, batch: Batch, host: pl.DataFrame, stays: pl.DataFrame) -> Iterator[Batch]:
        """*batch* with *host* and *stays* as its events, in pieces."""
        at = _order(host, stays)
        old = np.append(host["seq"].fill_null(-1).to_numpy(), np.full(len(stays), -1))
        seq = self._numbers.add(old[at])
        new = self._numbers
        at_ns = np.append(host["at_ns"].to_numpy(), stays["at_ns"].to_numpy())[at]
        holes = self._holes.among(at_ns, seq)
        about = replace(
            batch,
            events=batch.events[:0],
            args=new.moved(batch.args, "seq"),
            samples=new.moved(batch.samples, "seq"),
            losses=pl.concat([new.moved(batch.losses, "from_seq", "to_seq"), holes]),
        )
        del at_ns, old
        yield from self._pieces(about, host, stays, at, int(seq[0]))

    def _pieces(
        self, batch: Batch, host: pl.DataFrame, stays: pl.DataFrame, at: Ints, begin: int
    ) -> Iterator[Batch]:
        """*batch*, its events those rows of *host* and then *stays* that *at* names, in order."""
        size = self._want.batch_events
        size = size if len(at) > size + size // 2 else len(at)
        for low in range(0, len(at), size):
            mine = at[low : low + size]
            of_host = mine < len(host)
            rows = pl.concat(
                [
                    host[mine[of_host].tolist()].select(*EVENTS),
                    _events(stays[(mine[~of_host] - len(host)).tolist()]),
                ],
                how="diagonal",
            )
            place = np.empty(len(mine), dtype=np.int64)
            place[np.concatenate([np.flatnonzero(of_host), np.flatnonzero(~of_host)])] = np.arange(
                len(mine)
            )
            first = begin + low
            rows = rows[place.tolist()].with_columns(
                pl.Series("seq", np.arange(first, first + len(mine)))
            )
            here = pl.col("seq").is_between(first, first + len(mine) - 1)
            args = [batch.args.filter(here)]
            if self._want.all_events:
                args.append(_reasons(rows))
            piece = Batch(
                conform("events", rows), pl.concat(args), samples=batch.samples.filter(here)
            )
            yield (
                piece
                if low
                else replace(batch, events=piece.events, args=piece.args, samples=piece.samples)
            )

    def _placed(self, due: Ints) -> pl.DataFrame:
        """What waits, and two rows per stay of *due*: frame of ROWS."""
        rows = [pl.DataFrame(schema=ROWS), self._waiting]
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
            rows.append(self._rows(cpu, mine, places, tasks))
        return pl.concat(rows)

    def _contradicted(self, cpu: int, stays: Ints) -> None:
        """Holes where the clocks differ: the host cannot have recorded anything at EL2."""
        self._none += len(stays)
        if len(stays):
            enter, leave = self._stays.enter_ns[stays], self._stays.exit_ns[stays]
            self._holes.add(holes_of(cpu, CLOCK, enter, leave))

    def _rows(self, cpu: int, stays: Ints, places: Places, tasks: pl.DataFrame) -> pl.DataFrame:
        """Two rows per stay, of the task that ran."""
        nowhere = len(tasks)
        at = np.where(places.after < 0, nowhere, places.after)
        moved = np.append(tasks["moved_ns"].fill_null(FOREVER).to_numpy(), FOREVER)
        at = np.where(moved[at] <= places.exit_ns, nowhere, at)
        nobody = pl.DataFrame({name: [None] for name in WHOSE}, schema=tasks.schema)
        at_ns = np.stack([places.enter_ns, places.exit_ns], axis=1).ravel()
        rows = pl.concat([tasks, nobody])[np.repeat(at, 2).tolist()].with_columns(
            pl.Series("at_ns", at_ns),
            pl.lit(LAST, pl.Int64).alias("order"),
            pl.lit(cpu, pl.Int32).alias("cpu"),
            pl.Series("entry", np.arange(2 * len(stays)) % 2 == 0),
            self._stays.reason.gather(np.repeat(stays, 2)).alias("reason"),
        )
        return rows.select(list(ROWS))

    def _see(self, lane: pl.DataFrame) -> None:
        """Holes of CPUs that unmap and of which the hypervisor's text says nothing."""
        cpus = set(lane.filter(pl.col("unmapping").is_not_null())["cpu"].drop_nulls().to_list())
        for cpu in sorted(cpus - self._stays.cpus - self._unseen):
            self._holes.add(hole(cpu, NOT_RECORDED))
            self._unseen.add(cpu)


def _order(host: pl.DataFrame, stays: pl.DataFrame) -> Ints:
    """Rows of *host* and then *stays*, by number, in order of time."""
    at_ns, order = (
        np.append(host[name].to_numpy(), stays[name].to_numpy()) for name in ("at_ns", "order")
    )
    found: Ints = np.lexsort((order, at_ns))
    return found


def _events(rows: pl.DataFrame) -> pl.DataFrame:
    """*rows* of ROWS with columns of schema.EVENTS."""
    return rows.select(
        pl.col("at_ns").alias("ts_ns"), "cpu", *TASK, "reason",
        *(
            pl.when("entry").then(pl.lit(one)).otherwise(pl.lit(other)).cast(EVENTS[name]).alias(name)
            for name, one, other in (("name", *NAMES), ("phase", "entry", "exit"))
        ),
        pl.lit("tracepoint").cast(EVENTS["evidence"]).alias("evidence"),
        pl.lit(BUFFER).cast(EVENTS["buffer"]).alias("buffer"),
    )  # fmt: skip


def _reasons(events: pl.DataFrame) -> pl.DataFrame:
    """Why EL2 was entered, as arguments."""
    entries = events.filter(name=NAMES[0]).drop_nulls("reason")
    name = pl.lit("reason").cast(ARGS["name"]).alias("name")
    return conform(
        "args", entries.select("seq", name, pl.col("reason").cast(pl.String).alias("text"))
    )
