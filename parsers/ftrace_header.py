"""What the comment lines of a text trace say about the recording.

Sources of truth: kernel/trace/trace.c (print_trace_header, print_func_help_header_irq) and
kernel/trace/trace_functions_graph.c (__print_graph_headers_flags), 5.10 to 7.x; `cpus=N` and
`version = N` are tracecmd/trace-read.c. A clock is stated by none of them: only files written by
an instruction tracer have a line of their own for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

TRACER: Final = re.compile(r"^# tracer: (\S+)")
ENTRIES: Final = re.compile(r"^# entries-in-buffer/entries-written: (\d+)/(\d+)\b")
LATENCY: Final = re.compile(r"^# \S+ latency trace v\S+ on (\S+)")
LATENCY_ENTRIES: Final = re.compile(r"^# latency: .*#(\d+)/(\d+), CPU#")
CPUS: Final = re.compile(r"#P:(\d+)\b")
TRACE_CMD_CPUS: Final = re.compile(r"^cpus=(\d+)\s*$")
CLOCK: Final = re.compile(r"^# clock: ([^;,]+)")
ORIGIN: Final = re.compile(r"^# clock: .*\borigin: (hardware|emulated|synthetic)\b")
GRAPH_COLUMNS: Final = re.compile(r"^#( +TIME)? *(?: REL TIME)?( +CPU)?.*FUNCTION CALLS")

# What begins a line that is worth a look here; everything else about a header is layout.
INTERESTING: Final = (
    r"^(?:# (?:tracer|entries-in-buffer|latency|clock)|# \S+ latency|#.*FUNCTION CALLS"
    r"|#.*TASK-PID|cpus=)"
)


@dataclass(slots=True)
class Header:
    """The state of what the header said so far; `facts` are columns of schema.SOURCES."""

    facts: dict[str, Any] = field(default_factory=lambda: {"loss_known": False})
    tracer: str | None = None
    trace_cmd: bool = False
    instructions: bool = False
    overwritten: int = 0

    def read(self, lines: Iterable[str]) -> None:
        """Take in the lines that match INTERESTING."""
        for line in lines:
            self._line(line)

    def _line(self, line: str) -> None:
        if match := TRACER.match(line):
            self.tracer = self.facts["tracer"] = match[1]
        elif match := TRACE_CMD_CPUS.match(line):
            # trace-cmd report prints a line wherever the recording lost events.
            self.trace_cmd = True
            self.facts.update(cpus=int(match[1]), loss_known=True)
        elif match := ENTRIES.match(line):
            self._entries(int(match[1]), int(match[2]))
        elif match := LATENCY.match(line):
            self.facts["kernel"] = match[1]
            self._option("latency-format")
        elif match := LATENCY_ENTRIES.match(line):
            self._entries(int(match[1]), int(match[2]))
        elif match := CLOCK.match(line):
            self._clock(line, match[1].strip())
        elif match := GRAPH_COLUMNS.match(line):
            for option, shown in (
                ("funcgraph-abstime", match[1]),
                ("funcgraph-proc", "TASK/PID" in line),
            ):
                if shown:
                    self._option(option)
        elif "TASK-PID" in line and " TGID " in line:
            self._option("record-tgid")
        if match := CPUS.search(line):
            self.facts["cpus"] = int(match[1])

    def _entries(self, kept: int, written: int) -> None:
        # The function_graph tracer prints no such line of its own. Its latency header counts all
        # entries, but its text says nothing where events are missing: it knows only that none is.
        self.facts["loss_known"] = self.tracer != "function_graph" or kept == written
        self.overwritten = max(self.overwritten, written - kept)

    def _clock(self, line: str, clock: str) -> None:
        self.facts["clock"] = clock
        self.instructions = clock.startswith("instructions executed")
        if match := ORIGIN.match(line):
            self.facts["origin"] = match[1]

    def _option(self, option: str) -> None:
        options = str(self.facts.get("tracer_options") or "").split()
        if option not in options:
            self.facts["tracer_options"] = " ".join([*options, option])
