"""Writes text as the kernel and trace-cmd print it: function_graph with any options, event lines.

The layouts follow kernel/trace/trace_functions_graph.c, trace_output.c and libtraceevent. A test
says what happened (who, when, what); the writer knows how that looks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MARKS = ((10**9, "$"), (10**8, "@"), (10**7, "*"), (10**6, "#"), (10**5, "!"), (10**4, "+"))
RULE = " ------------------------------------------\n"


@dataclass(frozen=True)
class Task:
    """A thread."""

    comm: str = "kvmunmap"
    tid: int = 253
    tgid: int | None = None


@dataclass(frozen=True)
class GraphOptions:
    """The options of function_graph; the kernel's own defaults."""

    abstime: bool = False
    cpu: bool = True
    proc: bool = False
    overhead: bool = True
    duration: bool = True
    tail: bool = False
    overrun: bool = False
    latency: bool = False
    retval: str = ""  # "", "old" (to 6.13) or "new"
    retaddr: bool = False
    header: bool = True


@dataclass
class Graph:
    """A function_graph text under construction: calls open and close, and lines appear."""

    options: GraphOptions = field(default_factory=GraphOptions)
    lines: list[str] = field(default_factory=list)
    now_us: int = 36_649_857
    last: dict[int, Task] = field(default_factory=dict)
    open: dict[tuple[int, int], list[str]] = field(default_factory=dict)

    def text(self) -> str:
        """Everything written so far."""
        head = "# tracer: function_graph\n#\n" + self._columns() if self.options.header else ""
        return head + "".join(self.lines)

    def enter(self, func: str, cpu: int = 0, task: Task | None = None, args: str = "") -> None:
        """A function begins and will call others."""
        task = self._task(cpu, task)
        comment = " /* <-caller+0x10/0x20 */" if self.options.retaddr else ""
        self._line(cpu, task, None, f"{func}({args}) {{{comment}", self._depth(cpu, task))
        self._stack(cpu, task).append(func)

    def leave(
        self,
        duration_ns: int = 1000,
        cpu: int = 0,
        task: Task | None = None,
        ret: int = 0,
        *,
        named: bool = False,
    ) -> None:
        """The innermost function ends. *named*: its entry was lost, so the kernel names it."""
        task = self._task(cpu, task)
        stack = self._stack(cpu, task)
        func = stack.pop() if stack else "lost"
        text = "}"
        if self.options.retval:
            text = f"}} /* {func} {self._returned(ret)} */"
        elif self.options.tail or named:
            text = f"}} /* {func} */"
        self._line(cpu, task, duration_ns, text, len(stack))
        if self.options.overrun:
            self.lines.append(" (Overruns: 0)\n")

    def leaf(
        self,
        func: str,
        duration_ns: int = 1000,
        cpu: int = 0,
        task: Task | None = None,
        args: str = "",
        ret: int = 0,
    ) -> None:
        """A function that calls nothing."""
        task = self._task(cpu, task)
        said = ["<-caller+0x10/0x20"] if self.options.retaddr else []
        said += [self._returned(ret)] if self.options.retval else []
        comment = f" /* {' '.join(said)} */" if said else ""
        self._line(cpu, task, duration_ns, f"{func}({args});{comment}", self._depth(cpu, task))

    def comment(self, text: str, cpu: int = 0, task: Task | None = None) -> None:
        """A marker's words, or another event."""
        task = self._task(cpu, task)
        depth = self._depth(cpu, task)
        self._line(cpu, task, None, f"/* {text} */", depth + 1 if depth > 1 else 0)

    def interrupt(self, arrow: str, cpu: int = 0, task: Task | None = None) -> None:
        """The mark of an interrupt that begins ("==========>") or ends."""
        task = self._task(cpu, task)
        self.lines.append(f"{self._prologue(cpu, task)}  {arrow} |\n")

    def lose_entries(self, cpu: int, task: Task) -> None:
        """The ring buffer was overwritten: nobody knows what is open."""
        self.open[self._key(cpu, task)] = ["lost"] * len(self._stack(cpu, task))

    def _task(self, cpu: int, task: Task | None) -> Task:
        """The task that runs now; a change of task is a line of its own."""
        before = self.last.get(cpu)
        task = task or before or Task()
        if before is not None and before != task:
            switch = f"{_cpu(cpu)}{_proc(before)} => {_proc(task)}\n"
            self.lines += [RULE, switch, RULE, "\n"]
        self.last[cpu] = task
        self.now_us += 7
        return task

    def _key(self, cpu: int, task: Task) -> tuple[int, int]:
        return (task.tid, cpu if task.tid == 0 else -1)

    def _stack(self, cpu: int, task: Task) -> list[str]:
        return self.open.setdefault(self._key(cpu, task), [])

    def _depth(self, cpu: int, task: Task) -> int:
        return len(self._stack(cpu, task))

    def _returned(self, ret: int) -> str:
        text = f"0x{ret:x}" if ret >= 0 else str(ret)
        return f"= {text}" if self.options.retval == "old" else f"ret={text}"

    def _prologue(self, cpu: int, task: Task) -> str:
        options, text = self.options, ""
        if options.abstime:
            text += f"{self.now_us // 10**6:5d}.{self.now_us % 10**6:06d} |  "
        if options.cpu:
            text += _cpu(cpu)
        if options.proc:
            text += f"{_proc(task)} | "
        if options.latency:
            text += " d..1. | "
        return text

    def _line(self, cpu: int, task: Task, duration_ns: int | None, text: str, depth: int) -> None:
        column = ""
        if self.options.duration:
            column = " " * 14 + "|  " if duration_ns is None else self._column(duration_ns)
        self.lines.append(f"{self._prologue(cpu, task)}{column}{'  ' * depth}{text}\n")

    def _column(self, duration_ns: int) -> str:
        mark = next((m for limit, m in MARKS if duration_ns > limit), " ")
        mark = mark if self.options.overhead else " "
        number = printed_us(duration_ns)
        return f"{mark} {number} us {' ' * (8 - len(number))}|  "

    def _columns(self) -> str:
        options = self.options
        names = "#" + "     TIME       " * options.abstime + " CPU" * options.cpu
        names += "  TASK/PID       " * options.proc + "||||   " * options.latency
        return names + "  DURATION   " * options.duration + "               FUNCTION CALLS\n"


def printed_us(duration_ns: int) -> str:
    """A duration as the kernel prints it: at most seven digits."""
    whole = str(duration_ns // 1000)
    if len(whole) >= 7:
        return whole
    return f"{whole}.{f'{duration_ns % 1000:03d}'[: 7 - len(whole)]}"


def printed_ns(duration_ns: int) -> int:
    """What is left of a duration when its last digits were not printed."""
    whole, _, decimals = printed_us(duration_ns).partition(".")
    return int(whole) * 1000 + int(decimals.ljust(3, "0") or 0)


def _cpu(cpu: int) -> str:
    return f" {cpu}) "


def _proc(task: Task) -> str:
    text = f"{task.comm[:7]}-{task.tid}"
    spaces = max(0, 14 - len(text))
    return " " * (spaces // 2) + text + " " * (spaces - spaces // 2)


STYLES = (
    "trace",
    "tgid",
    "noirq",
    "latency",
    "verbose",
    "trace-cmd",
    "raw",
    "ns",
    "boot",
    "tc-latency",
)


@dataclass
class Events:
    """Event lines in one of STYLES."""

    style: str = "trace"
    lines: list[str] = field(default_factory=list)
    now_ns: int = 149_915_718_000

    def text(self) -> str:
        """Everything written so far."""
        if self.style in ("trace-cmd", "raw", "ns", "boot", "tc-latency"):
            return "cpus=2\n" + "".join(self.lines)
        return "# tracer: nop\n#\n# entries-in-buffer/entries-written: 9/9   #P:2\n#\n" + "".join(
            self.lines
        )

    def event(self, body: str, cpu: int = 0, task: Task | None = None, flags: str = "d..1.") -> int:
        """One line; returns the time that a reader should see."""
        task = task or Task()
        self.now_ns += 1_234_567
        if self.style not in ("ns", "boot"):
            self.now_ns -= self.now_ns % 1000
        self.lines.append(f"{self._head(cpu, task, flags)}{body}\n")
        return self.now_ns

    def _head(self, cpu: int, task: Task, flags: str) -> str:
        us = self.now_ns // 1000
        time = f"{us // 10**6:5d}.{us % 10**6:06d}"
        name, short = f"{task.comm:>16}-{task.tid:<7}", f"{task.comm[:8]:>8}-{task.tid:<7}"
        tgid = "-------" if task.tgid is None else f"{task.tgid:7d}"
        place = f"[{cpu:03d}]"
        wide = f"{self.now_ns // 10**9:5d}.{self.now_ns % 10**9:09d}"
        return {
            "trace": f"{name} {place} {flags}  {time}: ",
            "tgid": f"{name} ({tgid}) {place} {flags}  {time}: ",
            "noirq": f"{name} {place}  {time}: ",
            "latency": f"{short} {cpu:3d}{flags} {us:4d}us+: ",
            "verbose": f"{task.comm:>16} {task.tid:7d} {cpu:3d} 0 00000001 00010a95 "
            f"[{us:08x}] 1720.415ms (+0.000ms): ",
            "trace-cmd": f"{name} {place} {flags} {time}: ",
            "raw": f"{name} {place}-0x1 {time}: ",
            "ns": f"{name} {place} {flags} {wide}: ",
            "boot": f"{name} {place} {flags}{self.now_ns}: ",
            "tc-latency": f"{short} {cpu:3d}{flags} {time}: ",
        }[self.style]


def insn_header() -> str:
    """The header of a file of executed instructions."""
    return (
        "# tracer: nop\n#\n# clock: instructions executed per vCPU, 1 instruction = 1 ns;"
        " origin: emulated (QEMU TCG plugin)\n#\n"
    )
