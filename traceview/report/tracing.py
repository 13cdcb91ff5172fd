"""What tracing cost: the section, the caveats, and how raw and corrected stand side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.queries.correction import CORRECTED, corrected
from traceview.queries.groups import source_labels
from traceview.queries.observer import SAME_HOST
from traceview.report.bar import PARTS
from traceview.report.caveat import Caveat
from traceview.report.layout import facts, heading, wrapped
from traceview.report.wording import UNKNOWN, clean, count, duration, number, plural, share
from traceview.schema import TRACING_COSTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rich.text import Text

    from traceview.queries.analysis import Analysis

# A calibration that misses its own steps by more is said to do so.
RESIDUAL: Final = 0.10
# Facts that make a calibration one of the same host; where they are unknown, the user vouches.
VOUCHED: Final = ("kernel", "midr", "origin")
# What is the same of the sources that one cost is of.
COSTS: Final = tuple(name for name in TRACING_COSTS if name != "source_id")
NAMES: Final = {part.column.removesuffix("_ns"): part.what for part in PARTS}


def between(low: float | None, high: float | None, written: Callable[[float], str] = number) -> str:
    """`low..high`, once where both are written alike."""
    if low is None or high is None:
        return UNKNOWN
    first, last = written(low), written(high)
    return first if first == last else f"{first}..{last}"


def nanoseconds(ns: float) -> str:
    """A duration that is a mean or an estimate."""
    return duration(round(ns))


def percent(part: float) -> str:
    """A share from 0 to 1 in whole percent."""
    return f"{100 * part:.0f}%"


def traced(groups: pl.DataFrame) -> bool:
    """Whether tracing cost anything in *groups*, as far as that is known."""
    return bool((groups["probe_high_ns"].fill_null(0) > 0).any())


def tracing_share(row: dict[str, Any]) -> str:
    """How much of the raw time of a group was tracing."""
    whole, most = row["duration_ns"], row["probe_high_ns"]
    if not whole or most is None:
        return UNKNOWN
    # More than all of it is a calibration that does not fit; a caveat says so.
    if row["probe_ns"] is None:
        return f"<={percent(min(1, most / whole))}"
    return percent(min(1, row["probe_ns"] / whole))


def tracing(analysis: Analysis, calibration: Analysis | None, width: int) -> list[Text]:
    """The section: where the cost is known from, and how much of the times it is."""
    blocks = list(tracing_blocks(analysis, calibration))
    if not blocks:
        return []
    lines = heading("What tracing cost", width)
    for name, pairs in blocks:
        lines += wrapped(name, width, indent=2) if name and len(blocks) > 1 else []
        lines += facts(pairs, width)
    return lines


def tracing_blocks(
    analysis: Analysis, calibration: Analysis | None
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """One per cost, with the labels that it is of: names and values."""
    timed = analysis.unmaps.filter(
        (pl.col("status") == "complete") & pl.col("duration_ns").is_not_null()
    )
    costs = analysis.tracing_costs.join(
        source_labels(analysis.sources), on="source_id", how="left", maintain_order="left"
    )
    keys = ["source_id", "evidence"]
    for _, of in costs.group_by(COSTS, maintain_order=True):
        row = of.row(0, named=True)
        mine = timed.join(of.select(keys), on=keys, how="semi")
        if row["method"] in {"none", "unknown"} or mine.is_empty():
            continue  # nothing, or nothing to say: a caveat does
        labels = of["label"].unique(maintain_order=True)
        name = f"{', '.join(map(clean, labels))} ({row['evidence']})"
        yield name, list(_facts(row, mine, calibration))


def _facts(
    row: dict[str, Any], unmaps: pl.DataFrame, calibration: Analysis | None
) -> Iterator[tuple[str, str]]:
    if row["method"] == "bounded":
        yield "method", _bounded(row, calibration)
    else:
        yield "method", _calibrated(row, calibration)
        each = between(row["call_low_ns"], row["call_high_ns"], nanoseconds)
        yield "per call", f"{nanoseconds(row['call_ns'])} ({each}) for each traced call in an unmap"
        yield "own call", _own(row)
    yield "in all", _total(unmaps)
    if calibration is not None and _calls(calibration.unmaps) > _calls(unmaps):
        yield (
            "direction",
            "the calibration traced more than the trace: what it has more shows the cost",
        )


def _bounded(row: dict[str, Any], calibration: Analysis | None) -> str:
    """By the shortest calls; or by captures that no single cost per call explains."""
    own = f"its own at most {nanoseconds(row['own_high_ns'])}" if row["own_high_ns"] else ""
    own += f" ({clean(row['own_from'])})" if own and row["own_from"] else ""
    call = "each traced call in an unmap an unknown time"
    if row["call_high_ns"] is not None:
        most = between(row["call_low_ns"], row["call_high_ns"], nanoseconds)
        call = f"each traced call in an unmap took {most}"
        if row["strata"] is None:
            most = nanoseconds(row["call_high_ns"])
            call = f"each traced call in an unmap took at most {most} ({clean(row['call_from'])})"
    said = ", ".join(part for part in (call, own) if part)
    if row["strata"] is None:
        return f"bounded by the shortest calls, not estimated (--calibration): {said}"
    return (
        f"bounded: one cost per call does not fit {_steps(row)} of {_against(calibration)}"
        f"{_residuals(row)}: {said}"
    )


def _calibrated(row: dict[str, Any], calibration: Analysis | None) -> str:
    return f"calibrated with {_steps(row)} of {_against(calibration)}{_residuals(row)}"


def _calls(unmaps: pl.DataFrame) -> float:
    """How many traced calls a complete unmap holds in the mean."""
    whole = unmaps.filter(pl.col("status") == "complete")
    return float(whole["traced_calls"].sum()) / max(1, len(whole))


def _against(calibration: Analysis | None) -> str:
    if calibration is None:
        return "the other captures of its label and run"
    paths = [clean(path) for path in calibration.sources["path"]]
    return paths[0] + (f" and {len(paths) - 1} more" if len(paths) > 1 else "")


def _steps(row: dict[str, Any]) -> str:
    return plural(row["strata"], "step or size").replace("step or sizes", "steps or sizes")


def _residuals(row: dict[str, Any]) -> str:
    """What each step is off by, corrected with the cost that the others give."""
    median, worst = row["median_residual"], row["worst_residual"]
    if worst is None or math.isnan(worst):
        return ""
    half = "" if median is None or math.isnan(median) else _half(row, median)
    return (
        f" (each corrected with the cost that the others give, {half}the worst is"
        f" {100 * worst:.1f}% off)"
    )


def _half(row: dict[str, Any], median: float) -> str:
    """A median that is no use is said by what is beyond it, another by what is within."""
    if row["method"] == "bounded":
        return f"half of them are {100 * median:.1f}% off or more, "
    return f"half of them are within {100 * median:.1f}%, "


def _own(row: dict[str, Any]) -> str:
    """No two captures differ by the unmap's own call, so it is from elsewhere."""
    interval = between(row["own_low_ns"], row["own_high_ns"], nanoseconds)
    if row["own_ns"] is None:
        return f"{interval} for the unmap's own call: no estimate, every call has others inside"
    return (
        f"{nanoseconds(row['own_ns'])} ({interval}) for the unmap's own, which no capture shows:"
        f" the shortest {clean(row['own_from'])}, as if that took no time itself"
    )


def _total(unmaps: pl.DataFrame) -> str:
    raw = int(unmaps["duration_ns"].sum())
    spent = {
        name: None if unmaps[name].null_count() else int(unmaps[name].sum())
        for name in ("probe_ns", "probe_low_ns", "probe_high_ns")
    }
    of = f"of {duration(raw)} in {plural(len(unmaps), 'complete unmap')}"
    low, most = spent["probe_low_ns"], spent["probe_high_ns"]
    if low is None or most is None or not raw:
        return f"unknown {of}"
    if spent["probe_ns"] is None:
        return f"at most {share(min(most, raw), raw)} {of}: a bound"
    ends = between(low, most, lambda ns: share(min(round(ns), raw), raw))
    interval = f" ({ends})" if ".." in ends else ""
    said = f"{share(min(spent['probe_ns'], raw), raw)}{interval} {of} was tracing"
    if most > raw:
        said += ", or more than there is: the calibration does not fit"
    return said


def tracing_caveats(analysis: Analysis, calibration: Analysis | None) -> Iterable[Caveat]:
    """What limits the use of corrected times."""
    costs = analysis.tracing_costs.filter(pl.col("strata").is_not_null())
    if costs.is_empty():
        return
    worst = costs["worst_residual"].fill_nan(None).max()
    if (costs["method"] == "bounded").any():
        yield Caveat(
            "calibration-does-not-fit",
            "no single cost per traced call fits the calibration: times are bounded by what its"
            " steps say, and not corrected",
        )
    elif isinstance(worst, float) and worst > RESIDUAL:
        yield Caveat(
            "calibration-residual",
            f"the calibration misses one of its own steps by {percent(worst)}: corrected times may"
            " be off by as much",
        )
    if calibration is not None:
        unstated = [SAME_HOST[fact] for fact in VOUCHED if _unstated(analysis, calibration, fact)]
        if unstated:
            yield Caveat(
                "calibration-host-unstated",
                f"{_listed(unstated)} not stated of the traces or of the calibration: taken to be"
                " of the same host and kernel on your word",
            )
    yield from _below_zero(analysis)


def _unstated(analysis: Analysis, calibration: Analysis, fact: str) -> bool:
    return any(
        (of.sources[fact].cast(pl.String).fill_null("unknown") == "unknown").any()
        for of in (analysis, calibration)
    )


def _below_zero(analysis: Analysis) -> Iterable[Caveat]:
    """Where the estimate takes out more than was there."""
    rows = corrected(analysis).filter(pl.col("status") == "complete")
    whole = int((rows["corrected_ns"] < 0).sum())
    said = [f"of {plural(whole, 'unmap')} the whole"] if whole else []
    for name in CORRECTED:
        number_below = int((rows[f"{name}_corrected_ns"] < 0).sum())
        if number_below:
            said.append(f"of {count(number_below)} the {NAMES[name]}")
    if said:
        yield Caveat(
            "corrected-below-zero",
            f"{plural(len(rows), 'complete unmap')}, corrected below zero: {_listed(said)}; there a"
            " traced call cost less than the estimate, and the numbers are left so",
            counts=True,
        )


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
