"""Hypervisor events put among the events of the host: what EL2 did, on the task that called it.

The hypervisor (nVHE and pKVM, Linux 7.1) writes its own buffers, tracefs remotes/hypervisor, in
whole microseconds of the boot clock, and names no task. But while a CPU is at EL2 its host records
nothing, so one entry and its exit lie between two events of the host on that CPU: in the gap that
overlaps most with the times that they can have. There they belong to the task of the event before,
each at the middle of the times that are possible for it.

A hole in the hypervisor's buffer is a hole of that CPU: its calls cannot be vouched for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.errors import ParseError
from traceview.parsers.hypervisor_text import parse, pieces
from traceview.parsers.hypervisor_times import CUT_NS, stays_of
from traceview.parsers.source import mapped_file
from traceview.schema import ARGS, EVENTS, conform
from traceview.trace import Batch, Diagnostic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from traceview.parsers.hypervisor_text import HypervisorText
    from traceview.trace import Read, Want

    Ints = NDArray[np.int64]

BUFFER: Final = "hypervisor"
FOREVER: Final = np.iinfo(np.int64).max
NEVER: Final = np.iinfo(np.int64).min
MOST_GAPS: Final = 4096  # within one stay and a microsecond: a bound against damage
TASK: Final = ("ts_ns", "tid", "tgid", "comm")


def beside_host(read: Read, file: Path, clock: str | None) -> Read:
    """*read*, with what *file* says of the hypervisor; *clock* is that of the host, where stated.

    Raises ParseError, when it is read, where *file* cannot be.
    """

    def both(want: Want, progress: Callable[[float], None]) -> Iterator[Batch]:
        try:
            text = parse(pieces(mapped_file(file)))
        except OSError as err:
            raise ParseError(f"cannot be read: {err.strerror}", path=str(file)) from err
        return Hypervisor(text, clock).merge(read(want, progress))

    return both


class Hypervisor:
    """Merges the hypervisor's stays into the batches of the host, which it numbers anew."""

    def __init__(self, text: HypervisorText, clock: str | None = None) -> None:
        """Begin before the first batch. *clock*: what somebody states of the host's."""
        self._text = text
        self._stays = stays_of(text)
        self._next = 0  # the first stay that has not been placed
        self._last: dict[int, pl.DataFrame] = {}  # of each CPU, its latest event of the host
        self._before = np.zeros(0, dtype=np.int64)  # old numbers of events, one per event inserted
        self._several = 0
        self._end = 0  # the number of the next event
        self._stated = clock
        self._clock = clock

    def merge(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The *batches* with what the hypervisor did; at the end, what is to be known of it."""
        for batch in batches:
            self._clock = self._stated or batch.facts.get("clock", self._clock)
            yield self._merged(batch) if self._clock == "boot" else batch
        if self._clock == "boot":
            yield self._rest()
        yield Batch(diagnostics=tuple(self._diagnostics()))

    def _merged(self, batch: Batch) -> Batch:
        events = batch.events
        if events.is_empty() or events["ts_ns"].null_count():
            return replace(batch, losses=self._renumbered(batch.losses))
        high = int(np.searchsorted(self._stays.enter_ns, events["ts_ns"][-1], side="right"))
        mine = np.arange(self._next, max(high, self._next))
        self._next += len(mine)
        rows = self._rows(events, mine)
        both = pl.concat([events.with_columns(pl.lit(0).alias("of")), *rows], how="diagonal")
        return self._numbered(batch, both.sort("ts_ns", "of", maintain_order=True))

    def _rest(self) -> Batch:
        """The stays behind the last event of the host, of no task."""
        mine = np.arange(self._next, len(self._stays.cpu))
        blank = pl.DataFrame({name: [NEVER if name == "ts_ns" else None] for name in TASK})
        rows = [
            self._rows_of(cpu, self._last.get(cpu, blank)[:1], mine[self._stays.cpu[mine] == cpu])
            for cpu in np.unique(self._stays.cpu[mine]).tolist()
        ]
        if not rows:
            return Batch()
        events = pl.concat(rows, how="diagonal_relaxed").sort("ts_ns", maintain_order=True)
        seq = pl.Series("seq", np.arange(self._end, self._end + len(events)))
        return Batch(conform("events", events.with_columns(seq)))

    def _rows(self, events: pl.DataFrame, mine: Ints) -> list[pl.DataFrame]:
        """Two rows per stay of *mine*, with the task of the event of the host before it."""
        frames = []
        for cpu in events["cpu"].drop_nulls().unique().to_list():
            host = events.filter(pl.col("cpu") == cpu).select(TASK)
            nobody = {name: [NEVER if name == "ts_ns" else None] for name in TASK}
            earlier = self._last.get(cpu, pl.DataFrame(nobody, schema=host.schema))
            of = mine[self._stays.cpu[mine] == cpu]
            if len(of):
                frames.append(self._rows_of(cpu, pl.concat([earlier, host]), of))
            self._last[cpu] = host[-1]
        return frames

    def _rows_of(self, cpu: int, host: pl.DataFrame, of: Ints) -> pl.DataFrame:
        stays = self._stays
        enter, leave, gap = self._placed(
            host["ts_ns"].to_numpy(), stays.enter_ns[of], stays.exit_ns[of]
        )
        task = host[np.repeat(gap, 2).tolist()].drop("ts_ns")
        entry = np.arange(2 * len(of)) % 2 == 0
        names = pl.DataFrame({"entry": entry}).select(
            pl.when("entry").then(pl.lit("hyp_enter")).otherwise(pl.lit("hyp_exit")).alias("name"),
            pl.when("entry").then(pl.lit("entry")).otherwise(pl.lit("exit")).alias("phase"),
        )
        return task.with_columns(
            pl.Series("ts_ns", np.stack([enter, leave], axis=1).ravel()),
            pl.lit(cpu, pl.Int32).alias("cpu"),
            names["name"].cast(EVENTS["name"]),
            names["phase"].cast(EVENTS["phase"]),
            pl.lit("tracepoint").cast(EVENTS["evidence"]).alias("evidence"),
            pl.lit(BUFFER).cast(EVENTS["buffer"]).alias("buffer"),
            pl.Series("reason", np.repeat(stays.reason[of.tolist()].cast(pl.String), 2)),
            pl.lit(1).alias("of"),
        )

    def _placed(self, bounds: Ints, enter: Ints, leave: Ints) -> tuple[Ints, Ints, Ints]:
        """Times of entry and exit of each stay, and the gap between *bounds* that it lies in."""
        ends = np.append(bounds[1:], FOREVER)
        first = np.maximum(np.searchsorted(bounds, enter, side="right") - 1, 0)
        last = np.maximum(np.searchsorted(bounds, leave + CUT_NS, side="right") - 1, first)
        reach = int(min((last - first).max(initial=0), MOST_GAPS))
        best, most = first.copy(), np.full(len(enter), -1, dtype=np.int64)
        for step in range(reach + 1):
            gap = np.minimum(first + step, last)
            low = np.maximum(bounds[gap], enter)
            overlap = np.minimum(ends[gap], leave + CUT_NS) - low
            # It must be possible: at EL2 since before the gap, or until behind it, is not.
            fits = (bounds[gap] <= enter + CUT_NS) & (ends[gap] >= leave)
            better = fits & (overlap > most)
            best[better], most[better] = gap[better], overlap[better]
        self._several += int((last > first).sum())
        low, high = bounds[best], np.maximum(bounds[best], ends[best] - 1)
        placed = np.empty(2 * len(enter), dtype=np.int64)
        for at, cut in ((0, enter), (1, leave)):
            least = np.clip(cut, low, high)
            placed[at::2] = (least + np.clip(cut + CUT_NS, least, high)) // 2
        # In the same microsecond they follow each other.
        placed = np.maximum.accumulate(placed)
        placed[0::2], placed[1::2] = (np.minimum(placed[at::2], high) for at in (0, 1))
        return placed[0::2], placed[1::2], best

    def _numbered(self, batch: Batch, both: pl.DataFrame) -> Batch:
        """*both* with new numbers in `seq`, and all that speaks of the old ones."""
        start = int(batch.events["seq"][0]) + len(self._before)
        after = pl.col("seq").fill_null(strategy="backward").fill_null(batch.events["seq"][-1] + 1)
        inserted = both.select(after, "of").filter(pl.col("of") == 1)["seq"].to_numpy()
        self._before = np.concatenate([self._before, inserted])
        numbers = pl.Series("seq", np.arange(start, start + len(both)))
        events = both.with_columns(numbers)
        self._end = start + len(both)
        args = [self._moved(batch.args)]
        if "reason" in events.columns:
            reasons = events.filter(name="hyp_enter").drop_nulls("reason")
            name = pl.lit("reason").cast(ARGS["name"]).alias("name")
            args.append(conform("args", reasons.select("seq", name, text="reason")))
        return replace(
            batch,
            events=conform("events", events),
            args=pl.concat(args),
            samples=self._moved(batch.samples),
            losses=pl.concat([self._renumbered(batch.losses), self._holes(events)]),
        )

    def _new(self, old: pl.Series) -> pl.Series:
        moved = old.fill_null(0).to_numpy()
        moved = moved + np.searchsorted(self._before, moved, side="right")
        return pl.select(pl.when(old.is_not_null()).then(pl.Series(moved))).to_series()

    def _moved(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(self._new(rows["seq"]).alias("seq"))

    def _renumbered(self, losses: pl.DataFrame) -> pl.DataFrame:
        return losses.with_columns(
            self._new(losses[name]).alias(name) for name in ("from_seq", "to_seq")
        )

    def _holes(self, events: pl.DataFrame) -> pl.DataFrame:
        """What of the hypervisor's holes lies among *events*, which bear their new numbers."""
        times, seq = events["ts_ns"].to_numpy(), events["seq"].to_numpy()
        first, last = int(times[0]), int(times[-1])
        holes = self._stays.holes.filter((pl.col("from_ns") <= last) & (pl.col("to_ns") >= first))
        behind = np.searchsorted(times, holes["from_ns"].to_numpy(), side="right")
        before = np.searchsorted(times, holes["to_ns"].to_numpy())
        begins = pl.col("from_ns") >= first
        return conform(
            "losses",
            holes.with_columns(
                pl.when(begins).then("count").alias("count"),
                pl.col("from_ns").clip(lower_bound=first),
                pl.col("to_ns").clip(upper_bound=last),
                pl.Series("from_seq", seq[0] - 1 + behind),
                pl.Series("to_seq", seq[0] + before),
                pl.lit(BUFFER).alias("buffer"),
            ),
        )

    def _diagnostics(self) -> list[Diagnostic]:
        """What must be known of the merging."""
        text, found = self._text, []
        if self._clock != "boot":
            clock = "an unknown clock" if self._clock is None else f"the clock {self._clock}"
            message = (
                f"the hypervisor's events are not used: they are of the boot clock, the host's of"
                f" {clock} (record with trace_clock boot)"
            )
            return [Diagnostic("hypervisor-clock", "warning", message, len(text.events))]
        if text.unparsed:
            message = f"{text.unparsed} lines of the hypervisor's text were not understood"
            found.append(Diagnostic("hypervisor-unparsed", "warning", message, text.unparsed))
        single, foreign = self._stays.single, self._stays.guest_clock
        if single:
            message = f"{single} entries or exits of the hypervisor have no partner"
            found.append(Diagnostic("hypervisor-unpaired", "info", message, single))
        if foreign:
            message = (
                f"{foreign} events of the hypervisor have the time of a guest, not of the host: its"
                " clock is offset while a vCPU is loaded; they are not used"
            )
            found.append(Diagnostic("hypervisor-clock-of-guest", "info", message, foreign))
        if self._several:
            message = (
                f"{self._several} stays at EL2 could lie on either side of an event of the host:"
                " the hypervisor's times are whole microseconds; the larger gap was taken"
            )
            found.append(Diagnostic("hypervisor-ambiguous", "info", message, self._several))
        return found
