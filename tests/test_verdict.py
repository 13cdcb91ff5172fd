"""The verdict: what is said of the three hypotheses, and that nothing is said beyond the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.observer_captures import observed
from tests.writers.analyses import analysis, source, unmap
from traceview.queries.observer import priced
from traceview.queries.remainders import Remainders, Times, cost
from traceview.queries.verdict import REASONS, STATUSES, Verdict, verdicts
from traceview.schema import TIMED_COMPONENTS

TRACES = Path(__file__).parent.parent.parent / "shared" / "traces"
Numbers = dict[str, float]


def tracing_cost(method: str = "calibrated", **ends: tuple[float, float, float]) -> dict[str, Any]:
    """The low end, the estimate and the high end of each number; 10 ns and 20 ns a call."""
    given = {"own": (10.0, 10.0, 10.0), "inside": (10.0, 10.0, 10.0), "call": (20.0, 20.0, 20.0)}
    row: dict[str, Any] = {"source_id": 0, "evidence": "fgraph", "method": method}
    for name, (low, value, high) in (given | ends).items():
        row |= {f"{name}_low_ns": low, f"{name}_high_ns": high}
        row |= {f"{name}_ns": value if method == "calibrated" else None}
    return row


def traced(unmap_id: int, **counts: int) -> dict[str, Any]:
    none = {f"{name}_{what}": 0 for name in TIMED_COMPONENTS for what in ("calls", "nested")}
    return {"source_id": 0, "unmap_id": unmap_id, "traced_calls": 0, **none, **counts}


def made(
    count: int = 6, leaf: int = 100, cmo: int | None = 100, rest: int = 100, **more: Any
) -> list[dict[str, Any]]:
    """Unmaps of one leaf whose components, without tracing, are these; one call in each."""
    columns: dict[str, Any] = {
        "invalidate_leaf_ns": leaf + 10, "invalidate_table_ns": 0, "invalidate_range_ns": 0,
        "table_put_ns": 0, "cmo_ns": None if cmo is None else cmo + 10,
        "rest_ns": rest + 10 + 2 * 10, "traced_calls": 2, "cmo": 1, "invalidate_leaf": 1,
        "invalidate_table": 0, "invalidate_range": 0,
    }  # fmt: skip
    columns |= more
    timed = [name for name in columns if name.endswith("_ns") and columns[name] is not None]
    return [unmap(sum(columns[name] for name in timed), 1, **columns) for _ in range(count)]


def without_maintenance() -> list[dict[str, Any]]:
    return [
        {**row, "cmo": 0, "cmo_ns": 0, "duration_ns": row["duration_ns"] - row["cmo_ns"]}
        for row in made(leaf=800)
    ]


def judged(
    unmaps: list[dict[str, Any]], price: dict[str, Any] | None = None, **facts: Any
) -> Verdict:
    calls = [traced(at, invalidate_leaf_calls=1, cmo_calls=1) for at in range(len(unmaps))]
    (found,) = verdicts(
        analysis(
            unmaps, [source(**facts)], traced_calls=calls, tracing_costs=[price or tracing_cost()]
        )
    )
    return found


def statuses(found: Verdict) -> dict[str, tuple[str, str]]:
    said = {of.code: (of.status, of.reason) for of in found.hypotheses}
    assert all(status in STATUSES and reason in REASONS for status, reason in said.values())
    return said


def test_cache_maintenance_that_is_most_of_the_time_is_the_real_cost() -> None:
    found = judged(made(leaf=100, cmo=800, rest=100))
    assert statuses(found) == {
        "tlbi_count": ("contradicted", "smaller"), "cmo": ("supported", "most"),
        "dsb_wait": ("not_separable", "timings"),
    }  # fmt: skip
    assert found.parts["cmo"].share.value == pytest.approx(0.8)
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(8)


def test_invalidate_calls_that_are_most_of_the_time_are_the_bottleneck() -> None:
    said = statuses(judged(made(leaf=800, cmo=100, rest=100)))
    assert said["tlbi_count"] == ("supported", "most")
    assert said["cmo"] == ("contradicted", "smaller")


def test_where_neither_is_most_of_the_time_both_are_minor_and_so_is_every_dsb_in_them() -> None:
    found = judged(made(leaf=100, cmo=100, rest=800))
    assert set(statuses(found).values()) == {("minor", "minor")}
    assert found.parts["rest"].share.value == pytest.approx(0.8)


def test_the_larger_of_two_minor_ones_is_not_called_the_bottleneck() -> None:
    said = statuses(judged(made(leaf=100, cmo=400, rest=600)))
    assert said["tlbi_count"] == ("contradicted", "smaller")
    assert said["cmo"] == ("minor", "minor")


@pytest.mark.parametrize(
    ("facts", "reason"), [({"fwb": True}, "fwb"), ({"fwb": None}, "no-maintenance")]
)
def test_a_machine_that_does_no_cache_maintenance_never_contradicts_it(
    facts: dict[str, Any], reason: str
) -> None:
    found = judged(without_maintenance(), **facts)
    assert statuses(found)["cmo"] == ("not_measured", reason)
    assert statuses(found)["tlbi_count"][0] == "supported"
    assert "cmo" not in found.free


def test_cache_maintenance_that_was_not_traced_is_not_measured() -> None:
    said = statuses(judged(made(leaf=100, cmo=None, rest=800, invalidate_leaf=1)))
    assert said["cmo"] == ("not_measured", "not-separated")
    assert said["tlbi_count"] == ("minor", "minor")
    assert said["dsb_wait"] == ("not_separable", "timings")


def test_a_trace_of_the_unmap_alone_measures_none_of_them() -> None:
    bare = dict.fromkeys(
        ("invalidate_leaf_ns", "invalidate_table_ns", "invalidate_range_ns", "cmo_ns",
         "table_put_ns", "cmo", "invalidate_leaf")
    )  # fmt: skip
    said = statuses(judged([unmap(1000, None, **bare, rest_ns=1000)] * 6, fwb=None))
    assert set(said.values()) == {("not_measured", "not-separated")}


def test_a_few_unmaps_decide_nothing() -> None:
    said = statuses(judged(made(count=4, leaf=800)))
    assert said["tlbi_count"] == said["cmo"] == ("undecided", "few")


def test_a_sum_that_one_long_unmap_makes_decides_nothing() -> None:
    unmaps = [*made(count=8, leaf=800, cmo=100), *made(count=2, leaf=1000, cmo=90_000)]
    said = judged(unmaps).hypotheses
    assert [(of.status, of.reason, of.agree) for of in said[:2]] == [
        ("undecided", "varies", 2), ("undecided", "varies", 2),
    ]  # fmt: skip


def test_what_tracing_may_have_cost_leaves_it_undecided() -> None:
    wide = tracing_cost("bounded", own=(0, 0, 10), inside=(0, 0, 700), call=(0, 0, 710))
    unmaps = made(leaf=800, cmo=790, rest=800)
    found = judged(unmaps, wide)
    assert statuses(found)["tlbi_count"] == ("undecided", "tracing")
    assert found.total.value is None
    assert found.parts["all_flushes"].share.value is None


def test_where_nothing_is_known_of_the_cost_all_of_it_may_be_tracing() -> None:
    unknown = {"source_id": 0, "evidence": "fgraph", "method": "unknown"}
    found = judged(made(leaf=800), unknown)
    assert statuses(found)["tlbi_count"] == ("undecided", "tracing")
    assert (found.total.low, found.total.high) == (0, found.raw_ns)
    assert found.parts["cmo"].share.high == 1


@pytest.mark.parametrize(
    ("facts", "columns", "time"),
    [({"origin": "emulated"}, {}, "emulated"), ({"origin": "synthetic"}, {}, "synthetic"),
     ({"origin": "unknown"}, {}, "unknown"), ({}, {"evidence": "insn"}, "instructions")],
)  # fmt: skip
def test_times_that_are_not_known_to_be_of_hardware_are_no_evidence(
    facts: dict[str, Any], columns: dict[str, str], time: str
) -> None:
    price = {**tracing_cost(), "evidence": columns.get("evidence", "fgraph")}
    found = judged([{**one, **columns} for one in made(leaf=800)], price, **facts)
    assert found.time == time
    tlbi, cmo, dsb = found.hypotheses
    assert (tlbi.status, tlbi.in_recorded_time) == ("no_evidence", "supported")
    assert (cmo.status, cmo.in_recorded_time) == ("no_evidence", "contradicted")
    assert dsb.status == "not_separable"


def test_executed_instructions_are_counted_apart() -> None:
    counted = {"tlbi_insns": 2, "dsb_insns": 3, "cmo_lines": 64, "evidence": "insn"}
    price = {"source_id": 0, "evidence": "insn", "method": "none"}
    found = judged([{**one, **counted} for one in made(leaf=400, cmo=400)], price)
    assert found.counts["tlbi_insns"] == 12
    assert found.counts["dsb_insns"] == 18
    assert statuses(found)["dsb_wait"] == ("not_separable", "counts-only")


def test_what_is_left_without_a_component_is_the_whole_less_its_calls() -> None:
    found = judged(made(leaf=300, cmo=600, rest=100))
    leaves, cmo = found.free["leaf_flushes"], found.free["cmo"]
    assert leaves.left_ns.value == pytest.approx(6 * 700)
    assert leaves.factor.value == pytest.approx(1 / 0.7)
    assert cmo.left_ns.value == pytest.approx(6 * 400)
    assert cmo.factor.value == pytest.approx(2.5)


def test_pages_and_blocks_and_strategies_are_judged_apart() -> None:
    blocks = made(cmo=90_000, leaves_l2=1, leaves_l3=0)
    ranges = made(strategy="deferred_range")
    rows = [*made(), *blocks, *ranges, *made(status="contaminated"), unmap(500, 0)]
    found = verdicts(analysis(rows))
    assert [(of.strategy, of.leaf_level, of.unmaps) for of in found] == [
        ("per_pte", "l2", 6), ("per_pte", "l3", 6), ("deferred_range", "l3", 6),
    ]  # fmt: skip


numbers = st.integers(0, 500)


@given(
    st.lists(st.tuples(numbers, numbers, numbers), min_size=5, max_size=8),
    st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40)),
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=30, deadline=None)
def test_what_is_said_over_all_costs_is_said_at_each_of_them(
    parts: list[tuple[int, int, int]], widths: tuple[int, int, int], at: tuple[float, ...]
) -> None:
    """A cost within the bounds that leaves all components, known exactly, changes no status."""
    unmaps = [one for leaf, cmo, rest in parts for one in made(1, leaf + 60, cmo + 60, rest + 200)]
    ends: dict[str, tuple[float, float, float]] = {
        name: (10.0, 10.0, 10.0 + width)
        for name, width in zip(("own", "inside", "call"), widths, strict=True)
    }
    ends["call"] = (ends["inside"][2], ends["inside"][2], ends["inside"][2] + widths[2])
    over_all = judged(unmaps, tracing_cost("bounded", **ends))
    exact = {
        name: (low + part * (high - low),) * 3
        for part, (name, (low, _, high)) in zip(at, ends.items(), strict=True)
    }
    here = judged(unmaps, tracing_cost(**exact))  # type: ignore[arg-type]
    for name, part in over_all.parts.items():
        value = here.parts[name].share.value
        assert value is not None
        assert part.share.low - 1e-6 <= value <= part.share.high + 1e-6
        assert part.ns.low - 1e-3 <= here.parts[name].ns.low
        assert here.parts[name].ns.high <= part.ns.high + 1e-3
    for said, now in zip(over_all.hypotheses, here.hypotheses, strict=True):
        if said.status in {"supported", "contradicted"}:
            assert now.status == said.status
        if said.status == "minor":
            assert now.status in {"minor", "contradicted"}


@given(
    st.lists(st.floats(0, 100), min_size=3, max_size=3),
    st.lists(st.floats(0, 100), min_size=3, max_size=3),
)
@settings(deadline=None)
def test_the_inside_of_a_call_is_never_more_than_the_call(
    low: list[float], more: list[float]
) -> None:
    row: dict[str, Any] = {"method": "bounded"}
    for name, least, width in zip(("own", "inside", "call"), low, more, strict=True):
        row |= {f"{name}_ns": None, f"{name}_low_ns": least, f"{name}_high_ns": least + width}
    for _, inside, call in cost(row).corners:
        assert inside <= call + 1e-5


def test_a_cost_that_leaves_less_than_nothing_is_not_possible() -> None:
    row = tracing_cost("bounded", own=(0, 0, 0), inside=(0, 0, 50), call=(50, 50, 50))
    one = Times(np.array([100.0]), np.array([[0.0, 4.0, 0.0]]))
    held = cost(row).leaving([one])
    assert held.corners[:, 1].max() == pytest.approx(25)
    span = Remainders([held], np.zeros(1, dtype=np.int64)).total(one)
    assert (span.low, span.high) == (0, 100)


def test_an_estimate_that_leaves_less_than_nothing_is_none() -> None:
    """Of the cache maintenance 15 ns were measured, and 20 ns are taken to be tracing."""
    found = judged(
        made(leaf=800, cmo=5, rest=100), tracing_cost(inside=(10, 20, 20), call=(30, 30, 30))
    )
    cmo = found.parts["cmo"]
    assert found.below_zero == ("cmo",)
    assert cmo.ns.value is cmo.share.value is found.total.value is None
    assert cmo.ns.low == 0 < cmo.ns.high
    assert found.free["leaf_flushes"].factor.value is None


def test_where_no_cost_of_a_calibration_fits_tracing_cost_anything_down_to_nothing() -> None:
    found = judged(made(leaf=800, cmo=5, rest=100), tracing_cost(inside=(20, 20, 20)))
    assert found.below_zero == ("cmo",)
    assert (found.parts["cmo"].ns.low, found.parts["cmo"].ns.high) == (0, 6 * 15)
    assert found.total.value is None


def test_an_estimate_that_leaves_nothing_of_a_part_is_one() -> None:
    found = judged(made(leaf=800, cmo=0, rest=100))
    assert found.below_zero == ()
    assert found.parts["cmo"].share.value == 0


@pytest.mark.parametrize("leaves", [None, 1])
@pytest.mark.parametrize("strategy", ["per_pte", "deferred_range"])
@pytest.mark.parametrize("fwb", [None, False, True])
def test_where_no_cache_maintenance_was_done_none_is_measured(
    leaves: int | None, strategy: str, *, fwb: bool | None
) -> None:
    rows = [{**one, "leaves": leaves, "strategy": strategy} for one in without_maintenance()]
    found = judged(rows, fwb=fwb)
    deferring = strategy == "deferred_range" and fwb is None
    reason = "no-maintenance" if leaves else "none-seen"
    assert statuses(found)["cmo"] == ("not_measured", "fwb" if fwb or deferring else reason)
    assert statuses(found)["tlbi_count"] == ("supported", "most")
    assert found.ratio is None
    assert "cmo" not in found.free


def test_maintenance_that_was_not_done_holds_no_dsb() -> None:
    rows = [
        {**row, "leaves": None, "invalidate_leaf_ns": None, "rest_ns": 930, "invalidate_leaf": None}
        for row in without_maintenance()
    ]
    said = statuses(judged(rows, fwb=None))
    assert said["cmo"] == ("not_measured", "none-seen")
    assert said["dsb_wait"] == ("not_measured", "not-separated")


def test_what_rounding_leaves_is_nothing() -> None:
    one = Times(np.array([3e5]), np.array([[3.0, 0.0, 0.0]]))
    held = cost(tracing_cost("bounded", own=(0, 0, 99_999.9999)))
    assert Remainders([held], np.zeros(1, dtype=np.int64)).total(one).low == 0


def test_of_emulated_times_a_dsb_is_never_separable_whatever_they_would_say() -> None:
    found = judged(made(leaf=100, cmo=100, rest=800), origin="emulated").hypotheses[-1]
    assert (found.status, found.reason) == ("not_separable", "timings")
    assert found.in_recorded_time == "minor"


captures = [
    pytest.mark.captures,
    pytest.mark.skipif(not TRACES.exists(), reason=f"the captures are not there: {TRACES}"),
]


def share_of(found: tuple[Verdict, ...], name: str) -> float:
    """The share over all of *found*, of which the cost is known."""
    parts = [of.parts[name].ns.value or 0 for of in found]
    return sum(parts) / sum(of.total.value or 0 for of in found)


class TestCaptures:
    pytestmark = captures

    @pytest.mark.parametrize("kernel", ["6.1-max", "6.12-max", "6.12-neoverse-n1"])
    def test_shares_without_tracing_contain_those_of_an_execution_that_was_not_traced(
        self, kernel: str
    ) -> None:
        truth = verdicts(observed(kernel, "insn"))  # slow to read: once for both
        traced = [observed(kernel, name) for name in ("split", "deep")]
        plain = observed(kernel, "top")
        for one in (*traced, *(priced(of, plain) for of in traced)):
            (said,) = verdicts(one)
            for part in ("all_flushes", "leaf_flushes", "cmo", "table_put", "rest"):
                share = said.parts[part].share
                # Calls do not all cost alike: a percentage point (docs/observer.md).
                assert share.low - 0.01 <= share_of(truth, part) <= share.high + 0.01

    def test_no_capture_of_an_emulator_bears_a_status_of_times(self) -> None:
        for kernel in ("6.1-max", "6.12-neoverse-n1"):
            for of in verdicts(observed(kernel, "insn")):
                assert of.time == "instructions"
                assert {one.status for one in of.hypotheses} <= {
                    "no_evidence", "not_separable", "not_measured",
                }  # fmt: skip

    def test_instructions_show_what_pages_and_blocks_take(self) -> None:
        pages, blocks = sorted(
            verdicts(observed("6.12-neoverse-n1", "insn")), key=lambda of: -of.unmaps
        )
        assert pages.counts["cmo_lines"] == 64 * (pages.leaves or 0)
        assert blocks.counts["cmo_lines"] == 32_768 * (blocks.leaves or 0)
        assert pages.counts["tlbi_insns"] == 3 * pages.counts["flushes"]
