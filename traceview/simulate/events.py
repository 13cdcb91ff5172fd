"""Items of one CPU -> events with times: the CPU's clock, interrupts, what tracing costs.

All times inside are whole picoseconds since the recording began. What a tracer reads is the counter
of CNTFRQ_EL0: whole ticks, in whole nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from traceview.simulate.rows import PICOSECONDS, REST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from traceview.simulate.items import Items
    from traceview.simulate.rows import Rows

    Ints = NDArray[np.int64]
    Mask = NDArray[np.bool_]

SECOND_NS: Final = 1_000_000_000
# How a hard interrupt's time is shared out among what the tracer sees of it.
INTERRUPT_SHARES: Final = (0.15, 0.7, 0.15)


@dataclass(frozen=True, slots=True)
class Noise:
    """How times vary. `slow_share` of all stretches take `slow_factor` times as long."""

    jitter: float
    tracing_jitter: float
    slow_share: float
    slow_factor: float
    interrupts_per_second: float
    interrupt_ns: float
    interrupt_spread: float


@dataclass(slots=True)
class Cpu:
    """Where the clock of a CPU is, and the random numbers that are its own."""

    number: int
    cntfrq_hz: int
    rng: np.random.Generator
    now_ps: int = 0
    tracing_ps: int = 0  # of the last row, still to be spent
    # By task, the calltime of each open graph call.
    open_ns: dict[int, list[int]] = field(default_factory=dict)
    records: int = 0
    last_measured_ns: int = 0


@dataclass(frozen=True, slots=True)
class Events:
    """Rows with times, in order. `item`: index into the items; `row`: into the rows.

    `measured_ps`: calltime, rettime, or the time stamp of a probe's record. `own_ps`: the time
    before the row without tracing and interrupts; `interrupt_ps`, `interrupts`: what is in there.
    """

    row: Ints
    item: Ints
    measured_ps: Ints
    own_ps: Ints
    interrupt_ps: Ints
    interrupts: Ints
    part: Ints
    true_part: Ints


def quantised_ns(ps: Ints, cntfrq_hz: int) -> Ints:
    """What sched_clock() says at that time, to whole ticks."""
    ns = ps // PICOSECONDS
    seconds, rest = np.divmod(ns, SECOND_NS)
    ticks = rest * cntfrq_hz // SECOND_NS
    found: Ints = seconds * SECOND_NS + ticks * SECOND_NS // cntfrq_hz
    return found


def pieces(items: Items, rows: Rows, at_once: int) -> Iterator[tuple[int, int]]:
    """Stretches of items with about *at_once* rows each."""
    total = np.cumsum(rows.count[items.template])
    first = 0
    while first < total.size:
        before = int(total[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(total, before + at_once, side="right")))
        yield first, last
        first = last


def events_of(
    items: Items, span: tuple[int, int], rows: Rows, cpu: Cpu, noise: Noise, operations_ps: Ints
) -> Events:
    """The events of some items; the CPU's clock moves on. *operations_ps*: of each item."""
    first, last = span
    template = items.template[first:last]
    counts = rows.count[template]
    item = np.repeat(np.arange(first, last), counts)
    begins = np.repeat(rows.begin[template] - (np.cumsum(counts) - counts), counts)
    row = begins + np.arange(item.size)
    own = rows.gap_ps[row].copy()
    ranged = np.flatnonzero(rows.operations[row])
    own[ranged] += operations_ps[item[ranged]]
    own = _varied(own, noise.jitter, cpu.rng)
    own = _slowed(own, noise, cpu.rng)
    part, true_part = rows.part[row].astype(np.int64), rows.true_part[row].astype(np.int64)
    events = Events(row, item, row, own, np.zeros_like(own), np.zeros_like(own), part, true_part)
    events = _interrupted(events, rows, cpu, noise)
    return _timed(events, rows, cpu, noise)


def _varied(ps: Ints, sigma: float, rng: np.random.Generator) -> Ints:
    """Lognormal around 1: the mean stays."""
    if sigma == 0:
        return ps
    drawn = rng.standard_normal(ps.size, dtype=np.float32) * np.float32(sigma)
    factor = np.exp(drawn - np.float32(sigma * sigma / 2))
    varied: Ints = np.rint(ps * factor).astype(np.int64)
    return varied


def _slowed(ps: Ints, noise: Noise, rng: np.random.Generator) -> Ints:
    if noise.slow_share == 0:
        return ps
    slow = rng.random(ps.size, dtype=np.float32) < noise.slow_share
    ps[slow] = np.rint(ps[slow] * noise.slow_factor).astype(np.int64)
    return ps


def _interrupted(events: Events, rows: Rows, cpu: Cpu, noise: Noise) -> Events:
    """Interrupts at random times. They fall between two rows, in proportion to the time there."""
    if noise.interrupts_per_second == 0:
        return events
    tracing = rows.before_ps[events.row] + rows.after_ps[events.row]
    until = np.cumsum(events.own_ps + tracing)
    seconds = float(until[-1]) / (PICOSECONDS * SECOND_NS) if until.size else 0.0
    number = int(cpu.rng.poisson(noise.interrupts_per_second * seconds))
    if number == 0:
        return events
    arrives = np.sort(cpu.rng.random(number)) * float(until[-1])
    before = np.minimum(np.searchsorted(until, arrives), until.size - 1)
    took = np.full(number, round(noise.interrupt_ns * PICOSECONDS), dtype=np.int64)
    took = _varied(took, noise.interrupt_spread, cpu.rng)
    if rows.kind[rows.begin[rows.number("interrupt")]] >= 0:
        return _with_interrupts(events, rows, before, took, np.sort(cpu.rng.random(number)))
    events.interrupt_ps[:] = np.bincount(before, weights=took, minlength=until.size)
    events.interrupts[:] = np.bincount(before, minlength=until.size)
    return events


def _with_interrupts(
    events: Events, rows: Rows, before: Ints, took: Ints, share: NDArray[np.float64]
) -> Events:
    """Rows of the interrupts that are traced, ahead of the rows *before*.

    The time ahead of a row is divided among the interrupts in it; what is recorded of an interrupt
    belongs to what it interrupted until its first call begins.
    """
    template = rows.number("interrupt")
    begin, count = int(rows.begin[template]), int(rows.count[template])
    inserted = np.repeat(before, count)
    row = np.insert(events.row, inserted, np.tile(np.arange(begin, begin + count), took.size))
    item = np.insert(events.item, inserted, np.repeat(events.item[before], count))
    # Of several interrupts ahead of one row, each takes its share of what the others left.
    left = events.own_ps.copy()
    first_gap = np.zeros(took.size, dtype=np.int64)
    for number, (at, part) in enumerate(zip(before.tolist(), share.tolist(), strict=True)):
        first_gap[number] = int(left[at] * part)
        left[at] -= first_gap[number]
    ahead = np.zeros((took.size, count), dtype=np.int64)
    ahead[:, 0] = first_gap
    inside = np.zeros((took.size, count), dtype=np.int64)
    ends = np.flatnonzero(rows.opens[begin : begin + count] < 0)
    ends = ends[rows.is_first[begin + ends]]
    for end, of_all in zip(ends.tolist(), INTERRUPT_SHARES, strict=True):
        inside[:, end] = np.rint(took * of_all)
    host = np.repeat(events.part[before], count)
    irq = np.tile(rows.part[begin : begin + count], took.size)
    true_host = np.repeat(events.true_part[before], count)
    number_of = np.zeros((took.size, count), dtype=np.int64)
    number_of[:, 0] = 1
    zeros = np.zeros(events.row.size, dtype=np.int64)
    return Events(
        row, item, row,
        np.insert(left, inserted, ahead.ravel()),
        np.insert(zeros, inserted, inside.ravel()),
        np.insert(zeros, inserted, number_of.ravel()),
        np.insert(events.part, inserted, np.where(irq == REST, host, irq)),
        np.insert(events.true_part, inserted, true_host),
    )  # fmt: skip


def _timed(events: Events, rows: Rows, cpu: Cpu, noise: Noise) -> Events:
    """Give every row its time; the CPU's clock moves on."""
    before, after = rows.before_ps[events.row], rows.after_ps[events.row]
    if noise.tracing_jitter:
        before = _varied(before, noise.tracing_jitter, cpu.rng)
        after = _varied(after, noise.tracing_jitter, cpu.rng)
    # A record is written within the time that writing it takes.
    after = np.maximum(after, rows.record_ps[events.row])
    ahead = events.own_ps + events.interrupt_ps + before
    ahead[0] += cpu.tracing_ps
    ahead[1:] += after[:-1]
    measured = cpu.now_ps + np.cumsum(ahead)
    cpu.now_ps, cpu.tracing_ps = int(measured[-1]), int(after[-1])
    return Events(
        events.row, events.item, measured, events.own_ps, events.interrupt_ps, events.interrupts,
        events.part, events.true_part,
    )  # fmt: skip
