"""Ftrace text read line by line: slow, obvious, and independent of parsers/.

The vectorised parser must agree with it on every capture and on every written file. It knows
the forms that the kernel and trace-cmd print, no more: what it cannot read is unparsed.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from traceview.vocabulary import Vocabulary

COMM = r"(?P<comm>.{0,15}?)-(?P<tid>\d+)"
HEADS = [
    re.compile(pattern)
    for pattern in (
        (
            rf" *{COMM} +(?:\( *(?P<tgid>\d+|-+)\) +)?\[(?P<cpu>\d+)\](?:-0x[0-9a-f]+| \S{{4,5}})?"
            r" +(?P<s>\d+)\.(?P<ns>\d{9}|\d{6}): (?P<body>.*)"
        ),
        rf" *{COMM} +(?P<cpu>\d+)[^\s\d]\S{{3,4}} +(?P<us>\d+)us[ +!#*@$]: (?P<body>.*)",
        rf" *{COMM} +(?P<cpu>\d+)[^\s\d]\S{{3,4}} +(?P<s>\d+)\.(?P<ns>\d{{6}}): (?P<body>.*)",
        rf" *{COMM} +\[(?P<cpu>\d+)\] \S{{5}} *(?P<plain>\d{{8,}}): (?P<body>.*)",
        (
            r" *(?P<comm>.{1,16}?) +(?P<tid>\d+) +(?P<cpu>\d+) \d+ [0-9a-f]{8} [0-9a-f]{8} "
            r"\[(?P<hex>[0-9a-f]{8,})\] \d+\.\d{3}ms \(\+\d+\.\d{3}ms\): (?P<body>.*)"
        ),
    )
]
DURATION = r"[ +!#*@$-] (?P<us>\d+)(?:\.(?P<dec>\d{1,3}))? us +\|  "
GRAPH = re.compile(
    r"(?: *(?P<s>\d+)\.(?P<ns>\d{6}) \|  )?(?: *(?P<cpu>\d+)\) )?"
    r"(?: *(?P<comm>.{0,7}?)-(?P<tid>\d+) *\| )?(?: (?P<flags>[^\s|]{4,6}) \| )?"
    rf"(?:{DURATION}|(?P<fill> {{14}}\|  )|  (?P<irq>==========>|<==========) \|$)(?P<func>.*)"
)
BARE_GRAPH = re.compile(
    r"(?: *(?P<s>\d+)\.(?P<ns>\d{6}) \|  )?(?: *(?P<cpu>\d+)\) )?"
    r"(?: *(?P<comm>.{0,7}?)-(?P<tid>\d+) *\| )?(?: (?P<flags>[^\s|]{4,6}) \| )?"
    r"(?P<func> *(?:[\w.]+(?: \[\w+\])?\(.*\)(?:;| \{)|\}|/\* .* \*/)(?: /\*.*\*/)?)"
)
REPORTED = re.compile(
    r"(?:(?:[+!#*@$] )?(?P<us>\d+)(?:\.(?P<dec>\d{1,3}))? us +| *)\|  (?P<func>.*)"
)
SWITCH = re.compile(r" *(\d+)\) +(.*?)-(\d+) +=> +(.*?)-(\d+) *")
LOST = re.compile(r"CPU:(\d+) \[(?:LOST (?:(\d+) )?EVENTS|(?:(\d+) )?EVENTS DROPPED)\]")
LAYOUT = re.compile(r"[ -]*|#.*|cpus=\d+|version = \d+| ?=> .*| \(Overruns: \d+\)")

SYMBOL = re.compile(r"([A-Za-z_.][\w.]*)(?:\+0x[0-9a-f]+(?:/0x[0-9a-f]+)?)?(?: \[\w+\])?")
PROBE = re.compile(r"\(([A-Za-z_][\w.]*)\+0x([0-9a-f]+)(?:/0x[0-9a-f]+)?(?: \[\w+\])?\)")
RETURN = re.compile(r"\([^()<]+ <- ([A-Za-z_][\w.]*)(?: \[\w+\])?\)")
RAW_PROBE = re.compile(r"\((ffff[0-9a-f]{12})\)")
RAW_RETURN = re.compile(r"\((ffff[0-9a-f]{12}) <- [0-9a-f]+\)")
FIELDS_PROBE = re.compile(r"__probe_ip=([0-9a-f]+)|__probe_func=([0-9a-f]+) __probe_ret_ip=\S+")
INSTRUCTIONS = ("tlbi", "dc", "ic", "dsb", "isb")


@dataclass
class Reference:
    """What a file says, as plain rows."""

    vocabulary: Vocabulary
    all_events: bool = False
    events: list[dict[str, Any]] = field(default_factory=list)
    args: list[tuple[int, str, int | None, str | None]] = field(default_factory=list)
    losses: list[dict[str, Any]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    unparsed: int = 0
    tasks: dict[int, tuple[int, str]] = field(default_factory=dict)
    stacks: dict[tuple[str, int], list[tuple[int, str | None]]] = field(default_factory=dict)
    trace_cmd: bool = False
    insn: bool = False
    tracer: str = ""
    stack: list[str] | None = None

    def read(self, data: bytes) -> Reference:
        """Read a whole file."""
        text = data.replace(b"\r\n", b"\n").decode("utf-8", "replace")
        lines = text.removesuffix("\n").split("\n")
        self._first_tasks(lines)
        for line in lines:
            self._line(line)
        self._end_stack()
        return self

    def _first_tasks(self, lines: list[str]) -> None:
        for line in lines:
            if (match := SWITCH.fullmatch(line)) and int(match[1]) not in self.tasks:
                self.tasks[int(match[1])] = (int(match[3]), match[2])

    def _line(self, line: str) -> None:
        if line.startswith(("=> ", " => ")):
            if self.stack is not None:
                self.stack.append(line.strip().removeprefix("=> "))
            return None
        self._end_stack()
        for pattern in HEADS:
            if match := pattern.fullmatch(line):
                return self._event_line(match.groupdict())
        if (match := GRAPH.fullmatch(line)) or (
            self.tracer == "function_graph" and (match := BARE_GRAPH.fullmatch(line))
        ):
            return self._graph_line(match.groupdict())
        if match := SWITCH.fullmatch(line):
            self.tasks[int(match[1])] = (int(match[5]), match[4])
        elif match := LOST.match(line):
            self._lost(int(match[1]), match[2] or match[3])
        elif match := re.match(r"# tracer: (\w+)", line):
            self.tracer = match[1]
        elif match := re.match(r"# entries-in-buffer/entries-written: (\d+)/(\d+)", line):
            if int(match[2]) > int(match[1]):
                self._lose(None, "overwritten", int(match[2]) - int(match[1]))
        elif line.startswith("# clock: instructions executed"):
            self.insn = True
        elif re.fullmatch(r"cpus=\d+", line):
            self.trace_cmd = True
        elif not LAYOUT.fullmatch(line):
            self._unparse()
        return None

    def _end_stack(self) -> None:
        if self.stack:
            self._arg("stack", None, "\n".join(self.stack))
        self.stack = None

    def _unparse(self) -> None:
        self.unparsed += 1
        for loss in self.losses:
            if loss["kind"] == "unparsed" and loss["to_seq"] is None:
                loss["count"] += 1
                return
        self._lose(None, "unparsed", 1)

    def _lost(self, cpu: int, count: str | None) -> None:
        self._lose(cpu, "lost_events", None if count is None else int(count))

    def _lose(self, cpu: int | None, kind: str, count: int | None) -> None:
        everywhere = kind == "unparsed"
        before = [e for e in self.events if everywhere or e["cpu"] == cpu]
        self.losses.append(
            {
                "cpu": cpu,
                "kind": kind,
                "from_ns": before[-1]["ts_ns"] if before else None,
                "to_ns": None,
                "from_seq": before[-1]["seq"] if before else None,
                "to_seq": None,
                "count": count,
            }
        )

    def _emit(self, head: dict[str, Any], evidence: str, name: str, **columns: Any) -> None:
        event = {
            "seq": len(self.events),
            "ts_ns": head["ts_ns"],
            "cpu": head["cpu"],
            "tid": head["tid"],
            "tgid": head.get("tgid"),
            "comm": head["comm"],
            "name": name,
            "symbol": None,
            "probe_ip": None,
            "phase": "instant",
            "duration_ns": None,
            "depth": None,
            "evidence": evidence,
            **columns,
        }
        self.events.append(event)
        for loss in self.losses:
            if loss["to_seq"] is None and loss["cpu"] in (None, event["cpu"]):
                loss["to_seq"], loss["to_ns"] = event["seq"], event["ts_ns"]

    def _arg(self, name: str, value: int | None, text: str | None) -> None:
        self.args.append((len(self.events) - 1, name, value, text))

    def _argument(self, name: str, raw: str) -> None:
        if raw[:1] in "\"'" and raw[:1]:
            return self._arg(name, None, raw[1:-1])
        value = number(raw)
        self._arg(name, value, raw if value is None else None)
        return None

    # ---- event lines

    def _event_line(self, match: dict[str, str | None]) -> None:
        tgid = match.get("tgid")
        head = {
            "comm": match["comm"],
            "tid": int(match["tid"] or 0),
            "tgid": int(tgid) if tgid and not tgid.startswith("-") else None,
            "cpu": int(match["cpu"] or 0),
            "ts_ns": self._time(match),
        }
        self._body(head, match["body"] or "", comment=False)

    def _time(self, match: dict[str, str | None]) -> int | None:
        if match.get("plain"):
            return int(match["plain"] or 0) if self.trace_cmd else None
        if match.get("hex"):
            return int(match["hex"] or "", 16) * 1000
        if match.get("us") and not match.get("s"):
            return int(match["us"] or 0) * 1000
        fraction = match["ns"] or ""
        return int(match["s"] or 0) * 10**9 + int(fraction.ljust(9, "0"))

    def _body(self, head: dict[str, Any], body: str, *, comment: bool) -> None:
        match = re.fullmatch(r"(?:[\w.-]+[:/])*([A-Za-z_][\w.-]*):(?: +(.*)|)", body)
        if match is None:
            if comment:
                self._marker(head, "print", body)
            else:
                self._function(head, body)
            return
        name, payload = match[1], match[2] or ""
        if comment and not self._is_event(name, payload):
            self._marker(head, "print", body)
        elif name.startswith("tracing_mark_write") or name in ("print", "bprint", "bputs"):
            if self.trace_cmd:
                payload = re.sub(r"^tracing_mark_write\S*: |^ip=.*? buf=", "", payload)
            self._marker(head, name if name.startswith("b") else "print", payload)
        elif name in ("funcgraph_entry", "funcgraph_exit"):
            self._reported(head, payload)
        elif name == "function":
            self._function(head, payload, alone=True)
        elif name in ("kernel_stack", "user_stack"):
            self._stack_line(head)
        elif self.insn and name in INSTRUCTIONS:
            self._instruction(head, name, payload)
        elif not self._probe(head, name, payload):
            self._tracepoint(head, name, payload)

    def _is_event(self, name: str, payload: str) -> bool:
        known = re.match(r"kvm_|sched_|irq_|softirq_|ipi_", name) is not None
        return known or self.vocabulary.wants_event(name) or self._location(payload) is not None

    def _marker(self, head: dict[str, Any], name: str, text: str) -> None:
        self._emit(head, "marker", name)
        self._arg("buf", None, text)

    def _stack_line(self, head: dict[str, Any]) -> None:
        if self.all_events:
            self._emit(head, "tracepoint", "kernel_stack")
            self.stack = []
        else:
            self.skipped["kernel_stack"] += 1

    def _function(self, head: dict[str, Any], body: str, *, alone: bool = False) -> None:
        if body.startswith(("<stack trace", "<user stack trace")):
            return self._stack_line(head)
        func, arrow, caller = body.partition(" <-")
        name = func.partition("(")[0].strip()
        match = SYMBOL.fullmatch(name)
        ip = int(name, 16) if re.fullmatch(r"0x[0-9a-f]+", name) else None
        if (match is None and ip is None) or not (arrow or alone or self.tracer == "function"):
            self._unparse()
            return None
        symbol = None if match is None else match[1]
        self._emit(head, "function", "function", symbol=symbol, probe_ip=ip, phase="entry")
        if self.all_events and arrow:
            caller = caller.removeprefix("-").strip().partition(" (")[0]
            self._arg("parent_ip", None, caller)
        return None

    def _location(self, payload: str) -> tuple[str | None, int | None, str, str] | None:
        """Symbol, address, phase, and the arguments that follow."""
        if match := RAW_PROBE.match(payload):
            return None, int(match[1], 16), "entry", payload[match.end() :]
        if match := RAW_RETURN.match(payload):
            return None, int(match[1], 16), "exit", payload[match.end() :]
        if match := PROBE.match(payload):
            phase = "entry" if int(match[2], 16) <= 12 else "instant"
            return match[1], None, phase, payload[match.end() :]
        if match := RETURN.match(payload):
            return match[1], None, "exit", payload[match.end() :]
        if match := FIELDS_PROBE.match(payload):
            phase = "entry" if match[1] else "exit"
            return None, int(match[1] or match[2], 16), phase, payload[match.end() :]
        return None

    def _probe(self, head: dict[str, Any], name: str, payload: str) -> bool:
        location = self._location(payload)
        if location is None:
            return False
        symbol, ip, phase, rest = location
        evidence = "insn" if self.insn else "kprobe"
        self._emit(head, evidence, name, symbol=symbol, probe_ip=ip, phase=phase)
        for key, raw in pairs(rest):
            known = self.vocabulary.meaning(symbol).role(key) is not None
            always = key == "ret" or (self.insn and key == "x1")
            if self.all_events or symbol is None or known or always:
                self._argument(key, raw)
        return True

    def _tracepoint(self, head: dict[str, Any], name: str, payload: str) -> None:
        if not (self.all_events or self.vocabulary.wants_event(name)):
            self.skipped[name] += 1
            return
        self._emit(head, "tracepoint", name)
        if name == "sched_switch":
            self._switch(payload)
        elif self.all_events:
            given = re.findall(r"([A-Za-z_]\w*)=(\S*)", payload)
            for key, raw in given:
                self._argument(key, raw)
            if not given:
                self._arg("text", None, payload)
        if name == "kvm_guest_fault":  # "ipa 0x8008a000, hsr 0x93c08047, hxfar 0x0, pc 0x0"
            words = dict(part.split() for part in payload.split(", "))
            for key in ("ipa", "hsr"):
                self._arg(key, int(words[key], 16), None)

    def _switch(self, payload: str) -> None:
        match = re.match(
            r"prev_comm=(.*?) prev_pid=(\d+) .*?prev_state=(\S+) (?:==> )?"
            r"next_comm=(.*?) next_pid=(\d+)",
            payload,
        ) or re.match(r"(.*?):(\d+) \[\d+\] (\S+) ==> (.*?):(\d+) \[", payload)
        if match is None:
            return
        self._arg("prev_pid", int(match[2]), None)
        self._arg("next_pid", int(match[5]), None)
        if self.all_events:
            self._arg("prev_comm", None, match[1])
            self._arg("prev_state", None, match[3])
            self._arg("next_comm", None, match[4])

    def _instruction(self, head: dict[str, Any], name: str, payload: str) -> None:
        self._emit(head, "insn", name)
        for key, raw in pairs(payload):
            if key in ("op", "option"):
                self._arg(key, None, raw)
            elif key == "xt":
                self._arg("operand", number(raw), None)
            elif key == "pc" and self.all_events:
                self._arg("pc", number(raw), None)

    # ---- function_graph

    def _graph_line(self, match: dict[str, str | None]) -> None:
        cpu = int(match["cpu"]) if match["cpu"] else None
        task = self.tasks.get(-1 if cpu is None else cpu)
        head = {
            "cpu": cpu,
            "tid": int(match["tid"]) if match["tid"] else task[0] if task else None,
            "comm": match["comm"] if match["tid"] else task[1] if task else None,
            "ts_ns": self._time({**match, "us": None}) if match["s"] else None,
        }
        if match.get("irq"):
            phase = "entry" if match["irq"] == "==========>" else "exit"
            self._emit(head, "fgraph", "irq", phase=phase)
        else:
            self._call(head, match, match["func"] or "")

    def _reported(self, head: dict[str, Any], payload: str) -> None:
        if match := REPORTED.fullmatch(payload):
            func = re.sub(r" \(\d+\)$", "", match["func"])
            self._call(head, match.groupdict(), func)
        elif match := re.match(
            r"func=(\S+) .*?depth=(\d+)(?:.* calltime=(\d+) rettime=(\d+))?", payload
        ):
            exits = match[3] is not None
            self._emit(
                head,
                "fgraph",
                "funcgraph_exit" if exits else "funcgraph_entry",
                symbol=match[1],
                phase="exit" if exits else "entry",
                duration_ns=int(match[4]) - int(match[3]) if exits else None,
                depth=int(match[2]),
            )
        else:
            self._unparse()

    def _call(self, head: dict[str, Any], match: dict[str, str | None], func: str) -> None:
        duration = None
        if match.get("us"):
            duration = int(match["us"] or 0) * 1000 + int((match["dec"] or "0").ljust(3, "0"))
        text = func.strip(" ")
        depth = (len(func) - len(func.lstrip(" "))) // 2
        if found := re.fullmatch(r"/\* (.*) \*/", text):
            return self._body(head, found[1], comment=True)
        if found := re.fullmatch(r"\}(?: /\* (.*) \*/)?", text):
            return self._exit(head, depth, duration, found[1])
        found = re.fullmatch(r"([^()]+)\((.*)\)(;| \{)(?: /\* ?(.*?) ?\*/)?", text)
        symbol = SYMBOL.fullmatch(found[1]) if found else None
        if found is None or symbol is None:
            self._unparse()
            return None
        leaf = found[3] == ";"
        self._track(head, depth, None if leaf else symbol[1])
        self._emit(
            head,
            "fgraph",
            "funcgraph_entry",
            symbol=symbol[1],
            phase="complete" if leaf else "entry",
            duration_ns=duration,
            depth=depth,
        )
        for key, raw in pairs(found[2]):
            if self.all_events or self.vocabulary.meaning(symbol[1]).role(key) is not None:
                self._argument(key, raw)
        self._comment(found[4] or "")
        return None

    def _comment(self, comment: str) -> None:
        if self.all_events and (match := re.search(r"<-(\S+)", comment)):
            self._arg("parent_ip", None, match[1])
        if match := re.search(r"(?:= ?|ret=)(-?\w+)$", comment):
            self._arg("ret", number(match[1]), None)

    def _exit(
        self, head: dict[str, Any], depth: int, duration: int | None, tail: str | None
    ) -> None:
        symbol = self._close(head, depth)
        returned = None
        if tail is not None:
            match = re.fullmatch(r"(\S+)(?: \[\w+\])?(?: (?:= |ret=)(-?\w+))?", tail)
            if match is None:
                self._unparse()
                return
            symbol, returned = match[1], match[2]
        self._emit(
            head,
            "fgraph",
            "funcgraph_exit",
            symbol=symbol,
            phase="exit",
            duration_ns=duration,
            depth=depth,
        )
        if returned is not None:
            self._arg("ret", number(returned), None)

    def _open(self, head: dict[str, Any]) -> list[tuple[int, str | None]]:
        key = ("tid", head["tid"]) if head["tid"] else (f"cpu {head['tid']}", head["cpu"])
        return self.stacks.setdefault(key, [])

    def _track(self, head: dict[str, Any], depth: int, entered: str | None) -> None:
        calls = self._open(head)
        while calls and calls[-1][0] >= depth:
            calls.pop()
        if entered is not None:
            calls.append((depth, entered))

    def _close(self, head: dict[str, Any], depth: int) -> str | None:
        calls = self._open(head)
        while calls and calls[-1][0] > depth:
            calls.pop()
        if calls and calls[-1][0] == depth:
            return calls.pop()[1]
        return None


def pairs(text: str) -> list[tuple[str, str]]:
    """The `name=value` pairs of *text*; a value ends before the next name."""
    if '"' in text or "'" in text:
        return re.findall(r"([^\s=]+)=(\"[^\"]*\"|'[^']*'|\S*)", text)
    found = []
    for part in re.split(r"[ ,]+(?=[^\s=]+=)", text.strip()):
        key, equal, raw = part.partition("=")
        if equal and key:
            found.append((key, raw.strip()))
    return found


def number(text: str) -> int | None:
    """A number of 64 bits in two's complement."""
    if re.fullmatch(r"0x[0-9a-f]{1,16}", text):
        value = int(text, 16)
    elif re.fullmatch(r"-?\d{1,20}", text):
        value = int(text)
    else:
        return None
    if value >= 1 << 64 or value < -(1 << 63):
        return None
    return value - (1 << 64) if value >= 1 << 63 else value
