"""A plan and its host as one JSON object: `--json`, and plan.json of a run folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import traceview
from traceview.record import probes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from traceview.record.host import Host
    from traceview.record.plan import Plan


def plan_document(host: Host, plan: Plan, problems: Sequence[str] = ()) -> dict[str, Any]:
    """What is planned. *problems*: why it cannot be recorded."""
    return {
        "document": "recording_plan",
        "traceview_version": traceview.__version__,
        "host": {
            "kernel": host.kernel,
            "machine": host.machine,
            "kvm": host.kvm,
            "kvm_mode": host.mode,
            "virtual": host.virtual,
            "tracefs": str(host.tracefs),
            "programs": dict(host.programs),
            "fprobes": host.fprobes,
            "hypervisor_events": host.hypervisor,
            "unmap_defer": host.defer_switch,
            "facts": dict(host.facts),
            "unknowns": list(host.unknowns),
        },
        "problems": list(problems),
        "preset": plan.preset,
        "backend": plan.backend,
        "functions": list(plan.graph),
        "kprobe_events": probes.lines(plan.probes),
        "events": list(plan.events),
        "clock": plan.clock,
        "buffer_size_kb": plan.buffer_kb,
        "instance": plan.instance,
        "hypervisor": plan.hypervisor,
        "hypervisor_buffer_size_kb": plan.hypervisor_kb,
        "traced": list(plan.traced),
        "dropped": [asdict(one) for one in plan.dropped],
        "answers": [asdict(one) for one in plan.answers],
        "notes": list(plan.notes),
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file of one JSON object."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
