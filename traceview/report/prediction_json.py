"""A prediction as one JSON object (docs/json.md)."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from typing import TYPE_CHECKING, Any

from traceview.report.json_document import document, header

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from traceview.queries.call_costs import CallCost
    from traceview.queries.prediction import Cell, Prediction
    from traceview.queries.prediction_check import Check
    from traceview.queries.prediction_holdout import Trial
    from traceview.queries.prediction_sizes import Size
    from traceview.queries.size_costs import Held


def prediction_json(
    found: Prediction, trials: Sequence[Trial], held: Check | None
) -> Iterator[str]:
    """The document of `traceview predict --json`, in pieces."""
    fitted = None if isinstance(found.fitted, str) else found.fitted
    members: dict[str, Any] = {
        **header("prediction"),
        "strategy": found.strategy,
        "predicted_strategy": found.to,
        "tables": found.wish.tables,
        "as_if": found.wish.as_if,
        "cpus": None if found.wish.cpus is None else {"predicted": found.wish.cpus},
        "host": {**asdict(found.host), "cpus": list(found.host.cpus)},
        "basis": found.measured.basis,
        "runs": list(found.runs),
        "no_spread": found.no_spread,
        "left_out": [asdict(one) for one in found.measured.left_out],
        "call_costs": [
            {"call": name, **_cost(cost)}
            for name in ("ipa", "range", "cmo")
            if (cost := getattr(found.costs, name)) is not None
        ],
        "fitted_costs": [] if fitted is None else [
            {"cost": name, "ns": cost, "half_width_ns": fitted.now.reach * error}
            for name, cost, error in zip(
                fitted.now.names, fitted.now.costs.tolist(), fitted.now.errors().tolist(),
                strict=True,
            )
        ],
        "why_not_fitted": found.fitted if fitted is None else None,
        "misfit": None if fitted is None else {"relative": fitted.now.misfit,
                                               "trusted_factor": fitted.trust,
                                               "widening": fitted.widening},
        "cells": [_cell(cell) for cell in found.cells],
        "sizes": [_size(one) for one in found.sizes],
        "held_out": [
            {**asdict(one), "coverage": one.coverage, "half_width": _finite(one.half_width),
             "worst_half_width": _finite(one.worst_half_width)}
            for one in trials
        ],
        "sizes_left_out": [] if fitted is None else [_held(one) for one in fitted.left_out],
        "sizes_beyond": [] if fitted is None else [_held(one) for one in fitted.beyond],
    }  # fmt: skip
    if held is not None:
        members |= _against(held)
    yield from document(members)


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None


def _cost(cost: CallCost) -> dict[str, Any]:
    return {"ns": cost.value, "low_ns": cost.low, "high_ns": cost.high, "known_from": cost.source}


def _cell(cell: Cell) -> dict[str, Any]:
    ratio = cell.ratio
    where = dict(cell.location.cell)
    return {
        **where,
        "unmaps": cell.location.unmaps,
        "runs": cell.location.runs,
        "now_ns": cell.location.ns,
        "before": _counts(asdict(cell.before)),
        "after": _counts(asdict(cell.after)),
        "predicted_ns": cell.then.value if cell.then.decided else None,
        "low_ns": cell.then.low,
        "high_ns": _finite(cell.then.high),
        "assumed_low_ns": cell.then.least,
        "assumed_high_ns": _finite(cell.then.most),
        "half_width": _finite(cell.then.half_width),
        "usable": cell.then.usable,
        "way": cell.then.way,
        "ratio": None if ratio is None or not cell.then.decided else ratio[0],
        "ratio_low": None if ratio is None else ratio[1],
        "ratio_high": None if ratio is None else _finite(ratio[2]),
        "assumptions": {
            name: {"low_ns": low, "high_ns": high}
            for name, (low, high) in cell.then.effects.items()
        },
    }


def _counts(counts: dict[str, Any]) -> dict[str, Any]:
    fewest, most = counts.pop("range_operations")
    return {**counts, "range_operations_fewest": fewest, "range_operations_most": most}


def _size(one: Size) -> dict[str, Any]:
    return {
        "asked": one.asked.text,
        "level": one.level,
        "counts": None if one.counts is None else _counts(asdict(one.counts)),
        "predicted_ns": one.value,
        "low_ns": one.low,
        "high_ns": one.high,
        "half_width": one.half_width,
        "usable": one.usable,
        "tables_freed_fewest": one.freed[0],
        "tables_freed_most": one.freed[1],
        "refused": one.refused,
    }


def _held(one: Held) -> dict[str, Any]:
    return {
        "leaves": one.leaves, "measured_ns": one.measured, "predicted_ns": one.value,
        "low_ns": one.low, "high_ns": _finite(one.high), "factor": one.factor,
        "covered": one.covered,
    }  # fmt: skip


def _against(held: Check) -> dict[str, Any]:
    counts = [
        {
            "count": one.name,
            "compared": one.compared,
            "equal": one.equal,
            "first_unlike": one.first
            and dict(zip(("step", "predicted", "counted"), one.first, strict=True)),
        }
        for one in held.counts
    ]
    times = [
        {
            "stem": one.cell.location.cell["stem"],
            "leaves": one.cell.before.leaves,
            "predicted_ns": one.cell.then.value,
            "low_ns": one.cell.then.low,
            "high_ns": _finite(one.cell.then.high),
            "measured_ns": one.measured.ns,
            "in_interval": one.inside,
            "walk_here_ns": one.walk_now,
            "walk_there_ns": one.walk_there,
        }
        for one in held.times
    ]
    facts = [{"fact": name, "here": here, "there": there} for name, here, there in held.facts]
    return {
        "against_counts": counts, "against_times": times, "against_facts": facts,
        "against_unmaps": {"compared": held.unmaps, "not_matched": held.not_matched,
                           "why_no_times": held.no_times},
    }  # fmt: skip
