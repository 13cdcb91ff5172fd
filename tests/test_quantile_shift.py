"""Deciles are compared run by run, and without intervals where runs or unmaps are few."""

from __future__ import annotations

import numpy as np
import pytest

from traceview.errors import QueryError
from traceview.queries.quantile_shift import quantile_shift
from traceview.queries.run_intervals import paired_ratio, welch_ratio


def runs(seed: int, scale: float, many: int = 6, unmaps: int = 40) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [
        scale * generator.lognormal(0, 0.02) * generator.lognormal(0, 0.1, unmaps)
        for _ in range(many)
    ]


def test_a_decile_is_one_estimate_per_run() -> None:
    base, with_ = runs(1, 1927), runs(2, 436)
    found = quantile_shift(base, with_)
    assert [one.quantile for one in found.quantiles] == pytest.approx(np.arange(1, 10) / 10)
    assert (found.descriptive, found.base_unmaps, found.tied) == (None, 240, 0)
    median = found.quantiles[4]
    by_hand = welch_ratio([np.median(run) for run in base], [np.median(run) for run in with_])
    assert median.ratio == by_hand
    assert median.base == pytest.approx(np.mean([np.median(run) for run in base]))
    assert median.difference.value == pytest.approx(median.base - median.with_)


def test_pairs_are_compared_as_pairs() -> None:
    base, with_ = runs(1, 1927), runs(2, 436)
    median = quantile_shift(base, with_, paired=True).quantiles[4]
    assert median.ratio == paired_ratio([np.median(r) for r in base], [np.median(r) for r in with_])


def test_a_slow_tail_shows_in_the_upper_deciles_alone() -> None:
    base, with_ = runs(3, 1000), runs(4, 1000)
    slow = [np.where(np.arange(len(run)) % 5 == 0, run * 10, run) for run in base]
    found = quantile_shift(slow, with_).quantiles
    assert found[8].ratio is not None
    assert found[8].ratio.value > 3
    assert found[8].adjusted_p is not None
    assert found[8].adjusted_p < 0.05
    assert found[1].ratio is not None
    assert found[1].ratio.value == pytest.approx(1, abs=0.2)


def test_a_slow_run_is_no_tail_of_every_run() -> None:
    base = [*runs(5, 1000, many=5), 3000 * np.ones(40)]
    with_ = runs(6, 1000)
    ratios = [one.ratio.value for one in quantile_shift(base, with_).quantiles if one.ratio]
    pooled = np.quantile(np.concatenate(base), 0.9) / np.quantile(np.concatenate(with_), 0.9)
    assert pooled > 2.5
    assert max(ratios) < 1.5


def test_a_run_with_many_unmaps_has_one_vote() -> None:
    base = [*runs(5, 1000, many=5), np.full(10_000, 3000.0)]
    median = quantile_shift(base, runs(6, 1000)).quantiles[4]
    assert median.base == pytest.approx((5 * 1000 + 3000) / 6, rel=0.05)


@pytest.mark.parametrize(("many", "unmaps", "said"), [(4, 40, "4 runs"), (6, 19, "19 unmaps")])
def test_few_runs_or_unmaps_have_values_alone(many: int, unmaps: int, said: str) -> None:
    found = quantile_shift(runs(1, 1927, many, unmaps), runs(2, 436))
    assert found.descriptive is not None
    assert said in found.descriptive
    for one in found.quantiles:
        assert one.ratio is not None
        assert one.ratio.value > 3
        assert (one.ratio.low, one.difference.low, one.adjusted_p) == (None, None, None)


def test_ties_of_a_coarse_clock_widen_and_are_said() -> None:
    base = [np.round(run / 40) * 40 for run in runs(1, 436, unmaps=60)]
    with_ = [np.round(run / 40) * 40 for run in runs(2, 436, unmaps=60)]
    found = quantile_shift(base, with_, quantum=(40, 40))
    assert found.tied > 0.2
    median = found.quantiles[4].ratio
    assert median is not None
    assert median.undecided > 0
    assert found.quantiles[4].adjusted_p == 1


def test_durations_of_zero_have_differences_alone() -> None:
    found = quantile_shift([np.zeros(20)] * 5, runs(2, 436))
    assert found.quantiles[0].ratio is None
    assert found.quantiles[0].difference.high is not None
    assert found.quantiles[0].difference.high < 0
    assert found.quantiles[0].adjusted_p is not None


@pytest.mark.parametrize(
    ("base", "said"),
    [([], "without runs"), ([[]], "without unmaps"), ([[1.0, np.nan]], "no number")],
)
def test_a_side_without_durations_is_refused(base: list[list[float]], said: str) -> None:
    with pytest.raises(QueryError, match=said):
        quantile_shift(base, runs(2, 436))
