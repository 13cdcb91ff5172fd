"""A slow, obvious decoder of raw records, one at a time, to hold the parser against.

It takes the fields as event_format.py places them, and gives events with plain values. trace_printk
(`bprint`) is not its business.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from traceview.vocabulary import ARG_N, REGISTER

if TYPE_CHECKING:
    from collections.abc import Iterable

    from traceview.parsers.event_format import EventFormat, Field
    from traceview.trace import Want

STATES = "SDTtXZPI"
KERNEL = 1 << 63
SLACK = 12
NEVER = ("kernel_stack", "user_stack", "raw_data")
GRAPH_ENTRIES = ("funcgraph_entry", "fgraph_retaddr_entry")
# What the tracers' own events cannot do without.
NEEDED = {
    "funcgraph_entry": "func", "fgraph_retaddr_entry": "func", "funcgraph_exit": "func",
    "function": "ip", "print": "buf", "bputs": "str",
}  # fmt: skip


@dataclass
class Event:
    """One event; the fields are those of schema.EVENTS, arguments are numbers or text."""

    tid: int
    name: str
    phase: str = "instant"
    evidence: str = "tracepoint"
    symbol: str | None = None
    probe_ip: int | None = None
    duration_ns: int | None = None
    depth: int | None = None
    args: dict[str, int | str] = field(default_factory=dict)
    comms: list[tuple[int, str]] = field(default_factory=list)


class DamagedError(Exception):
    """A string or array does not lie inside of its record."""


def signed(value: int, bits: int = 64) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class Record:
    """One record, and how much of it dynamic fields have taken."""

    def __init__(self, content: bytes) -> None:
        self.content, self.used = content, 0

    def number(self, one: Field) -> int:
        raw = self.content[one.offset : one.offset + one.size]
        return signed(int.from_bytes(raw, "little", signed=one.signed))

    def dynamic(self, at: int, length: int) -> bytes:
        if at + length > len(self.content) or self.used + length > len(self.content):
            raise DamagedError
        self.used += length
        return self.content[at : at + length]

    def located(self, one: Field, nth: int = 0) -> bytes:
        place = one.offset + 4 * nth
        word = int.from_bytes(self.content[place : place + 4], "little")
        base = place + 4 if one.kind == "rel_loc" else 0
        return self.dynamic(base + (word & 0xFFFF), word >> 16)

    def in_place(self, one: Field) -> bytes:
        if one.size:
            return self.content[one.offset : one.offset + one.size]
        return self.dynamic(one.offset, len(self.content) - one.offset)


class Reference:
    """Decodes the records of events of known layouts."""

    def __init__(
        self,
        formats: Iterable[EventFormat],
        want: Want,
        symbols: dict[int, str],
        printk: dict[int, str] | None = None,
    ) -> None:
        self.formats = {one.id: one for one in formats}
        self.want, self.symbols, self.printk = want, sorted(symbols.items()), printk or {}
        self.skipped: Counter[str] = Counter()
        self.unknown: Counter[int] = Counter()
        self.short: Counter[str] = Counter()
        self.fields: Counter[str] = Counter()
        self.headless = 0

    def decode(self, content: bytes) -> Event | None:
        """The event, or None where it is not wanted or cannot be read (then it is counted)."""
        if len(content) < 8:
            self.headless += 1
            return None
        number = int.from_bytes(content[:2], "little")
        if number not in self.formats:
            self.unknown[number] += 1
            return None
        form = self.formats[number]
        read = self._reader(form)
        if read is None:
            self.skipped[form.name] += 1
            return None
        if len(content) < max(one.offset + one.size for one in form.fields):
            self.short[form.name] += 1
            return None
        event = Event(signed(int.from_bytes(content[4:8], "little"), 32), form.name)
        read(form, Record(content), event)
        return event

    def _reader(self, form: EventFormat) -> Any:
        numbers = {one.name for one in form.own_fields if one.kind == "number"}
        if numbers & {"__probe_func", "__probe_ip"}:
            return self._probe
        if form.system == "ftrace":
            if form.name in NEVER:
                return None
            needed = NEEDED.get(form.name)
            texts = {one.name for one in form.own_fields if one.kind == "text"}
            if needed and needed in (texts if form.name == "print" else numbers):
                graph = self._entry if form.name in GRAPH_ENTRIES else None
                others = {"funcgraph_exit": self._exit, "function": self._function}
                return graph or others.get(form.name, self._marker)
        if form.name == "sched_switch" and {"prev_pid", "next_pid"} <= numbers:
            return self._switch
        if self.want.all_events or self.want.vocabulary.wants_event(form.name):
            return self._tracepoint
        return None

    def _tracepoint(self, form: EventFormat, record: Record, event: Event) -> None:
        for one in form.own_fields if self.want.all_events else ():
            self._argument(form, record, one, event)

    def _probe(self, form: EventFormat, record: Record, event: Event) -> None:
        numbers = {one.name: one for one in form.own_fields if one.kind == "number"}
        returns = "__probe_func" in numbers
        start = numbers["__probe_func" if returns else "__probe_ip"]
        address = record.number(start) % (1 << 64)
        event.probe_ip = address
        event.evidence = "fprobe" if form.system == "fprobes" else "kprobe"
        event.phase = "exit" if returns else "entry"
        event.symbol, offset = self._symbol(address)
        if (
            event.symbol
            and event.phase == "entry"
            and event.evidence == "kprobe"
            and offset > SLACK
        ):
            event.phase = "instant"
        if 0 < address < KERNEL:
            event.symbol, event.phase, event.evidence = None, "instant", "tracepoint"
        for one in form.own_fields:
            hidden = one.name == "__probe_ret_ip" and not self.want.all_events
            if one.name != start.name and not hidden and (returns or self._wants(event, one.name)):
                self._argument(form, record, one, event, is_probe=True)

    def _entry(self, form: EventFormat, record: Record, event: Event) -> None:
        self._start(event, record, form, "func", "funcgraph_entry", "fgraph")
        self._depth(event, record, form)
        self._caller(event, record, form.field("retaddr"))
        self._registers(event, record, form)

    def _exit(self, form: EventFormat, record: Record, event: Event) -> None:
        self._start(event, record, form, "func", "funcgraph_exit", "fgraph")
        event.phase = "exit"
        self._depth(event, record, form)
        values = {one.name: record.number(one) for one in form.own_fields if one.kind == "number"}
        if {"calltime", "rettime"} <= values.keys():
            called, returned = values["calltime"] % (1 << 64), values["rettime"] % (1 << 64)
            event.duration_ns = returned - called if 0 <= returned - called < KERNEL else None
        if "retval" in values:
            event.args["ret"] = values["retval"]
        if self.want.all_events and "overrun" in values:
            event.args["overrun"] = values["overrun"]

    def _function(self, form: EventFormat, record: Record, event: Event) -> None:
        self._start(event, record, form, "ip", "function", "function")
        self._caller(event, record, form.field("parent_ip"))
        self._registers(event, record, form)

    def _start(
        self, event: Event, record: Record, form: EventFormat, address: str, name: str,
        evidence: str,
    ) -> None:  # fmt: skip
        one = form.field(address)
        assert one is not None
        event.probe_ip = record.number(one) % (1 << 64)
        event.symbol, _ = self._symbol(event.probe_ip)
        event.name, event.phase, event.evidence = name, "entry", evidence

    def _depth(self, event: Event, record: Record, form: EventFormat) -> None:
        one = form.field("depth")
        if one is not None and one.kind == "number":
            depth = record.number(one)
            event.depth = depth if 0 <= depth < 1 << 31 else None

    def _caller(self, event: Event, record: Record, one: Field | None) -> None:
        if self.want.all_events and one is not None and one.kind == "number":
            address = record.number(one)
            name, _ = self._symbol(address % (1 << 64))
            event.args["parent_ip"] = address if name is None else name

    def _registers(self, event: Event, record: Record, form: EventFormat) -> None:
        one = form.field("args")
        if one is None or one.kind != "array" or one.size:
            return
        for n in range(min(8, (len(record.content) - one.offset) // 8)):
            name = f"arg{n + 1}"
            if self._wants(event, name):
                at = one.offset + 8 * n
                raw = record.content[at : at + 8]
                event.args[name] = signed(int.from_bytes(raw, "little"))

    def _marker(self, form: EventFormat, record: Record, event: Event) -> None:
        event.name, event.evidence = "print", "marker"
        text: str | None
        if form.name == "bputs":
            address = record.number(next(o for o in form.fields if o.name == "str")) % (1 << 64)
            text = self.printk.get(address, f"(no format at {address:#x})")
        else:
            try:
                raw = record.in_place(next(one for one in form.fields if one.name == "buf"))
            except DamagedError:
                self.fields["print.buf"] += 1
                raw = None
            text = decoded(raw) if raw is not None else None
        if text is not None:
            event.args["buf"] = text.rstrip("\n")
        ip = form.field("ip")
        if self.want.all_events and ip is not None and ip.kind == "number":
            event.args["ip"] = record.number(ip)

    def _switch(self, form: EventFormat, record: Record, event: Event) -> None:
        for side in ("prev", "next"):
            pid = form.field(f"{side}_pid")
            assert pid is not None
            event.args[f"{side}_pid"] = record.number(pid)
            comm = form.field(f"{side}_comm")
            if comm is not None and comm.kind == "text":
                text = decoded(record.in_place(comm))
                event.comms.append((record.number(pid), text))
                if self.want.all_events:
                    event.args[f"{side}_comm"] = text
        for one in form.own_fields if self.want.all_events else ():
            if one.name == "prev_state" and one.kind == "number":
                event.args["prev_state"] = state(record.number(one))
            elif one.name not in ("prev_pid", "next_pid", "prev_comm", "next_comm"):
                self._argument(form, record, one, event)

    def _wants(self, event: Event, name: str) -> bool:
        if self.want.all_events or name == "ret" or event.symbol is None:
            return True
        meaning = self.want.vocabulary.meaning(event.symbol)
        if name in meaning.names:
            return True
        for pattern, first in ((REGISTER, 0), (ARG_N, 1)):
            if match := pattern.match(name):
                return int(match[1]) - first < len(meaning.positions)
        return False

    def _symbol(self, address: int) -> tuple[str | None, int]:
        below = [(start, name) for start, name in self.symbols if start <= address]
        return (below[-1][1], address - below[-1][0]) if below else (None, 0)

    def _argument(
        self, form: EventFormat, record: Record, one: Field, event: Event, *, is_probe: bool = False
    ) -> None:
        try:
            event.args[one.name] = self._value(form, record, one, is_probe=is_probe)
        except DamagedError:
            self.fields[f"{form.name}.{one.name}"] += 1

    def _value(self, form: EventFormat, record: Record, one: Field, *, is_probe: bool) -> int | str:
        if one.kind == "number":
            value = record.number(one)
            is_char = is_probe and one.declaration.startswith("char ")
            return bytes([value & 0xFF]).decode("utf-8", "replace") if is_char else value
        if one.kind not in ("data_loc", "rel_loc"):
            raw = record.in_place(one)
            return decoded(raw) if one.is_text else array(form, one, raw)
        items = []
        broken = False
        for nth in range(one.size // 4):
            try:
                raw = record.located(one, nth)
            except DamagedError:
                broken = True
                self.fields[f"{form.name}.{one.name}"] += 1
                continue
            text = decoded(raw) if one.is_text else array(form, one, raw)
            items.append("(fault)" if is_probe and one.is_text and not raw else text)
        if broken:
            self.fields[f"{form.name}.{one.name}"] -= 1  # counted again by the caller
            raise DamagedError
        return items[0] if one.size == 4 else "{" + ",".join(f'"{item}"' for item in items) + "}"


def decoded(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")


def array(form: EventFormat, one: Field, raw: bytes) -> str:
    """As the kernel prints it: decimal where the event's print format says so."""
    width = one.element_size
    items = [raw[at : at + width] for at in range(0, len(raw) - width + 1, width)]
    if any(f"{one.name}={{%{form_}" in form.print_format for form_ in ("d", "u", "ld", "lu")):
        return (
            "{" + ",".join(str(int.from_bytes(i, "little", signed=one.signed)) for i in items) + "}"
        )
    return "{" + ",".join(hex(int.from_bytes(item, "little")) for item in items) + "}"


def state(value: int) -> str:
    letters = [letter for bit, letter in enumerate(STATES) if value >> bit & 1]
    return ("|".join(letters) or "R") + ("+" if value >> len(STATES) & 1 else "")
