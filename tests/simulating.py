"""Simulated recordings for tests: of a profile, with small workloads, read back where asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from traceview.simulate.presets import tracer_of
from traceview.simulate.profile import changed, read_profile
from traceview.simulate.simulator import Options, machine_of, simulate
from traceview.simulate.steps import make_step

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traceview.simulate.presets import Tracer
    from traceview.simulate.profile import Profile
    from traceview.simulate.recording import Recorded
    from traceview.simulate.workload import Step

QUIET = (
    "noise.jitter=0", "noise.tracing_jitter=0", "noise.run=0", "noise.slow_share=0",
    "interrupts.per_second=0",
)  # fmt: skip


@dataclass(frozen=True)
class Simulated:
    """A recording with all of its records, and the truth."""

    recorded: Recorded
    records: pl.DataFrame
    truth: pl.DataFrame
    tracer: Tracer

    def again(self) -> Recorded:
        """The recording, with its records in two batches."""
        half = self.records.height // 2
        return replace(self.recorded, batches=iter([self.records[:half], self.records[half:]]))


def step(**stated: Any) -> Step:
    return make_step(stated, "a test")


def recording(
    profile: str | Profile, steps: Iterable[Step], preset: str = "split", *,
    settings: Iterable[str] = (), functions: Iterable[str] = (), tracer: str | None = None,
    **options: Any,
) -> Simulated:  # fmt: skip
    machine = read_profile(profile) if isinstance(profile, str) else profile
    machine = changed(machine, settings)
    traced = tracer_of(
        preset, machine_of(machine, options.get("strategy", "auto")), tracer=tracer,
        functions=functions,
    )  # fmt: skip
    recorded, truth = simulate(machine, Options(tuple(steps), traced, **options))
    records = pl.concat(list(recorded.batches))
    visible = traced.visible(machine_of(machine, options.get("strategy", "auto")))
    return Simulated(recorded, records, truth.take(), visible)
