"""Two sides compared: what is matched, what the ratio is, and what it must not claim."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from tests.writers.sides import SIZES, noisy, relabeled, side
from traceview.errors import QueryError
from traceview.host import read_settings
from traceview.parsers import open_trace
from traceview.queries import analyze
from traceview.queries.comparison import compare, compare_strategies
from traceview.queries.decomposition import Decomposition
from traceview.queries.filters import Filters, apply
from traceview.queries.matched_unmaps import match
from traceview.queries.observer import priced
from traceview.queries.same_side import same_side

if TYPE_CHECKING:
    from traceview.queries import Analysis
    from traceview.queries.comparison import Comparison

TRACES = Path(__file__).parent.parent.parent / "shared" / "traces"
captures = [
    pytest.mark.captures,
    pytest.mark.skipif(not TRACES.exists(), reason=f"the captures are not there: {TRACES}"),
]
# The v5 posting's 4K table, per leaf (DOMAIN.md section 4, derived).
PER_PTE_NS, DEFERRED_NS = 1927, 436
INTERLEAVED = ([0, 3, 4, 7, 8, 11], [1, 2, 5, 6, 9, 10])


def deferring(per_leaf_ns: float = DEFERRED_NS, **options: Any) -> Analysis:
    return side(per_leaf_ns, label="b", strategy="deferred_range", **options)


def interleaved(**options: Any) -> Comparison:
    base = side(PER_PTE_NS, orders=INTERLEAVED[0], factors=noisy(6, 1), **options)
    return compare(base, deferring(orders=INTERLEAVED[1], factors=noisy(6, 2), **options))


def test_the_ratio_is_that_of_the_true_times_though_tracing_hides_it() -> None:
    """A true 4.42x that reads 3.43x where each of two and of one calls per leaf costs 300 ns."""
    detailed = compare(side(PER_PTE_NS), deferring())
    assert detailed.headline is not None
    assert detailed.headline.variant == "corrected"
    assert detailed.headline.interval.value == pytest.approx(PER_PTE_NS / DEFERRED_NS, rel=2e-3)
    # The same captures without those of the unmap alone: nothing tells what tracing cost.
    blind = compare(side(PER_PTE_NS, alone=False), deferring(alone=False))
    assert blind.headline is not None
    assert blind.headline.variant == "raw"
    assert blind.headline.interval.value == pytest.approx(3.43, abs=0.01)


def test_an_interval_over_runs_covers_the_truth_and_says_what_it_stands_on() -> None:
    found = interleaved()
    assert found.plan.kind == "interleaved"
    assert found.plan.allows_inference
    assert found.headline is not None
    ratio = found.headline.interval
    assert ratio.low is not None
    assert ratio.high is not None
    assert ratio.low < PER_PTE_NS / DEFERRED_NS < ratio.high
    assert (ratio.base_runs, ratio.with_runs) == (6, 6)
    assert found.headline.direction(found.plan) == "with"
    assert found.headline.robustness(found.plan) == "robust"
    assert [size.cell["leaves"] for size in found.sizes] == list(SIZES)
    assert all(size.ratio is not None and size.ratio.adjusted_p for size in found.sizes)


@pytest.mark.parametrize(
    ("orders", "kind", "standing"),
    [
        (([0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]), "sequential", "confounded"),
        (([None] * 6, [None] * 6), "unknown", "confounded"),
        ((range(6), range(6)), "paired_concurrent", "inference"),
        (INTERLEAVED, "interleaved", "inference"),
    ],
)
def test_the_order_of_the_runs_permits_inference_or_refuses_it(
    orders: Any, kind: str, standing: str
) -> None:
    base = side(2000, orders=list(orders[0]), factors=noisy(6, 3))
    found = compare(base, deferring(1900, orders=list(orders[1]), factors=noisy(6, 4)))
    assert (found.plan.kind, found.plan.standing) == (kind, standing)


def test_pairs_are_runs_of_one_order_wherever_they_stand_on_the_command_line() -> None:
    factors = noisy(6, 5, spread=0.5)
    base = side(1000, orders=range(6), factors=factors)
    with_ = deferring(500, orders=[5, 4, 3, 2, 1, 0], factors=factors[::-1])
    found = compare(base, with_)
    assert found.headline is not None
    assert found.headline.interval.low == pytest.approx(2, rel=5e-3)
    assert found.headline.interval.high == pytest.approx(2, rel=5e-3)
    assert found.with_runs == tuple(f"b{n}" for n in (5, 4, 3, 2, 1, 0))


def test_a_size_that_few_runs_have_is_no_matter_of_inference() -> None:
    """The runs alternate, but those with the largest size are all of one side, then the other's."""
    base, with_ = interleaved(alone=False).base, interleaved(alone=False).with_
    largest = pl.col("leaves") == SIZES[-1]
    found = compare(
        replace(base, unmaps=base.unmaps.filter(~largest | (pl.col("source_id") < 3))),
        replace(with_, unmaps=with_.unmaps.filter(~largest | (pl.col("source_id") > 2))),
    )
    assert found.plan.allows_inference
    *others, size = found.sizes
    assert size.ratio is not None
    assert size.ratio.interval.value == pytest.approx(3.4, abs=0.2)
    assert (size.ratio.interval.low, size.ratio.adjusted_p) == (None, None)
    assert "not in enough of the runs" in size.ratio.interval.method
    assert all(one.ratio and one.ratio.interval.low for one in others)


def test_durations_of_nothing_have_no_ratio_and_no_spread() -> None:
    base = side(2000, alone=False)
    nothing = pl.when(pl.col("leaves") == SIZES[0]).then(0).otherwise("duration_ns")
    base = replace(base, unmaps=base.unmaps.with_columns(nothing.alias("duration_ns")))
    size, *others = compare(base, deferring(alone=False)).sizes
    assert (size.ratio, size.base_within) == (None, None)
    assert all(one.ratio and one.base_within is not None for one in others)


def test_a_time_of_which_nothing_is_left_agrees_with_no_other() -> None:
    base = side(2000)
    alone = (pl.col("traced_calls") == 0) & pl.col("step").str.starts_with(f"w{SIZES[0]}.")
    only_tracing = pl.when(alone).then("probe_ns").otherwise("duration_ns")
    base = replace(base, unmaps=base.unmaps.with_columns(only_tracing.alias("duration_ns")))
    agreement, _ = compare(base, deferring()).agreement
    assert agreement is not None
    assert agreement.worst < 0.01


def test_few_runs_only_describe_and_one_run_has_no_interval() -> None:
    three = compare(
        side(2000, runs=3, orders=[0, 3, 4], factors=noisy(3, 1)),
        deferring(runs=3, orders=[1, 2, 5], factors=noisy(3, 2)),
    )
    assert three.plan.standing == "descriptive"
    assert not three.plan.allows_inference
    one = compare(side(2000, runs=1), deferring(runs=1))
    assert one.plan.standing == "effect_only"
    assert one.headline is not None
    assert (one.headline.interval.low, one.headline.interval.high) == (None, None)
    assert one.headline.direction(one.plan) == "with"


def test_a_gain_that_tracing_can_make_is_not_robust() -> None:
    """Both sides take as long; one makes twice the traced calls, and nothing says their cost."""
    options: dict[str, Any] = {"alone": False, "cost_ns": 300}
    base = side(1000, orders=INTERLEAVED[0], factors=noisy(6, 1, 0.001), **options)
    found = compare(base, deferring(1000, orders=INTERLEAVED[1], factors=noisy(6, 2, 0.001),
                                    **options))  # fmt: skip
    assert found.headline is not None
    assert found.headline.direction(found.plan) == "with"
    # The puts of both sides show no bound on what a call adds to what contains it.
    assert found.headline.robustness(found.plan) == "unknown"
    bounded = [with_bound(of, 400.0) for of in (found.base, found.with_)]
    again = compare(bounded[0], bounded[1])
    assert again.headline is not None
    assert again.headline.robustness(again.plan) == "not_robust"


def with_bound(of: Analysis, call_high_ns: float) -> Analysis:
    """*of* with a bound on what a traced call adds."""
    costs = of.tracing_costs.with_columns(pl.lit(call_high_ns).alias("call_high_ns"))
    high = 200 + pl.col("traced_calls") * call_high_ns
    unmaps = of.unmaps.with_columns(
        pl.min_horizontal(high.cast(pl.Int64), pl.col("duration_ns") - 1).alias("probe_high_ns")
    )
    return replace(of, tracing_costs=costs, unmaps=unmaps)


class TestMatching:
    def test_like_is_matched_with_like_where_kind_and_trigger_are_known(self) -> None:
        found = compare(side(2000, alone=False), deferring(alone=False))
        assert found.matched.mode == "kind"
        assert found.sizes[0].cell == {
            "level": "l3", "trigger": "notifier", "stem": None, "leaves": 16, "length_bytes": 4096
        }  # fmt: skip

    def test_as_many_leaves_in_another_range_are_other_work(self) -> None:
        """Half of the entries of a range twice as long: the walk visits the holes too."""
        sides = []
        for of in (side(2000, alone=False), deferring(alone=False)):
            half = pl.when(pl.col("step") == "w64.0").then(8192).otherwise(4096)
            length = half.cast(of.unmaps.schema["length_bytes"]).alias("length_bytes")
            sides.append(replace(of, unmaps=of.unmaps.with_columns(length)))
        found = compare(sides[0], sides[1])
        of_64 = [size for size in found.sizes if size.cell["leaves"] == 64]
        assert [(size.cell["length_bytes"], size.base_unmaps) for size in of_64] == [
            (4096, 12), (8192, 6)
        ]  # fmt: skip

    def test_one_unmap_of_unknown_kind_is_left_out_and_does_not_turn_the_rest(self) -> None:
        base = side(2000, alone=False)
        unknown = pl.lit("unknown").cast(base.unmaps.schema["trigger"])
        first = pl.when(pl.col("step") == "w16.0").then(unknown).otherwise("trigger")
        found = match(
            replace(base, unmaps=base.unmaps.with_columns(first.alias("trigger"))),
            deferring(alone=False),
        )
        assert found.mode == "kind"
        (left,) = found.left_out
        assert (left.side, left.unmaps) == ("base", 6)

    def test_without_steps_the_order_of_several_tasks_says_nothing(self) -> None:
        bare = [replace(of, unmaps=of.unmaps.with_columns(
            pl.lit(None, dtype=pl.String).alias("step"),
            pl.lit("unknown").cast(of.unmaps.schema["trigger"]).alias("trigger"),
        )) for of in (side(2000, alone=False), deferring(alone=False))]  # fmt: skip
        assert match(bare[0], bare[1]).mode == "step"
        tasks = (pl.int_range(pl.len()) % 2).cast(pl.Int32).alias("tid")
        base, with_ = (replace(of, unmaps=of.unmaps.with_columns(tasks)) for of in bare)
        with pytest.raises(QueryError, match="several tasks unmap"):
            match(base, with_)

    def test_what_the_other_side_does_not_have_is_left_out_and_counted(self) -> None:
        found = compare(side(2000, alone=False), deferring(alone=False, sizes=(16, 64, 256)))
        (left,) = found.matched.left_out
        assert (left.side, left.unmaps) == ("base", 6 * 3)
        assert "on the other side" in left.reason

    def test_without_kinds_steps_match_and_repetitions_are_one_size(self) -> None:
        unknown = {"trigger": "unknown"}
        found = compare(
            side(2000, alone=False, unmap_columns=unknown),
            deferring(alone=False, unmap_columns=unknown),
        )
        assert found.matched.mode == "step"
        assert [size.cell["stem"] for size in found.sizes] == [f"w{n}" for n in sorted(SIZES)]
        assert {size.base_unmaps for size in found.sizes} == {6 * 3}

    def test_what_a_filter_leaves_keeps_its_place_in_the_step(self) -> None:
        """On CPU 1 one side did the unmaps of 16 pages, the other those of 64."""
        unknown = {"trigger": "unknown", "step": "s1", "leaves": None}
        wholes = []
        for at, of in enumerate((side(2000, alone=False), deferring(alone=False))):
            rows = of.unmaps.with_columns(
                *(pl.lit(value).cast(of.unmaps.schema[name]).alias(name)
                  for name, value in unknown.items()),
                (pl.col("leaves") == SIZES[at]).cast(pl.Int32).alias("cpu"),
            )  # fmt: skip
            wholes.append(replace(of, unmaps=rows))
        kept = [apply(Filters(cpus=(1,)), whole) for whole in wholes]
        assert len(kept[0].unmaps) == len(kept[1].unmaps) == 6 * 3
        with pytest.raises(QueryError, match="same work"):
            match(kept[0], kept[1], (wholes[0], wholes[1]))

    def test_a_step_with_another_number_of_unmaps_matches_nothing(self) -> None:
        unknown = {"trigger": "unknown"}
        base = side(2000, alone=False, unmap_columns=unknown)
        more = base.unmaps.filter(pl.col("step") == "w16.0")
        base = replace(base, unmaps=pl.concat([base.unmaps, more]).sort("source_id"))
        found = match(base, deferring(alone=False, unmap_columns=unknown))
        assert {(one.side, one.unmaps) for one in found.left_out} == {("base", 12), ("with", 6)}

    def test_unmaps_of_another_number_of_leaves_are_no_twins(self) -> None:
        unknown = {"trigger": "unknown"}
        with_ = deferring(alone=False, unmap_columns=unknown)
        wrong = pl.when(pl.col("step") == "w16.0").then(17).otherwise("leaves").alias("leaves")
        with_ = replace(with_, unmaps=with_.unmaps.with_columns(wrong))
        found = match(side(2000, alone=False, unmap_columns=unknown), with_)
        (reason,) = {one.reason for one in found.left_out}
        assert reason == "its twin has another number of leaves, another level or trigger"
        assert not found.base["step"].is_in(["w16.0"]).any()

    def test_unmaps_of_another_level_are_no_twins(self) -> None:
        """A leaf of 2M is not one of 4K, though both are one leaf."""
        base, with_ = (
            of(2000, alone=False, unmap_columns={"trigger": "unknown"}) for of in (side, deferring)
        )
        blocks = base.unmaps.with_columns(
            pl.lit(0, dtype=pl.Int64).alias("leaves_l3"), pl.col("leaves").alias("leaves_l2")
        )
        with pytest.raises(QueryError, match="another level"):
            match(replace(base, unmaps=blocks), with_)

    def test_unmaps_of_another_trigger_are_no_twins(self) -> None:
        base = side(2000, alone=False)
        unknown = pl.lit("unknown").cast(base.unmaps.schema["trigger"])
        first = pl.when(pl.col("step").str.ends_with(".0")).then(unknown).otherwise("trigger")
        base = replace(base, unmaps=base.unmaps.with_columns(first.alias("trigger")))
        found = match(base, deferring(alone=False, unmap_columns={"trigger": "memslot"}))
        assert found.mode == "step"
        assert found.base["step"].str.ends_with(".0").all()
        assert sum(one.unmaps for one in found.left_out) == 2 * 6 * 2 * len(SIZES)

    def test_a_run_is_of_its_detailed_capture_where_others_have_none_of_the_unmap_alone(
        self,
    ) -> None:
        found = match(side(2000), deferring(alone=False))
        assert not found.alone
        assert found.mode == "kind"
        assert found.base["traced_calls"].min() == 32
        (left,) = found.left_out
        assert (left.side, left.unmaps) == ("base", 6 * 3 * len(SIZES))

    def test_a_capture_that_lost_everything_is_not_taken_for_one_of_the_unmap_alone(self) -> None:
        base = side(2000, alone=False, runs=2)
        shift = (pl.col("source_id") + 2).cast(pl.Int32)
        lost = pl.lit("contaminated").cast(base.unmaps.schema["status"]).alias("status")
        both = replace(
            base,
            sources=pl.concat([base.sources, base.sources.with_columns(shift)]),
            unmaps=pl.concat([base.unmaps, base.unmaps.with_columns(shift, lost)]),
        )
        found = match(both, deferring(alone=False, runs=2))
        assert len(found.base) == len(base.unmaps)
        (left,) = found.left_out
        assert left.reason == "contaminated by lost events or a cut-off call"

    def test_a_run_without_a_detailed_capture_has_no_leaves(self) -> None:
        base = side(2000)
        kept = pl.col("source_id") != 1
        base = replace(base, unmaps=base.unmaps.filter(kept), sources=base.sources.filter(kept))
        (left,) = match(base, deferring()).left_out
        assert left.reason == "leaves unknown: its run has no detailed capture"

    def test_a_capture_of_the_unmap_alone_takes_its_leaves_from_the_detailed_one(self) -> None:
        found = match(side(2000), deferring())
        assert found.alone
        assert found.base["traced_calls"].to_list() == [0] * len(found.base)
        assert found.base["leaves"].null_count() == 0
        assert found.base_detailed["traced_calls"].min() == 32

    def test_leaves_are_not_taken_where_the_counts_differ(self) -> None:
        base = side(2000)
        first = pl.col("source_id").cast(pl.Int64) % 2 == 0
        dropped = base.unmaps.filter(~(first & (pl.col("step") == "w16.1")))
        doubled = base.unmaps.filter(~first & (pl.col("step") == "w64.0"))
        unmaps = pl.concat([dropped, doubled]).sort("source_id", maintain_order=True)
        found = match(replace(base, unmaps=unmaps), deferring())
        refused = [one for one in found.left_out if "detailed capture of its run" in one.reason]
        assert [(one.side, one.unmaps) for one in refused] == [("base", 6)]
        assert "w64.0" not in found.base["step"].to_list()

    @pytest.mark.parametrize("status", ["censored", "contaminated"])
    def test_unmaps_that_are_not_whole_enter_nothing(self, status: str) -> None:
        base = side(2000, alone=False)
        state = pl.when(pl.col("step") == "w16.0").then(pl.lit(status)).otherwise(
            pl.col("status").cast(pl.String)
        ).cast(base.unmaps.schema["status"])  # fmt: skip
        found = match(
            replace(base, unmaps=base.unmaps.with_columns(state.alias("status"))),
            deferring(alone=False),
        )
        (left,) = (one for one in found.left_out if status in one.reason)
        assert (left.side, left.unmaps) == ("base", 6)

    def test_sides_that_share_nothing_are_refused_with_what_would_do(self) -> None:
        with pytest.raises(QueryError, match="must be the same"):
            compare(side(2000, alone=False), deferring(alone=False, sizes=(2, 4, 8)))

    def test_a_side_without_a_whole_unmap_is_refused(self) -> None:
        base = side(2000)
        with pytest.raises(QueryError, match="no unmap of --with is complete"):
            compare(base, replace(deferring(), unmaps=base.unmaps.clear()))


class TestDecomposition:
    def test_the_parts_sum_to_the_whole(self) -> None:
        found = interleaved().decomposition
        assert isinstance(found, Decomposition)
        assert found.corrected
        for of in ("base_ns", "with_ns"):
            parts = sum(getattr(part, of) for part in found.parts)
            assert parts == pytest.approx(getattr(found.total, of), rel=1e-9)
        values = sum(part.difference.value for part in found.parts)
        assert values == pytest.approx(found.total.difference.value, rel=1e-9)

    def test_fewer_traced_calls_are_a_part_of_their_own(self) -> None:
        found = compare(side(1000), deferring(1000)).decomposition
        assert isinstance(found, Decomposition)
        parts = {part.name: part.difference.value for part in found.parts}
        assert parts["tracing"] == pytest.approx(300, rel=0.02)
        assert found.total.difference.value == pytest.approx(300, rel=0.02)
        # A third of the time is leaf invalidations on one side, a range invalidation on the other.
        assert parts["invalidate_leaf"] == pytest.approx(1000 / 3, rel=0.02)
        assert parts["invalidate_range"] == pytest.approx(-1000 / 3, rel=0.02)

    def test_what_is_separated_on_one_side_only_is_in_the_rest_of_both(self) -> None:
        found = compare(side(1000), deferring(1000, unmap_columns={"table_put_ns": None}))
        assert isinstance(found.decomposition, Decomposition)
        assert found.decomposition.merged == ("table_put",)
        assert "table_put" not in {part.name for part in found.decomposition.parts}

    def test_without_a_cost_of_tracing_no_part_has_bounds(self) -> None:
        base, with_ = (
            priced(replace(of, own_times=of.own_times.clear()))
            for of in (side(2000, alone=False), deferring(alone=False))
        )
        found = compare(base, with_).decomposition
        assert isinstance(found, Decomposition)
        timed = [part for part in found.parts if part.base_ns or part.with_ns]
        assert len(timed) == 4
        assert all(part.low_tracing is part.high_tracing is None for part in timed)

    def test_what_tracing_leaves_of_the_rest_is_never_below_nothing(self) -> None:
        """Of a bounded cost: the rest is between nothing and what was recorded."""
        base, with_ = (with_bound(of, 400.0) for of in (side(900, alone=False), deferring(
            alone=False)))  # fmt: skip
        found = compare(base, with_).decomposition
        assert isinstance(found, Decomposition)
        (rest,) = (part for part in found.parts if part.name == "rest")
        assert (rest.low_tracing, rest.high_tracing) != (None, None)
        assert -rest.with_ns <= (rest.low_tracing or 0) <= rest.difference.value
        assert rest.difference.value <= (rest.high_tracing or 0) <= rest.base_ns

    def test_cache_maintenance_that_was_not_traced_is_not_taken_for_none(self) -> None:
        untraced = {"cmo": None, "cmo_ns": None}
        found = compare(side(1000, unmap_columns={"cmo": 5}),
                        deferring(500, unmap_columns=untraced)).decomposition  # fmt: skip
        assert isinstance(found, Decomposition)
        assert found.merged == ("cmo",)

    @pytest.mark.parametrize(
        ("columns", "facts"),
        [({"cmo": 5}, {}), ({"cmo": 5}, {"fwb": True}), ({"cmo": 5}, {"midr": "x"})],
    )
    def test_cache_maintenance_is_never_subtracted_across_machines(
        self, columns: dict[str, int], facts: dict[str, Any]
    ) -> None:
        found = compare(side(1000, unmap_columns=columns, midr="y"),
                        relabeled(deferring(500, midr="y"), **facts))  # fmt: skip
        assert isinstance(found.decomposition, str)
        assert "cache maintenance" in found.decomposition


def test_strategies_inside_one_set_are_two_sides() -> None:
    both = joined(side(2000, alone=False, label="x"), deferring(500, alone=False))
    found = compare_strategies(both)
    assert found.headline is not None
    assert found.base.unmaps["strategy"].unique().to_list() == ["per_pte"]
    with pytest.raises(QueryError, match="no unmap of strategy deferred_range"):
        compare_strategies(side(2000, alone=False))


def test_one_strategy_before_the_other_inside_every_run_is_confounded() -> None:
    one = side(2000, alone=False, label="x", factors=noisy(6, 7))
    other = relabeled(deferring(500, alone=False, runs=6), label="x")
    in_turn = pl.concat([one.unmaps, other.unmaps]).sort("source_id", maintain_order=True)
    mixed = pl.concat([one.unmaps, other.unmaps]).with_columns(
        pl.int_range(pl.len()).over("source_id", "strategy").alias("at")
    ).sort("source_id", "at", maintain_order=True).drop("at")  # fmt: skip
    for unmaps, standing in ((in_turn, "confounded"), (mixed, "inference")):
        numbered = unmaps.with_columns(pl.int_range(pl.len()).cast(pl.Int64).alias("unmap_id"))
        assert compare_strategies(replace(one, unmaps=numbered)).plan.standing == standing


def joined(one: Analysis, other: Analysis) -> Analysis:
    shift = len(one.sources)
    tables = {}
    for name in ("sources", "unmaps", "own_times", "traced_calls", "tracing_costs"):
        more = getattr(other, name).with_columns((pl.col("source_id") + shift).cast(pl.Int32))
        tables[name] = pl.concat([getattr(one, name), more])
    return replace(one, **tables)


def test_runs_of_one_side_show_their_noise() -> None:
    found = same_side(side(2000, factors=noisy(6, 7)))
    assert len(found.sizes) == len(SIZES)
    size = found.sizes[0]
    assert size.noise is not None
    assert size.detectable is not None
    assert 1 < size.noise.ratio < 1.2
    assert 1 < size.detectable < 1.2
    assert same_side(side(2000, runs=2)).sizes[0].noise is None


@cache
def boots(kernel: str, runs: int = 6) -> Analysis:
    traces = []
    plan = json.loads((TRACES / "runs" / "order.json").read_text(encoding="utf-8"))["plan"]
    for entry in [one for one in plan if one["kernel"] == kernel][:runs]:
        for name in ("top.txt", "split.txt.zst"):
            path = TRACES / "runs" / kernel / entry["run"] / name
            facts = {
                "run": entry["run"], "label": kernel, "order": entry["pair"], "origin": "emulated"
            }  # fmt: skip
            settings = read_settings(str(path), stated=facts)
            traces.append(open_trace(str(path), settings=settings))
    return analyze(traces)


@pytest.mark.captures
@pytest.mark.skipif(not TRACES.exists(), reason=f"the captures are not there: {TRACES}")
class TestBoots:
    """6.1 against 6.12 on one machine, six boots each, pair after pair at the same time."""

    def test_the_counts_prove_the_mechanism(self) -> None:
        found = compare(boots("6.1-max"), boots("6.12-max"))
        by_leaves = {size.cell["leaves"]: size for size in found.sizes}
        assert sorted(by_leaves) == [8, 16, 128, 512, 2048]
        for leaves, size in by_leaves.items():
            base, with_ = size.base_counts, size.with_counts
            assert (base["invalidate_leaf"], base["invalidate_range"]) == (leaves, 0)
            assert (with_["invalidate_leaf"], with_["invalidate_range"]) == (0, 1)
            assert base["invalidate_table"] == with_["invalidate_table"]
            assert base["table_put"] == with_["table_put"]

    def test_the_boots_are_pairs_and_their_times_emulated(self) -> None:
        found = compare(boots("6.1-max"), boots("6.12-max"))
        assert (found.plan.kind, found.plan.standing) == ("paired_concurrent", "inference")
        assert found.base_runs == found.with_runs == tuple(f"run-{n:02}" for n in range(1, 7))
        assert found.matched.alone
        assert not found.matched.left_out
        assert found.facts["origin"] == (("emulated",), ("emulated",))
        assert found.headline is not None
        low = found.headline.interval.low
        assert low is not None
        assert low > 1

    def test_a_slope_that_does_not_fit_is_no_headline(self) -> None:
        found = compare(boots("6.1-max"), boots("6.12-max"))
        (line,) = found.lines
        assert not line.fits
        largest = max(found.sizes, key=lambda size: size.cell["leaves"])
        assert found.headline is largest.ratio


@cache
def observed(kernel: str) -> Analysis:
    traces = []
    for name in ("top.txt", "split.txt.zst"):
        path = TRACES / "observer" / kernel / name
        facts = {"run": kernel, "label": kernel, "origin": "emulated"}
        traces.append(open_trace(str(path), settings=read_settings(str(path), stated=facts)))
    return analyze(traces)


@pytest.mark.captures
@pytest.mark.skipif(not TRACES.exists(), reason=f"the captures are not there: {TRACES}")
class TestObserved:
    """Deterministic captures whose true times are known from executions without any tracer."""

    def test_ratios_are_those_of_the_executions(self) -> None:
        found = compare(observed("6.1-max"), observed("6.12-max"))
        truth = {kernel: executed(kernel) for kernel in ("6.1-max", "6.12-max")}
        for size in found.sizes:
            stem = size.cell["stem"]
            true_ratio = truth["6.1-max"][stem] / truth["6.12-max"][stem]
            assert size.ratio is not None
            assert size.ratio.variant == "corrected"
            assert size.ratio.interval.value == pytest.approx(true_ratio, rel=0.02)

    def test_the_detailed_captures_agree_with_those_of_the_unmap_alone(self) -> None:
        for agreement in compare(observed("6.1-max"), observed("6.12-max")).agreement:
            assert agreement is not None
            assert agreement.median < 0.03
            assert agreement.worst < 0.10

    def test_the_gain_is_the_removed_leaf_invalidations(self) -> None:
        found = compare(observed("6.1-max"), observed("6.12-max")).decomposition
        assert isinstance(found, Decomposition)
        parts = {part.name: part.difference.value for part in found.parts}
        # The true times differ by 104 ns per leaf, the recorded ones by over 1400.
        assert parts["tracing"] > 0.85 * found.total.difference.value
        corrected = found.total.difference.value - parts["tracing"]
        assert corrected == pytest.approx(104, rel=0.1)
        assert parts["invalidate_leaf"] > 0.8 * corrected

    def test_a_machine_with_cache_maintenance_is_not_subtracted(self) -> None:
        found = compare(observed("6.12-neoverse-n1"), observed("6.12-max"))
        assert isinstance(found.decomposition, str)


def executed(kernel: str) -> dict[str, float]:
    """The median execution per step, without any tracer."""
    found = analyze(open_trace(str(TRACES / "insn" / kernel / "insn.txt.zst")))
    steps = observed(kernel).unmaps.filter(pl.col("source_id") == 0)["step"]
    rows = found.unmaps.with_columns(steps.str.slice(0, 3).alias("stem"))
    return dict(rows.group_by("stem").agg(pl.col("duration_ns").median()).iter_rows())


def test_captures_of_unlike_detail_are_not_compared() -> None:
    alone = side(2000)
    plain = alone.sources.filter(pl.col("path").str.ends_with("False"))["source_id"]
    only = {
        name: getattr(alone, name).filter(pl.col("source_id").is_in(plain.to_list()))
        for name in ("sources", "unmaps")
    }
    with pytest.raises(QueryError, match="--base is of kvm_pgtable_stage2_unmap alone"):
        compare(replace(alone, **only), deferring(alone=False))


def test_of_several_largest_sizes_the_headline_is_the_nearest_to_1() -> None:
    found = compare(observed_like(base=(4000, 1500)), observed_like(base=(1000, 1000), label="b"))
    assert found.headline is not None
    ratios = [size.ratio.interval.value for size in found.sizes if size.ratio is not None]
    assert len(ratios) == 2
    assert found.headline.interval.value == min(ratios) < max(ratios)


def observed_like(*, base: tuple[int, int], label: str = "a") -> Analysis:
    """Unmaps of 64 leaves for a notifier and for a memslot, that take unlike times."""
    one = side(base[0], alone=False, sizes=(64,), label=label)
    other = side(base[1], alone=False, sizes=(64,), label=label,
                 unmap_columns={"trigger": "memslot"})  # fmt: skip
    unmaps = pl.concat([one.unmaps, other.unmaps.with_columns(pl.col("unmap_id") + 1000)])
    counts = pl.concat(
        [one.traced_calls, other.traced_calls.with_columns(pl.col("unmap_id") + 1000)]
    )
    return replace(one, unmaps=unmaps.sort("source_id"), traced_calls=counts)


def test_without_known_leaves_there_is_no_headline() -> None:
    unknown = {"leaves": None, "leaves_l3": None, "trigger": "unknown"}
    found = compare(side(2000, alone=False, unmap_columns=unknown),
                    deferring(alone=False, unmap_columns=unknown))  # fmt: skip
    assert found.headline is None
    assert all(size.ratio is not None for size in found.sizes)


def test_strategies_take_their_times_from_captures_of_the_unmap_alone() -> None:
    both = joined(side(2000, label="x"), deferring(500))
    found = compare_strategies(both)
    assert found.matched.alone
    assert found.headline is not None
    assert found.headline.interval.value == pytest.approx(4, rel=0.01)


def test_one_run_on_both_sides_is_no_comparison() -> None:
    with pytest.raises(QueryError, match="the same runs are on both sides"):
        compare(side(2000), side(2000))
