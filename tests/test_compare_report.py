"""What a comparison says: every sentence is true of the runs that it speaks of."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from tests.writers.sides import noisy, relabeled, side
from traceview.queries.claims import parse_claim
from traceview.queries.comparison import compare, compare_strategies
from traceview.queries.observer import _with_probe, priced
from traceview.queries.same_side import same_side
from traceview.report.compare import compare_report
from traceview.report.compare_json import compare_json, finite
from traceview.report.compared import Compared, compared
from traceview.report.compared_runs import compared_runs, runs_json, runs_report
from traceview.report.ratio_words import ratio_text

if TYPE_CHECKING:
    from traceview.queries import Analysis

IN_TURN = ([0, 3, 4, 7, 8, 11], [1, 2, 5, 6, 9, 10])
PER_PTE_NS, DEFERRED_NS = 1927, 436


def base_side(per_leaf_ns: float = PER_PTE_NS, **options: Any) -> Analysis:
    options.setdefault("factors", noisy(options.get("runs", 6), 1))
    return side(per_leaf_ns, **options)


def with_side(per_leaf_ns: float = DEFERRED_NS, **options: Any) -> Analysis:
    options.setdefault("factors", noisy(options.get("runs", 6), 2))
    return side(per_leaf_ns, label="b", **{"strategy": "deferred_range", **options})


def found(base: Analysis, with_: Analysis, *claims: str) -> Compared:
    said = [parse_claim(text) for text in claims]
    return compared(compare(base, with_), {"base": base, "with": with_}, claims=said)


def in_turn(*claims: str, **options: Any) -> Compared:
    return found(
        base_side(orders=IN_TURN[0], **options), with_side(orders=IN_TURN[1], **options), *claims
    )


def text_of(of: Compared, width: int = 100) -> str:
    """The report as one line, so that wrapping hides nothing; its document must exist too."""
    json.loads("".join(compare_json(of)))
    return " ".join(" ".join(line.plain.split()) for line in compare_report(of, width))


def document_of(of: Compared) -> dict[str, Any]:
    read: dict[str, Any] = json.loads("".join(compare_json(of)))
    return read


def bounded(of: Analysis, call_high_ns: float = 300.0) -> Analysis:
    """As if nothing had calibrated it: a call costs between nothing and *call_high_ns*."""
    unknown = pl.lit(None, dtype=pl.Float64)
    costs = of.tracing_costs.with_columns(
        pl.lit("bounded").cast(of.tracing_costs.schema["method"]).alias("method"),
        inside_ns=unknown, call_ns=unknown, inside_low_ns=pl.lit(0.0),
        inside_high_ns=pl.lit(200.0), call_low_ns=pl.lit(0.0), call_high_ns=pl.lit(call_high_ns),
    )  # fmt: skip
    return replace(of, tracing_costs=costs, unmaps=_with_probe(of, costs))


def test_runs_in_turn_permit_inference_and_the_effect_comes_first() -> None:
    said = text_of(in_turn())
    effect = said.index(
        "with (b) is faster: per further leaf, over 4 sizes, base (a) takes 4.46 times as"
    )
    assert effect < said.index("By size, 4K leaves, notifier") < said.index("What it stands on")
    assert "95% interval 4.25 .. 4.68; 6 runs a side; Welch's t, log scale" in said
    assert "intervals and p-values permit inference" in said
    assert "tracing does not change that: base / with stays 4.46 whatever it cost" in said
    assert "1,024 leaf invalidations per unmap become 1 range flush" in said
    assert "in these runs, with" not in said


def test_few_runs_describe_and_permit_no_inference() -> None:
    of = found(
        base_side(runs=3, orders=[0, 3, 4]), with_side(runs=3, orders=[1, 2, 5]), "at least 3x"
    )
    said = text_of(of)
    assert "in these runs, with (b) is faster" in said
    assert "interval of so few runs, descriptive only: 4.41 .. 4.63" in said
    assert "fewer than 5 runs a side: intervals describe these runs and permit no inference" in said
    assert "p (Holm)" not in said
    assert '"at least 3x": not judged, fewer than 5 runs a side permit no inference' in said
    assert document_of(of)["headline"]["p_value"] is None


def test_one_run_a_side_gives_effect_sizes_alone() -> None:
    of = found(side(PER_PTE_NS, runs=1), with_side(runs=1))
    said = text_of(of)
    assert (
        "in these runs base (a) took 4.39 times as long as with (b), per further leaf, over 4"
        in said
    )
    assert "whether that is noise is not known (1 pair of runs)" in said
    assert "is faster" not in said
    assert "one run a side: effect sizes only, no inference" in said
    assert "interval 4" not in said
    assert document_of(of)["headline"]["low"] is None


def test_one_run_against_several_says_which_side_has_one() -> None:
    said = text_of(found(side(PER_PTE_NS, runs=1, orders=[9]), with_side()))
    assert "one run of base: effect sizes only, no inference" in said
    assert "(1 run against 6)" in said


@pytest.mark.parametrize(
    ("orders", "why"),
    [
        ((range(6), range(6, 12)), "one side was recorded after the other (by order all runs of"),
        (([None] * 6, [None] * 6), "the order of the runs is not known (12 of 12 runs state no"),
        (([0, 1, 2, 3, 4, 6], [5, 7, 8, 9, 10, 11]), "in an order that is not balanced"),
    ],
)
def test_an_order_that_confounds_gives_no_interval_anywhere(
    orders: tuple[list[int], list[int]], why: str
) -> None:
    of = found(base_side(orders=orders[0]), with_side(orders=orders[1]), "4x")
    said = text_of(of)
    assert why in said
    assert "drift is confounded with side: no inference, and no interval" in said
    assert "95% interval" not in said
    assert "(descriptive)" not in said
    read = document_of(of)
    assert {read["headline"][name] for name in ("low", "high", "p_value")} == {None}
    assert all(one["ratio"]["low"] is None for one in read["sizes"])
    assert all(one["difference"]["low"] is None for one in read["decomposition"]["parts"])
    assert read["claims"][0]["verdict"] == "open"


def test_pairs_recorded_at_once_are_compared_as_pairs_and_others_left_out() -> None:
    said = text_of(found(base_side(), with_side(runs=5)))
    assert "5 pairs of runs; paired t, log scale" in said
    assert "1 run without a partner is left out of everything" in said


def test_what_tracing_can_turn_round_changes_the_conclusion() -> None:
    sides = [
        bounded(base_side(700, alone=False, orders=IN_TURN[0])),
        bounded(with_side(680, alone=False, orders=IN_TURN[1])),
    ]
    said = text_of(found(sides[0], sides[1], "1.3x"))
    assert "as recorded, with (b) is faster" in said
    assert "NOT ROBUST AGAINST TRACING: by what it cost, base / with is anything from 0.720" in said
    assert "(with is slower: 0.695 .. 0.747) to 1.92 (with is faster: 1.83 .. 2.01)" in said
    assert "so no part is known to pay for it" in said
    assert '"1.3x": headline open' in said
    assert "not robust against tracing, by what it can have cost: 16" in said


def test_an_unknown_cost_of_tracing_is_not_taken_for_none() -> None:
    sides = [base_side(orders=IN_TURN[0], alone=False), with_side(orders=IN_TURN[1], alone=False)]
    said = text_of(found(sides[0], sides[1]))
    assert "as recorded, with (b) is faster" in said
    assert "whether this holds without tracing is not known" in said
    assert "it is not known either which part pays for the difference" in said
    assert "the gain is" not in said


def test_without_leaves_nothing_is_said_per_leaf() -> None:
    unknown = {name: pl.lit(None, dtype=pl.Int64) for name in ("leaves", "leaves_l3")}
    sides = [
        replace(of, unmaps=of.unmaps.with_columns(**unknown)) for of in (base_side(), with_side())
    ]
    said = text_of(found(sides[0], sides[1]))
    assert "no headline: leaves are not known, so no ratio below stands for the others" in said
    assert "not split: leaves are not known, so nothing can be told per leaf" in said
    assert "per further leaf, over" not in said


def test_runs_that_do_not_differ_give_no_interval() -> None:
    said = text_of(in_turn("at least 3x", factors=None))
    assert "in these runs, with (b) is faster" in said
    assert "(6 runs a side; all runs of a side gave the same times: no interval)" in said
    assert "one observation a side, no inference, and no interval" in said
    assert '"at least 3x"' in said
    assert "the runs of a side gave the same times: one observation" in said
    assert "which says nothing of what others would" in said


def test_without_an_interval_tracing_is_asked_by_the_ratio_alone() -> None:
    sides = [
        bounded(base_side(700, alone=False, orders=IN_TURN[0], factors=None)),
        bounded(with_side(680, alone=False, orders=IN_TURN[1], factors=None)),
    ]
    of = found(sides[0], sides[1])
    assert "NOT ROBUST AGAINST TRACING" in text_of(of)
    assert document_of(of)["headline"]["robustness"] == "not_robust"


def test_a_ratio_that_runs_of_one_side_differ_by_is_not_called_faster_nor_slower() -> None:
    first, second = [range(6), range(6, 12)], [range(3), range(3, 6)]
    near: dict[str, Any] = {"strategy": "per_pte", "per_leaf_ns": 1930}
    said = text_of(found(base_side(orders=first[0]), with_side(orders=first[1], **near)))
    assert "in these runs base (a) took 1.01 times as long as with (b), per further leaf" in said
    assert "runs of one side differ by as much: their halves by up to 1.0" in said
    assert "is faster" not in said
    assert "is slower" not in said
    far = text_of(found(base_side(orders=first[0]), with_side(orders=first[1])))
    assert "in these runs, with (b) is faster" in far
    few = [base_side(runs=3, orders=second[0]), with_side(runs=3, orders=second[1], **near)]
    assert "whether that is noise is not known (3 runs a side)" in text_of(found(few[0], few[1]))


def test_few_runs_whose_interval_includes_one_are_not_called_faster() -> None:
    near = with_side(1930, runs=3, orders=[1, 2, 5], strategy="per_pte")
    said = text_of(found(base_side(runs=3, orders=[0, 3, 4]), near))
    assert (
        "times as long as with (b), per further leaf, over 4 sizes; runs of one side differ by"
        in said
    )


def test_a_size_whose_interval_includes_one_is_called_not_decided() -> None:
    sides = [
        base_side(PER_PTE_NS, orders=IN_TURN[0]),
        with_side(1930, orders=IN_TURN[1], strategy="per_pte"),
    ]
    said = text_of(found(sides[0], sides[1]), 140)
    assert "not decided, no difference is shown: per further leaf" in said
    assert "not decided, whatever tracing cost: base / with" in said
    assert "not decided, the interval includes 1: 16 leaves of 4K" in said
    assert "0.960 .. 1.06 not decided 1.000" in said


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_an_interval_is_never_dropped_and_notes_are_of_columns_that_are_shown(width: int) -> None:
    said = text_of(in_turn(), width)
    sizes = said[said.index("By size") : said.index("Operations per unmap")]
    assert "95% interval" in sizes
    dropped = sizes.partition("columns left out at this width: ")[2].partition(" (")[0].split(", ")
    for name in filter(None, dropped):
        assert f"{name}: " not in sizes
    split = said[said.index("What the difference is made of") : said.index("The three hypotheses")]
    assert "range by tracing: the difference with" in split or "range by tracing (" in split


def test_sides_that_are_the_same_are_not_called_faster() -> None:
    sides = [side(PER_PTE_NS, orders=IN_TURN[0]), side(PER_PTE_NS, label="b", orders=IN_TURN[1])]
    said = text_of(found(sides[0], sides[1]))
    assert "in these runs, both sides take the same time per further leaf" in said
    assert "per leaf these runs do not differ" in said
    assert "is faster" not in said


def test_a_difference_that_noise_explains_is_not_shown() -> None:
    sides = [
        base_side(PER_PTE_NS, orders=IN_TURN[0]),
        with_side(1930, orders=IN_TURN[1], strategy="per_pte"),
    ]
    said = text_of(found(sides[0], sides[1], "at least 3x"))
    assert (
        "no difference is shown: per further leaf, over 4 sizes, base (a) takes 1.01 times as"
        in said
    )
    assert "so no part pays for one" in said
    assert 'fails "at least 3x": headline fails' in said


def test_a_slower_side_is_called_slower_and_its_interval_turned() -> None:
    sides = [
        with_side(orders=IN_TURN[0]),
        base_side(19270, orders=IN_TURN[1]),
    ]
    said = text_of(found(sides[0], sides[1]))
    assert (
        "with (a) is slower: per further leaf, over 4 sizes, it takes 44.6 times as long as base"
        in said
    )
    assert "95% interval 42.5 .. 46.8" in said
    assert "ratio seen (0.0224)" in said
    assert "is more time in the rest of the walk" in said


def test_no_size_in_every_run_leaves_no_ratio_and_no_split() -> None:
    first, begins = pl.col("source_id") < 2, pl.col("step").str.starts_with("w1")
    sides = [
        replace(of, unmaps=of.unmaps.filter(first == begins))
        for of in (base_side(runs=2), with_side(runs=2))
    ]
    said = text_of(found(sides[0], sides[1]))
    assert "no ratio can be made" in said
    assert "not split: no size with leaves is in the detailed captures of every run" in said
    assert "without a headline there is no noise" in said


def test_cache_maintenance_of_one_machine_is_not_set_off_against_another() -> None:
    base = relabeled(base_side(unmap_columns={"cmo": 3}), midr="0x411fd0c0")
    said = text_of(found(base, relabeled(with_side(), midr="0x413fd0c1")))
    assert "MIDR 0x411fd0c0 -> 0x413fd0c1" in said
    assert "not split: the sides are different machines (MIDR)" in said


@pytest.mark.parametrize("origin", ["emulated", "synthetic", "unknown"])
def test_times_that_are_not_of_hardware_are_labelled_and_judge_no_claim(origin: str) -> None:
    base = relabeled(base_side(orders=IN_TURN[0]), origin=origin)
    of = found(base, with_side(orders=IN_TURN[1]), "at least 3x")
    said = text_of(of)
    assert said.index(f"base: origin {origin}") < said.index("By size")
    assert f"of hardware (origin {origin})" in said
    assert "permit inference about what was recorded, not about hardware" in said
    assert of.claims[0].overall == "open"


def test_claims_hold_fail_or_stay_open_by_the_whole_interval() -> None:
    of = in_turn("at least 3x", "at least 5x", "at least 4.3x", "up to 5x", "~75%")
    verdicts = {one.claim.text: (one.overall, one.headline) for one in of.claims}
    assert verdicts["at least 3x"] == ("holds", "holds")
    assert verdicts["at least 5x"] == ("fails", "fails")
    assert verdicts["at least 4.3x"] == ("fails", "open")  # 16 leaves are below
    assert verdicts["~75%"][1] == "holds"
    assert 'fails "at least 4.3x": headline open, fails for 16 leaves of 4K' in text_of(of)


def test_sizes_without_leaves_have_no_vote_in_a_claim() -> None:
    options: dict[str, Any] = {"sizes": (0, 16, 64, 256, 1024)}
    of = in_turn("at least 3x", "up to 30x", **options)
    assert [one.overall for one in of.claims] == ["holds", "fails"]
    assert of.claims[0].by_size[-1] == "fails"
    assert of.claims[0].counts == (True, True, True, True, False)
    said = text_of(of)
    assert "holds at 4 of 4 sizes; apart, without a vote: 0 leaves" in said
    assert '"up to 30x": of the largest ratio (it must be reached); of the headline: fails' in said


def test_a_side_of_two_labels_is_strongly_said_to_be_one() -> None:
    base = base_side(orders=IN_TURN[0])
    mixed = pl.when(pl.col("source_id") < 2).then(pl.lit("x")).otherwise("label").alias("label")
    base = replace(base, sources=base.sources.with_columns(mixed))
    of = found(base, with_side(orders=IN_TURN[1]))
    said = text_of(of)
    assert said.index("base: its traces are of 2 labels (x, a)") < said.index("By size")
    assert said.count("its traces are of 2 labels") == 1
    caveat = document_of(of)["caveats"][0]
    assert (caveat["code"], caveat["severity"]) == ("several-labels", "strong")


def test_runs_of_two_labels_have_no_noise_floor() -> None:
    base = base_side()
    mixed = pl.when(pl.col("source_id") < 6).then(pl.lit("x")).otherwise("label").alias("label")
    both = replace(base, sources=base.sources.with_columns(mixed))
    of = compared_runs(same_side(both), both, in_turn().filters)
    said = " ".join(" ".join(line.plain.split()) for line in runs_report(of, 100))
    assert "runs of several labels are no A/A: no noise floor" in said
    assert {one.noise for one in of.of.sizes} == {None}


@pytest.mark.parametrize("width", range(50, 101, 5))
def test_notes_of_runs_against_themselves_are_of_columns_that_are_shown(width: int) -> None:
    of = compared_runs(same_side(base_side()), base_side(), in_turn().filters)
    said = " ".join(" ".join(line.plain.split()) for line in runs_report(of, width))
    dropped = said.partition("columns left out at this width: ")[2].partition(" (")[0]
    assert ("shortest: median" in said) == ("shortest" not in dropped)


def test_a_calibration_that_does_not_fit_is_told_from_none() -> None:
    def misfit(of: Analysis) -> Analysis:
        of = bounded(of)
        costs = of.tracing_costs.with_columns(median_residual=pl.lit(1.02), strata=pl.lit(30))
        return replace(of, tracing_costs=costs)

    sides = [
        base_side(orders=IN_TURN[0], alone=False),
        misfit(with_side(orders=IN_TURN[1], alone=False)),
    ]
    said = text_of(found(sides[0], sides[1]))
    assert (
        "with: captures of the unmap alone were found, but one cost per call does not fit them"
        " (half of the steps are more than 102% off; 50% is the limit)"
    ) in said
    assert "base: captures of the unmap alone" not in said


@pytest.mark.parametrize("width", [40, 80, 100, 140])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    lines = compare_report(in_turn("at least 3x"), width)
    assert max(line.cell_len for line in lines) <= width


def test_an_end_of_an_interval_is_not_rounded_across_one() -> None:
    assert ratio_text(1.0004) == "1.0004"
    assert ratio_text(0.99996) == "0.99996"
    assert ratio_text(1.0) == "1.00"
    assert ratio_text(0.00001234) == "1.23e-05"
    assert ratio_text(504474.2) == "504,474"
    assert ratio_text(float("inf")) == "unbounded"


def test_what_json_cannot_write_is_the_largest_number() -> None:
    assert json.dumps(finite({"high": [float("inf")]}), allow_nan=False).startswith(
        '{"high": [1.79'
    )


def test_the_exclusions_of_both_sides_are_counted() -> None:
    base = base_side()
    censor = pl.int_range(pl.len()) < 2
    status = pl.when(censor).then(pl.lit("censored")).otherwise(pl.col("status").cast(pl.String))
    censored = base.unmaps.with_columns(status=status.cast(base.unmaps.schema["status"]))
    of = found(replace(base, unmaps=censored), with_side())
    assert of.ledger[0]["censored"] == 2
    assert of.ledger[1]["censored"] == 0
    assert "censored: entry or exit missing 2 0" in text_of(of)


def test_runs_of_one_side_against_themselves() -> None:
    of = compared_runs(same_side(base_side()), base_side(), in_turn().filters)
    said = " ".join(line.plain for line in runs_report(of, 100))
    assert "The runs against themselves (A/A)" in said
    assert "times are without what tracing cost" in said
    read = json.loads("".join(runs_json(of)))
    assert read["document"] == "same_side"
    assert len(read["sizes"][0]["estimates_ns"]) == 6


def test_executed_instructions_are_no_times_and_had_no_tracer() -> None:
    evidence = base_side().unmaps.schema["evidence"]

    def executed(of: Analysis) -> Analysis:
        of = relabeled(of, origin="emulated")
        kind = pl.lit("insn").cast(evidence).alias("evidence")
        return priced(replace(of, unmaps=of.unmaps.with_columns(kind)))

    sides = [
        executed(base_side(orders=IN_TURN[0], alone=False)),
        executed(with_side(orders=IN_TURN[1], alone=False)),
    ]
    said = text_of(found(sides[0], sides[1], "at least 3x"))
    assert "in executed instructions, with (b) is faster" in said
    assert "no tracer ran: tracing cost nothing" in said
    assert "Range by tracing" not in said
    assert '"at least 3x": not judged' in said


def test_two_strategies_of_one_set_are_called_by_their_names() -> None:
    base, with_ = base_side(alone=False), with_side(alone=False)
    moved = len(base.sources)
    both = replace(base, **{
        name: pl.concat([
            getattr(base, name),
            getattr(with_, name).with_columns((pl.col("source_id") + moved).cast(pl.Int32)),
        ])
        for name in ("sources", "unmaps", "traced_calls", "own_times", "tracing_costs")
    })  # fmt: skip
    of = compared(compare_strategies(both), {"all": both})
    said = text_of(of)
    assert "deferred_range is faster: per further leaf, over 4 sizes, per_pte takes" in said
    assert "base per_pte of a: 6 runs, 6 captures" in said
    assert len(document_of(of)["sources"]) == 12
    assert of.unassigned == 0


def test_nothing_separated_on_both_sides_leaves_no_part_to_name() -> None:
    names = ("invalidate_leaf", "invalidate_table", "invalidate_range", "cmo", "table_put")
    unknown = {f"{name}_ns": pl.lit(None, dtype=pl.Int64) for name in names}
    base = base_side()
    base = replace(base, unmaps=base.unmaps.with_columns(**unknown))
    said = text_of(found(base, with_side()))
    assert "not split: no component is separated on both sides" in said
    assert "the gain is" not in said


def test_a_recorded_ratio_is_called_so_also_where_tracing_does_not_change_its_direction() -> None:
    sides = [
        bounded(base_side(alone=False, orders=IN_TURN[0]), call_high_ns=100.0),
        bounded(with_side(alone=False, orders=IN_TURN[1]), call_high_ns=100.0),
    ]
    said = text_of(found(sides[0], sides[1]))
    assert (
        "as recorded, with (b) is faster: per further leaf, over 4 sizes, base (a) takes 3.46"
        in said
    )
    assert "tracing does not change that: base / with is" in said
    assert "robust" not in said.lower()
