"""What `traceview record` says: the plan before, what became of it after."""

from __future__ import annotations

import shlex
import signal
from typing import TYPE_CHECKING, Final

from rich.text import Text

from traceview.record.preset import PRESETS
from traceview.record.probes import lines as probe_lines
from traceview.report.layout import bullets, facts, heading, led
from traceview.report.wording import clean, plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.record.host import Host
    from traceview.record.plan import Plan
    from traceview.record.recorder import Recorded

MODES: Final = {"vhe": "VHE", "nvhe": "nVHE", "protected": "protected (pKVM)"}
FEATURES: Final = {
    "fwb": "FWB",
    "tlbirange": "TLBIRANGE",
    "lpa2": "LPA2",
    "dic": "DIC",
    "idc": "IDC",
}
ORIGIN_UNSTATED: Final = (
    "origin: not stated, so unknown in every report; --origin hardware or --origin emulated says it"
)


def plan_text(
    host: Host, plan: Plan, limits: Sequence[str], origin: str | None, width: int
) -> list[Text]:
    """The plan, and what its capture will be able to answer."""
    lines = facts(_facts(host, plan), width)
    if plan.dropped:
        lines += heading("Left out", width)
        lines += bullets([f"{one.name}: {one.why}" for one in plan.dropped], width)
    lines += heading("What the capture will answer", width)
    for one in sorted(plan.answers, key=lambda one: not one.can):
        lead = Text("yes  ", "green") if one.can else Text("no   ", "yellow")
        lines += led(lead, f"{one.question}: {one.why}", width, indent=2)
    notes = [*plan.notes, *limits, *_origin(host, origin)]
    lines += heading("Notes", width) + bullets(map(clean, notes), width)
    if host.unknowns:
        lines += heading("Not known of this host", width)
        lines += bullets(map(clean, host.unknowns), width)
    return lines


def _facts(host: Host, plan: Plan) -> list[tuple[str, str]]:
    mode = "of unknown mode" if host.mode is None else f"in {MODES[host.mode]} mode"
    known = [name.upper() for name in FEATURES if host.facts.get(name)]
    absent = [f"no {name.upper()}" for name in FEATURES if host.facts.get(name) is False]
    errata = host.facts.get("errata")
    said = [*known, *absent, *([] if errata is None else [f"errata {errata}"])]
    cpus = plural(len(host.cpus), "CPU")
    found = [
        ("host", clean(f"{host.kernel}, {host.machine}, KVM {mode}, {cpus}")),
        ("features", clean(", ".join(said) or "not known")),
        ("preset", f"{plan.preset}: {PRESETS[plan.preset].what}"),
        ("back end", plan.backend),
    ]  # fmt: skip
    if plan.graph:
        found.append(("function_graph", " ".join(plan.graph)))
    if plan.probes:
        found.append(("kprobes", "; ".join(probe_lines(plan.probes))))
    if plan.events:
        found.append(("events", " ".join(plan.events)))
    if plan.hypervisor:
        found.append(("hypervisor", "remotes/hypervisor, beside the host's buffers"))
    return [*found, ("clock", plan.clock)]


def _origin(host: Host, origin: str | None) -> list[str]:
    notes = [] if origin else [ORIGIN_UNSTATED]
    if host.virtual is None:
        return notes
    hint = f"this host is a virtual machine ({host.virtual})"
    if origin == "hardware":
        return [*notes, f"{hint}, stated to be hardware: right only if nothing of it is emulated"]
    return [*notes, f"{hint}: its times are those of hardware only if nothing of it is emulated"]


def recorded_text(done: Recorded, plan: Plan) -> list[str]:
    """What became of it, and the command that reads it."""
    said = [f"recorded {done.seconds:.1f} s to {done.trace}; {_lost(done)}"]
    if done.losses.note:
        said.append(done.losses.note)
    if done.exit_code is not None:
        how = f"exit code {done.exit_code}"
        if done.exit_code > 128 and done.exit_code - 128 in set(signal.Signals):
            how = f"killed by {signal.Signals(done.exit_code - 128).name}"
        said.append(f"the command: {how}")
    if done.signal is not None:
        said.append(f"ended by {signal.Signals(done.signal).name}")
    told = "audit" if plan.preset == "args" else "analyze"
    return [*said, f"next: traceview {told} {shlex.quote(str(done.trace))}"]


def _lost(done: Recorded) -> str:
    losses = done.losses
    if losses.events is None:
        return "whether events were lost is not known"
    if not losses.any:
        return "nothing was lost"
    parts = []
    if losses.events:
        where = f" on {plural(len(losses.by_cpu), 'CPU')}" if losses.by_cpu else ""
        parts.append(f"{plural(losses.events, 'event')} LOST{where}")
    if losses.missed:
        parts.append(f"{plural(losses.missed, 'hit')} of kprobes MISSED")
    return f"{', '.join(parts)}: record again, with a larger --buffer-kb or less traced"
