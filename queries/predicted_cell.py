"""The time of measured unmaps under the other strategy: what they do no more goes, what they do
instead comes, and the rest stays.

Two ways lead there. From the time of the unmap alone the calls are taken that it does no more
(`total`); or the rest is taken from the detailed captures themselves (`rest`): where nearly all of
an unmap is such calls, their noise cancels there. That with the narrower interval is used.

What the data leave open is not noise: each assumption is a bracket, the time is computed at all
their corners, and the standard errors stand on top of the outermost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import polars as pl

from traceview.queries.call_costs import (
    CallCost,
    leaf_from_range,
    measured_cost,
    of_all,
    range_from_leaf,
)
from traceview.queries.moderated_noise import MEDIAN, reach
from traceview.queries.prediction_cells import CELL
from traceview.queries.prediction_locations import MOST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from traceview.queries.prediction_locations import Location
    from traceview.queries.strategy_counts import Counts, Strategy

# What the caller does around a call goes with it: arguments, a branch, and an ISB (kvm_call_hyp(),
# arch/arm64/include/asm/kvm_host.h); the call itself has three ISBs, three DSBs and two TLBIs. Of
# executed instructions it is 4 to 6 for a call of 98 (in the emulator, 6.1 and 6.12), and less of
# the time where a DSB takes longer than an instruction. A part of the call: as taken, least, most.
AROUND: Final = (0.02, 0.0, 0.06)
# Where an unmap makes many more calls than were measured in one, each may be shorter than the
# lone ones: caches are warm, and what a flush before it left is less. Where both were measured (an
# emulator whose TLBIs are dear) those in a row took a third to two thirds of the lone ones.
IN_A_ROW: Final = (1.0, 1 / 3, 1.0)
MANY: Final = 2
# A value is of use as a number where its interval is no wider than this to each side, relative to
# it. Where it is wider, its ends are known and not the value; beyond the second there is no value.
NARROW: Final = 0.15
UNDECIDED: Final = 1.0
Way = Literal["same", "total", "rest"]
ASSUMED: Final = ("call", "range", "around", "tracing", "row")


@dataclass(frozen=True, slots=True)
class Costs:
    """The calls of one cell: of `__kvm_tlb_flush_vmid_ipa`, of the range flush, of the CMO."""

    ipa: CallCost | None
    range: CallCost | None
    cmo: CallCost | None


@dataclass(frozen=True, slots=True)
class Predicted:
    """ns: `value`, its 95% interval, and what of that the assumptions span (`least`, `most`).

    `effects`: by assumption, the value at its two ends with all others as taken. `error`: standard
    error relative to the value, of the value alone.
    """

    value: float
    low: float
    high: float
    least: float
    most: float
    way: Way
    error: float
    effects: dict[str, tuple[float, float]]

    @property
    def half_width(self) -> float:
        """Of the interval, relative to the value."""
        return (self.high - self.low) / 2 / self.value if self.value > 0 else float("inf")

    @property
    def decided(self) -> bool:
        """Whether there is a value: else the interval is all that can be said."""
        return self.half_width <= UNDECIDED

    @property
    def usable(self) -> bool:
        """Whether the value can be used as a number."""
        return self.half_width <= NARROW

    @property
    def assumed(self) -> bool:
        """Whether what is assumed makes more of the interval than noise does."""
        return 2 * (self.most - self.least) > self.high - self.low


@dataclass(frozen=True, slots=True)
class Ends:
    """Of each of ASSUMED: as taken (0), or at one of its ends (1, 2)."""

    call: int = 0
    range: int = 0
    around: int = 0
    tracing: int = 0
    row: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """What an unmap does less and more of: calls for leaves, range calls, cache maintenance."""

    ipa: int
    range: int
    cmo: int


def costs_of(cells: Sequence[tuple[dict[str, Any], pl.DataFrame]]) -> dict[tuple[Any, ...], Costs]:
    """The costs of each cell of detailed unmaps; under () what holds for a cell without any."""
    own = {
        tuple(cell.values()): Costs(
            measured_cost(rows, "ipa"), measured_cost(rows, "range"), measured_cost(rows, "cmo")
        )
        for cell, rows in cells
    }
    own[()] = Costs(
        *(of_all([getattr(one, name) for one in own.values()]) for name in ("ipa", "range", "cmo"))
    )
    return own


def change_of(before: Counts, after: Counts) -> Change:
    """What *after* has more of than *before*."""
    return Change(
        after.invalidate_leaf + after.invalidate_table
        - before.invalidate_leaf - before.invalidate_table,
        after.invalidate_range - before.invalidate_range,
        (after.cmo or 0) - (before.cmo or 0),
    )  # fmt: skip


def complete(
    mine: Costs, others: Costs, strategy: Strategy, operations: tuple[int, int]
) -> Costs | None:
    """The costs of a cell with what it lacks from *others*, or from a bracket; None without any."""
    ipa, call = mine.ipa or others.ipa, mine.range or others.range
    if strategy == "deferred_range" and call is None and ipa is not None:
        call = range_from_leaf(ipa, operations)
    if strategy == "per_pte" and ipa is None and call is not None:
        ipa = leaf_from_range(call, operations)
    if ipa is None or call is None:
        return None
    return Costs(ipa, call, mine.cmo or others.cmo)


def predicted(
    at: Location, detailed: pl.DataFrame | None, change: Change, costs: Costs, lone: int
) -> Predicted:
    """The time of a cell after *change*, of further unmaps as *at* says.

    *lone*: how many calls for leaves and tables an unmap of the cell made.
    """
    found = [_from_total(at, change, costs, lone)]
    if detailed is not None and len(detailed) > 2 and (change.ipa < 0 or change.cmo < 0):
        found.append(_from_rest(at, detailed, change, costs, lone))
    return min(found, key=lambda one: one.high - one.low)


def unchanged(at: Location) -> Predicted:
    """Where nothing changes."""
    low, high = at.interval()
    ends = tuple(at.ns * one for one in at.tracing)
    effects = {"tracing": (ends[1], ends[2])} if ends[1] < ends[2] else {}
    return Predicted(
        at.ns, low * at.tracing[1], high * at.tracing[2], ends[1], ends[2], "same", at.error,
        effects,
    )  # fmt: skip


def _from_total(at: Location, change: Change, costs: Costs, lone: int) -> Predicted:
    row = _in_a_row(change, lone)

    def time(ends: Ends) -> float:
        whole = at.ns * at.tracing[ends.tracing]
        return max(0.0, whole + _moved(change, costs, ends, 1 + AROUND[ends.around], row))

    parts = [at.further * at.ns, *_errors(change, costs)]
    open_ = {"call", "around"} | _open(change, costs, row)
    open_ |= {"tracing"} if at.tracing[1] < at.tracing[2] else set()
    return _joined(time, parts, at, "total", open_, adds=change.ipa >= 0 and change.cmo >= 0)


def _from_rest(
    at: Location, detailed: pl.DataFrame, change: Change, costs: Costs, lone: int
) -> Predicted:
    """What is left of each detailed unmap without the calls that it does no more."""
    gone = [
        name for name, less in (("invalidate_leaf", change.ipa), ("cmo", change.cmo)) if less < 0
    ]
    left = {
        (tracing, call): max(0.0, float(_rest(detailed, gone, tracing, call).median() or 0.0))  # type: ignore[arg-type]
        for tracing, call in product(range(3), range(3))
    }
    added = Change(max(0, change.ipa), max(0, change.range), max(0, change.cmo))
    fewer = -min(0, change.ipa)
    row = _in_a_row(added, lone)

    def time(ends: Ends) -> float:
        ipa = costs.ipa.choices[ends.call] if costs.ipa else 0.0
        rest = left[ends.tracing, ends.call] - AROUND[ends.around] * fewer * ipa
        return max(0.0, rest + _moved(added, costs, ends, 1.0, row))

    values = _rest(detailed, gone, 0, 0).drop_nulls().to_numpy()
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    error = spread * float(np.sqrt(2 * MEDIAN / max(1, len(values))))
    # What runs differ by, they differ by in the rest as well.
    runs = at.further * left[0, 0] if at.runs > 1 else 0.0
    open_ = {"call", "around", "tracing"} | _open(added, costs, row)
    return _joined(time, [error, runs, *_errors(added, costs)], at, "rest", open_, adds=False)


def _rest(detailed: pl.DataFrame, gone: Sequence[str], tracing: int, call: int) -> pl.Series:
    """The time of each unmap without the calls *gone*, at one end of what tracing cost."""
    left = _known("ns", tracing)
    for name in gone:
        left = left - pl.col(name).fill_null(0) * _known(f"{name}_each", call).fill_null(0.0)
    return detailed.select(left).to_series()


def _known(name: str, end: int) -> pl.Expr:
    """A time, between its ends where there is no estimate of it."""
    middle = (pl.col(f"{name}_low") + pl.col(f"{name}_high")) / 2
    return pl.coalesce(name, middle) if end == 0 else pl.col(f"{name}{('', '_low', '_high')[end]}")


def _in_a_row(change: Change, lone: int) -> bool:
    """Whether an unmap makes so many calls more that they are others than those measured."""
    return change.ipa > MANY * max(1, lone)


def _open(change: Change, costs: Costs, row: bool) -> set[str]:  # noqa: FBT001 - as counted
    """Which assumptions there are about calls that are added."""
    found = {"row"} if row else set()
    return found | ({"range"} if change.range and costs.range else set())


def _moved(change: Change, costs: Costs, ends: Ends, whole: float, row: bool) -> float:  # noqa: FBT001
    """By how much the time changes; a bracketed range call follows the call that it is made of."""
    assert costs.ipa is not None
    assert costs.range is not None
    each = IN_A_ROW[ends.row] if row else 1.0
    moved = change.ipa * costs.ipa.choices[ends.call] * whole * each
    moved += change.range * _follows(costs.range, costs.ipa, ends) * whole
    return moved + change.cmo * (costs.cmo.choices[ends.call] if costs.cmo else 0.0)


def _follows(call: CallCost, ipa: CallCost, ends: Ends) -> float:
    if call.source == "measured" or not ipa.value:
        return call.choices[ends.range]
    # In terms of the call for a leaf: the ends of the bracket hold its own ends.
    parts = (call.value / ipa.value, 1.0, call.high / ipa.high if ipa.high else 1.0)
    return parts[ends.range] * ipa.choices[ends.call]


def _errors(change: Change, costs: Costs) -> list[float]:
    found = []
    for number, cost in ((change.ipa, costs.ipa), (change.range, costs.range),
                         (change.cmo, costs.cmo)):  # fmt: skip
        if cost is not None:
            found.append(number * cost.value * cost.error)
    return found


def _joined(
    time: Callable[[Ends], float], errors: list[float], at: Location, way: Way, open_: set[str], *,
    adds: bool,
) -> Predicted:  # fmt: skip
    """The value, the corners of the assumptions that are open, and the standard errors on top."""
    ends = [range(3) if name in open_ else (0,) for name in ASSUMED]
    value = time(Ends())
    corners = [time(Ends(*one)) for one in product(*ends)]
    least, most = min(corners), max(corners)
    error = float(np.sqrt(sum(one * one for one in errors)))
    effects: dict[str, tuple[float, float]] = {}
    for name in (one for one in ASSUMED if one in open_):
        found = [time(replace(Ends(), **{name: end})) for end in range(3)]
        if min(found) < max(found):
            effects[name] = (min(found), max(found))
    relative = error / value if value > 0 else float("inf")
    low, high = _widened(least, most, reach(at.freedom) * error + at.tick * value, value, adds=adds)
    return Predicted(value, low, high, least, most, way, relative, effects)


def _widened(
    least: float, most: float, half: float, value: float, *, adds: bool
) -> tuple[float, float]:
    """What the assumptions span, wider by *half* to each side.

    Where calls are only *added* the error is a part of the whole: on the log scale, on which no
    unmap with more calls comes out as nothing. A difference of two times may be nothing.
    """
    if not adds or value <= 0:
        return max(0.0, least - half), most + half
    factor = float(np.exp(min(MOST, half / value)))
    return least / factor, most * factor


def key_of(cell: dict[str, Any]) -> tuple[Any, ...]:
    """What costs_of() calls a cell."""
    return tuple(cell[name] for name in CELL)
