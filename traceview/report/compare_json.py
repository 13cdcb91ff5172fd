"""A comparison as one JSON object (docs/json.md). Numbers are not rounded.

What the plan does not permit to show is null here too: an interval where drift is confounded with
side, a p-value without inference.
"""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from sys import float_info
from typing import TYPE_CHECKING, Any

from traceview.queries.bystander_groups import bystander_groups
from traceview.report.compare_basis import costs, noise_texts
from traceview.report.compare_effect import label_texts, origin_texts, plan_texts
from traceview.report.compare_headline import headline_of, headline_text
from traceview.report.compare_sizes import mechanism
from traceview.report.compare_split import split_texts
from traceview.report.compare_verdict import difference_texts
from traceview.report.compared import SIDES, joined, label_of
from traceview.report.json_document import (
    calibration,
    diagnostics,
    document,
    header,
    rows,
    source_counts,
)
from traceview.report.ratio_words import given
from traceview.report.verdict import verdict_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.comparison import Line, Size
    from traceview.queries.decomposition import Decomposition, Part
    from traceview.queries.quantile_shift import Shift
    from traceview.queries.ratios import Ratio
    from traceview.queries.recording_plan import Plan
    from traceview.queries.run_intervals import Interval
    from traceview.report.compared import Compared


def compare_json(found: Compared) -> Iterator[str]:
    """The document of `traceview compare --json`, in pieces."""
    comparison = found.comparison
    plan = comparison.plan
    yield from document(
        finite(
            {
                **header("comparison"),
                "filters": str(found.filters),
                "sides": [_side(found, at) for at in (0, 1)],
                "matched_by": comparison.matched.mode,
                "plan": asdict(plan),
                "headline": _headline(found),
                "findings": findings(found),
                "claims": [_claim(one) for one in found.claims],
                "sizes": [_size(one, plan) for one in comparison.sizes],
                "lines": [_line(one, plan) for one in comparison.lines],
                "decomposition": _decomposition(comparison.decomposition, plan),
                "verdicts": [
                    {"side": name, **row}
                    for name, side in zip(SIDES, found.verdicts, strict=True)
                    for row in verdict_rows(side)
                ],
                "power": {
                    "detectable_ratio": comparison.detectable,
                    "runs_needed": comparison.needed,
                },
                "facts": [
                    {"fact": name, "base": list(base), "with": list(with_)}
                    for name, (base, with_) in comparison.facts.items()
                ],
                "left_out": [asdict(one) for one in comparison.matched.left_out],
                "caveats": [
                    {
                        "side": one.side, "code": one.caveat.code,
                        "severity": one.caveat.severity, "text": one.caveat.text,
                    }
                    for one in found.caveats
                ],
                "diagnostics": diagnostics(joined(found)),
                "sources": list(_sources(found)),
            }
        )
    )  # fmt: skip


def findings(found: Compared) -> list[str]:
    """The sentences of the report."""
    said = [
        headline_text(found),
        *label_texts(found),
        *origin_texts(found),
        *plan_texts(found),
    ]
    said += mechanism(found)
    of = found.comparison.decomposition
    said += [f"not split: {of}"] if isinstance(of, str) else split_texts(of, found.comparison.plan)
    return [*said, *difference_texts(found), *noise_texts(found)]


def finite(value: Any) -> Any:
    """*value* with the largest float for what is beyond it: JSON has no infinity."""
    if isinstance(value, float) and not isfinite(value):
        return float_info.max if value > 0 else -float_info.max
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return value


def _side(found: Compared, at: int) -> dict[str, Any]:
    comparison = found.comparison
    side = (comparison.base, comparison.with_)[at]
    matched = comparison.matched
    headline, detailed = (
        (matched.base, matched.base_detailed), (matched.with_, matched.with_detailed)
    )[at]  # fmt: skip
    noise, agreement = comparison.noise[at], comparison.agreement[at]
    return {
        "side": SIDES[at],
        "label": label_of(side),
        "runs": list((comparison.base_runs, comparison.with_runs)[at]),
        "unmaps": {
            **found.ledger[at], "compared": len(headline), "compared_detailed": len(detailed),
        },
        "alone": matched.alone,
        "quantum_ns": comparison.quantum_ns[at],
        "noise": None if noise is None else asdict(noise),
        "agreement": None if agreement is None else asdict(agreement),
        "tracing_costs": costs(side),
        "calibration": calibration(found.calibrations[at]),
        "bystander_groups": list(rows(bystander_groups(side))),
    }  # fmt: skip


def _headline(found: Compared) -> dict[str, Any] | None:
    comparison = found.comparison
    ratio = comparison.headline
    if ratio is None:
        return None
    return {
        "of": headline_of(found),
        "per_leaf": found.headline_line is not None,
        "text": headline_text(found),
        **_ratio(ratio, comparison.plan),
    }


def _ratio(ratio: Ratio, plan: Plan) -> dict[str, Any]:
    return {
        **_interval(ratio.interval, plan),
        "adjusted_p": ratio.adjusted_p if plan.allows_inference else None,
        "variant": ratio.variant,
        "base_ns": ratio.base,
        "with_ns": ratio.with_,
        "raw": ratio.raw,
        "direction": ratio.direction(plan),
        "robustness": ratio.robustness(plan),
        "least": None if ratio.least is None else _interval(ratio.least, plan),
        "most": None if ratio.most is None else _interval(ratio.most, plan),
    }


def _interval(interval: Interval, plan: Plan) -> dict[str, Any]:
    return asdict(given(interval, plan))


def _claim(one: Any) -> dict[str, Any]:
    return {
        "text": one.claim.text,
        "verdict": one.overall,
        "headline": one.headline,
        "by_size": list(one.by_size),
        "counts": list(one.counts),
        "why": one.why,
    }


def _size(one: Size, plan: Plan) -> dict[str, Any]:
    return {
        **one.cell,
        "base_unmaps": one.base_unmaps,
        "with_unmaps": one.with_unmaps,
        "ratio": None if one.ratio is None else _ratio(one.ratio, plan),
        "base_counts": one.base_counts,
        "with_counts": one.with_counts,
        "base_within": one.base_within,
        "with_within": one.with_within,
        "worst": None if one.worst is None else asdict(one.worst),
        "shift": None if one.shift is None else _shift(one.shift, plan),
    }


def _shift(of: Shift, plan: Plan) -> dict[str, Any]:
    return {
        "descriptive": of.descriptive,
        "tied": of.tied,
        "quantiles": [
            {
                "quantile": one.quantile,
                "base_ns": one.base,
                "with_ns": one.with_,
                "ratio": None if one.ratio is None else _interval(one.ratio, plan),
                "difference": _interval(one.difference, plan),
                "adjusted_p": one.adjusted_p if plan.allows_inference else None,
            }
            for one in of.quantiles
        ],
    }


def _line(one: Line, plan: Plan) -> dict[str, Any]:
    return {
        **one.line,
        "sizes": list(one.sizes),
        "ratio": _ratio(one.ratio, plan),
        "base_slope_ns": one.base_slope,
        "with_slope_ns": one.with_slope,
        "slope_difference": _interval(one.slope_difference, plan),
        "intercept_difference": _interval(one.intercept_difference, plan),
        "base_intercept_ns": one.base_intercept,
        "with_intercept_ns": one.with_intercept,
        "misfit": one.misfit,
        "fits": one.fits,
    }


def _decomposition(of: Decomposition | str, plan: Plan) -> dict[str, Any]:
    if isinstance(of, str):
        return {"refused": of}
    return {
        "refused": None,
        "leaves": of.leaves,
        "corrected": of.corrected,
        "merged": list(of.merged),
        "parts": [_part(part, plan) for part in of.parts],
        "net": None if of.net is None else _part(of.net, plan),
        "total": _part(of.total, plan),
    }


def _part(part: Part, plan: Plan) -> dict[str, Any]:
    return {
        "name": part.name,
        "base_ns": part.base_ns,
        "with_ns": part.with_ns,
        "difference": _interval(part.difference, plan),
        "low_tracing": part.low_tracing,
        "high_tracing": part.high_tracing,
    }


def _sources(found: Compared) -> Iterator[dict[str, Any]]:
    """The sources of base, then those of with, under one numbering; of one set once."""
    wholes = found.wholes[:1] if found.one_set else found.wholes
    at = 0
    for name, whole in zip(SIDES, wholes, strict=False):
        for row in rows(source_counts(whole)):
            yield {**row, "source_id": at, "side": None if found.one_set else name}
            at += 1
