"""Real captures from real arm64 kernels are held to what the workload did.

captures.toml says, per capture, which columns must equal the ground truth; every other checked
column must be null (or `unknown`): a number where the trace cannot have one is a failure.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import traceview
from tests.truth import TRACES, Step, steps
from traceview.queries.steps import StepIntervals
from traceview.schema import COMPONENTS
from traceview.symbols import Probe, SymbolSources, parse_kprobe_events
from traceview.trace import Settings

if TYPE_CHECKING:
    from traceview import Analysis

CHECKED = (
    "strategy", "trigger", "duration_ns", "leaves", "leaves_l2", "leaves_l3", "pte_visits",
    "invalidate_leaf", "invalidate_table", "invalidate_ipa", "invalidate_range", "cmo",
    "table_put",
)  # fmt: skip
PATTERNS = (
    "*.pftrace", "*.pftrace.zst", "*.txt", "*.txt.zst", "*.dat", "*.dat.zst",
    "*.perf.data", "*.perf.data.zst",
)  # fmt: skip
SPOKEN = ("strategy", "trigger")  # null is spelled "unknown"
TABLE = tomllib.loads(Path(__file__).with_name("captures.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Capture:
    """One row of captures.toml. `holes`: steps in which the recorder itself lost events."""

    path: str
    equal: tuple[str, ...]
    absent: tuple[str, ...] = ()
    holes: tuple[str, ...] = ()

    @property
    def file(self) -> Path:
        return TRACES / self.path

    @property
    def stem(self) -> str:
        return self.file.name.partition(".")[0]

    @property
    def truth(self) -> dict[str, Step]:
        return steps(str(Path(self.path).parent), self.file.with_name(f"{self.stem}.truth.jsonl"))


def captures() -> list[Capture]:
    found = []
    for row in TABLE["capture"]:
        equal = TABLE["profile"][row["profile"]]
        for folder in row["folders"]:
            for name in row["names"]:
                path = f"{folder}/{name}"
                holes = TABLE["holes"].get(path, {})
                found.append(
                    Capture(
                        path, tuple(equal), *(tuple(holes.get(k, ())) for k in ("absent", "holes"))
                    )
                )
    return found


@cache
def analysed(path: str) -> Analysis:
    file = TRACES / path
    stem = file.name.partition(".")[0]
    settings = Settings(
        facts={"origin": "emulated"}, symbols=SymbolSources(definitions(file.with_name(stem)))
    )
    trace = traceview.open_trace(file, settings=settings)
    if trace.format != "perf.data":
        return traceview.analyze(trace)
    # perf records no markers: steps by time where the clock is that of the truth, else by task.
    truth = steps(str(Path(path).parent), file.with_name(f"{stem}.truth.jsonl"))
    if stem == "perf-kprobes-mono":
        return traceview.analyze(trace, steps=intervals(truth))
    found = traceview.analyze(trace)
    return replace(found, unmaps=steps_by_task(found.unmaps, truth))


def definitions(stem: Path) -> dict[str, Probe]:
    """The probes of a capture; those of perf share a file."""
    names = [f"{stem.name}.kprobe_events"]
    names += ["perf.kprobe_events"] if stem.name.startswith("perf-") else []
    files = [file for name in names if (file := stem.with_name(name)).exists()]
    return parse_kprobe_events(files[0].read_text(encoding="utf-8")) if files else {}


def intervals(truth: dict[str, Step]) -> StepIntervals:
    found = truth.values()
    return StepIntervals(
        "mono", tuple(truth), tuple(s.begin_ns for s in found), tuple(s.end_ns for s in found),
        tuple(s.tid for s in found),
    )  # fmt: skip


def steps_by_task(unmaps: pl.DataFrame, truth: dict[str, Step]) -> pl.DataFrame:
    """*unmaps* with the steps of their tasks, one after the other; too few: none.

    One more is an empty one: how often mprotect() asks differs from run to run.
    """
    waiting: dict[int, list[str]] = {}
    for name, step in truth.items():
        waiting.setdefault(step.tid, []).extend([name] * step.unmaps)
    for tid, names in waiting.items():
        mine = unmaps.filter(pl.col("tid") == tid)
        if mine.height < len(names) or mine[len(names) :]["leaves"].sum() > 0:
            names.clear()
    tids = unmaps["tid"].to_list()
    named = [waiting[tid].pop(0) if waiting.get(tid) else None for tid in tids]
    return unmaps.with_columns(pl.Series("step", named, dtype=pl.String))


def expected(path: str, step: Step, column: str) -> Any:
    """What *column* must be, summed over the unmaps of a step (strategy: of one with leaves)."""
    deferred = "6.12-max" in path
    cmo = "neoverse" in path
    small = step.block_bytes == 4096
    return {
        "strategy": "deferred_range" if deferred else "per_pte",
        "trigger": step.trigger,
        "leaves": step.leaves,
        "leaves_l2": 0 if small else step.leaves,
        "leaves_l3": step.leaves if small else 0,
        "pte_visits": step.pte_visits,
        "invalidate_leaf": 0 if deferred else step.leaves,
        "invalidate_table": step.tables,
        "invalidate_ipa": (0 if deferred else step.leaves) + step.tables,
        "invalidate_range": step.unmaps if deferred else 0,
        "cmo": step.leaves if cmo else 0,
        "table_put": step.leaves + 2 * step.tables,
    }[column]


pytestmark = [
    pytest.mark.captures,
    pytest.mark.skipif(not TRACES.is_dir(), reason="no captures: ../shared/traces is not there"),
]


@pytest.mark.parametrize("capture", captures(), ids=lambda c: c.path)
def test_a_capture_shows_what_the_workload_did_and_nothing_else(capture: Capture) -> None:
    unmaps = analysed(capture.path).unmaps
    for name, step in capture.truth.items():
        mine = unmaps.filter(pl.col("step") == name)
        if name in capture.absent or "*" in capture.absent:
            assert mine.is_empty(), name
        elif name in capture.holes:
            assert "complete" not in mine["status"].to_list(), name
        else:
            assert mine.height == step.unmaps, name
            for column in CHECKED:
                check(capture, name, step, mine, column)


def check(capture: Capture, name: str, step: Step, mine: pl.DataFrame, column: str) -> None:
    if column in {"invalidate_leaf", "invalidate_table", "invalidate_ipa"}:
        # An unmap that flushed nothing has no leaf's and no table's flush, whatever was recorded.
        mine = mine.filter(pl.col("leaves").is_null() | (pl.col("leaves") > 0))
    values = mine[column]
    where = (name, column, values.to_list())
    if column not in capture.equal:
        nothing = values == "unknown" if column in SPOKEN else values.is_null()
        empty = mine["leaves"].fill_null(-1) == 0
        if column.startswith("leaves_l"):  # of an unmap without leaves every level is known: 0
            nothing |= empty
        assert nothing.all(), where
        return
    if column == "duration_ns":
        assert values.null_count() == 0, where
    elif column == "strategy":
        known = set(values.to_list()) - {"none"}
        assert known == {expected(capture.path, step, column)}, where
    elif column == "trigger":
        assert set(values.to_list()) == {step.trigger}, where
    else:
        wanted = expected(capture.path, step, column)
        assert values.null_count() == 0, where
        assert wanted is None or values.sum() == wanted, (*where, wanted)


@pytest.mark.parametrize("capture", captures(), ids=lambda c: c.path)
def test_every_unmap_that_began_is_accounted_for_and_every_breakdown_sums(capture: Capture) -> None:
    analysis = analysed(capture.path)
    unmaps = analysis.unmaps
    whole = unmaps.filter(pl.col("status") == "complete")
    parts = whole.select(pl.sum_horizontal(COMPONENTS).alias("sum"))["sum"]
    assert (parts == whole["duration_ns"]).all()
    if not capture.holes and not capture.absent and "point" not in unmaps["status"].to_list():
        assert unmaps["status"].unique().to_list() == ["complete"]
    assert analysis.sources["origin"].to_list() == ["emulated"]


@pytest.mark.parametrize(
    ("path", "unmaps", "strategies"),
    [
        ("6.1-max/storm-fgraph.txt.zst", 60, {"per_pte", "none"}),
        ("6.1-max/storm-kprobes.txt.zst", 60, {"per_pte", "none"}),
        ("6.12-max/storm-fgraph.txt.zst", 60, {"deferred_range"}),
        ("6.12-max/storm-kprobes.txt.zst", 60, {"deferred_range"}),
        ("6.12-max/perf-ftrace.txt", 1, {"deferred_range"}),
        ("6.12-neoverse-n1/perf-ftrace.txt", 1, {"per_pte"}),
        ("6.12-neoverse-n1/tc-extract.show.txt", 1, {"per_pte"}),
        ("6.12-neoverse-n1/pf-big.pftrace.zst", 1, {"per_pte"}),
        ("6.1-max/storm-tc.dat.zst", 60, {"per_pte", "none"}),
        ("6.12-max/storm-tc.dat.zst", 60, {"deferred_range"}),
        ("6.1-max/tc-lost2.dat.zst", 2, {"per_pte"}),
        ("6.12-neoverse-n1/tc-extract.dat.zst", 4, {"per_pte"}),
    ],
)
def test_captures_without_steps_show_their_unmaps(
    path: str, unmaps: int, strategies: set[str]
) -> None:
    found = analysed(path).unmaps
    assert found.height == unmaps
    assert set(found["strategy"].to_list()) == strategies
    # perf wrote its output over the workload's: two lines inside the unmap are mangled.
    whole = "contaminated" if "perf-ftrace" in path else "complete"
    assert found["status"].unique().to_list() == [whole]


FOLDERS = ("6.1-max", "6.12-max", "6.12-neoverse-n1")


@pytest.mark.parametrize("folder", FOLDERS)
def test_all_recorders_of_one_workload_agree_on_every_step_that_they_recorded(folder: str) -> None:
    """trace.dat, perf.data, Perfetto and text: whatever two of them say must be the same."""
    said: dict[tuple[str, int, str], dict[int, list[str]]] = {}
    recorded = [c for c in captures() if c.path.startswith(f"{folder}/")]
    for capture in recorded:
        unmaps = analysed(capture.path).unmaps.filter(pl.col("status") == "complete")
        for name in set(capture.truth) - set(capture.absent) - set(capture.holes):
            mine = unmaps.filter(pl.col("step") == name)
            for column in CHECKED:
                if column in SPOKEN or column == "duration_ns" or mine[column].null_count():
                    continue
                if mine.height:
                    leaves = capture.truth[name].leaves  # `big` is not always as big
                    by_value = said.setdefault((name, leaves, column), {})
                    by_value.setdefault(int(mine[column].sum()), []).append(capture.path)
    assert {key: found for key, found in said.items() if len(found) > 1} == {}
    assert sum(len(paths) > 1 for found in said.values() for paths in found.values()) > 100


def test_the_table_names_every_capture() -> None:
    named = {capture.path for capture in captures()} | set(TABLE["elsewhere"]["files"])
    there = {
        str(file.relative_to(TRACES))
        for pattern in PATTERNS
        for file in TRACES.rglob(pattern)
        if not any(word in file.name for word in TABLE["elsewhere"]["words"])
    }
    assert there - named == set()
    assert named - there == set()
