"""How a prediction is said: its numbers, what it stands on, what it assumes."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Final

from traceview.queries.predicted_cell import NARROW
from traceview.report.caveats import ORIGINS
from traceview.report.wording import UNKNOWN, clean, count, duration, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from traceview.queries.prediction import Cell, Prediction
    from traceview.queries.strategy_counts import Counts

STRATEGIES: Final = {
    "per_pte": "one invalidation per leaf (per_pte)",
    "deferred_range": "one range invalidation after the walk (deferred_range)",
}
SHORT: Final = {"per_pte": "one flush per leaf", "deferred_range": "deferral"}
BASES: Final = {
    "alone": "captures of kvm_pgtable_stage2_unmap alone; what their unmaps did is of detailed"
    " captures, by place in the workload",
    "corrected": "detailed captures, without what tracing cost them",
    "traced": "DETAILED CAPTURES WITH WHAT TRACING COST THEM: no calibration says how much that is",
    "insn": "executed instructions, which cost nothing to record",
}
ASSUMPTIONS: Final = {
    "call": "what tracing an invalidate call costs inside the call: between the most and the least"
    " that the shortest calls leave room for",
    "range": "a range call holds the frame of a call for a leaf (DSBs, vmalle1is, context): it"
    " takes that much at least, and one more for each of its range operations at most",
    "around": "the walk stays as it is, but for the work around the calls that go or come: nothing"
    " to 6% of a call (of executed instructions; of the time it is less where a DSB is slow)",
    "tracing": "what tracing cost the unmap: between the most and the least that is possible",
    "row": "many calls in a row take as long each as the few that were measured, or a third of it"
    " (seen in an emulator; no hardware says how much)",
}
MODEL: Final = (
    "a prediction is no measurement: it says what this model makes of these traces; two kernels, or"
    " one with a switch, are measured with `compare`"
)
AS_IF: Final = (
    "--as-if: this host cannot defer. What is predicted is a machine like it with FWB and"
    " TLBIRANGE, which does not exist: no cache maintenance, and whatever else would differ is left"
    " out"
)
# A day: no unmap of 1 GiB takes it.
OPEN_NS: Final = 86400e9
TRACED: Final = (
    "the times hold what tracing cost, and so does the prediction: it is of unmaps traced like"
    " these; give captures of the unmap alone (--calibration)"
)


def span(low: float, high: float) -> str:
    """An interval of ns; a high end beyond all sense is none."""
    return f"{ns(low)} .. {ns(high) if high < OPEN_NS else 'open'}"


def ns(value: float) -> str:
    """A time that is no whole number of ns."""
    return duration(round(value)) if isfinite(value) else UNKNOWN


def percent(value: float, *, signed: bool = False) -> str:
    """A relative number; one beyond all sense has none."""
    if not isfinite(value) or abs(value) >= 1000:
        return ">1000x" if value > 0 else UNKNOWN
    digits = 0 if abs(value) >= 0.1 else 1
    return f"{100 * value:{'+' if signed else ''}.{digits}f}%"


def times(value: float) -> str:
    """A ratio."""
    return f"{value:.2f}x" if isfinite(value) else "open"


def name_of(cell: Cell) -> str:
    """The step of a cell, else the level of its leaves."""
    where = cell.location.cell
    level = where["level"]
    if where["stem"] is not None:
        return clean(where["stem"])
    return {"unknown": "level unknown", "none": "empty", "mixed": "levels mixed"}.get(
        level, f"level {level[1:]}"
    )


def name_with_leaves(cell: Cell) -> str:
    """The same, with how many leaves: of one name there may be several."""
    return f"{name_of(cell)} with {leaves_of(cell)}"


def leaves_of(cell: Cell) -> str:
    """How many leaves."""
    number = cell.before.leaves
    return f"{count(number)} {'leaf' if number == 1 else 'leaves'}"


def largest(cells: Sequence[Cell]) -> Cell:
    """The cell that a headline speaks of: the one with the most leaves."""
    return max(cells, key=lambda cell: (cell.before.leaves, cell.location.unmaps))


def headline(found: Prediction) -> Iterator[str]:
    """What was asked, and the answer for the largest unmaps."""
    cell = largest(found.cells)
    leaves = leaves_of(cell)
    if found.wish.cpus is not None:
        yield f"On {found.wish.cpus} CPUs, {leaves}: {_then(cell)}."
    elif found.to == found.strategy:
        yield (
            f"The strategy is that of the traces, {SHORT[found.to]}: unmaps of {leaves} take"
            f" {ns(cell.location.ns)}, further ones {span(cell.then.low, cell.then.high)}"
            f"{_no_number(cell)}."
        )
    else:
        yield (
            f"On this host and kernel, with {SHORT[found.to]}, unmaps of {leaves} would go from"
            f" {_change(cell)}."
        )


def _then(cell: Cell) -> str:
    said = span(cell.then.low, cell.then.high)
    if not cell.then.usable:
        return f"between {said}{_no_number(cell)}"
    return f"{ns(cell.then.value)} ({said})"


def _no_number(cell: Cell) -> str:
    """What is said of an interval that is too wide; nothing of another."""
    if cell.then.usable:
        return ""
    return f": {percent(cell.then.half_width)} to each side, too wide to be used as a number"


def _change(cell: Cell) -> str:
    now, ratio = ns(cell.location.ns), cell.ratio
    if ratio is None or not cell.then.decided:
        return (
            f"{now} to between {span(cell.then.low, cell.then.high)}: these traces do not say more"
        )
    low, high = (times(one) for one in ratio[1:])
    if not cell.then.usable:
        return (
            f"{now} to between {span(cell.then.low, cell.then.high)} ({low} .. {high},"
            f" with all that is assumed){_no_number(cell)}"
        )
    sure = ratio[1] > 1 or ratio[2] < 1
    open_ = "" if sure else "; whether that is faster is open"
    return (
        f"{now} to {ns(cell.then.value)}, {times(ratio[0])} as fast (interval with all that is"
        f" assumed: {span(cell.then.low, cell.then.high)}, {low} .. {high}{open_})"
    )


def caveats_of(found: Prediction) -> Iterator[tuple[str, bool]]:
    """What must be known before a number is quoted, and whether it must not be overlooked."""
    host = found.host
    if host.origin in ORIGINS:
        before = "" if host.origin == "unknown" else "the traces were "
        yield before + ORIGINS[host.origin], True
    yield MODEL, False
    if said := _too_wide(found):
        yield said, True
    if found.to != found.strategy and found.to == "deferred_range":
        yield from _whether_it_defers(found)
    if found.measured.basis == "traced":
        yield TRACED, True
    if found.wish.level is not None and found.levels_unknown:
        yield (
            (
                f"no trace says of which level its leaves are: --level {found.wish.level[1:]} is"
                " taken as stated, of all of them"
            ),
            True,
        )
    yield unit(found), found.no_spread
    if found.not_costed:
        yield f"{plural(found.not_costed, 'unmap')}: no call like theirs was measured", False


def _too_wide(found: Prediction) -> str:
    """Of how many unmaps the predicted time is no number, and what makes it so."""
    wide = [cell for cell in found.cells if not cell.then.usable]
    if not wide:
        return ""
    assumed = sum(cell.then.assumed for cell in wide)
    why = [
        f"{number} mostly by {text}"
        for number, text in (
            (assumed, "what is assumed"), (len(wide) - assumed, "how much the times vary"),
        )
        if number
    ]  # fmt: skip
    return (
        f"TOO WIDE TO BE USED: the intervals of {len(wide)} of {len(found.cells)} predicted times"
        f" are wider than {percent(NARROW)} to each side ({', '.join(why)}): quote their ends, not"
        " the values"
    )


def _whether_it_defers(found: Prediction) -> Iterator[tuple[str, bool]]:
    host = found.host
    if found.wish.tables == "deferred" and not host.may_defer_tables:
        yield (
            f"--tables deferred: kernels 6.6 to 6.8 do that; this one is {clean(host.kernel)}",
            True,
        )
    if host.as_if:
        yield AS_IF, True
        return
    missing = [
        name for name, has in (("FWB", host.fwb), ("TLBIRANGE", host.tlbirange)) if has is None
    ]
    if missing:
        said = f"nobody stated whether this host has {' and '.join(missing)}"
        yield f"{said}; without both no kernel defers on it", False


def unit(found: Prediction) -> str:
    """What the intervals speak of."""
    runs = len(found.runs)
    if found.no_spread:
        return (
            "no spread: unmaps of like work took the same time, as on a deterministic machine;"
            " intervals are made of what is assumed and of what the model misses, not of noise,"
            " and nothing is said of a machine whose times vary"
        )
    if runs == 1:
        return (
            "one run: intervals are of further unmaps of this run, and say nothing of another boot"
        )
    return f"intervals are of the typical unmap of a further run (boot), from {runs} runs"


def change(before: int | None, after: int | None) -> str:
    """A count that stays, or becomes another."""
    if before is None or after is None:
        return UNKNOWN
    return count(before) if before == after else f"{count(before)} -> {count(after)}"


def operations(counts: Counts) -> str:
    """Range operations of the range flush."""
    fewest, most = counts.range_operations
    if not counts.invalidate_range:
        return UNKNOWN
    return count(fewest) if fewest == most else f"{count(fewest)} .. {count(most)}"
