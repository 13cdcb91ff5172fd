"""The settings of tracefs' top level: read as a whole, and put back as they were.

What is put back is what differs, so a setting that nobody changed is not written (writing
trace_clock or buffer_size_kb would empty the buffers). Not put back: the content of the buffers;
the first, small size of buffers that were never used (`7 (expanded: 1408)`), which the kernel
itself gives up at their first use; function commands (`f:traceon`), which only `!` removes and
nobody here removes. Source: kernel/trace/{trace.c,ftrace.c,trace_events.c} of Linux 5.10 to 7.1.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final

from traceview.record import hypervisor
from traceview.record.probes import GROUP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.record.tracefs_files import Tracefs

Settings = dict[str, list[str]]  # by file: its value as the only element, or the elements of a list

VALUES: Final = (
    "tracing_thresh", "max_graph_depth", "buffer_percent", "tracing_cpumask", "trace_clock",
    "buffer_subbuf_size_kb",
)  # fmt: skip
LISTS: Final = (
    "set_ftrace_filter", "set_ftrace_notrace", "set_graph_function", "set_graph_notrace",
    "set_ftrace_pid", "set_ftrace_notrace_pid", "set_event_pid", "set_event_notrace_pid",
)  # fmt: skip
SIZE: Final = "buffer_size_kb"
EXPANDED: Final = re.compile(r"expanded: (\d+)")
SELECTED: Final = re.compile(r"\[(\S+)\]")
MAX_WRITE_BYTES: Final = 2000


def snapshot(tracefs: Tracefs, *, with_hypervisor: bool = False) -> Settings:
    """All settings that a recording may change; files that this kernel lacks are left out."""
    found: Settings = {}
    for name in (*VALUES, "current_tracer", "tracing_on"):
        if tracefs.exists(name):
            found[name] = [_value(tracefs, name)]
    for name in _sizes(tracefs):
        found[name] = [_value(tracefs, name)]
    for option in tracefs.names("options"):
        found[f"options/{option}"] = [_value(tracefs, f"options/{option}")]
    for name in LISTS:
        if tracefs.exists(name):
            found[name] = elements(tracefs, name)
    found["set_event"] = sorted(tracefs.text("set_event").split())
    found["kprobe_events"] = tracefs.text("kprobe_events").splitlines()
    if with_hypervisor:
        found |= hypervisor.snapshot(tracefs)
    return found


def put_back(tracefs: Tracefs, saved: Settings) -> list[str]:
    """Make every setting what it was; what the kernel refused, and why."""
    now = snapshot(tracefs, with_hypervisor=hypervisor.TRACING_ON in saved)
    changed = {name: value for name, value in saved.items() if now.get(name) != value}
    if not changed:
        return []
    refused: list[str] = []
    for name, text in hypervisor.to_put_back(changed):
        _attempt(refused, tracefs.write, name, text)
    # Nothing is recorded, and no tracer holds what is changed, until all is as it was.
    _attempt(refused, tracefs.write, "tracing_on", "0")
    if "current_tracer" in changed or any(name in changed for name in LISTS):
        _attempt(refused, tracefs.write, "current_tracer", "nop")
    _put_back_events(tracefs, saved, refused)
    for name, value in changed.items():
        if name in LISTS:
            _attempt(refused, tracefs.write, name, "")
            for piece in _chunks(value):
                _attempt(refused, tracefs.append, name, piece)
        elif name in VALUES or name.startswith(("options/", "per_cpu/")) or name == SIZE:
            _attempt(refused, tracefs.write, name, value[0])
    for name in ("current_tracer", "tracing_on"):
        if name in saved and _value(tracefs, name) != saved[name][0]:
            _attempt(refused, tracefs.write, name, saved[name][0])
    return refused


def _attempt(refused: list[str], write: Callable[[str, str], None], name: str, text: str) -> None:
    try:
        write(name, text)
    except OSError as err:
        refused.append(f"{name} ({text.strip()[:60]!r}): {err.strerror}")


def _put_back_events(tracefs: Tracefs, saved: Settings, refused: list[str]) -> None:
    """Events that are on and were not go off, probes that are gone come back, and the reverse."""
    enabled, was = set(tracefs.text("set_event").split()), set(saved.get("set_event", ()))
    for event in sorted(enabled - was):
        _attempt(refused, tracefs.append, "set_event", f"!{event}\n")
    defined = tracefs.text("kprobe_events").splitlines()
    for line in saved.get("kprobe_events", ()):
        if line not in defined and f":{GROUP}/" not in line:
            _attempt(refused, tracefs.append, "kprobe_events", f"{line}\n")
    for event in sorted(was - enabled):
        _attempt(refused, tracefs.append, "set_event", f"{event}\n")


def _sizes(tracefs: Tracefs) -> list[str]:
    """The files that say how large the buffers are: one, or one per CPU where they differ."""
    if not tracefs.exists(SIZE):
        return []
    if tracefs.text(SIZE) != "X":
        return [SIZE]
    return [f"per_cpu/{cpu}/{SIZE}" for cpu in tracefs.names("per_cpu")]


def _value(tracefs: Tracefs, name: str) -> str:
    text = tracefs.text(name)
    if name.endswith(SIZE):
        expanded = EXPANDED.search(text)
        return expanded[1] if expanded else text
    if name == "trace_clock":
        selected = SELECTED.search(text)
        return selected[1] if selected else text
    return text


def elements(tracefs: Tracefs, name: str) -> list[str]:
    """The elements of a list; `#### all functions enabled ####` and `no pid` are no elements."""
    found: list[str] = []
    for line in tracefs.text(name).splitlines():
        if line.startswith("#") or line == "no pid" or ":" in line:
            continue
        found += line.split() if name.endswith("pid") else line.split()[:1]
    return found


def _chunks(names: list[str]) -> Iterator[str]:
    """*names* in pieces; the kernel's buffer is a page."""
    pending = ""
    for name in names:
        if pending and len(pending) + len(name) >= MAX_WRITE_BYTES:
            yield pending
            pending = ""
        pending += f"{name}\n"
    if pending:
        yield pending


def neutral_graph(tracefs: Tracefs) -> list[str]:
    """Make the settings that limit every function_graph neutral; the names of those changed.

    They are of the top level, and hold for instances too (trace_functions_graph.c, fgraph.c).
    """
    changed = []
    wanted = {
        "tracing_thresh": "0",
        "max_graph_depth": "0",
        "options/funcgraph-irqs": "1",
        "options/sleep-time": "1",
        # They put more into each record (6.14 and later).
        "options/funcgraph-args": "0",
        "options/funcgraph-retaddr": "0",
    }
    for name, value in wanted.items():
        if tracefs.exists(name) and tracefs.text(name) != value:
            tracefs.set(name, value)
            changed.append(name)
    for name in ("set_graph_function", "set_graph_notrace"):
        if tracefs.exists(name) and elements(tracefs, name):
            with contextlib.suppress(OSError):
                tracefs.write(name, "")
            changed.append(name)
    return changed
