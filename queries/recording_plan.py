"""In what order the runs of two sides were recorded, and whether that permits inference.

A host warms up, fragments its memory, gets noisy neighbours: what drifts between the first run and
the last is a difference of the sides as soon as one side was recorded before the other. The runs
say when they were recorded (`order`, `recorded_at` of the sources):

paired_concurrent  each run of a side ran at the same time as one of the other, so both share the
                   drift. Stated by equal `order` (which `recorded_at`, where all runs have it, must
                   not contradict: a run must be closest in time to its partner), or seen from
                   `recorded_at` alone: the runs of every pair within NEAR of the shortest time
                   between pairs, and no side always first (a side that always is may have been
                   recorded right after the other, which is interleaving).
interleaved        one after the other, and balanced (below): ABBA, ABAB, random order inside pairs.
sequential         all of one side, then all of the other: drift is confounded with side.
unbalanced         the sides alternate, but not enough (below).
unknown            not stated for every run, or stated so that it contradicts itself.

Balanced: a drift of any size must widen the interval at least as much as it moves the estimate.
For a drift that is a straight line, and one that rises and falls (a square), that is a statistic
t of the *positions* themselves, compared as the runs will be (Welch's), of at most 1: then the
interval covers at least 95% whatever the size of the drift against the noise (the worst case of
(1.96 sqrt(1 + x^2) - t) / x over x). For a random walk it is the variance of the difference of the
means over what Welch's interval expects it to be, at most 1. ABAB has 0.25 and 0.25 with five runs
a side, ABBA 0.01 and 0.25, AAABBBAABB 2.1 and 1.4, AAAAABBBBB 25 and 8.5. The square is asked only
where inference is at stake: no order of two runs a side balances all three. A fully random order
comes out unbalanced by chance more often than not; random order inside pairs never did.
simulations/README.md has the coverage.

Order says nothing of other differences between the sides (host, kernel build, which one of two
concurrent machines got which CPUs).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from traceview.errors import QueryError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Side = Literal["base", "with"]
Kind = Literal["paired_concurrent", "interleaved", "sequential", "unbalanced", "unknown"]
# What the numbers of a comparison may be used for.
# inference: intervals and p-values count. descriptive: intervals of fewer than FEWEST runs.
# effect_only: one run on a side, no interval. confounded: the order refuses inference.
# no_spread: the runs of a side gave the same times, so none of them says what another would give.
Standing = Literal["inference", "descriptive", "effect_only", "confounded", "no_spread"]

FEWEST: Final = 5  # runs a side (pairs) below which intervals only describe
NEAR: Final = 0.25
BALANCED: Final = 1.0
ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One run: its side, `order` and `recorded_at` (ISO 8601) as its source states them."""

    side: Side
    order: int | None = None
    recorded_at: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How the runs were recorded.

    `text` is a clause that says what `kind` rests on. `sequence` names the sides in order (A is
    base; empty when there is none, or with pairs). `pairs` are indices into the runs that were
    given, base first, in order; `unpaired` those of runs whose partner is missing: a paired
    comparison leaves them out.
    """

    kind: Kind
    text: str
    standing: Standing
    base_runs: int
    with_runs: int
    sequence: str = ""
    pairs: tuple[tuple[int, int], ...] = ()
    unpaired: tuple[int, ...] = ()

    @property
    def allows_inference(self) -> bool:
        """Whether intervals and p-values may be used as such."""
        return self.standing == "inference"

    @property
    def paired(self) -> bool:
        """Whether runs are compared pair by pair."""
        return self.kind == "paired_concurrent"


def recording_plan(runs: Sequence[RecordedRun]) -> Plan:
    """The plan that *runs*, one entry per run, were recorded by.

    Raises QueryError when a side has none.
    """
    if len({run.side for run in runs}) < 2:
        raise QueryError("a comparison wants runs of both sides")
    orders = [run.order for run in runs if run.order is not None]
    times = _times(runs)
    if len(orders) == len(runs):
        return _by_order(runs, orders, times)
    if times is None:
        missing = sum(run.order is None for run in runs)
        return _plan(runs, "unknown", f"{missing} of {len(runs)} runs state no order")
    pairs = _coincident(runs, times)
    if pairs is not None:
        return _plan(runs, "paired_concurrent", "recorded at the same times", pairs=pairs)
    return _one_by_one(runs, times, "recorded_at")


def _by_order(runs: Sequence[RecordedRun], orders: list[int], times: list[float] | None) -> Plan:
    place = {
        (run.side, order): at for at, (run, order) in enumerate(zip(runs, orders, strict=True))
    }
    if len(place) < len(runs):
        return _plan(runs, "unknown", "an order is stated for more than one run of a side")
    shared = sorted(
        {at for side, at in place if ("with" if side == "base" else "base", at) in place}
    )
    pairs = tuple((place["base", at], place["with", at]) for at in shared)
    if not pairs:
        if times is not None and _contradict(orders, times):
            return _plan(runs, "unknown", "order and recorded_at contradict each other")
        return _one_by_one(runs, [float(one) for one in orders], "order")
    if len(pairs) < min(_count(runs)):
        return _plan(
            runs, "unknown", "some runs share their order with the other side, some do not"
        )
    if times is not None and not _together(pairs, times):
        seen = _one_by_one(runs, times, "recorded_at")
        said = f"runs of equal order were not recorded together; by recorded_at {seen.text}"
        return _plan(runs, seen.kind, said, sequence=seen.sequence)
    confirmed = "as stated" if times is None else "confirmed by recorded_at"
    return _plan(runs, "paired_concurrent", f"equal order on both sides, {confirmed}", pairs=pairs)


def _one_by_one(runs: Sequence[RecordedRun], places: Sequence[float], source: str) -> Plan:
    """The plan of runs that were recorded one after the other."""
    in_turn = sorted(range(len(runs)), key=places.__getitem__)
    is_base = np.array([runs[at].side == "base" for at in in_turn])
    sequence = "".join("A" if one else "B" for one in is_base)
    changes = int(np.count_nonzero(is_base[1:] != is_base[:-1]))
    if changes == 1:
        first = "base" if is_base[0] else "with"
        said = f"by {source} all runs of {first} came first"
        return _plan(runs, "sequential", said, sequence=sequence)
    kind: Kind = "interleaved" if _balanced(is_base) else "unbalanced"
    said = f"{len(runs)} runs by {source}, {changes} changes of side"
    return _plan(runs, kind, said, sequence=sequence)


def _plan(
    runs: Sequence[RecordedRun],
    kind: Kind,
    text: str,
    *,
    sequence: str = "",
    pairs: tuple[tuple[int, int], ...] = (),
) -> Plan:
    base, with_ = _count(runs)
    fewest = len(pairs) if pairs else min(base, with_)
    standing: Standing = "inference" if fewest >= FEWEST else "descriptive"
    if kind not in {"paired_concurrent", "interleaved"}:
        standing = "confounded"
    if fewest < 2:
        standing = "effect_only"
    in_pairs = {at for pair in pairs for at in pair}
    unpaired = tuple(at for at in range(len(runs)) if pairs and at not in in_pairs)
    return Plan(kind, text, standing, base, with_, sequence, pairs, unpaired)


def _count(runs: Sequence[RecordedRun]) -> tuple[int, int]:
    base = sum(run.side == "base" for run in runs)
    return base, len(runs) - base


def _times(runs: Sequence[RecordedRun]) -> list[float] | None:
    """Seconds, None unless they order every side: a bare date is the same for many runs.

    Times with and without a time zone cannot be compared; without one they are taken as they are.
    """
    found = [_time(run.recorded_at) for run in runs]
    known = [one for one in found if one is not None]
    if len(known) < len(runs) or len({one.tzinfo is None for one in known}) > 1:
        return None
    first = min(known)
    times = [(one - first).total_seconds() for one in known]
    distinct = {(run.side, at) for run, at in zip(runs, times, strict=True)}
    return times if len(distinct) == len(runs) else None


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        return None


def _contradict(orders: Sequence[int], times: Sequence[float]) -> bool:
    """Whether a run of higher order was recorded earlier."""
    in_turn = [at for _, at in sorted(zip(orders, times, strict=True))]
    return any(later < sooner for sooner, later in pairwise(in_turn))


def _together(pairs: Sequence[tuple[int, int]], times: Sequence[float]) -> bool:
    """Whether every run is closer to its partner than to any run outside its pair."""
    at = np.array(times)
    for base, with_ in pairs:
        others = np.delete(at, [base, with_])
        apart = abs(at[base] - at[with_])
        if others.size and apart >= np.abs(others[:, None] - at[[base, with_]]).min():
            return False
    return True


def _coincident(
    runs: Sequence[RecordedRun], times: Sequence[float]
) -> tuple[tuple[int, int], ...] | None:
    """Pairs that are seen from the times alone."""
    in_turn = sorted(range(len(runs)), key=times.__getitem__)
    pairs = list(zip(in_turn[::2], in_turn[1::2], strict=False))
    if len(runs) % 2 or len(pairs) < 2 or any(runs[a].side == runs[b].side for a, b in pairs):
        return None
    inside = max(times[b] - times[a] for a, b in pairs)
    between = min(times[later[0]] - times[sooner[1]] for sooner, later in pairwise(pairs))
    if inside > NEAR * between:
        return None
    # Of runs with the same time neither is first.
    first = {runs[a].side for a, b in pairs if times[a] < times[b]}
    if len(first) == 1 and inside and all(times[a] < times[b] for a, b in pairs):
        return None
    return tuple((a, b) if runs[a].side == "base" else (b, a) for a, b in pairs)


def _balanced(is_base: NDArray[np.bool_]) -> bool:
    """Whether drift widens Welch's interval at least as much as it moves the estimate."""
    turn = np.arange(1.0, len(is_base) + 1)
    centred = turn - turn.mean()
    drifts = [np.outer(centred, centred), np.minimum.outer(turn, turn)]
    if min(is_base.sum(), (~is_base).sum()) >= FEWEST:
        drifts.append(np.outer(centred**2, centred**2))
    return all(_moved(is_base, one) <= BALANCED + ROUNDING for one in drifts)


def _moved(is_base: NDArray[np.bool_], covariance: NDArray[np.float64]) -> float:
    """Variance of the difference of means under a drift, over what Welch's interval expects."""
    contrast = np.where(is_base, 1 / is_base.sum(), -1 / (~is_base).sum())
    expected = 0.0
    for side in (is_base, ~is_base):
        many, own = side.sum(), covariance[np.ix_(side, side)]
        if many > 1:
            expected += float(own.trace() - own.sum() / many) / (many - 1) / many
    moved = float(contrast @ covariance @ contrast)
    if moved <= ROUNDING:
        return 0.0
    return moved / expected if expected > ROUNDING else float("inf")
