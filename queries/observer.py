"""What tracing cost, per source: calibrated against another capture, or bounded by itself.

A traced call adds to the duration of what contains it (`call_ns`); a part of that lies within
its own duration (`inside_ns`), the rest falls into its parent's own time. An unmap pays
`call_ns` for every traced call in it, and `own_ns` for itself, because it is traced too.

`calibrated`: `call_ns` is regressed on captures of the same workload that trace fewer calls
(calibration.py). They cannot show `inside_ns`, which every one of them pays alike: it is the
shortest traced call that contains no other (own_times.py), at most, and is taken to be that. So is
`own_ns`, by the shortest whose probe fetches as many arguments as that of the unmap: a probe's
arguments are fetched after its time stamp is taken (kernel/trace/trace_kprobe.c).
`bounded`: without such captures, both lie between nothing and what the shortest calls leave room
for; where one cost per call does not fit the captures, within the range that they give. `none`:
executed instructions were recorded by an emulator, at no cost to the guest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.errors import QueryError
from traceview.queries.calibration import PerCall, cost_per_call, strata
from traceview.queries.calibration_refusal import TRACERS, too_little_in_common
from traceview.queries.correction import CORRECTED, corrected
from traceview.queries.matching import known_to_differ, numbered
from traceview.schema import TRACING_COSTS as COSTS
from traceview.schema import conform, frame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traceview.queries.analysis import Analysis

# A function that was hit less often is not relied on for its shortest time.
ENOUGH_CALLS: Final = 10
# Captures that differ in one of these are not of one host and kernel.
SAME_HOST: Final = {
    "kernel": "kernel", "machine": "machine", "cpus": "number of CPUs", "midr": "MIDR",
    "fwb": "FWB", "tlbirange": "TLBIRANGE", "page_size_bytes": "page size", "origin": "origin",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bound:
    """At most `ns`, as the times of `symbol` show."""

    ns: float
    symbol: str


def priced(analysis: Analysis, calibration: Analysis | None = None) -> Analysis:
    """*analysis* with `tracing_costs`, and the `probe_ns` of its unmaps.

    *calibration*: captures of the same workload on the same host that trace fewer calls, or more;
    captures of *analysis* that do so serve as well, if they are of one label and run, or of one run
    and nobody gave them a label.

    Raises QueryError when *calibration* is of another host or kernel, or has too little in common
    with *analysis*.
    """
    if calibration is not None:
        _refuse_other_hosts(analysis, calibration)
    labels = _labels(analysis.sources)
    kinds = analysis.unmaps.drop_nulls("evidence").select("source_id", "evidence").unique()
    rows: list[dict[str, Any]] = []
    for label in dict.fromkeys(labels.values()):
        members = [source for source, name in labels.items() if name == label]
        of = kinds.filter(pl.col("source_id").is_in(members))
        for evidence in of["evidence"].cast(pl.String).unique().sort():
            mine = of.filter(pl.col("evidence") == evidence)["source_id"].to_list()
            cost = _cost(analysis, calibration, mine, evidence)
            rows += [{"source_id": source, "evidence": evidence, **cost} for source in sorted(mine)]
    if calibration is not None and not any(row.get("strata") for row in rows):
        raise QueryError(too_little_in_common(analysis, calibration))
    costs = _cost_table(rows)
    return _capped(replace(analysis, tracing_costs=costs, unmaps=_with_probe(analysis, costs)))


def _labels(sources: pl.DataFrame) -> dict[int, tuple[str, str]]:
    """Per source what it calibrates with: its label, else its run, else nothing but itself.

    Captures without a label or a run may be of anything.
    """
    rows = sources.select("source_id", "label", "run", "path").iter_rows()
    return {
        source: ("label", label) if label is not None else ("run", run) if run is not None
        else ("path", path)
        for source, label, run, path in rows
    }  # fmt: skip


def _cost_table(rows: list[dict[str, Any]]) -> pl.DataFrame:
    schema = {"source_id": pl.Int32(), **COSTS}
    found = pl.DataFrame(rows, schema=schema) if rows else pl.DataFrame(schema=schema)
    return found.sort("source_id")


def _cost(
    analysis: Analysis, calibration: Analysis | None, members: list[int], evidence: str
) -> dict[str, Any]:
    """The columns of TRACING_COSTS for sources of one label and one evidence."""
    if evidence == "insn":
        nothing = dict.fromkeys(_NUMBERS, 0.0)
        return {"method": "none", **nothing}
    if evidence not in TRACERS:
        return {"method": "unknown"}
    own_times = [analysis.own_times.filter(pl.col("source_id").is_in(members))]
    own_times += [] if calibration is None else [calibration.own_times]
    times = pl.concat(own_times).filter(pl.col("evidence") == evidence)
    inside, outside = _inside_bound(times), _outside_bound(times)
    own = _inside_bound(times.filter(pl.col("arguments") >= _fetched(times)))
    found = _calibrated(analysis, calibration, members, evidence)
    if found is not None:
        return _calibrated_row(found, inside, own, outside)
    if inside is None:
        return {"method": "unknown"}
    row = {
        "method": "bounded", "inside_low_ns": 0.0, "inside_high_ns": inside.ns,
        "inside_from": inside.symbol, "call_low_ns": 0.0, "own_low_ns": 0.0,
        "own_high_ns": None if own is None else own.ns,
        "own_from": None if own is None else own.symbol,
    }  # fmt: skip
    call = _call_bound(times, inside, outside)
    return row if call is None else {**row, "call_high_ns": call.ns, "call_from": call.symbol}


_NUMBERS: Final = (
    "inside_ns", "inside_low_ns", "inside_high_ns", "own_ns", "own_low_ns", "own_high_ns",
    "call_ns", "call_low_ns", "call_high_ns",
)  # fmt: skip


def _calibrated_row(
    found: PerCall, inside: Bound | None, own: Bound | None, outside: Bound | None
) -> dict[str, Any]:
    """The part inside is no more than the whole call, and no less than it without the rest.

    The unmap's own may be more than that of other calls, where its probe fetches more.
    """
    high = found.high if inside is None else min(inside.ns, found.high)
    low = 0.0 if outside is None else min(high, max(0.0, found.low - outside.ns))
    row: dict[str, Any] = {
        "method": "calibrated" if found.fits else "bounded",
        "inside_low_ns": low, "inside_high_ns": high,
        "own_low_ns": low,
        "own_high_ns": max(high, found.high) if own is None else max(own.ns, low),
        "call_low_ns": found.low, "call_high_ns": found.high, "strata": found.strata,
        "median_residual": found.median_residual, "worst_residual": found.worst_residual,
        "inside_from": None if inside is None else inside.symbol,
        "own_from": None if own is None else own.symbol,
    }  # fmt: skip
    if found.fits:
        row |= {
            "call_ns": found.value,
            "inside_ns": None if inside is None else min(high, found.value),
            "own_ns": None if own is None else own.ns,
        }
    return row


def _fetched(times: pl.DataFrame) -> int:
    """How many arguments the probe of the unmap fetched; none in the graph."""
    return int(times.filter(pl.col("operation") == "unmap")["arguments"].max() or 0)  # type: ignore[arg-type]


def _inside_bound(times: pl.DataFrame) -> Bound | None:
    """The shortest call with no traced call inside; an unmap is long for other reasons."""
    return _shortest(times.filter((pl.col("nested") == 0) & (pl.col("operation") != "unmap")))


def _outside_bound(times: pl.DataFrame) -> Bound | None:
    """The least own time per call inside: it contains the parts outside of those calls."""
    return _shortest(times.filter(pl.col("nested") > 0))


def _call_bound(times: pl.DataFrame, inside: Bound, outside: Bound | None) -> Bound | None:
    """The most that one more traced call can add to what contains it.

    The own time of a call with one inside contains its own part inside and the other's part
    outside: a whole call.
    """
    if outside is None:
        return None
    total = Bound(inside.ns + outside.ns, f"{inside.symbol}, {outside.symbol}")
    whole = _shortest(times.filter(pl.col("nested") == 1))
    return total if whole is None or total.ns < whole.ns else whole


def _shortest(times: pl.DataFrame) -> Bound | None:
    often = times.filter(pl.col("calls") >= ENOUGH_CALLS)
    rows = (often if len(often) else times).sort("own_ns", "symbol")
    if rows.is_empty():
        return None
    return Bound(float(rows["own_ns"][0]), str(rows["symbol"][0]))


def _calibrated(
    analysis: Analysis, calibration: Analysis | None, members: list[int], evidence: str
) -> PerCall | None:
    mine = _captures(analysis, members, evidence)
    others = mine if calibration is None else _captures(calibration, None, evidence)
    pairs = [
        (one, other)
        for one, other in product(mine, others)
        if not known_to_differ(one[0], other[0], ("run", *SAME_HOST))
    ]
    if calibration is not None and not pairs:  # it is of another run: then of the same host
        pairs = [
            (one, other) for one, other in product(mine, others)
            if not known_to_differ(one[0], other[0], SAME_HOST)
        ]  # fmt: skip
    rows = []
    for (_, detailed), (_, plain) in pairs:
        rows.append(strata(detailed, plain))
        if calibration is not None:  # the calibration may be the more detailed one
            rows.append(strata(plain, detailed))
    found = pl.concat(rows) if rows else pl.DataFrame()
    if found.is_empty():
        return None
    columns = ("detailed_ns", "plain_ns", "calls", "variance")
    return cost_per_call(*(found[name].cast(pl.Float64).to_numpy() for name in columns))


def _captures(
    analysis: Analysis, members: Iterable[int] | None, evidence: str
) -> list[tuple[dict[str, Any], pl.DataFrame]]:
    """Per source: what is known of its run and host, and its unmaps."""
    known = ("run", *SAME_HOST)
    facts = {row["source_id"]: {name: row[name] for name in known}
             for row in analysis.sources.iter_rows(named=True)}  # fmt: skip
    unmaps = numbered(analysis.unmaps).filter(pl.col("evidence") == evidence)
    if members is not None:
        unmaps = unmaps.filter(pl.col("source_id").is_in(list(members)))
    parts = unmaps.group_by("source_id", maintain_order=True)
    return [(facts[source], rows) for (source,), rows in parts]


def _with_probe(analysis: Analysis, costs: pl.DataFrame) -> pl.DataFrame:
    """The unmaps with what tracing cost in each; never more than its duration as a bound."""
    rows = analysis.unmaps.drop("probe_ns", "probe_low_ns", "probe_high_ns").join(
        costs.select("source_id", "evidence", "method", *_NUMBERS),
        on=["source_id", "evidence"],
        how="left",
        maintain_order="left",
    )
    timed = pl.col("duration_ns").is_not_null() & (pl.col("status") != "point")
    calls = pl.col("traced_calls")
    bound = pl.col("method") == "bounded"

    def probe(which: str) -> pl.Expr:
        call = pl.when(calls > 0).then(pl.col(f"call{which}_ns") * calls).otherwise(0.0)
        total = (pl.col(f"own{which}_ns") + call).round().cast(pl.Int64)
        most = pl.when(bound & (total > pl.col("duration_ns"))).then("duration_ns")
        total = pl.when(total.is_not_null()).then(pl.coalesce(most, total))
        return pl.when(timed).then(total).alias(f"probe{which}_ns")

    rows = rows.with_columns(probe(""), probe("_low"), probe("_high"))
    return conform_with_source("unmaps", rows)


def _capped(analysis: Analysis) -> Analysis:
    """*analysis* with no more tracing in a whole unmap than its parts have room for.

    A bound per call says little of an unmap with many short calls; each part is no less than
    nothing, and so is what is left of the whole no less than what is left of its parts.
    """
    methods = analysis.tracing_costs.select("source_id", "evidence", "method")
    if not (methods["method"] == "bounded").any():
        return analysis
    left = [f"{name}_corrected_low_ns" for name in CORRECTED]
    rows = corrected(analysis).join(
        methods, on=["source_id", "evidence"], how="left", maintain_order="left"
    )
    # What is null is no part, or its time is unknown: then it may be nothing.
    room = pl.col("duration_ns") - pl.sum_horizontal(*left, "off_cpu_ns").floor().cast(pl.Int64)
    high = pl.col("probe_high_ns")
    most = pl.when((pl.col("method") == "bounded") & (room < high)).then(room).otherwise(high)
    return replace(
        analysis, unmaps=analysis.unmaps.with_columns(rows.select(most.alias("probe_high_ns")))
    )


def conform_with_source(table: str, rows: pl.DataFrame) -> pl.DataFrame:
    """*rows* with source_id first, then the columns of *table*."""
    if rows.is_empty():
        return frame(table).select(pl.lit(0, dtype=pl.Int32).alias("source_id"), pl.all())
    return rows.select("source_id").hstack(conform(table, rows))


def _refuse_other_hosts(analysis: Analysis, calibration: Analysis) -> None:
    for fact, name in SAME_HOST.items():
        mine, theirs = (
            set(of.sources[fact].drop_nulls().cast(pl.String)) - {"unknown"}
            for of in (analysis, calibration)
        )
        if mine and theirs and mine != theirs:
            raise QueryError(
                f"the calibration is of another host or kernel: {name}"
                f" {', '.join(sorted(theirs))}, not {', '.join(sorted(mine))}\n"
                "what tracing costs differs between machines and kernels by a factor of ten:"
                " calibrate on the same one"
            )
