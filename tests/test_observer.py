"""What tracing cost: the arithmetic against captures of which the truth is known."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.observer_captures import observed
from tests.writers.analyses import analysis, source, unmap
from traceview.errors import QueryError
from traceview.parsers import open_trace
from traceview.queries import analyze
from traceview.queries.calibration import MIN_STRATA, cost_per_call, strata
from traceview.queries.correction import CORRECTED, corrected
from traceview.queries.matching import numbered
from traceview.queries.observer import priced
from traceview.schema import TIMED_COMPONENTS

if TYPE_CHECKING:
    from traceview.queries import Analysis

TRACES = Path(__file__).parent.parent.parent / "shared" / "traces"
KERNELS = ("6.1-max", "6.12-max", "6.12-neoverse-n1")
captures = [
    pytest.mark.captures,
    pytest.mark.skipif(not TRACES.exists(), reason=f"the captures are not there: {TRACES}"),
]


def as_executed(kernel: str) -> Analysis:
    """Executions have no markers: they are the same unmaps in the same order."""
    found, steps = observed(kernel, "insn"), observed(kernel, "top").unmaps["step"]
    return replace(found, unmaps=found.unmaps.with_columns(steps.alias("step")))


@cache
def probed(name: str) -> Analysis:
    folder = Path(__file__).parent / "data" / "observer-kprobes-6.12-max"
    return analyze(open_trace(str(folder / f"{name}.txt.xz")))


def by_stem(found: Analysis, column: str = "duration_ns") -> dict[str, float]:
    """The lower quartile per step: interrupts, which only lengthen, hit the slower capture more."""
    rows = numbered(found.unmaps).group_by("stem", maintain_order=True)
    return dict(rows.agg(pl.col(column).quantile(0.25, "linear")).iter_rows())


def cost_without(stem: str, of: Analysis, other: Analysis) -> dict[str, Any]:
    """The cost that all steps but *stem* give."""
    rest = of.unmaps.filter(~pl.col("step").str.starts_with(f"{stem}."))
    (row,) = priced(replace(of, unmaps=rest), other).tracing_costs.to_dicts()
    assert row["method"] == "calibrated"
    return row


class TestCaptures:
    pytestmark = captures

    @pytest.mark.parametrize("kernel", KERNELS)
    @pytest.mark.parametrize("name", ["split", "deep"])
    def test_the_corrected_times_are_those_of_the_capture_of_the_unmap_alone(
        self, kernel: str, name: str
    ) -> None:
        detailed, plain = observed(kernel, name), observed(kernel, "top")
        raw, truth, calls = (
            by_stem(detailed), by_stem(plain), by_stem(detailed, "traced_calls")
        )  # fmt: skip
        errors = {
            stem: abs(raw[stem] - cost_without(stem, detailed, plain)["call_ns"] * calls[stem]
                      - truth[stem]) / truth[stem]
            for stem in truth
        }  # fmt: skip
        assert np.median(list(errors.values())) < 0.05
        assert max(errors.values()) < 0.10
        # One of the raw ones is the 16 MB of blocks where cache maintenance by line dominates.
        assert sorted(raw[stem] / truth[stem] for stem in truth)[1] > 5

    @pytest.mark.parametrize("kernel", KERNELS)
    @pytest.mark.parametrize("name", ["top", "split", "deep"])
    def test_without_its_own_traced_call_an_unmap_takes_what_it_executes(
        self, kernel: str, name: str
    ) -> None:
        detailed, plain = observed(kernel, name), observed(kernel, "top")
        other = observed(kernel, "split") if name == "top" else plain
        raw, calls = by_stem(detailed), by_stem(detailed, "traced_calls")
        truth = by_stem(as_executed(kernel))
        errors = []
        for stem, executed in truth.items():
            cost = cost_without(stem, detailed, other)
            probe = cost["own_ns"] + cost["call_ns"] * calls[stem]
            errors.append(abs(raw[stem] - probe - executed) / executed)
        assert np.median(errors) < 0.05
        assert max(errors) < 0.10
        if name == "top":  # of a one-page unmap two fifths are its own tracing
            assert 1.38 < raw["w01"] / truth["w01"] < 1.45
            assert errors[0] < 0.03

    @pytest.mark.parametrize("kernel", KERNELS)
    def test_the_own_call_of_an_unmap_costs_what_the_untraced_execution_lacks(
        self, kernel: str
    ) -> None:
        top = observed(kernel, "top").unmaps["duration_ns"]
        own = (top - as_executed(kernel).unmaps["duration_ns"]).median()
        for other in ("split", "deep"):
            found = priced(observed(kernel, "top"), observed(kernel, other))
            (cost,) = found.tracing_costs.to_dicts()
            assert cost["own_low_ns"] < own < cost["own_high_ns"] * 1.001
            assert cost["own_ns"] == pytest.approx(own, rel=0.07)
            assert (found.unmaps["probe_ns"] == round(cost["own_ns"])).all()

    @pytest.mark.parametrize("kernel", KERNELS)
    @pytest.mark.parametrize("name", ["split", "deep"])
    def test_a_bound_from_the_trace_itself_contains_the_truth(self, kernel: str, name: str) -> None:
        found = observed(kernel, name)
        (cost,) = found.tracing_costs.to_dicts()
        assert cost["method"] == "bounded"
        assert found.unmaps["probe_ns"].null_count() == found.unmaps.height
        assert (found.unmaps["probe_low_ns"] == 0).all()
        low = found.unmaps.with_columns(low=pl.col("duration_ns") - pl.col("probe_high_ns"))
        assert (low["low"] >= 0).all()
        truth = by_stem(as_executed(kernel))
        for stem, ns in by_stem(replace(found, unmaps=low), "low").items():
            assert 0 <= ns <= truth[stem]
            assert truth[stem] - ns < 0.2 * by_stem(found)[stem]  # it says something

    def test_probes_that_fetch_more_cost_more(self) -> None:
        """The same workload under kprobes, on 6.12 and `max`: arguments are fetched in the call.

        Text has microseconds; the rings of the same run, read as trace.dat, have an unmap alone
        take 1599 to 1604 ns longer than untraced, in every step.
        """
        detailed, plain = probed("split"), probed("top")
        own = 1600
        (cost,) = priced(detailed, plain).tracing_costs.to_dicts()
        assert (cost["method"], cost["inside_from"]) == ("calibrated", "kvm_s2_put_page")
        assert cost["own_from"].startswith("__kvm_tlb_flush_vmid_")
        assert cost["inside_high_ns"] < own  # the put's probe fetches one argument, not three
        assert cost["own_low_ns"] < own < cost["own_high_ns"]
        assert cost["own_ns"] == pytest.approx(own, rel=0.08)
        # Calls are less alike than in the graph, and the residuals say so.
        assert 0.05 < cost["median_residual"] < 0.15

    @pytest.mark.parametrize("kernel", KERNELS)
    @pytest.mark.parametrize(("name", "other"), [("top", "split"), ("split", "top")])
    def test_the_memslot_call_without_tracing_takes_as_long_as_untraced(
        self, kernel: str, name: str, other: str
    ) -> None:
        """A system call contains its one unmap as a whole traced call, with those inside."""
        found = priced(observed(kernel, name), observed(kernel, other))
        (cost,) = found.tracing_costs.to_dicts()
        calls = 1 + by_stem(found, "traced_calls")["w07"]
        traced, untraced = (memslot_ns(kernel, of) for of in (name, "untraced"))
        assert traced - calls * cost["call_ns"] == pytest.approx(untraced, rel=0.05)


def memslot_ns(kernel: str, name: str) -> float:
    """The lower quartile of the memslot deletions, as the workload itself timed them."""
    path = TRACES / "observer" / kernel / f"{name}.truth.jsonl"
    rows = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    times = [row["dur_ns"] for row in rows if row["action"] == "memslot"]
    assert len(times) == 4
    return float(np.quantile(times, 0.25))


def columns(
    calls: list[int], cost_ns: float, plain_ns: list[float], noise_ns: list[float]
) -> tuple[Any, ...]:
    counts, plain = np.array(calls, dtype=float), np.array(plain_ns)
    return plain + counts * cost_ns + np.array(noise_ns), plain, counts, np.ones(counts.size)


@given(
    st.lists(st.integers(1, 10**5), min_size=MIN_STRATA, max_size=12),
    st.floats(1, 1e4),
    st.floats(10, 1e7),
)
@settings(max_examples=50)
def test_a_constant_cost_is_found_exactly(
    calls: list[int], cost_ns: float, plain_ns: float
) -> None:
    size = len(calls)
    found = cost_per_call(*columns(calls, cost_ns, [plain_ns] * size, [0.0] * size))
    assert found is not None
    assert found.value == pytest.approx(cost_ns, rel=1e-6)
    assert found.low <= found.value <= found.high
    assert found.strata == size


def test_strata_that_differ_by_more_than_their_noise_widen_the_interval() -> None:
    calls, plain = [100, 200, 400, 800, 1600], [1e4] * 5
    alike = cost_per_call(*columns(calls, 500, plain, [0.0] * 5))
    unlike = cost_per_call(*columns(calls, 500, plain, [900.0, -1500.0, 3000.0, -5000.0, 9000.0]))
    assert alike is not None
    assert unlike is not None
    assert unlike.high - unlike.low > 20 * (alike.high - alike.low)
    assert unlike.low < 500 < unlike.high
    assert unlike.worst_residual > 0.5


def test_two_sizes_are_no_calibration() -> None:
    assert cost_per_call(*columns([10, 20], 500, [1e4, 1e4], [0.0, 0.0])) is None


def capture(calls_per_unmap: int, **facts: Any) -> Analysis:
    """Unmaps of 1, 2, 4 and 8 leaves that take 1000 ns each, and what their tracing costs."""
    unmaps = [
        unmap(
            1000 * leaves + 500 * calls_per_unmap * leaves, leaves, step=f"w{leaves}.{n}",
            traced_calls=calls_per_unmap * leaves,
        )
        for leaves in (1, 2, 4, 8) for n in (1, 2, 3)
    ]  # fmt: skip
    times = [{
        "source_id": 0, "evidence": "fgraph", "symbol": "kvm_s2_put_page", "nested": 0,
        "operation": "table_put", "arguments": 0,
        "calls": 100, "own_ns": 300.0,
    }]  # fmt: skip
    return analysis(unmaps, [source(**facts)], own_times=times if calls_per_unmap else [])


def test_what_tracing_cost_is_in_every_unmap() -> None:
    found = priced(capture(3), capture(0))
    (cost,) = found.tracing_costs.to_dicts()
    assert (cost["method"], cost["call_ns"]) == ("calibrated", pytest.approx(500))
    assert (cost["inside_ns"], cost["inside_from"]) == (300, "kvm_s2_put_page")
    corrected = found.unmaps["duration_ns"] - found.unmaps["probe_ns"]
    assert corrected.to_list() == [1000 * n - 300 for n in (1, 2, 4, 8) for _ in range(3)]


def test_a_more_detailed_capture_calibrates_too() -> None:
    found = priced(capture(0), capture(3))
    assert (found.unmaps["probe_ns"] == 300).all()


def test_captures_of_one_label_and_run_calibrate_each_other() -> None:
    detailed, plain = capture(3, run="r1", label="a"), capture(0, run="r1", label="a")
    assert "calibrated" in methods(joined(detailed, plain))


def test_captures_of_one_run_that_nobody_labelled_calibrate_each_other() -> None:
    assert "calibrated" in methods(joined(capture(3, run="r1"), capture(0, run="r1")))


@pytest.mark.parametrize("runs", [("r1", "r2"), (None, None), ("r1", None)])
def test_captures_that_nobody_labelled_of_no_common_run_do_not(
    runs: tuple[str | None, str | None],
) -> None:
    one, other = (capture(calls, run=run, path=f"{calls}")
                  for calls, run in zip((3, 0), runs, strict=True))  # fmt: skip
    assert "calibrated" not in methods(joined(one, other))


@pytest.mark.parametrize(
    "facts", [{"run": "r2", "label": "a"}, {"run": "r1", "label": "b"},
              {"run": "r1", "label": "a", "kernel": "6.1.176"}],
)  # fmt: skip
def test_captures_of_another_run_label_or_kernel_do_not(facts: dict[str, str]) -> None:
    detailed, plain = capture(3, run="r1", label="a"), capture(0, **facts)
    assert "calibrated" not in methods(joined(detailed, plain))


def methods(found: Analysis) -> list[str]:
    return priced(found).tracing_costs["method"].to_list()


def joined(one: Analysis, other: Analysis) -> Analysis:
    second = pl.lit(1, dtype=pl.Int32).alias("source_id")
    tables = {
        name: pl.concat([getattr(one, name), getattr(other, name).with_columns(second)])
        for name in ("sources", "unmaps", "own_times")
    }
    return replace(one, **tables)


@pytest.mark.parametrize(
    ("facts", "said"),
    [({"kernel": "6.1.176"}, "kernel 6.1.176, not 6.12.95"), ({"midr": "0x413fd0c1"}, "MIDR"),
     ({"origin": "emulated"}, "origin emulated, not hardware"), ({"cpus": 64}, "number of CPUs")],
)  # fmt: skip
def test_a_calibration_of_another_host_is_refused(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(QueryError, match=said):
        priced(capture(3, midr="0x410fd8c0"), capture(0, **{"midr": "0x410fd8c0", **facts}))


def test_a_calibration_of_another_run_serves_where_there_is_none_of_the_same() -> None:
    found = priced(capture(3, run="r1"), capture(0, run="c1"))
    assert found.tracing_costs["method"].to_list() == ["calibrated"]


def test_a_calibration_in_which_fewer_calls_took_longer_is_refused() -> None:
    detailed = capture(3)
    shorter = detailed.unmaps.with_columns((900 * pl.col("leaves")).alias("duration_ns"))
    with pytest.raises(QueryError, match="more of them took longer"):
        priced(replace(detailed, unmaps=shorter), capture(0))


def test_a_cost_is_never_below_nothing() -> None:
    noisy = columns([10, 20, 40], 0, [1e4, 2e4, 4e4], [-100.0, 200.0, -400.0])
    found = cost_per_call(*noisy)
    assert found is not None
    assert (found.value, found.low) == (0, 0)
    assert found.high > 0


def test_many_strata_are_judged_by_the_others_too() -> None:
    random = np.random.default_rng(1)
    calls = random.integers(1, 100, 300).astype(float)
    plain, noise = 1000 * calls, np.full(300, 100.0)
    detailed = plain + calls * 500 * random.lognormal(0, 0.1, 300)
    few, many = (
        cost_per_call(*(of[:size] for of in (detailed, plain, calls, noise))) for size in (200, 300)
    )
    assert few is not None
    assert many is not None
    assert many.median_residual == pytest.approx(few.median_residual, rel=0.2)


def test_a_calibration_with_nothing_in_common_is_refused() -> None:
    other = capture(0)
    other = replace(other, unmaps=other.unmaps.with_columns(pl.col("step") + "x"))
    with pytest.raises(QueryError, match="at least 3 steps or sizes in common"):
        priced(capture(3), other)


def changed(of: Analysis, *columns: pl.Expr, rows: slice = slice(None)) -> Analysis:
    return replace(of, unmaps=of.unmaps.with_columns(*columns)[rows])


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (changed(capture(0), rows=slice(0)), "there is no unmap in the calibration"),
        (changed(capture(0), pl.col("evidence").replace_strict("fgraph", "kprobe")),
         "the calibration records kprobe, the trace fgraph"),
        (changed(capture(0), pl.col("step") + "x"),
         "no step in common: the calibration has w1.1x, w1.2x, w1.3x and 9 more, the trace"),
        (changed(capture(0), pl.col("step").str.replace(r"\.\d", ".1")),
         "unlike numbers of unmaps: w1.1 1 in the trace and 3 in the calibration, w2.1 1 in"),
        (changed(capture(0), pl.lit("censored").alias("status")), "no unmap is complete in both"),
        (capture(3), "both traced as many calls in each unmap that they share"),
        (changed(capture(0), rows=slice(5)),
         r"only 2 of the 3 steps or sizes that it takes can be compared \(w1, w2\)"),
        (changed(capture(0), pl.col("duration_ns") * 3), "took no longer"),
    ],
    ids=["empty", "method", "steps", "counts", "complete", "calls", "few", "time"],
)  # fmt: skip
def test_a_refused_calibration_is_told_why(other: Analysis, said: str) -> None:
    with pytest.raises(QueryError, match=rf"(?s){said}.*\nvalid: captures of the same workload"):
        priced(capture(3), other)


def test_a_step_that_lost_an_unmap_calibrates_nothing() -> None:
    detailed, plain = capture(3), capture(0)
    lost = replace(plain, unmaps=plain.unmaps.slice(1))
    found = strata(numbered(detailed.unmaps), numbered(lost.unmaps))
    assert found.filter(pl.col("stem") == "w1")["pairs"].to_list() == [2]


def test_calls_that_were_made_and_not_only_traced_are_no_cost_of_tracing() -> None:
    """A per-PTE capture beside a deferring one: more calls, because more was invalidated."""
    eager, deferring = capture(3), capture(0)
    leaves = pl.col("leaves").alias("invalidate_leaf")
    eager = replace(eager, unmaps=eager.unmaps.with_columns(leaves))
    nothing = pl.lit(0, dtype=pl.Int64).alias("invalidate_leaf")
    deferring = replace(deferring, unmaps=deferring.unmaps.with_columns(nothing))
    with pytest.raises(QueryError, match="did other work"):
        priced(eager, deferring)


def test_without_calibration_there_is_a_bound_and_no_estimate() -> None:
    found = priced(capture(3))
    (cost,) = found.tracing_costs.to_dicts()
    assert (cost["method"], cost["inside_high_ns"], cost["call_high_ns"]) == ("bounded", 300, None)
    assert found.unmaps["probe_ns"].null_count() == 12
    # Nothing contains a traced call, so nothing says what a call adds to what contains it.
    assert found.unmaps["probe_high_ns"].null_count() == 12


def test_an_emulators_record_cost_nothing() -> None:
    found = priced(analysis([unmap(evidence="insn")]))
    assert found.unmaps.select("probe_ns", "probe_low_ns", "probe_high_ns").row(0) == (0, 0, 0)


def test_tracing_is_taken_out_of_the_component_that_it_is_in() -> None:
    """Two leaf calls with a traced call in each, a put, and a call that is no component."""
    counts = {
        "source_id": 0, "unmap_id": 0, "traced_calls": 6, "invalidate_leaf_calls": 2,
        "invalidate_leaf_nested": 2, "table_put_calls": 1,
    }  # fmt: skip
    zeros = {
        f"{name}_{what}": 0 for name in TIMED_COMPONENTS for what in ("calls", "nested")
    }  # fmt: skip
    cost = {
        "source_id": 0, "evidence": "fgraph", "method": "calibrated", "inside_ns": 30.0,
        "inside_low_ns": 20.0, "inside_high_ns": 40.0, "own_ns": 30.0, "own_low_ns": 20.0,
        "own_high_ns": 40.0, "call_ns": 100.0, "call_low_ns": 90.0,
        "call_high_ns": 110.0,
    }  # fmt: skip
    one = unmap(
        2000, 2, invalidate_leaf_ns=900, table_put_ns=100, rest_ns=1000, invalidate_table_ns=0,
        cmo_ns=0, probe_ns=630, probe_low_ns=560, probe_high_ns=700, traced_calls=6,
    )  # fmt: skip
    found = corrected(analysis([one], traced_calls=[zeros | counts], tracing_costs=[cost]))
    (row,) = found.to_dicts()
    assert row["invalidate_leaf_corrected_ns"] == 900 - 2 * 30 - 2 * 100
    assert row["table_put_corrected_ns"] == 100 - 30
    # Its own part inside, one call that is no component, and the outside of three that are.
    assert row["rest_corrected_ns"] == 1000 - 30 - 100 - 3 * 70
    assert row["cmo_corrected_ns"] == 0
    parts = sum(row[f"{name}_corrected_ns"] or 0 for name in CORRECTED)
    assert parts == row["corrected_ns"] == 2000 - 630
    assert row["table_put_corrected_low_ns"] == 60
    assert row["table_put_corrected_high_ns"] == 80
    assert row["rest_corrected_low_ns"] == 1000 - 40 - 4 * 110 + 3 * 20
    assert row["corrected_low_ns"] == 1300


@pytest.mark.captures
@pytest.mark.skipif(not TRACES.exists(), reason=f"the captures are not there: {TRACES}")
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["split", "deep"])
def test_the_corrected_components_of_captures_sum_to_the_corrected_durations(
    kernel: str, name: str
) -> None:
    found = corrected(priced(observed(kernel, name), observed(kernel, "top")))
    parts = pl.sum_horizontal(pl.col(f"{part}_corrected_ns").fill_null(0) for part in CORRECTED)
    errors = found.select((parts - pl.col("corrected_ns")).abs().alias("error"))["error"]
    assert (errors <= 0.5).all()  # probe_ns is whole nanoseconds
    assert (found["corrected_low_ns"] <= found["corrected_ns"]).all()
    assert (found["corrected_ns"] <= found["corrected_high_ns"]).all()


@pytest.mark.parametrize(
    "name",
    ["fgraph-6.12-neoverse-n1.perfetto", "kprobes-6.1-max.dat.xz", "fgraph-6.12-max.txt.zst"],
)
def test_no_less_is_left_of_a_whole_unmap_than_of_its_parts(name: str) -> None:
    samples = Path(__file__).parent.parent / "sample_traces"
    found = corrected(analyze(open_trace(samples / name))).filter(pl.col("status") == "complete")
    lows = (f"{part}_corrected_low_ns" for part in CORRECTED)
    parts = pl.sum_horizontal(*lows, "off_cpu_ns")
    short = found.filter(pl.col("corrected_low_ns") < parts - 1)  # whole nanoseconds
    assert short.is_empty()
    assert (found["probe_low_ns"] <= found["probe_high_ns"]).all()
