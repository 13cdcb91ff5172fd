"""What is simulated, written in each format, read back and analysed, is what happened."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

import traceview
from tests.simulated_at_random import simulations
from tests.simulating import Simulated, recording, step
from traceview.cli.simulating import FORMATS, Target, write_simulated
from traceview.queries import analyze
from traceview.simulate.call_trees import FLUSH, PUT, UNMAP, WALKER
from traceview.simulate.profile import read_profile
from traceview.simulate.ring import Buffer
from traceview.simulate.simulator import Truth

if TYPE_CHECKING:
    from pathlib import Path

    from traceview.queries import Analysis

COUNTS = (
    "leaves", "leaves_l1", "leaves_l2", "leaves_l3", "pte_visits", "invalidate_leaf",
    "invalidate_table", "invalidate_range", "cmo", "table_put", "irq", "traced_calls",
    "length_bytes", "ipa",
)  # fmt: skip
PARTS = (
    "invalidate_leaf", "invalidate_table", "invalidate_range", "cmo", "table_put", "irq",
)  # fmt: skip
EXAMPLES = 8  # of each format, with and without loss
STATUSES = ("complete", "contaminated", "censored", "unseen")
PROFILES = ("emulated-6.1-max", "emulated-6.12-neoverse-n1", "n1-like", "n1-like-nvhe",
            "posted-like", "64k-pages", "16k-pages-lpa2")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("round-trip")


def analysed(made: Simulated, folder: Path, kind: str) -> Analysis:
    """The analysis of the file that is written of *made*."""
    path = folder / f"trace{FORMATS[kind]}"
    target = Target(path, kind, "run", None, None)
    truth = Truth([made.truth])
    recorded = made.again()
    write_simulated(target, recorded, truth, made.tracer, force=True, progress=lambda _: None)
    rows = [json.loads(line) for line in target.files[1].read_text("utf-8").splitlines()]
    assert len(rows) == made.truth.height
    return analyze(traceview.open_trace(path))


def printed_quantum_ns(duration_ns: int) -> int:
    """How much of a duration function_graph's text leaves out: seven digits are printed."""
    digits = max(0, len(str(duration_ns)) - 7)
    return int(10**digits)


def quantum_ns(kind: str, made: Simulated, duration_ns: int) -> int:
    """How far a duration may be off: 0 where the format holds nanoseconds."""
    if kind != "text":
        return 0
    return 1000 if made.tracer.probes else printed_quantum_ns(duration_ns)


def must_know(made: Simulated, true: dict[str, Any]) -> set[str]:
    """What the analysis must say of an unmap, by what was traced and happened."""
    seen = made.tracer.counted
    found = {"traced_calls"}
    if UNMAP in made.tracer.probes:
        found |= {"ipa", "length_bytes"}
    if {PUT, WALKER} <= seen:
        found |= {"leaves", "pte_visits"} if true["leaves"] else {"pte_visits"}
    if {PUT, FLUSH} <= seen and true["strategy"] != "none":  # which may be hidden, too
        found |= {"strategy", "invalidate_leaf", "invalidate_table"}
        found |= {"leaves"} if true["strategy"] == "per_pte" else set()
    return found


def assert_same(made: Simulated, found: dict[str, Any], true: dict[str, Any], kind: str) -> None:
    """What the analysis says of an unmap is true; what it cannot say is null."""
    for name in COUNTS:
        assert found[name] in (None, true[name]), (name, found[name], true[name])
    assert found["strategy"] in ("unknown", true["strategy"])
    unknown = {name for name in must_know(made, true) if found[name] in (None, "unknown")}
    assert not unknown
    quantum = quantum_ns(kind, made, true["duration_ns"])
    assert abs(found["duration_ns"] - true["duration_ns"]) <= quantum
    for part in PARTS:
        ours, theirs = true[f"{part}_ns"], found[f"{part}_ns"]
        if ours is not None and theirs is not None:
            calls = true.get(part, 1) + (true["irq"] or 0)
            each = 1000 if made.tracer.probes and kind == "text" else quantum
            assert abs(ours - theirs) <= each * calls, part


def place(made: Simulated, kind: str, unmap: dict[str, Any]) -> tuple[int, int]:
    """Task and time as the format says it: text of function_graph cuts, that of probes rounds."""
    at = int(unmap["start_ns"])
    told = at if kind != "text" else (at + 500 * bool(made.tracer.probes)) // 1000
    return unmap["tid"], told


def sorted_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return frame.sort("tid", "start_ns", maintain_order=True).to_dicts()


HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@pytest.mark.parametrize("kind", FORMATS)
def test_without_loss_the_analysis_finds_what_happened(kind: str, folder: Path) -> None:
    @settings(max_examples=EXAMPLES, suppress_health_check=HEALTH)
    @given(simulations(lossy=False))
    def check(made: Simulated) -> None:
        analysis = analysed(made, folder, kind)
        true = sorted_rows(made.truth)
        found = sorted_rows(analysis.unmaps)
        assert [one["step"] for one in found] == [one["step"] for one in true]
        assert {one["status"] for one in found} <= {"complete"}
        for ours, theirs in zip(true, found, strict=True):
            assert_same(made, theirs, ours, kind)
        assert analysis.sources["origin"].to_list() == ["synthetic"]

    check()


@pytest.mark.parametrize("kind", FORMATS)
def test_with_loss_only_what_is_whole_is_complete(kind: str, folder: Path) -> None:
    @settings(max_examples=EXAMPLES, suppress_health_check=HEALTH)
    @given(simulations(lossy=True))
    def check(made: Simulated) -> None:
        analysis = analysed(made, folder, kind)
        true = sorted_rows(made.truth.filter(pl.col("status") == "complete"))
        found = sorted_rows(analysis.unmaps.filter(pl.col("status") == "complete"))
        began = {place(made, kind, one) for one in found}
        if made.tracer.probes:
            # A call whose return was lost stays open, and an orphaned return may close it later:
            # what lies between is missed. It is not counted wrong.
            true = [one for one in true if place(made, kind, one) in began]
        assert [place(made, kind, one) for one in true] == [place(made, kind, one) for one in found]
        for ours, theirs in zip(true, found, strict=True):
            assert_same(made, theirs, ours, kind)
        partly = made.truth["status"].is_in(["censored", "contaminated"]).sum()
        assert analysis.unmaps.height <= len(true) + partly

    check()


@pytest.mark.parametrize("kind", FORMATS)
def test_a_reader_that_is_too_slow_leaves_unmaps_of_every_status(kind: str, folder: Path) -> None:
    asked = [step(size="512k", repetitions=20), step(id="b", size="16k", repetitions=100)]
    made = recording("n1-like", asked, "split", vms=2, buffer=Buffer(64, drain_kb_s=40_000))
    unmaps = analysed(made, folder, kind).unmaps

    def placed(frame: pl.DataFrame, status: str) -> set[tuple[int, int]]:
        of = frame.filter(pl.col("status") == status)
        return {place(made, kind, one) for one in of.iter_rows(named=True)}

    true = {name: placed(made.truth, name) for name in STATUSES}
    assert all(len(of) >= 5 for of in true.values())
    assert placed(unmaps, "complete") == true["complete"]
    # An exit has the time of its entry: where that alone was lost, the duration is known.
    found = placed(unmaps, "contaminated")
    assert true["contaminated"] <= found
    assert len(found - true["contaminated"]) <= len(true["censored"])
    assert set(unmaps["status"].unique()) == {"complete", "contaminated", "censored"}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("profile", [name for name in PROFILES if "nvhe" not in name])
def test_a_split_of_a_host_with_vhe_says_everything(profile: str, kind: str, folder: Path) -> None:
    page = int(read_profile(profile).number("machine.page_size_bytes"))
    asked = [
        step(id="a", size=40 * page, backing=page, mapped=0.7),
        step(id="b", size=40 * page, backing=page, action="munmap"),
    ]
    made = recording(profile, asked, "split", vms=2)
    analysis = analysed(made, folder, kind)
    for ours, theirs in zip(
        sorted_rows(made.truth), sorted_rows(analysis.unmaps), strict=True
    ):  # fmt: skip
        assert_same(made, theirs, ours, kind)
        assert (theirs["strategy"], theirs["leaves"]) == (ours["strategy"], ours["leaves"])
        for part in ("invalidate_leaf", "invalidate_table", "table_put", "cmo"):
            assert theirs[f"{part}_ns"] == ours[f"{part}_ns"], part
        assert sum(theirs[f"{part}_ns"] or 0 for part in (*PARTS, "rest")) == theirs["duration_ns"]
