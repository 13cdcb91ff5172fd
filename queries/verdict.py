"""The three hypotheses about the cost of an unmap, against what was recorded (docs/verdict.md).

`tlbi_count`: the number of TLBI+DSB is the bottleneck. `cmo`: the cache maintenance is the real
cost. `dsb_wait`: it is the DSB behind each of either. A bottleneck is more than half of the time.

Times are sums over complete unmaps with leaves, without tracing. What is said of them holds for
every cost of tracing that is possible, and in nearly every unmap; else it is undecided. Nothing is
inferred beyond the unmaps that were recorded. Times that are not of hardware, or not known to be,
are no evidence: what they would say is kept apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from traceview.queries.groups import leaf_level, source_labels
from traceview.queries.remainders import NUMBERS, Remainders, Span, Times, cost
from traceview.schema import TIMED_COMPONENTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.analysis import Analysis
    from traceview.queries.remainders import Floats

KINDS: Final = ("label", "strategy", "leaf_level")
# More than this part of the time is the bottleneck.
MOST: Final = 0.5
# With fewer unmaps, or where fewer of them agree, nothing is said of all.
MIN_UNMAPS: Final = 5
AGREE: Final = 0.9
STATUSES: Final = (
    "supported", "contradicted", "minor", "undecided", "no_evidence", "not_separable",
    "not_measured",
)  # fmt: skip
REASONS: Final = (
    "most", "smaller", "minor", "tracing", "varies", "few", "fwb", "no-maintenance", "none-seen",
    "not-separated", "timings", "counts-only",
)  # fmt: skip
HYPOTHESES: Final = ("tlbi_count", "cmo", "dsb_wait")
# What is said of times, which those of an emulator cannot bear.
OF_TIMES: Final = ("supported", "contradicted", "minor", "undecided")
COUNTED: Final = ("tlbi_insns", "dsb_insns", "cmo_lines", "flushes", "cmo")
COSTS: Final = (
    "method", *(f"{name}{which}_ns" for name in NUMBERS for which in ("", "_low", "_high")),
)  # fmt: skip
# all_flushes: every invalidate call; leaf_flushes: those of leaves and of ranges; both: flushes
# and cache maintenance.
PARTS: Final = (
    "all_flushes", "leaf_flushes", "cmo", "both", "table_put", "hypercall", "irq", "off_cpu",
    "rest",
)  # fmt: skip
# What all_flushes has more than leaf_flushes.
TABLE_FLUSHES: Final = "table_flushes"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What the data says of one: `status` is one of STATUSES, and why.

    `agree`: in how many unmaps it is so by themselves, where that was asked. `in_recorded_time`:
    what the status would be if the times were of hardware.
    """

    code: str
    status: str
    reason: str
    agree: int | None = None
    in_recorded_time: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What is left of a component without tracing: in all, and its share of the whole."""

    ns: Span
    share: Span


@dataclass(frozen=True, slots=True)
class Free:
    """What would be left of the whole if the calls of a component took nothing and all else stayed.

    And how many times less that is. No bound: who makes fewer calls saves work around them too.
    """

    left_ns: Span
    factor: Span


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of complete unmaps of one label, strategy and leaf level that had leaves.

    `counts`: what was executed, or called, in all, where it is known of every unmap. `time`:
    hardware, emulated, synthetic, instructions or unknown. `parts` lacks what is not separated;
    `ratio` is cache maintenance over flushes. `merged`: flushes of leaves contain those of tables.
    `below_zero`: parts of which the calibration's estimate left less than nothing, so that it is no
    estimate of these unmaps and there are intervals only.
    """

    label: str
    strategy: str
    leaf_level: str
    unmaps: int
    leaves: int | None
    runs: int
    time: str
    method: str
    raw_ns: int
    total: Span
    parts: dict[str, Part]
    ratio: Span | None
    merged: bool
    below_zero: tuple[str, ...]
    counts: dict[str, int]
    free: dict[str, Free]
    hypotheses: tuple[Hypothesis, ...]


def verdicts(analysis: Analysis) -> tuple[Verdict, ...]:
    """One per label, strategy and leaf level, the most expensive first."""
    rows = evidence(analysis)
    groups = [of for _, of in rows.group_by(*KINDS, maintain_order=True)]
    return tuple(sorted(map(judge, groups), key=lambda one: -one.raw_ns))


def evidence(analysis: Analysis) -> pl.DataFrame:
    """The unmaps that verdicts stand on: complete, with a duration, and not known to be empty.

    Columns of schema.UNMAPS but `separated`, of TRACED_CALLS and TRACING_COSTS, and `label`, `run`,
    `origin`, `fwb`, `leaf_level`.
    """
    facts = source_labels(analysis.sources).hstack(
        analysis.sources.select("run", "origin", "fwb")
    )  # fmt: skip
    return (
        analysis.unmaps.lazy()
        .drop("separated")
        .filter((pl.col("status") == "complete") & pl.col("duration_ns").is_not_null())
        .filter(pl.col("leaves").fill_null(1) > 0)
        .with_columns(leaf_level())
        .join(facts.lazy(), on="source_id", how="left", maintain_order="left")
        .join(
            analysis.traced_calls.lazy().drop("traced_calls"), on=["source_id", "unmap_id"],
            how="left", maintain_order="left",
        )
        .join(
            analysis.tracing_costs.lazy().select("source_id", "evidence", *COSTS),
            on=["source_id", "evidence"], how="left", maintain_order="left",
        )
        .collect()
    )  # fmt: skip


def judge(unmaps: pl.DataFrame) -> Verdict:
    """What unmaps of one kind, as evidence() has them, say of the hypotheses."""
    weighed, counts = _Weighed(unmaps), dict(_counts(unmaps))
    counted = "dsb_insns" in counts
    first = {name: str(unmaps[name][0]) for name in KINDS}
    methods = unmaps["method"].cast(pl.String).fill_null("unknown").unique()
    nothing = _nothing_to_maintain(unmaps)
    # Without cache maintenance there is no time that it would save.
    free = [name for name in ("leaf_flushes", "cmo") if name == "leaf_flushes" or nothing is None]
    found = (
        _tlbi_count(weighed),
        _cmo(weighed, nothing),
        _dsb_wait(weighed, nothing, counted=counted),
    )
    time = _time(unmaps)
    return Verdict(
        **first,
        unmaps=len(unmaps),
        leaves=None if unmaps["leaves"].null_count() else int(unmaps["leaves"].sum()),
        runs=unmaps["run"].drop_nulls().n_unique(),
        time=time,
        method=str(methods[0]) if len(methods) == 1 else "mixed",
        raw_ns=int(unmaps["duration_ns"].sum()),
        total=weighed.remainders.total(weighed.whole),
        parts={name: weighed.part(name) for name in weighed.times},
        ratio=_ratio(weighed) if nothing is None else None,
        merged=bool(unmaps["invalidate_ipa_ns"].is_not_null().any()),
        below_zero=weighed.below_zero,
        counts=counts,
        free={name: weighed.free(name) for name in free if name in weighed.times},
        hypotheses=tuple(_as_evidence(one, time, counted=counted) for one in found),
    )


class _Weighed:
    """The times of unmaps of one kind, and what tracing can leave of them."""

    def __init__(self, unmaps: pl.DataFrame) -> None:
        """Null components are left out of `times`."""
        self.size = len(unmaps)
        kinds = unmaps.select(COSTS).unique(maintain_order=True).with_row_index("kind")
        kind = unmaps.select(COSTS).join(kinds, on=COSTS, nulls_equal=True, maintain_order="left")
        of = kind["kind"].cast(pl.Int64).to_numpy()
        calls = unmaps["traced_calls"].fill_null(0).cast(pl.Float64).to_numpy()
        raw = unmaps["duration_ns"].cast(pl.Float64).to_numpy()
        one, none = np.ones(self.size), np.zeros(self.size)
        self.whole = Times(raw, np.column_stack([one, none, calls]))
        self.times = {
            name: Times(rows["raw"].cast(pl.Float64).to_numpy(), _matrix(rows))
            for name in PARTS
            for rows in [unmaps.select(*_part(name))]
            if not rows["raw"].null_count()
        }
        apart = dict(self.times)
        if {"all_flushes", "leaf_flushes"} <= self.times.keys():
            apart[TABLE_FLUSHES] = self.times["all_flushes"] - self.times["leaf_flushes"]
        stated = [cost(row) for row in kinds.iter_rows(named=True)]
        costs = [
            known.leaving(one.of(of == at) for one in apart.values())
            for at, known in enumerate(stated)
        ]
        self.below_zero = tuple(
            name
            for name, one in apart.items()
            if any(known.estimate_exceeds(one.of(of == at)) for at, known in enumerate(stated))
        )
        self.remainders = Remainders(costs, of)

    def others(self, name: str) -> Times:
        """The whole without one component."""
        return self.whole - self.times[name]

    def part(self, name: str) -> Part:
        """What is left of a component."""
        mine = self.times[name]
        return Part(self.remainders.total(mine), self.remainders.share(mine, self.others(name)))

    def free(self, name: str) -> Free:
        """The whole if the calls of a component took nothing and all else stayed."""
        share = self.part(name).share
        value = None if share.value is None else _factor(share.value)
        left = self.remainders.total(self.others(name))
        return Free(left, Span(value, _factor(share.low), _factor(share.high)))

    def decided(
        self, code: str, status: str, reason: str, larger: Times, smaller: Times
    ) -> Hypothesis:
        """That *larger* is so in nearly every unmap decides it."""
        agree = self.remainders.larger(larger, smaller)
        if agree < AGREE * self.size:
            return Hypothesis(code, "undecided", "varies", agree)
        return Hypothesis(code, status, reason, agree)


def _factor(share: float) -> float:
    return 1 / (1 - share) if share < 1 else float("inf")


def _matrix(rows: pl.DataFrame) -> Floats:
    return rows.select(*NUMBERS).cast(pl.Float64).to_numpy()


def _part(name: str) -> tuple[pl.Expr, ...]:
    """The raw time of one of PARTS, and how often it contains each of NUMBERS."""
    none = pl.col("duration_ns") * 0
    own, calls, nested = none, _calls_of(name, "calls"), _calls_of(name, "nested")
    if name == "off_cpu":  # recorded by tracepoints
        calls = nested = none
    if name == "rest":  # the parts outside of calls that are components, and all other calls
        calls, nested = (
            pl.sum_horizontal(f"{part}_{what}" for part in TIMED_COMPONENTS)
            for what in ("calls", "nested")
        )
        own, calls, nested = none + 1, -calls, pl.col("traced_calls") - nested
    raw = _time_of(name)
    found = {"raw": raw, "own": own, "inside": calls, "call": nested}
    return tuple(
        (of if column == "raw" else of.fill_null(0)).alias(column) for column, of in found.items()
    )


def _time_of(name: str) -> pl.Expr:
    leaf, table, either, ranges = (
        pl.col(f"invalidate_{what}_ns") for what in ("leaf", "table", "ipa", "range")
    )
    if name == "leaf_flushes":
        return pl.coalesce(either, leaf) + ranges
    flushes = pl.coalesce(either, leaf + table) + ranges
    together = {"all_flushes": flushes, "both": flushes + pl.col("cmo_ns")}
    return together.get(name, pl.col(f"{name}_ns"))


def _calls_of(name: str, what: str) -> pl.Expr:
    leaf = ("invalidate_leaf", "invalidate_ipa", "invalidate_range")
    flushes = (*leaf, "invalidate_table")
    parts = {"leaf_flushes": leaf, "all_flushes": flushes, "both": (*flushes, "cmo")}
    return pl.sum_horizontal(f"{part}_{what}" for part in parts.get(name, (name,)))


def _ratio(weighed: _Weighed) -> Span | None:
    if not {"all_flushes", "cmo"} <= weighed.times.keys():
        return None
    share = weighed.remainders.share(weighed.times["cmo"], weighed.times["all_flushes"])
    value = None if share.value is None else share.value * _factor(share.value)
    return Span(value, share.low * _factor(share.low), share.high * _factor(share.high))


def _counts(unmaps: pl.DataFrame) -> Iterator[tuple[str, int]]:
    either = pl.coalesce("invalidate_ipa", pl.col("invalidate_leaf") + pl.col("invalidate_table"))
    rows = unmaps.with_columns((either + pl.col("invalidate_range")).alias("flushes"))
    for name in COUNTED:
        if not rows[name].null_count():
            yield name, int(rows[name].sum())


def _time(unmaps: pl.DataFrame) -> str:
    """What the times are of: of unlike sources, the one that says least about hardware."""
    if (unmaps["evidence"] == "insn").any():
        return "instructions"
    origins = set(unmaps["origin"].cast(pl.String).fill_null("unknown"))
    return next(
        (name for name in ("synthetic", "emulated", "unknown") if name in origins), "hardware"
    )


def _nothing_to_maintain(unmaps: pl.DataFrame) -> str | None:
    """Why there is no cache maintenance in any of *unmaps*, as far as is known."""
    done = [unmaps[name] for name in ("cmo", "cmo_lines") if not unmaps[name].null_count()]
    if any(int(number.sum()) for number in done):
        return None
    if unmaps["fwb"].null_count() == 0 and unmaps["fwb"].all():
        return "fwb"
    # A kernel defers only on a machine with FWB.
    stated_without = (~unmaps["fwb"]).any()
    if (unmaps["strategy"] == "deferred_range").all() and not stated_without:
        return "fwb"
    if not done:
        return None
    cleared = int(unmaps["leaves"].sum()) > 0
    return "no-maintenance" if cleared else "none-seen"


def _as_evidence(found: Hypothesis, time: str, *, counted: bool) -> Hypothesis:
    """Times that are not of hardware decide nothing; that a DSB is not separable is no time."""
    if time == "hardware" or found.status not in OF_TIMES:
        return found
    if found.code == "dsb_wait":
        return replace(
            _inseparable(counted=counted), agree=found.agree, in_recorded_time=found.status
        )
    return replace(found, status="no_evidence", in_recorded_time=found.status)


def _weigh(of: _Weighed, code: str, name: str, rival: str) -> Hypothesis:
    """The hypothesis that *name* is the bottleneck, rather than *rival*."""
    if of.size < MIN_UNMAPS:
        return Hypothesis(code, "undecided", "few")
    mine, others, share = of.times[name], of.others(name), of.part(name).share
    other = of.times.get(rival)
    cases: list[tuple[bool, str, str, Times, Times]] = [
        (share.low > MOST, "supported", "most", mine, others),
        (share.high < MOST, "minor", "minor", others, mine),
    ]
    if other is not None:
        larger = of.remainders.exceeds(other, mine)
        cases.insert(0, (larger, "contradicted", "smaller", other, mine))
    said = [
        of.decided(code, status, reason, one, than)
        for holds, status, reason, one, than in cases
        if holds
    ]
    decided = [one for one in said if one.reason != "varies"]
    return next(iter((*decided, *said)), Hypothesis(code, "undecided", "tracing"))


def _tlbi_count(of: _Weighed) -> Hypothesis:
    if "all_flushes" not in of.times:
        return Hypothesis("tlbi_count", "not_measured", "not-separated")
    return _weigh(of, "tlbi_count", "all_flushes", "cmo")


def _cmo(of: _Weighed, nothing: str | None) -> Hypothesis:
    if nothing is not None:
        return Hypothesis("cmo", "not_measured", nothing)
    if "cmo" not in of.times:
        return Hypothesis("cmo", "not_measured", "not-separated")
    return _weigh(of, "cmo", "cmo", "all_flushes")


def _dsb_wait(of: _Weighed, nothing: str | None, *, counted: bool) -> Hypothesis:
    """A DSB is part of the call that it ends: all of them take at most the time of those calls."""
    holding = {"all_flushes"} if nothing else {"all_flushes", "cmo"}
    if not holding & of.times.keys():
        return Hypothesis("dsb_wait", "not_measured", "not-separated")
    name = "both" if nothing is None else "all_flushes"
    if name in of.times and of.size >= MIN_UNMAPS and of.part(name).share.high < MOST:
        found = of.decided("dsb_wait", "minor", "minor", of.others(name), of.times[name])
        if found.status == "minor":
            return found
    return _inseparable(counted=counted)


def _inseparable(*, counted: bool) -> Hypothesis:
    return Hypothesis("dsb_wait", "not_separable", "counts-only" if counted else "timings")
