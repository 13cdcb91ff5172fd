"""What unmaps cost other vCPUs, by plain loops over events: what queries/bystanders.py is held to.

Written from the meaning of the events, without arrays and without a look at the queries.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

WINDOW_NS = 1_000_000
LINE = re.compile(
    r"\s*.+-(?P<tid>\d+)\s+(?:\(\s*(?P<tgid>\d+|-+)\)\s+)?\[\d+\]\s+\S+\s+"
    r"(?P<s>\d+)\.(?P<us>\d{6}): (?P<name>\S+?):\s+(?P<body>.*)"
)
NAMES = {"s2_unmap": "unmap", "s2_unmap_ret": "return"}


@dataclass(eq=False)
class Event:
    ts_ns: int
    tid: int
    name: str
    tgid: int | None = None
    args: dict[str, int] = field(default_factory=dict)


@dataclass
class Exit:
    """From kvm_exit to kvm_entry; `off`: times off the CPU in between."""

    start: int
    memory: bool = False
    kernel_until: int = 0
    off: list[tuple[int, int]] = field(default_factory=list)
    out: int | None = None


@dataclass
class Seen:
    """Takes events one after the other."""

    unmaps: list[dict[str, Any]] = field(default_factory=list)
    stalls: dict[int, list[Exit]] = field(default_factory=dict)
    faults: list[Event] = field(default_factory=list)
    lives: dict[int, tuple[int, int, int | None]] = field(default_factory=dict)
    last_ns: int = 0
    begun: dict[int, Event] = field(default_factory=dict)
    now: dict[int, Exit] = field(default_factory=dict)
    latest: dict[int, Event] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        self.last_ns = event.ts_ns
        if event.name == "unmap":
            self.begun[event.tid] = event
        elif event.name == "return" and event.tid in self.begun:
            first = self.begun.pop(event.tid)
            self.unmaps.append({"start": first.ts_ns, "end": event.ts_ns, "tid": event.tid,
                                "tgid": first.tgid, **first.args})  # fmt: skip
        elif event.name == "sched_switch":
            self.switch(event)
        elif event.name.startswith("kvm_"):
            if event.name in ("kvm_exit", "kvm_entry", "kvm_guest_fault"):
                begin, _, tgid = self.lives.get(event.tid, (event.ts_ns, 0, event.tgid))
                self.lives[event.tid] = (begin, event.ts_ns, tgid)
            self.vcpu(event)

    def switch(self, event: Event) -> None:
        out, back = self.now.get(event.tid), self.now.get(event.args["next_pid"])
        if out is not None and out.out is None:
            out.out = event.ts_ns
        if back is not None and back.out is not None:
            back.off.append((back.out, event.ts_ns))
            back.out = None

    def vcpu(self, event: Event) -> None:
        before = self.latest.get(event.tid)
        self.latest[event.tid] = event
        if event.name == "kvm_exit":
            self.now[event.tid] = Exit(event.ts_ns)
        elif event.name == "kvm_guest_fault":
            self.faults.append(event)
        one = self.now.get(event.tid)
        if event.name == "kvm_mmio" and before is not None and before in self.faults:
            self.faults.remove(before)
            if one is not None:
                one.memory = False
        if one is None:
            return
        if event.name == "kvm_guest_fault":
            one.memory = True
        elif event.name == "kvm_userspace_exit":
            one.kernel_until = one.kernel_until or event.ts_ns
        elif event.name == "kvm_entry":
            del self.now[event.tid]
            one.kernel_until = one.kernel_until or event.ts_ns
            if one.memory:
                self.stalls.setdefault(event.tid, []).append(one)


def read_text(text: str) -> list[Event]:
    """The events of a tracefs or trace-cmd text with the probes of the lab."""
    events = []
    for line in text.splitlines():
        match = LINE.match(line)
        if match is None:
            continue
        name, body = NAMES.get(match["name"], match["name"]), match["body"]
        args = {
            key: int(value, 0)
            for key, value in re.findall(r"\b(addr|size|ipa|hsr|next_pid)[= ](\w+)", body)
        }
        short = re.search(r"==> .*?:(\d+) \[", body)
        if name == "sched_switch" and short:
            args["next_pid"] = int(short[1])
        tgid = match["tgid"]
        known = int(tgid) if tgid and tgid.isdigit() else None
        ts_ns = (int(match["s"]) * 10**6 + int(match["us"])) * 1000
        events.append(Event(ts_ns, int(match["tid"]), name, known, args))
    return events


def look(events: Iterable[Event]) -> Seen:
    """Every unmap, fault and stall."""
    seen = Seen()
    for event in events:
        seen.take(event)
    return seen


def rows(events: Iterable[Event]) -> list[dict[str, int]]:
    """What the table `bystanders` says of each unmap, in order of their starts."""
    seen = look(events)
    return [_row(seen, unmap) for unmap in sorted(seen.unmaps, key=lambda u: u["start"])]


def _row(seen: Seen, unmap: dict[str, Any]) -> dict[str, int]:
    start, end, tgid = unmap["start"], unmap["end"], unmap["tgid"]
    process = tgid is not None and any(
        life[2] == tgid and life[0] < end for life in seen.lives.values()
    )
    others = {
        tid: life
        for tid, life in seen.lives.items()
        if tid != unmap["tid"] and (not process or life[2] == tgid)
    }
    until = max(end, min(end + WINDOW_NS, seen.last_ns))
    lived = [min(end, life[1]) - max(start, life[0]) for life in others.values()]
    row = {
        "start_ns": start, "vcpus": sum(1 for time in lived if time >= 0),
        "vcpu_ns": sum(max(0, time) for time in lived), "window_ns": until - end,
        "window_vcpu_ns": sum(
            max(0, min(until, life[1]) - max(end, life[0])) for life in others.values()
        ),
        "stalls": 0, "stall_ns": 0, "off_cpu_ns": 0, "longest_stall_ns": 0,
    }  # fmt: skip
    moments: set[int] = set()
    for tid in others:
        for stall in seen.stalls.get(tid, []):
            if stall.start < end and stall.kernel_until > start:
                row["stalls"] += 1
                _add_stall(row, moments, stall, start, end)
    row["stalled_ns"] = 1000 * len(moments)
    theirs = [fault for fault in seen.faults if fault.tid in others]
    row["guest_faults"] = sum(1 for fault in theirs if start <= fault.ts_ns < end)
    after = [fault for fault in theirs if end <= fault.ts_ns < end + WINDOW_NS]
    row["guest_faults_after"] = len(after)
    low = unmap.get("addr")
    row["refaults"] = sum(
        1
        for fault in after
        if low is not None
        and low <= fault.args["ipa"] < low + unmap["size"]
        and fault.args.get("hsr", 4) & 0x3F in (4, 5, 6, 7, 0x2B)
    )
    return row


def _add_stall(row: dict[str, int], moments: set[int], stall: Exit, start: int, end: int) -> None:
    """Microsecond by microsecond (all times here are whole ones)."""
    low, high = max(start, stall.start), min(end, stall.kernel_until)
    on, longest, run = 0, 0, 0
    for moment in range(low, high, 1000):
        if any(out <= moment < back for out, back in stall.off):
            row["off_cpu_ns"] += 1000
            run = 0
            continue
        on, run = on + 1000, run + 1000
        longest = max(longest, run)
        moments.add(moment)
    row["stall_ns"] += on
    row["longest_stall_ns"] = max(row["longest_stall_ns"], longest)
