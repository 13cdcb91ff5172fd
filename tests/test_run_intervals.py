"""Intervals over runs agree with the textbook, and say when there is none."""

from __future__ import annotations

from math import exp, inf, log, nan

import numpy as np
import pytest
from scipy import stats

from traceview.errors import QueryError
from traceview.queries.noise_floor import noise_floor
from traceview.queries.run_intervals import (
    Interval,
    holm,
    joined_difference,
    joined_ratio,
    paired_difference,
    paired_ratio,
    welch_difference,
    welch_ratio,
)
from traceview.queries.run_power import minimum_detectable_ratio, runs_needed

BASE = [1901.0, 1955.0, 1880.0, 2010.0, 1940.0, 1899.0]
WITH = [436.0, 441.0, 429.0, 452.0, 430.0, 447.0]


def ends(found: Interval) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


@pytest.mark.parametrize("runs", [3, 4, 6])
def test_the_ratio_is_welchs_t_on_logarithms(runs: int) -> None:
    base, with_ = np.log(BASE), np.log(WITH[:runs])
    expected = stats.ttest_ind(base, with_, equal_var=False)
    found = welch_ratio(BASE, WITH[:runs])
    assert found.value == pytest.approx(exp(base.mean() - with_.mean()))
    assert ends(found) == pytest.approx(np.exp(expected.confidence_interval(0.95)))
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.degrees_of_freedom == pytest.approx(expected.df)
    assert (found.base_runs, found.with_runs) == (6, runs)


def test_the_difference_is_no_narrower_than_welchs_t() -> None:
    expected = stats.ttest_ind(BASE, WITH, equal_var=False)
    low, high = ends(welch_difference(BASE, WITH, confidence=0.9))
    assert low <= expected.confidence_interval(0.9).low * (1 + 1e-9)
    assert high >= expected.confidence_interval(0.9).high * (1 - 1e-9)
    assert high - low < 1.3 * (np.ptp(expected.confidence_interval(0.9)))


def test_a_difference_of_symmetric_runs_is_welchs_t() -> None:
    base, with_ = [1900.0, 1950.0, 2000.0], [400.0, 430.0, 460.0]
    expected = stats.ttest_ind(base, with_, equal_var=False)
    found = welch_difference(base, with_)
    assert ends(found) == pytest.approx(tuple(expected.confidence_interval()))
    assert found.p_value == pytest.approx(expected.pvalue)
    assert found.method == "Welch's t"


def test_a_difference_of_skewed_runs_reaches_further_where_the_runs_are_sparse() -> None:
    base, with_ = [1900.0, 1901.0, 1902.0, 1905.0, 1910.0, 2100.0], [1900.0] * 3 + [1901.0] * 3
    expected = stats.ttest_ind(base, with_, equal_var=False)
    found = welch_difference(base, with_)
    low, high = ends(found)
    assert low == pytest.approx(expected.confidence_interval().low)
    assert high > 2 * expected.confidence_interval().high
    assert found.p_value is not None
    assert found.p_value >= expected.pvalue * (1 - 1e-9)
    assert "skewness" in found.method


@pytest.mark.parametrize("shift", [0.0, 30.0, 60.0, 90.0, 150.0])
def test_the_p_value_of_a_difference_belongs_to_its_interval(shift: float) -> None:
    base = np.array([1900.0, 1901.0, 1902.0, 1905.0, 1910.0, 2100.0]) - shift
    with_ = np.array([1900.0, 1902.0, 1903.0, 1901.0, 1899.0, 1890.0])
    found = welch_difference(base, with_)
    assert found.p_value is not None
    low, high = ends(welch_difference(base, with_, confidence=1 - found.p_value))
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-6 * max(abs(low), abs(high)))


def test_few_runs_against_many_have_the_freedom_of_the_few() -> None:
    many = [*WITH, *WITH, *WITH]
    assert welch_ratio(BASE, many).degrees_of_freedom == 5
    assert welch_ratio(many, BASE).degrees_of_freedom == 5
    found = welch_ratio(BASE, [*WITH, *WITH]).degrees_of_freedom
    assert found is not None
    assert found > 5


def test_pairs_are_compared_run_by_run() -> None:
    expected = stats.ttest_rel(np.log(BASE), np.log(WITH))
    found = paired_ratio(BASE, WITH)
    assert ends(found) == pytest.approx(np.exp(expected.confidence_interval(0.95)))
    assert found.p_value == pytest.approx(expected.pvalue)
    base, with_ = [7.0, 9.0, 11.0], [3.0, 4.0, 5.0]
    linear = stats.ttest_rel(base, with_)
    found = paired_difference(base, with_)
    assert ends(found) == pytest.approx(tuple(linear.confidence_interval()))


def test_an_interval_can_be_withheld() -> None:
    found = welch_ratio(BASE, WITH).value_alone("drift is confounded with side")
    assert found.value == welch_ratio(BASE, WITH).value
    assert (found.low, found.high, found.p_value, found.degrees_of_freedom) == (None,) * 4
    assert found.method == "drift is confounded with side"


def test_differences_take_estimates_that_are_zero_or_negative() -> None:
    found = welch_difference([-3.0, 0.0, 2.0], [0.0, 0.0, 0.0])
    assert found.value == pytest.approx(-1 / 3)
    assert found.degrees_of_freedom == pytest.approx(2)


@pytest.mark.parametrize(("base", "with_"), [([5.0], WITH), (BASE, [5.0]), ([5.0], [5.0])])
def test_one_run_on_a_side_has_a_ratio_and_no_interval(
    base: list[float], with_: list[float]
) -> None:
    found = welch_ratio(base, with_)
    assert found.value > 0
    assert (found.low, found.high, found.p_value, found.degrees_of_freedom) == (None,) * 4
    assert found.method == "one run on a side: no interval"
    assert minimum_detectable_ratio(base, with_, paired=False) is None
    assert runs_needed(base, with_, 2, paired=False) is None


@pytest.mark.parametrize("compare", [welch_ratio, paired_ratio, welch_difference])
def test_equal_runs_without_a_known_quantum_claim_no_certainty(compare: type) -> None:
    # 0.1 + 0.2 is no sum that a float keeps: the variance of its copies is not exactly 0.
    found = compare([0.1 + 0.2] * 7, [0.1] * 7)
    assert (found.low, found.p_value) == (None, None)
    assert "do not differ" in found.method


def test_equal_runs_are_known_to_half_a_quantum() -> None:
    found = welch_ratio([1960.0] * 5, [440.0] * 5, quantum=(40, 40))
    low, high = ends(found)
    assert low < 1940 / 460
    assert high > 1980 / 420
    assert "quantum" in found.method
    assert found.undecided == pytest.approx(1 / (1 - 20 / 1960) / (1 - 20 / 440) - 1)
    assert found.p_value is not None
    assert found.p_value < 0.001


def test_what_the_quantum_hides_is_no_evidence() -> None:
    found = welch_difference([440.0] * 20, [400.0] * 20, quantum=(40, 40))
    assert found.p_value == 1
    assert ends(found)[0] < 0 < ends(found)[1]


def test_runs_that_spread_over_more_than_half_a_quantum_are_not_widened() -> None:
    assert welch_ratio(BASE, WITH, quantum=(80, 16)) == welch_ratio(BASE, WITH)
    assert welch_ratio(BASE, WITH, quantum=(40, 40)).undecided > 0


def test_a_quantum_beyond_the_estimate_leaves_the_ratio_open() -> None:
    found = welch_ratio([1000.0] * 5, [1000.0] * 5, quantum=(2000, 2000))
    assert (found.low, found.high, found.p_value) == (0, inf, 1)


@pytest.mark.parametrize(
    ("base", "said"),
    [([], "without runs"), ([1.0, nan], "no finite"), ([1.0, 0.0, -1.0], "2 of 3 runs")],
)
def test_estimates_that_are_no_times_are_refused(base: list[float], said: str) -> None:
    with pytest.raises(QueryError, match=said):
        welch_ratio(base, WITH)


def test_sides_of_different_length_are_no_pairs() -> None:
    with pytest.raises(QueryError, match="6 runs against 5"):
        paired_difference(BASE, WITH[:5])


def test_an_error_of_what_was_taken_out_is_joined_in_quadrature() -> None:
    alone = welch_ratio(BASE, WITH)
    low, high = ends(alone)
    found = joined_ratio(alone, alone.value / 1.03, alone.value * 1.04)
    assert log(alone.value / ends(found)[0]) == pytest.approx(
        np.hypot(log(alone.value / low), log(1.03))
    )
    assert log(ends(found)[1] / alone.value) == pytest.approx(
        np.hypot(log(high / alone.value), log(1.04))
    )
    assert joined_ratio(alone, alone.value, alone.value).p_value == pytest.approx(alone.p_value)


def test_what_may_have_cost_all_that_was_measured_leaves_the_ratio_open() -> None:
    found = joined_ratio(welch_ratio(BASE, WITH), None, None)
    assert (found.low, found.high, found.p_value) == (0, inf, 1)
    alone = welch_ratio([5.0], [4.0])
    assert joined_ratio(alone, 1.0, 2.0) == alone


@pytest.mark.parametrize("least", [0.5, 0.9, 1.0, 1.05])
def test_the_p_value_of_a_joined_ratio_belongs_to_its_interval(least: float) -> None:
    alone = welch_ratio([1.1, 1.2, 1.15, 1.08], [1.0, 1.02, 0.97, 1.01])
    found = joined_ratio(alone, least, 1.3)
    assert found.p_value is not None
    assert (found.p_value < 0.05) == (ends(found)[0] > 1)


def test_a_second_error_joins_that_of_a_difference() -> None:
    alone = welch_difference(BASE, WITH)
    low, high = ends(alone)
    found = joined_difference(alone, alone.value - 30, alone.value + 400)
    assert alone.value - ends(found)[0] == pytest.approx(np.hypot(alone.value - low, 30))
    assert ends(found)[1] - alone.value == pytest.approx(np.hypot(high - alone.value, 400))
    same = joined_difference(alone, alone.value, alone.value)
    assert ends(same) == pytest.approx((low, high))
    # Unknown is not nothing.
    assert joined_difference(alone, None, alone.value).low is None


def test_a_difference_that_the_second_error_turns_round_is_not_significant() -> None:
    alone = welch_difference([11.0, 12.0, 11.5, 10.8], [10.0, 10.2, 9.7, 10.1])
    assert alone.p_value is not None
    assert alone.p_value < 0.05
    found = joined_difference(alone, -1.0, 4.0)
    assert found.p_value is not None
    assert found.p_value > 0.05
    assert ends(found)[0] < 0


def test_holms_adjustment_counts_what_was_tested() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [
        pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)
    ]  # fmt: skip
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("ratio", [1.02, 0.9, 1.1, 4.4])
def test_the_runs_needed_are_the_fewest_with_that_power(ratio: float, *, paired: bool) -> None:
    def power(runs: int) -> float:
        spread = np.log(BASE) - np.log(WITH) if paired else None
        parts = [spread] if spread is not None else [np.log(BASE), np.log(WITH)]
        variances = np.array([one.var(ddof=1) for one in parts])
        freedom = (runs - 1) * variances.sum() ** 2 / (variances**2).sum()
        moved = abs(log(ratio)) / np.sqrt(variances.sum() / runs)
        reach = stats.t.ppf(0.975, freedom)
        beyond = stats.nct.sf(reach, freedom, moved) + stats.nct.cdf(-reach, freedom, moved)
        return float(beyond)

    runs = runs_needed(BASE, WITH, ratio, paired=paired)
    assert runs is not None
    assert runs == 3 or power(runs) >= 0.8 > power(runs - 1)


def test_the_runs_at_hand_detect_the_ratio_they_are_enough_for() -> None:
    ratio = minimum_detectable_ratio(BASE, WITH, paired=True)
    assert ratio is not None
    assert runs_needed(BASE, WITH, ratio * 1.0001, paired=True) == len(BASE)
    wider = minimum_detectable_ratio(BASE, WITH, paired=True, quantum=(40, 40))
    assert wider is not None
    assert wider > ratio


def test_no_number_of_runs_finds_what_the_quantum_hides() -> None:
    assert runs_needed([440.0] * 5, [400.0] * 5, 1.05, paired=False, quantum=(40, 40)) is None
    assert runs_needed([1.0, 9.0], [1.0, 9.0], 1.0001, paired=False) is None


def test_power_is_known_where_scipys_distribution_is_not() -> None:
    # nctdtr(4, 40, 2.8) and nctdtr(1, 8, 12.7) are NaN.
    assert runs_needed(BASE[:3], WITH[:3], 1e6, paired=False) == 3
    found = minimum_detectable_ratio([1.0, 1.2], [1.0, 1.0], paired=True)
    assert found is not None
    # Of one degree of freedom: 12.7 standard errors to be found at all, 16.3 to be found in 80%.
    assert found == pytest.approx(exp(16.3 * log(1.2) / 2), rel=0.01)


@pytest.mark.parametrize("ratio", [1, 0, -2, inf, nan])
def test_a_ratio_that_is_none_needs_no_runs(ratio: float) -> None:
    with pytest.raises(QueryError, match="not a ratio"):
        runs_needed(BASE, WITH, ratio, paired=False)


def test_runs_are_split_into_halves_in_every_way() -> None:
    found = noise_floor([100.0, 101.0, 102.0, 200.0])
    assert found is not None
    assert (found.splits, found.all_splits, found.runs_per_half) == (3, True, (2, 2))
    assert found.ratio > 1.3
    odd = noise_floor([100.0, 101.0, 102.0, 103.0, 104.0])
    assert odd is not None
    assert (odd.splits, odd.runs_per_half) == (10, (2, 3))


def test_two_populations_in_one_side_raise_alarms() -> None:
    found = noise_floor([100.0, 101.0, 102.0, 200.0, 201.0, 202.0])
    assert found is not None
    assert found.false_alarms == pytest.approx(1 / 10)


def test_many_runs_are_split_at_random_but_always_alike() -> None:
    runs = np.random.default_rng(3).lognormal(6, 0.1, 24)
    found = noise_floor(runs)
    assert found == noise_floor(runs)
    assert found is not None
    assert (found.splits, found.all_splits) == (2000, False)
    assert found.false_alarms < 0.1


def test_equal_runs_have_no_noise_and_no_alarms() -> None:
    for quantum in (0.0, 40.0):
        found = noise_floor([0.1 + 0.2] * 7, quantum=quantum)
        assert found is not None
        assert found.ratio == pytest.approx(1)
        assert found.false_alarms == 0


def test_three_runs_have_no_noise_floor() -> None:
    assert noise_floor([1.0, 2.0, 3.0]) is None
