"""Simulated unmaps of the emulated profiles take as long as those that they are fitted to."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import traceview
from tests.simulating import recording, step
from traceview.queries import analyze

CAPTURES = Path(__file__).parent.parent.parent / "shared" / "traces"
MACHINES = ("6.1-max", "6.12-max", "6.12-neoverse-n1")
STEPS = {
    "w01": {"size": "4k"}, "w02": {"size": "64k"}, "w03": {"size": "512k"}, "w04": {"size": "2M"},
    "w05": {"size": "8M"}, "w06": {"size": "16M", "backing": "2M"},
    "w07": {"size": "2M", "action": "memslot"}, "w08": {"size": "1M", "action": "half"},
}  # fmt: skip
# What the deep captures traced beyond the preset.
DEEPER = ("stage2_has_fwb",)


def simulated(machine: str, preset: str) -> pl.DataFrame:
    """By step: the median duration, and how many calls were traced inside."""
    steps = [step(id=name, repetitions=2, **how) for name, how in STEPS.items()]
    made = recording(
        f"emulated-{machine}", steps, preset, settings=["interrupts.per_second=0"],
        functions=DEEPER if preset == "deep" else (),
    )  # fmt: skip
    return by_step(made.truth)


def by_step(unmaps: pl.DataFrame) -> pl.DataFrame:
    # A lower quartile: some of the captured unmaps were interrupted.
    return (
        unmaps.group_by(pl.col("step").str.slice(0, 3))
        .agg(pl.col("duration_ns").quantile(0.25), pl.col("traced_calls").median())
        .sort("step")
    )


@pytest.mark.captures
@pytest.mark.parametrize(("preset", "within"), [("top", 0.025), ("split", 0.012), ("deep", 0.006)])
@pytest.mark.parametrize("machine", MACHINES)
def test_traced_times_are_near_those_of_the_captures(
    machine: str, preset: str, within: float
) -> None:
    path = CAPTURES / "observer" / machine / f"{preset}.txt{'' if preset == 'top' else '.zst'}"
    if not path.is_file():
        pytest.skip(f"the capture is not there: {path}")
    captured = by_step(analyze(traceview.open_trace(path)).unmaps)
    made = simulated(machine, preset)
    assert made["step"].to_list() == captured["step"].to_list() == list(STEPS)
    if preset != "split":
        assert made["traced_calls"].to_list() == captured["traced_calls"].to_list()
    off = (made["duration_ns"] / captured["duration_ns"] - 1).abs()
    assert off.max() <= within  # type: ignore[operator]


@pytest.mark.captures
@pytest.mark.parametrize("machine", ["6.1-max", "6.12-max"])
def test_untraced_times_are_near_those_of_the_executed_instructions(machine: str) -> None:
    path = CAPTURES / "insn" / machine / "insn.txt.zst"
    if not path.is_file():
        pytest.skip(f"the capture is not there: {path}")
    executed = sorted(
        analyze(traceview.open_trace(path)).unmaps.group_by("length_bytes").agg(
            pl.col("duration_ns").median()
        ).rows()
    )  # fmt: skip
    steps = [step(id=name, **how) for name, how in STEPS.items()]
    truth = recording(f"emulated-{machine}", steps, "top").truth
    made = sorted(truth.group_by("length_bytes").agg(pl.col("true_ns").median()).rows())
    assert [size for size, _ in made] == [size for size, _ in executed]
    for (size, ours), (_, theirs) in zip(made, executed, strict=True):
        assert ours == pytest.approx(theirs, rel=0.034), size
