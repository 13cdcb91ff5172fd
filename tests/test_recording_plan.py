"""The order of the runs decides whether a comparison may infer anything."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from traceview.errors import QueryError
from traceview.queries.recording_plan import Plan, RecordedRun, Side, recording_plan

SIDES: dict[str, Side] = {"A": "base", "B": "with"}


def ordered(sequence: str) -> Plan:
    return recording_plan([RecordedRun(SIDES[one], at) for at, one in enumerate(sequence)])


def at(minute: float) -> str:
    seconds = round(minute * 60)
    return f"2026-11-22T{10 + seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}+00:00"


def timed(sequence: str, minutes: list[float], orders: list[int] | None = None) -> Plan:
    stated: list[int | None] = [*orders] if orders else [None] * len(sequence)
    return recording_plan([
        RecordedRun(SIDES[one], order, at(minute))
        for one, minute, order in zip(sequence, minutes, stated, strict=True)
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("sequence", "kind"),
    [
        ("ABBA", "interleaved"), ("ABAB", "interleaved"), ("ABABAB", "interleaved"),
        ("ABABABABAB", "interleaved"), ("ABBAABBAAB", "interleaved"),
        ("AABBAABBAABBAABBAABB", "interleaved"), ("AAABBB", "sequential"),
        ("BBBBBAAAAA", "sequential"), ("AB", "sequential"), ("AABBAABB", "unbalanced"),
        ("AAABBBAABB", "unbalanced"), ("AAAAABBBBBA", "unbalanced"),
        ("AAAABBBBBBBBAAAA", "unbalanced"), ("AAABBBBBBAAA", "unbalanced"),
        ("AABABBBBAA", "unbalanced"),
    ],
)  # fmt: skip
def test_runs_one_after_the_other_are_judged_by_their_order(sequence: str, kind: str) -> None:
    found = ordered(sequence)
    assert (found.kind, found.sequence) == (kind, sequence)
    assert found.allows_inference == (kind == "interleaved" and len(sequence) >= 10)


@pytest.mark.parametrize("pairs", [5, 6, 10, 20, 40])
def test_random_order_inside_pairs_is_always_balanced(pairs: int) -> None:
    generator = np.random.default_rng(pairs)
    for _ in range(100):
        sequence = "".join("AB" if one else "BA" for one in generator.integers(0, 2, pairs))
        assert ordered(sequence).kind == "interleaved", sequence


def test_few_runs_describe_and_one_run_has_no_interval() -> None:
    assert ordered("ABABABAB").standing == "descriptive"
    assert ordered("AABB").standing == "confounded"
    assert ordered("ABBBB").standing == "effect_only"
    assert ordered("AB").standing == "effect_only"
    assert ordered("ABABABABAB").standing == "inference"


def test_drift_is_confounded_with_side_when_one_side_came_first() -> None:
    found = ordered("AAAAAABBBBBB")
    assert found.standing == "confounded"
    assert found.text == "by order all runs of base came first"


def test_the_runs_may_be_given_in_any_order() -> None:
    runs = [RecordedRun(SIDES[one], order) for order, one in enumerate("ABBA")]
    assert {recording_plan(shuffled).sequence for shuffled in permutations(runs)} == {"ABBA"}


def test_equal_order_on_both_sides_is_a_pair() -> None:
    runs = [RecordedRun("base", order) for order in (3, 1, 2, 5, 4)]
    runs += [RecordedRun("with", order) for order in (1, 2, 3, 4, 5)]
    found = recording_plan(runs)
    assert (found.kind, found.standing, found.paired) == ("paired_concurrent", "inference", True)
    assert found.pairs == ((1, 5), (2, 6), (0, 7), (4, 8), (3, 9))
    assert "as stated" in found.text


def test_a_run_whose_partner_is_missing_is_named() -> None:
    runs = [RecordedRun("base", order) for order in range(6)]
    runs += [RecordedRun("with", order) for order in (0, 1, 2, 4, 5)]
    found = recording_plan(runs)
    assert (found.kind, found.unpaired) == ("paired_concurrent", (3,))
    assert found.standing == "inference"
    assert recording_plan(runs[:-1]).standing == "descriptive"


def test_sides_that_share_some_orders_only_are_no_plan() -> None:
    runs = [RecordedRun("base", order) for order in (0, 1, 2)]
    runs += [RecordedRun("with", order) for order in (2, 3, 4)]
    assert recording_plan(runs).kind == "unknown"


def test_an_order_that_two_runs_of_a_side_have_is_no_plan() -> None:
    found = recording_plan([RecordedRun("base", 1), RecordedRun("base", 1), RecordedRun("with", 2)])
    assert found.kind == "unknown"


def test_equal_order_that_the_times_confirm_is_a_pair() -> None:
    found = timed("ABABAB", [0, 0.1, 1, 1.1, 2, 2.1], [1, 1, 2, 2, 3, 3])
    assert found.kind == "paired_concurrent"
    assert "confirmed" in found.text


def test_runs_numbered_on_each_side_anew_are_not_taken_for_pairs() -> None:
    found = timed("AAAAABBBBB", list(range(10)), [1, 2, 3, 4, 5] * 2)
    assert (found.kind, found.standing, found.pairs) == ("sequential", "confounded", ())
    assert "not recorded together" in found.text


def test_pairs_are_seen_from_the_times() -> None:
    # The shared captures: pairs within 4 s, 25 s apart at least, no side always first.
    found = timed("ABABBAABABAB", [0, 0, 1.03, 1.1, 1.83, 1.9, 2.32, 2.37, 2.8, 2.9, 3.3, 3.31])
    assert found.kind == "paired_concurrent"
    assert found.pairs[2] == (5, 4)


def test_times_where_one_side_is_always_first_are_interleaving() -> None:
    found = timed("ABABABABAB", [0, 0.1, 5, 5.1, 10, 10.1, 15, 15.1, 20, 20.1])
    assert (found.kind, found.sequence) == ("interleaved", "ABABABABAB")


def test_equal_times_on_both_sides_are_pairs() -> None:
    assert timed("ABABAB", [0, 0, 5, 5, 9, 9]).kind == "paired_concurrent"


def test_times_alone_tell_the_order() -> None:
    assert timed("ABBA", [0, 5, 10, 15]).kind == "interleaved"
    assert timed("AABB", [0, 5, 10, 15]).kind == "sequential"


def test_order_and_times_that_contradict_each_other_are_no_plan() -> None:
    assert timed("ABBA", [0, 5, 10, 15], [1, 2, 4, 3]).kind == "unknown"
    assert timed("ABBA", [0, 5, 10, 15], [1, 2, 3, 4]).kind == "interleaved"


@pytest.mark.parametrize(
    "stated",
    [
        [None, "2026-11-22T10:00:00"],
        ["2026-11-22", "2026-11-22"],
        ["yesterday", "2026-11-22T10:00:00"],
        ["2026-11-22T10:00:00Z", "2026-11-22T11:00:00"],
    ],
)
def test_times_that_order_nothing_are_no_plan(stated: list[str | None]) -> None:
    runs = [RecordedRun("base", None, one) for one in stated]
    runs += [RecordedRun("with", None, f"2026-11-23T1{hour}:00:00Z") for hour in range(5)]
    found = recording_plan(runs)
    assert (found.kind, found.standing) == ("unknown", "confounded")


def test_an_order_that_some_runs_lack_is_no_plan() -> None:
    runs = [RecordedRun("base", 1), RecordedRun("with", None), RecordedRun("with", 3)]
    assert "1 of 4 runs" in recording_plan([*runs, RecordedRun("base", 4)]).text


def test_one_side_is_no_comparison() -> None:
    with pytest.raises(QueryError, match="both sides"):
        recording_plan([RecordedRun("base", 1)])
