"""The sidecar of a recording (docs/sidecar.md), and the words that place it among others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from traceview.record import probes
from traceview.record.state import boot_id

if TYPE_CHECKING:
    from traceview.record.host import Host
    from traceview.record.plan import Plan

SUFFIX: Final = ".host.json"  # as in traceview/host.py, which needs more than a measured host has
RECORDED_ON: Final = ("hardware", "emulated")


@dataclass(frozen=True, slots=True)
class Said:
    """What only the user, or the plan of several runs, can say. None: not said."""

    origin: str | None = None
    label: str | None = None
    run: str | None = None
    order: int | None = None


def document(
    host: Host, plan: Plan, said: Said, recorded_at: str, tracing: dict[str, Any]
) -> dict[str, Any]:
    """The sidecar. *tracing*: tracer, tracer_options as they were while recording.

    Without a run it is the boot: several captures of one boot are one run.
    """
    boot = boot_id(host.root)
    own = {
        "label": said.label,
        "run": said.run or (f"boot-{boot[:8]}" if boot else None),
        "order": said.order,
        "recorded_at": recorded_at,
        "origin": said.origin,
        "clock": plan.clock,
    }
    found: dict[str, Any] = {key: value for key, value in own.items() if value is not None}
    found["traced"] = list(plan.traced)
    if plan.probes:
        found["kprobe_events"] = probes.lines(plan.probes)
    found["host"] = {**host.facts, **tracing, "buffer_size_kb": plan.buffer_kb}
    return found


def write(trace: Path, content: dict[str, Any]) -> Path:
    """Write the sidecar of *trace* beside it."""
    path = Path(f"{trace}{SUFFIX}")
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path
