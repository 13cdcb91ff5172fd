"""kprobes of a plan as lines of tracefs `kprobe_events`, defined and removed.

All of them are in the group `traceview`: what a recorder that was killed left behind is known by
it. Source: Documentation/trace/kprobetrace.rst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError

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


def define(tracefs: Path, probes: Iterable[Probe]) -> None:
    """Define *probes*; raises SettingError with the line that the kernel refuses."""
    for line in lines(probes):
        try:
            with (tracefs / "kprobe_events").open("a", encoding="ascii") as file:
                file.write(f"{line}\n")
        except OSError as err:
            raise SettingError(
                f"the kernel refuses a kprobe: {err.strerror}\nprobe: {line}"
            ) from err


def remove(tracefs: Path) -> list[str]:
    """Remove the probes of our group; what could not be removed, and why."""
    kept: list[str] = []
    try:
        defined = (tracefs / "kprobe_events").read_text(encoding="ascii", errors="replace")
    except OSError:
        return kept
    for line in defined.splitlines():
        name = line.split()[0].partition(":")[2] if line.split() else ""
        if name.partition("/")[0] != GROUP:
            continue
        try:
            with (tracefs / "kprobe_events").open("a", encoding="ascii") as file:
                file.write(f"-:{name}\n")
        except OSError as err:
            kept.append(f"kprobe {name}: {err.strerror}")
    return kept
