"""Writes text as `perf script` prints it, with any set of fields.

The layouts follow tools/perf/builtin-script.c (perf_sample__fprintf_start, process_event) and
util/evsel_fprintf.c. A test says what happened; the writer knows how that looks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# What perf prints of tracepoints unless it is asked for more.
TRACEPOINT = frozenset({"comm", "tid", "cpu", "time", "event", "trace"})
DEFAULT = TRACEPOINT | {"period", "ip", "sym", "symoff", "dso"}


@dataclass(frozen=True)
class Thread:
    """Who."""

    comm: str = "kvmunmap"
    tid: int = 280
    pid: int = 280


@dataclass(frozen=True)
class Frame:
    """A frame of a call chain; `symbol` None is unknown to perf."""

    ip: int
    symbol: str | None = None
    offset: int = 0
    dso: str = "[kernel.kallsyms]"


@dataclass
class Script:
    """A text under construction. `columns`: how wide thread IDs are (5 in older perf)."""

    fields: frozenset[str] = DEFAULT
    ns: bool = False
    latency: bool = False
    columns: int = 7
    name_width: int = 20
    chains: bool = False  # the recording has call chains, and they are printed
    lines: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Everything written so far."""
        return "".join(self.lines)

    def tracepoint(
        self, name: str, payload: str, ts_ns: int, thread: Thread | None = None, cpu: int = 0,
        frames: tuple[Frame, ...] = (), misc: str = "K", period: int = 1,
    ) -> None:  # fmt: skip
        """A tracepoint or a probe; the address fields only if *frames* has some."""
        line = self._start(thread or Thread(), cpu, ts_ns, misc) + self._event(name, period)
        line += payload if "trace" in self.fields else ""
        self._sample(line, frames)

    def sample(
        self, name: str, ts_ns: int, thread: Thread | None = None, cpu: int = 0,
        frames: tuple[Frame, ...] = (), misc: str = "K", period: int = 1_001_001,
    ) -> None:  # fmt: skip
        """A sample of a counter or a clock."""
        line = self._start(thread or Thread(), cpu, ts_ns, misc) + self._event(name, period)
        self._sample(line, frames)

    def record(
        self, text: str, ts_ns: int, thread: Thread | None = None, cpu: int = 0, misc: str = ""
    ) -> None:
        """A record of another type: `PERF_RECORD_LOST lost 3`."""
        self.lines.append(f"{self._start(thread or Thread(), cpu, ts_ns, misc)}{text}\n")

    def _start(self, thread: Thread, cpu: int, ts_ns: int, misc: str) -> str:
        fields, width = self.fields, self.columns
        line = ""
        if "comm" in fields:
            padding = 0 if self.chains and "ip" in fields else 16
            line += f"{thread.comm[:8]:>8} " if self.latency else f"{pad(thread.comm, padding)} "
        if {"pid", "tid"} <= fields:
            line += f"{thread.pid:{width}}/{thread.tid:<{width}} "
        elif "pid" in fields:
            line += f"{thread.pid:{width}} "
        elif "tid" in fields:
            line += f"{thread.tid:{width}} "
        if "cpu" in fields:
            line += f"{cpu:3} " if self.latency else f"[{cpu:03}] "
        if "misc" in fields:
            line += f"{misc:<6}"
        fraction = ts_ns % 10**9
        time = f"{ts_ns // 10**9}.{fraction:09}" if self.ns else (
            f"{ts_ns // 10**9}.{fraction // 1000:06}"
        )  # fmt: skip
        if "tod" in fields:
            line += f"2026-11-22 16:09:59.{fraction:09} " if self.ns else (
                f"2026-11-22 16:09:59.{fraction // 1000:06} "
            )  # fmt: skip
        if "time" in fields:
            line += f"{time:>15}: " if self.ns else f"{time:>12}: "
        return line

    def _event(self, name: str, period: int) -> str:
        line = f"{period:10} " if "period" in self.fields else ""
        line += f"{name:>{self.name_width}}: " if "event" in self.fields else ""
        return line + (" " * 24 if "flags" in self.fields else "")

    def _sample(self, line: str, frames: tuple[Frame, ...]) -> None:
        if "ip" not in self.fields or not frames:
            self.lines.append(f"{line}\n")
        elif self.chains:
            below = "".join(f"\t{self._frame(frame)}\n" for frame in frames)
            self.lines.append(f"{line}\n{below}\n")
        else:
            self.lines.append(f"{line} {self._frame(frames[0])}\n")

    def _frame(self, frame: Frame) -> str:
        text = f"{frame.ip:16x}"
        if "sym" in self.fields:
            offset = f"+{frame.offset:#x}" if "symoff" in self.fields and frame.symbol else ""
            text += f" {frame.symbol or '[unknown]'}{offset}"
        return text + (f" ({frame.dso})" if "dso" in self.fields else "")


def pad(text: str, width: int) -> str:
    """*text* to the right of *width* bytes, as printf counts them."""
    return " " * (width - len(text.encode())) + text
