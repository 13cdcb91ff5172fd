"""`perf script` text read line by line: slow, obvious, and independent of parsers/.

The vectorised parser must agree with it on every capture and on every written file. What stands
behind an event's name is read by the reference for ftrace text.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.ftrace_text_reference import Reference

TIME = re.compile(r"(\d{1,11})\.(\d{9}|\d{6}):(?= |$)")
TIME_OF_DAY = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.(?:\d{9}|\d{6}) *$")
NAMED = re.compile(r" *(?:(\d{1,18}) +)?([A-Za-z_\[]\S*):(?: (.*))?")
THREAD = re.compile(r"(?:(?<= )|^)( *-?\d{1,11})(?:/(-?\d{1,10}))?$")
ADDRESS = re.compile(r"(?=.{16}(?: |$))( *[0-9a-f]+)(?: (.*))?")
MODES = {"K": "kernel", "U": "user", "KUH": "hypervisor", "G": "guest_kernel", "KGg": "guest_user"}
MISC = re.compile(r"(KUH|KGg|K|U|G)?(?:M|E|Sp?)?")
MESSAGES = (
    "not valid for", "Warning:", "Check IO/CPU overload!", "Processed", "unprocessable samples",
    "Do you have a KVM guest",
)  # fmt: skip


@dataclass
class ScriptReference(Reference):
    """What a file says, as plain rows."""

    samples: list[dict[str, Any]] = field(default_factory=list)
    records: Counter[str] = field(default_factory=Counter)
    owner: str | None = None  # what the lines below belong to: an event, something else, nothing
    of_perf_probe: list[int] = field(default_factory=list)
    pending: list[tuple[int, str | None, int | None]] = field(default_factory=list)
    shapes: dict[str, Counter[int]] = field(default_factory=dict)
    cut_address: bool = False

    def read(self, data: bytes) -> ScriptReference:
        """Read a whole file."""
        text = data.replace(b"\r\n", b"\n").decode("utf-8", "replace")
        lines = text.removesuffix("\n").split("\n")
        heads = [head for line in lines if (head := read_head(line)) and head["name"]]
        for head in sorted(heads, key=lambda head: int(head["shape"])):
            self.shapes.setdefault(head["name"], Counter())[head["shape"]] += 1
        payloads = [head["payload"] for head in heads if not is_sampled(head)]
        ends = [split_address(payload)[1] != "" for payload in payloads[:50]]
        self.cut_address = sum(ends) * 2 > len(ends)
        for line in lines:
            self._line(line)
        self._end_chain()
        self._name_probes()
        return self

    def _line(self, line: str) -> None:
        head = read_head(line)
        if head is not None:
            self._end_chain()
            self.owner = "other"
            self._headed(head)
        elif line.startswith("\t") and (match := ADDRESS.fullmatch(line[1:])):
            if self.owner is None:
                self._unparse()
            else:
                self.pending.append((int(match[1], 16), *function(match[2])))
        elif re.match(r"  [^ ]|\t\t| ilen:| ABI:", line) and self.owner is not None:
            pass
        else:
            self._end_chain()
            self.owner = None
            if match := re.match(r"PERF_RECORD_\w+", line):
                self.records[match[0].removeprefix("PERF_RECORD_")] += 1
            elif line.strip(" \t\r") and line[0] != "#" and not any(m in line for m in MESSAGES):
                self._unparse()

    def _headed(self, head: dict[str, Any]) -> None:
        rest = head["rest"]
        if match := re.fullmatch(r"PERF_RECORD_LOST lost (\d{1,18}) *", rest):
            self._lost(head["cpu"], match[1])
        elif rest.startswith("PERF_RECORD_LOST "):
            self._unparse()
        elif match := re.match(r"PERF_RECORD_\w+|DEFERRED CALLCHAIN", rest):
            self.records[match[0].removeprefix("PERF_RECORD_")] += 1
        elif not self._is_believed(head):
            self._unparse()
        elif is_sampled(head):
            self._sample(head)
        else:
            payload = head["payload"]
            on_line = None
            if self.cut_address:
                payload, tail = split_address(payload)
                on_line = ADDRESS.fullmatch(f"{tail:>16}")
            before = len(self.events)
            self._body(head, f"{head['name']}:" + (f" {payload}" if payload else ""), comment=False)
            self.owner = "event" if len(self.events) > before else "other"
            if head["name"].startswith("probe:"):
                self.of_perf_probe += range(before, len(self.events))
            if on_line is not None:
                self.pending.append((int(on_line[1], 16), *function(on_line[2])))
                self._end_chain()

    def _is_believed(self, head: dict[str, Any]) -> bool:
        """Whether there is a name that can be one, and no field is missing that its like have."""
        name = head["name"]
        if name is None or not re.fullmatch(r"[!-~]+", name):
            return False
        usual: int = self.shapes[name].most_common(1)[0][0]
        missing: int = usual & ~head["shape"]
        return missing == 0

    def _sample(self, head: dict[str, Any]) -> None:
        match = ADDRESS.fullmatch(head["payload"].strip("\n")[1:]) or ADDRESS.fullmatch(
            head["payload"][25:]
        )
        ip = int(match[1], 16) if match else None
        self._emit(head, "sample", head["name"], probe_ip=ip)
        self.samples.append(
            {
                "seq": len(self.events) - 1,
                **{name: head[name] for name in ("ts_ns", "cpu", "tid", "comm")},
                "event": head["name"],
                "cpumode": head["cpumode"],
                "period": head["period"],
                "ip": ip,
                "symbol": function(match[2])[0] if match else None,
                "callchain": None,
                "frames": None,
            }
        )
        self.owner = "sample"

    def _end_chain(self) -> None:
        """Give the frames that were read to the event that they belong to."""
        frames, self.pending = self.pending, []
        if not frames:
            return
        ip, symbol, offset = frames[0]
        event = self.events[-1] if self.events else {}
        if self.owner == "sample":
            names = [name for _, name, _ in frames]
            chain = {
                "ip": ip,
                "symbol": symbol,
                "callchain": [address for address, _, _ in frames],
                "frames": names if any(names) else None,
            }
            self.samples[-1].update(chain)
            event["probe_ip"] = ip
        elif self.owner == "event" and (event["evidence"], event["phase"]) == ("kprobe", "entry"):
            begins = event["probe_ip"] == ip and offset is not None and offset <= 12
            event["symbol"] = event["symbol"] or (symbol if begins else None)

    def _name_probes(self) -> None:
        """Give the events of the group `probe` the one function that they can be named after."""
        names = {self.events[at]["name"] for at in self.of_perf_probe}
        for at in self.of_perf_probe:
            event = self.events[at]
            base = event["name"].removesuffix("__return")
            fitting = {
                function: entry
                for entry, (patterns, _) in enumerate(self.vocabulary.functions)
                for function in patterns
                if function.lstrip("_") == base
            }
            numbered = any(re.fullmatch(rf"{re.escape(base)}_\d+(__return)?", n) for n in names)
            if event["evidence"] == "kprobe" and len(set(fitting.values())) == 1 and not numbered:
                event["symbol"] = event["symbol"] or min(fitting, key=len)


def read_head(line: str) -> dict[str, Any] | None:
    """The fields of a line that has a time; `name` None where no event's name follows.

    Where a name looks like a time, the reading with the most fields is right.
    """
    readings = [
        head
        for match in TIME.finditer(line)
        if match.start() < 256 and (head := read_at(line, match)) is not None
    ]
    named = [head for head in readings if head["name"] or is_record(head)]
    return max(named or readings, key=lambda head: int(head["shape"]), default=None)


def read_at(line: str, match: re.Match[str]) -> dict[str, Any] | None:
    """The fields of *line* if *match* is its time."""
    head = before_time(line[: match.start()])
    if head is None:
        return None
    seconds, fraction = int(match[1]), match[2]
    ts_ns = seconds * 10**9 + int(fraction.ljust(9, "0"))
    head["ts_ns"] = None if seconds > 9_223_372_035 else ts_ns
    head["rest"] = line[match.end() :].lstrip(" ")
    head["name"] = None
    named = NAMED.fullmatch(line[match.end() :])
    if named is not None and not is_record(head):
        head["period"] = int(named[1]) if named[1] else None
        # The name ends at the first colon before a space.
        name, colon, more = f"{named[2]}: {named[3] or ''}".partition(": ")
        head["name"], head["payload"] = name, more if colon else ""
    return head


def is_record(head: dict[str, Any]) -> bool:
    """Whether the line is no event but a record of another type."""
    return str(head["rest"]).startswith(("PERF_RECORD_", "DEFERRED CALLCHAIN"))


def before_time(text: str) -> dict[str, Any] | None:
    """What stands before the time, taken off from the right."""
    text = TIME_OF_DAY.sub("", text).rstrip(" ")
    head: dict[str, Any] = {"cpu": None, "tid": None, "tgid": None, "comm": None, "shape": 0}
    mode = None
    if match := re.search(r"(?<=[\]\d]) +([A-Za-z]+)$", text):
        letters = MISC.fullmatch(match[1])
        if letters is not None:
            mode, text = letters[1], text[: match.start()].rstrip(" ")
    head["cpumode"] = MODES[mode] if mode else "unknown"
    if match := re.search(r"\[(-?\d{2,5})\]$", text):
        head.update(cpu=known(match[1]), shape=4)
        text = text[: match.start()].rstrip(" ")
    elif match := re.fullmatch(r"(?! {8})(.{8} +(?:\d+(?= .{3,4}$)|\d+/\d+)) +(\d{1,4})", text):
        head.update(cpu=int(match[2]), shape=4)
        text = match[1]
    if (match := THREAD.search(text)) and len(match[1]) >= 5:
        ids = [known(word) for word in (match[1], match[2]) if word is not None]
        head.update(tid=ids[-1], shape=head["shape"] + len(ids) // 2 + 2)
        if len(ids) == 2:
            head["tgid"] = ids[0]
        text = text[: match.start()]
    comm = text.strip(" ")
    if comm and not re.fullmatch(r":-?\d+", comm):
        head["comm"] = comm
    return head if len(comm) <= 15 else None


def known(word: str) -> int | None:
    """A number; perf prints -1 for what it does not know."""
    return None if int(word) < 0 else int(word)


def is_sampled(head: dict[str, Any]) -> bool:
    """Whether the event is no tracepoint."""
    name = head["name"]
    modified = re.fullmatch(r"[^:]*:[ukhIGHpPSDWebRX]+", name) is not None
    sampled = ":" not in name or "/" in name or modified or name.startswith("mem:")
    return sampled and not head["payload"].lstrip(" ").startswith("(")


def split_address(payload: str) -> tuple[str, str]:
    """The payload of a tracepoint, and the address with its function behind it, if there is one."""
    match = re.fullmatch(
        r"(.*) ((?= *[0-9a-f]+(?: |$))[ 0-9a-f]{16}(?: [^ =]+)?(?: \([^()]*\))?)", f" {payload}"
    )
    return (payload, "") if match is None else (match[1].removeprefix(" "), match[2])


def function(text: str | None) -> tuple[str | None, int | None]:
    """The function's name and the offset in it."""
    match = re.fullmatch(r"([^(\s].*?)(?:\+0x([0-9a-f]+))?(?: \(.*)?", text or "")
    if match is None or match[1] == "[unknown]":
        return None, None
    return match[1], int(match[2], 16) if match[2] else None
