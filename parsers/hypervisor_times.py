"""When the hypervisor's events happened: its clock repaired, its stays at EL2, what it missed.

Two things spoil the times of Linux 7.1.8 in nVHE mode, both seen in real captures:

- The hypervisor reads CNTVCT_EL0 (arch/arm64/kvm/hyp/nvhe/clock.c), from which the offset of the
  guest is subtracted while a vCPU is loaded on the CPU (CNTVOFF_EL2, arch/arm64/kvm/arch_timer.c):
  its time falls back when a vCPU is loaded and returns when it is put, both inside a hypercall.
  Such times are no times of the host. They are recognised because the events of one CPU stand in
  order, so that no time can be earlier than one before it; and where a recording begins with a
  vCPU loaded, because no stay at EL2 takes as long as the return seems to.
- Its ring buffer stores differences in 59 bits (kernel/trace/simple_ring_buffer.c), so that each
  fall back adds 2^59 ns to all times behind it, until the next page begins.

With HCR_EL2.E2H (hVHE, which pKVM prefers) the counter has no offset at EL2 (Arm ARM, CNTVCT_EL0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from traceview.parsers.hypervisor_text import HypervisorText

    Ints = NDArray[np.int64]
    Flags = NDArray[np.bool_]

CUT_NS: Final = 999  # a time that was cut to microseconds is up to this much later
DELTA_BITS: Final = 59
LONGEST_NS: Final = 1_000_000_000  # no stay takes this long: interrupts are masked at EL2
FOREVER: Final = np.iinfo(np.int64).max
LAST_NS: Final = FOREVER - CUT_NS
LOST, CLOCK, NOT_RECORDED = "lost_events", "hypervisor_clock", "hypervisor_not_recorded"
UNPAIRED: Final = "hypervisor_unpaired"

# `cpu` null: of all CPUs.
HOLES: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "cpu": pl.Int32, "kind": pl.String, "from_ns": pl.Int64, "to_ns": pl.Int64, "count": pl.Int64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stays:
    """Stays at EL2 in order of time: from an entry to the next exit of the CPU.

    Arrays of one length; `enter_ns` and `exit_ns` are the earliest times that are possible, they
    may be up to CUT_NS later. `holes`: frame of HOLES, in order of time. `cpus`: of which anything
    was recorded. `single`: events without a partner. `guest_clock`: events whose times are those
    of a guest.
    """

    cpu: Ints
    enter_ns: Ints
    exit_ns: Ints
    reason: pl.Series
    holes: pl.DataFrame
    cpus: frozenset[int] = frozenset()
    single: int = 0
    guest_clock: int = 0


@dataclass(frozen=True, slots=True)
class _Lane:
    """The events of one CPU. `ours`: those whose times are the host's; `lost`: losses before them.

    `unknown_until`: index of the first event of which that is known.
    """

    cpu: int
    ns: Ints
    entry: Flags
    reason: pl.Series
    ours: Flags
    unknown_until: int
    lost_before: Ints
    lost: Ints


def stays_of(text: HypervisorText, first_ns: int = 0) -> Stays:
    """The stays of *text*, of a host whose own events begin at *first_ns*."""
    lanes = _lanes(text, first_ns)
    pairs = [np.flatnonzero(_pairs(lane)) for lane in lanes]
    cpu = _joined(np.full(len(at), lane.cpu) for lane, at in zip(lanes, pairs, strict=True))
    enter = _joined(lane.ns[at] for lane, at in zip(lanes, pairs, strict=True))
    leave = _joined(lane.ns[at + 1] for lane, at in zip(lanes, pairs, strict=True))
    reasons = [lane.reason.gather(at) for lane, at in zip(lanes, pairs, strict=True)]
    reason = pl.concat([pl.Series([], dtype=pl.Categorical), *reasons])
    order = np.argsort(enter, kind="stable")
    holes = [*_not_recorded(lanes), *(hole for lane in lanes for hole in _missed(lane))]
    events = sum(int(lane.ours.sum()) for lane in lanes)
    return Stays(
        cpu[order], enter[order], leave[order], reason.gather(order),
        pl.concat(holes).sort("from_ns", maintain_order=True),
        frozenset(lane.cpu for lane in lanes if lane.ours.any()),
        events - 2 * len(cpu),
        len(text.events) - events,
    )  # fmt: skip


def hole(cpu: int | None, kind: str) -> pl.DataFrame:
    """A hole from the beginning to the end."""
    return holes_of(cpu, kind, np.zeros(1, dtype=np.int64), np.array([LAST_NS]))


def _joined(parts: object) -> Ints:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])  # type: ignore[misc]


def _lanes(text: HypervisorText, first_ns: int) -> list[_Lane]:
    events = text.events.sort("cpu", "at").partition_by("cpu", as_dict=True)
    losses = text.losses.partition_by("cpu", as_dict=True)
    lanes = []
    for key in sorted(events.keys() | losses.keys(), key=str):
        of, lost = events.get(key, text.events[:0]), losses.get(key, text.losses[:0])
        ns, entry = _unwrapped(of["us"]), of["entry"].to_numpy()
        ours, since = _of_the_host(ns, entry)
        # A CPU that never comes to the times of the host had a vCPU loaded all the time.
        if len(ns) and not (ours & (ns + CUT_NS >= first_ns)).any():
            ours, since = np.zeros(len(ns), dtype=np.bool_), len(ns)
        lanes.append(
            _Lane(
                int(str(key[0])), ns, entry, of["reason"], ours, since,
                np.searchsorted(of["at"].to_numpy(), lost["at"].to_numpy()),
                lost["count"].to_numpy(),
            )
        )  # fmt: skip
    return lanes


def _unwrapped(us: pl.Series) -> Ints:
    """Nanoseconds, without the multiples of 2^59 that a fall back of the clock adds."""
    ns = us.to_numpy().astype(np.uint64) * np.uint64(1000)
    low = (ns & np.uint64((1 << DELTA_BITS) - 1)).astype(np.int64)
    return np.where(low >= 1 << (DELTA_BITS - 1), low - (1 << DELTA_BITS), low)


def _of_the_host(ns: Ints, entry: Flags) -> tuple[Flags, int]:
    """Which events have times of the host, and from which one on that is known.

    Where the offset of a guest is negative (it was migrated from a host that was up for longer) all
    seems to be reversed, and nothing is known until a time that the host will not reach.
    """
    ours = ns >= np.maximum.accumulate(ns) - (CUT_NS + 1)
    returns = entry[:-1] & ~entry[1:] & ours[:-1] & ours[1:] & (np.diff(ns) > LONGEST_NS)
    at = np.flatnonzero(returns)
    since = int(at[-1]) + 1 if len(at) else 0
    ours[:since] = False
    return ours, since


def _pairs(lane: _Lane) -> Flags:
    """Whether an event is the entry of a stay whose exit is the next one."""
    ours, entry = lane.ours, lane.entry
    pairs = entry[:-1] & ~entry[1:] & ours[:-1] & ours[1:]
    pairs[_last_before(lane)] = False
    return pairs


def _last_before(lane: _Lane) -> Ints:
    """The events right before a loss that has one behind it."""
    behind = lane.lost_before
    return behind[(behind > 0) & (behind < len(lane.ours))] - 1


def _missed(lane: _Lane) -> list[pl.DataFrame]:
    """Where the text says LOST, and where times are those of a guest: between two of the host."""
    edge = np.flatnonzero(lane.ours)
    times = np.concatenate([[0], lane.ns[edge], [LAST_NS]])
    before = np.searchsorted(edge, lane.lost_before)
    holes = [holes_of(lane.cpu, LOST, times[before], times[before + 1], pl.Series(lane.lost))]
    if lane.unknown_until:
        until = int(times[1])
        holes.append(holes_of(lane.cpu, CLOCK, np.zeros(1, dtype=np.int64), np.array([until])))
    known = np.concatenate([[lane.unknown_until - 1], edge, [len(lane.ns)]])
    gap = np.flatnonzero(np.diff(known) > 1)
    # Where they do not return, the last one may be damage, behind which everything seems early.
    back = np.where((gap == len(edge)) & (times[gap] - times[gap - 1] > LONGEST_NS), 1, 0)
    holes.append(holes_of(lane.cpu, CLOCK, times[gap - back], times[gap + 1]))
    # Two entries, or two exits, one after the other: one between them is missing. Not where a CPU
    # was switched off at EL2 (psci-relay.c).
    both = lane.ours[:-1] & lane.ours[1:] & (lane.entry[:-1] == lane.entry[1:])
    woken = (lane.reason[1:].cast(pl.String) == "psci").fill_null(value=False).to_numpy()
    both[_last_before(lane)] = False
    at = np.flatnonzero(both & ~woken)
    holes.append(holes_of(lane.cpu, UNPAIRED, lane.ns[at], lane.ns[at + 1]))
    return holes


def _not_recorded(lanes: list[_Lane]) -> list[pl.DataFrame]:
    """Holes before the first and behind the last event: whether EL2 ran there is not known.

    The text is in order of time over all CPUs (trace_remote_iter_read_event), so that the last of
    all is the last of each; but not where times fell back.
    """
    known = {lane.cpu: lane.ns[lane.ours] for lane in lanes if lane.ours.any()}
    first = min((int(ns[0]) for ns in known.values()), default=LAST_NS)
    ends: dict[int | None, int] = {cpu: int(ns.max()) for cpu, ns in known.items()}
    if all(lane.ours.all() for lane in lanes):
        ends = {None: max(ends.values(), default=LAST_NS)}
    begin = holes_of(None, NOT_RECORDED, np.zeros(1, dtype=np.int64), np.array([first - CUT_NS]))
    tails = [
        holes_of(cpu, NOT_RECORDED, np.array([end]), np.array([LAST_NS]))
        for cpu, end in ends.items()
    ]
    return [begin, *tails]


def holes_of(
    cpu: int | None, kind: str, from_ns: Ints, to_ns: Ints, count: pl.Series | None = None
) -> pl.DataFrame:
    """Holes of *kind* between times that were cut to microseconds."""
    columns = {"from_ns": from_ns, "to_ns": to_ns + CUT_NS}
    frame = pl.DataFrame(columns).with_columns(
        pl.lit(cpu, pl.Int32).alias("cpu"),
        pl.lit(kind).alias("kind"),
        pl.Series("count", [None] * len(from_ns) if count is None else count, dtype=pl.Int64),
    )
    return frame.select(pl.col(name).cast(dtype) for name, dtype in HOLES.items())
