"""When the hypervisor's events happened: its clock repaired, its stays at EL2, what it missed.

Two things spoil the times of Linux 7.1.8 in nVHE mode, both seen in real captures:

- The hypervisor reads CNTVCT_EL0 (arch/arm64/kvm/hyp/nvhe/clock.c), from which the offset of the
  guest is subtracted while a vCPU is loaded on the CPU (CNTVOFF_EL2, arch/arm64/kvm/arch_timer.c):
  its time falls back when a vCPU is loaded and returns when it is put. Such times are no times of
  the host. They are recognised because the events of one CPU stand in order, so that no time can be
  earlier than one before it.
- Its ring buffer stores differences in 59 bits (kernel/trace/simple_ring_buffer.c), so that each
  fall back adds 2^59 ns to all times behind it, until the next page begins.
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

CUT_NS: Final = 999  # a time that was cut to microseconds is up to this much later
DELTA_BITS: Final = 59
FOREVER: Final = np.iinfo(np.int64).max

# `cpu` null: of all CPUs.
HOLES: Final[dict[str, pl.DataType | type[pl.DataType]]] = {
    "cpu": pl.Int32, "kind": pl.String, "from_ns": pl.Int64, "to_ns": pl.Int64, "count": pl.Int64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stays:
    """Stays at EL2 in order of time: from an entry to the next exit of the CPU.

    Arrays of one length; `enter_ns` and `exit_ns` are the earliest times that are possible, they
    may be up to CUT_NS later. `holes`: frame of HOLES. `single`: events without a partner.
    `guest_clock`: events whose times are those of a guest.
    """

    cpu: Ints
    enter_ns: Ints
    exit_ns: Ints
    reason: pl.Series
    holes: pl.DataFrame
    single: int = 0
    guest_clock: int = 0


def stays_of(text: HypervisorText) -> Stays:
    """The stays of *text*."""
    parts, holes, single, foreign = [], [], 0, 0
    for (cpu,), events in text.events.sort("cpu", "at").group_by("cpu", maintain_order=True):
        of_cpu = int(str(cpu))
        ns = _unwrapped(events["us"])
        ours = ns >= np.maximum.accumulate(ns) - (CUT_NS + 1)
        lost = text.losses.filter(pl.col("cpu") == of_cpu)
        behind = np.unique(np.searchsorted(events["at"].to_numpy(), lost["at"].to_numpy()))
        entry = events["entry"].to_numpy()
        pairs = entry[:-1] & ~entry[1:] & ours[:-1] & ours[1:]
        pairs[behind[(behind > 0) & (behind < len(ns))] - 1] = False
        at = np.flatnonzero(pairs)
        parts.append((np.full(len(at), of_cpu), ns[at], ns[at + 1], events["reason"][at.tolist()]))
        holes += [_lost(of_cpu, events, ns, lost), _foreign(of_cpu, ns, ours)]
        single += int(ours.sum()) - 2 * len(at)
        foreign += int((~ours).sum())
    cpu, enter, leave = (
        np.concatenate([np.zeros(0, dtype=np.int64), *(part[at] for part in parts)])
        for at in range(3)
    )
    reason = pl.concat([pl.Series([], dtype=pl.Categorical), *(part[3] for part in parts)])
    order = np.argsort(enter, kind="stable")
    recorded = _recorded(text)
    return Stays(
        cpu[order], enter[order], leave[order], reason[order.tolist()],
        pl.concat([recorded, *holes]).sort("from_ns"), single, foreign,
    )  # fmt: skip


def _unwrapped(us: pl.Series) -> Ints:
    """Nanoseconds, without the multiples of 2^59 that a fall back of the clock adds."""
    ns = us.to_numpy().astype(np.uint64) * np.uint64(1000)
    low = (ns & np.uint64((1 << DELTA_BITS) - 1)).astype(np.int64)
    return np.where(low >= 1 << (DELTA_BITS - 1), low - (1 << DELTA_BITS), low)


def _lost(cpu: int, events: pl.DataFrame, ns: Ints, lost: pl.DataFrame) -> pl.DataFrame:
    """Holes where the text says LOST: from the event before to the event behind."""
    behind = np.searchsorted(events["at"].to_numpy(), lost["at"].to_numpy())
    times = np.concatenate([[0], ns, [FOREVER - CUT_NS]])
    return _holes(cpu, "lost_events", times[behind], times[behind + 1], lost["count"])


def _foreign(cpu: int, ns: Ints, ours: NDArray[np.bool_]) -> pl.DataFrame:
    """Holes where times are those of a guest: from the last of ours to the next one."""
    edge = np.flatnonzero(ours)
    gap = np.flatnonzero(np.diff(edge) > 1)
    return _holes(cpu, "hypervisor_clock", ns[edge[gap]], ns[edge[gap + 1]])


def _recorded(text: HypervisorText) -> pl.DataFrame:
    """Holes before the first and behind the last event: whether EL2 ran there is not known."""
    last = text.events.sort("cpu", "at").group_by("cpu").agg("us")
    ends = [_unwrapped(us) for us in last["us"]]
    first = min((int(ns[0]) for ns in ends), default=FOREVER)
    final = max((int(ns.max()) for ns in ends), default=FOREVER - CUT_NS)
    from_ns, to_ns = np.array([0, final]), np.array([first - CUT_NS, FOREVER - CUT_NS])
    return _holes(None, "hypervisor_not_recorded", from_ns, to_ns)


def _holes(
    cpu: int | None, kind: str, from_ns: Ints, to_ns: Ints, count: pl.Series | None = None
) -> pl.DataFrame:
    columns = {"from_ns": from_ns, "to_ns": to_ns + CUT_NS}
    frame = pl.DataFrame(columns).with_columns(
        pl.lit(cpu, pl.Int32).alias("cpu"),
        pl.lit(kind).alias("kind"),
        pl.Series("count", [None] * len(from_ns) if count is None else count, dtype=pl.Int64),
    )
    return frame.select(pl.col(name).cast(dtype) for name, dtype in HOLES.items())
