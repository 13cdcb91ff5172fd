"""kprobes of a plan as lines of tracefs `kprobe_events`, defined and removed.

All of them are in the group `traceview`: what a recorder that was killed left behind is known by
it. Source: Documentation/trace/kprobetrace.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError
from traceview.record.tracefs_files import Tracefs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from traceview.record.preset import Probe

GROUP: Final = "traceview"


def lines(probes: Iterable[Probe]) -> list[str]:
    """The lines that define *probes*."""
    found = []
    for one in probes:
        at = f"+{one.offset:#x}" if one.offset else ""
        found.append(" ".join((f"p:{GROUP}/{one.event}", f"{one.symbol}{at}", *one.arguments)))
        if one.returns:
            found.append(f"r:{GROUP}/{one.event}_ret {one.symbol}")
    return found


def events(probes: Iterable[Probe]) -> list[str]:
    """The events that *probes* are, without their group."""
    return [line.split()[0].rpartition("/")[2] for line in lines(probes)]


def define(tracefs: Path | Tracefs, probes: Iterable[Probe]) -> None:
    """Define *probes*; raises SettingError with the line that the kernel refuses."""
    tracefs = tracefs if isinstance(tracefs, Tracefs) else Tracefs(tracefs)
    for line in lines(probes):
        try:
            tracefs.append("kprobe_events", f"{line}\n")
        except OSError as err:
            raise SettingError(
                f"the kernel refuses a kprobe: {err.strerror}\nprobe: {line}"
            ) from err


def remove(tracefs: Path | Tracefs) -> list[str]:
    """Remove the probes of our group; what could not be removed, and why."""
    tracefs = tracefs if isinstance(tracefs, Tracefs) else Tracefs(tracefs)
    kept: list[str] = []
    for line in tracefs.text("kprobe_events").splitlines():
        name = line.split()[0].partition(":")[2] if line.split() else ""
        if name.partition("/")[0] != GROUP:
            continue
        try:
            tracefs.append("kprobe_events", f"-:{name}\n")
        except OSError as err:
            kept.append(f"kprobe {name}: {err.strerror}")
    return kept
