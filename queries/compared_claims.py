"""What is claimed of two sides, against the intervals over their runs.

A claim holds where the whole interval fulfils it, fails where none of it does, and is open
otherwise. It is judged with the least and with the most that tracing can have cost as well: what
depends on that is open. Sizes of 0 leaves are looked at and do not count: nothing there is what
a claim about unmapping speaks of. Where the runs permit no inference, or the times are not of
hardware, every claim is open, whatever the ratio of these runs: `why` says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl

from traceview.queries.claims import Span, holds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.queries.claims import Claim
    from traceview.queries.comparison import Comparison
    from traceview.queries.ratios import Ratio
    from traceview.queries.run_intervals import Interval

OPEN: Final = "open"
STANDINGS: Final = {
    "descriptive": "fewer than 5 runs a side permit no inference",
    "effect_only": "one run on a side permits no inference",
    "confounded": "drift is confounded with side",
    "no_spread": "the runs of a side gave the same times: one observation",
}


@dataclass(frozen=True, slots=True)
class JudgedClaim:
    """Holds, fails or open: over all, for the headline, and for each size in order.

    `counts`: which sizes the whole stands on, besides the headline: those that have leaves.
    `why`: what forbids to judge any of them, None where nothing does.
    """

    claim: Claim
    overall: str
    headline: str
    by_size: tuple[str, ...]
    counts: tuple[bool, ...]
    why: str | None


def judged(found: Comparison, claims: Sequence[Claim]) -> tuple[JudgedClaim, ...]:
    """Each of *claims* against the headline and every size."""
    why = _refusal(found)
    return tuple(_judged(one, found, why) for one in claims)


def _refusal(found: Comparison) -> str | None:
    origins = pl.concat([of.sources["origin"].cast(pl.String) for of in (found.base, found.with_)])
    for origin in ("synthetic", "emulated", "unknown"):
        if (origins.fill_null("unknown") == origin).any():
            said = (
                "nobody stated that the times are" if origin == "unknown" else "the times are not"
            )
            return f"{said} of hardware (origin {origin})"
    return STANDINGS.get(found.plan.standing)


def _judged(claim: Claim, found: Comparison, why: str | None) -> JudgedClaim:
    sizes = [size.ratio for size in found.sizes]
    counts = tuple(size.cell["leaves"] != 0 for size in found.sizes)
    if why is None and not any(counts):
        why = "no size has leaves"
    if why is not None:
        return JudgedClaim(claim, OPEN, OPEN, (OPEN,) * len(sizes), counts, why)
    headline = _of(claim, found.headline)
    by_size = tuple(_of(claim, ratio) for ratio in sizes)
    counted = [
        pair for pair, one in zip(zip(sizes, by_size, strict=True), counts, strict=True) if one
    ]
    if claim.largest_only:
        known = [(ratio.interval.value, said) for ratio, said in counted if ratio is not None]
        overall = max(known, default=(0.0, OPEN))[1]
        return JudgedClaim(claim, overall, headline, by_size, counts, None)
    said = {headline, *(one for _, one in counted)}
    overall = "fails" if "fails" in said else OPEN if OPEN in said else "holds"
    return JudgedClaim(claim, overall, headline, by_size, counts, None)


def _of(claim: Claim, ratio: Ratio | None) -> str:
    """One ratio, whatever tracing cost."""
    if ratio is None:
        return OPEN
    said = {
        OPEN if span is None else holds(claim, span)
        for span in (_span(claim, one) for one in (ratio.interval, ratio.least, ratio.most))
    }
    return said.pop() if len(said) == 1 else OPEN


def _span(claim: Claim, interval: Interval | None) -> Span | None:
    """What is claimed of: the ratio, or the percentage of time saved."""
    if interval is None or interval.low is None or interval.high is None:
        return None
    ends = (interval.value, interval.low, interval.high)
    if claim.unit == "x":
        return Span(*ends)
    return Span(*(100 * (1 - 1 / one) if one else float("-inf") for one in ends))
