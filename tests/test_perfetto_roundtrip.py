"""What a trace was written with is what the Perfetto parser reads: any events, any drain cycles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.perfetto_reading import expected_rows, read
from tests.perfetto_reference import Event, signed
from tests.writers import perfetto as w

if TYPE_CHECKING:
    from collections.abc import Iterator

CPUS = 3
FIRST = 65536
SYMBOLS = ("kvm_pgtable_stage2_unmap", "stage2_unmap_walker", "f.isra.0", "g")
GRAPH = ("funcgraph_entry", "funcgraph_exit")
KINDS = (*GRAPH, "probe", "return", "kprobe_event", "print", "switch", "waking")
COMMS = ("vcpu", "sh", "swapper")
U64 = (1 << 64) - 1
DESCRIBED = [
    w.described(FIRST, "probe", {"__probe_ip": "u64", "ipa": "u64", "why": "string"}),
    w.described(FIRST + 3, "return", {"__probe_func": "u64", "__probe_ret_ip": "u64", "x": "s64"}),
]


class Drawn(NamedTuple):
    """An event as it was drawn: `number` and `small` mean what its kind makes of them."""

    kind: str
    cpu: int
    gap_ns: int
    tid: int
    number: int
    small: int
    word: str


drawn = st.builds(
    Drawn,
    kind=st.sampled_from(KINDS),
    cpu=st.integers(0, CPUS - 1),
    gap_ns=st.one_of(st.integers(0, 3), st.integers(0, 1 << 33)),
    tid=st.integers(0, 5),
    number=st.one_of(st.integers(0, 200), st.integers(0, U64)),
    small=st.integers(0, 3),
    word=st.text(max_size=6).map(lambda text: text.rstrip("\n")),
)
cycles = st.lists(st.lists(drawn, max_size=25), min_size=1, max_size=6)


def event(one: Drawn, ts: int, ids: dict[str, int]) -> tuple[Any, Event]:
    """What is written, and what must be read."""
    common: dict[str, Any] = {"ts_ns": ts, "cpu": one.cpu, "tid": one.tid}
    if one.kind in GRAPH:
        symbol = SYMBOLS[one.small]
        read_as = Event(**common, name=one.kind, evidence="fgraph", symbol=symbol, depth=one.tid)
        if one.kind == "funcgraph_entry":
            read_as.phase = "entry"
            return w.graph_entry(ts, one.tid, ids[symbol], one.tid), read_as
        took = one.number >> 2
        read_as.phase, read_as.duration_ns, read_as.args = "exit", took, [("overrun", 0, None)]
        return w.graph_exit(ts, one.tid, ids[symbol], 17, 17 + took, one.tid), read_as
    if one.kind == "probe":
        read_as = Event(**common, name="probe", phase="entry", evidence="kprobe", probe_ip=7)
        read_as.args = [("ipa", signed(one.number), None), ("why", None, one.word)]
        return w.generic(ts, one.tid, FIRST, {1: 7, 2: one.number, 3: one.word}), read_as
    if one.kind == "return":
        read_as = Event(**common, name="return", phase="exit", evidence="kprobe", probe_ip=8)
        read_as.args = [("__probe_ret_ip", 9, None), ("x", -one.small, None)]
        return w.generic(ts, one.tid, FIRST + 3, {1: 8, 2: 9, 3: -one.small}), read_as
    if one.kind == "kprobe_event":
        phase = ("instant", "entry", "exit", "instant")[one.small]
        name = SYMBOLS[one.tid % 4]
        read_as = Event(**common, name=name, symbol=name, phase=phase, evidence="kprobe")
        return w.event(ts, one.tid, kprobe_event={"name": name, "type": one.small}), read_as
    read_as = Event(**common, name="print", evidence="marker", args=[("buf", None, one.word)])
    return w.event(ts, one.tid, print={"buf": one.word + "\n"}), read_as


def switch(one: Drawn, ts: int, before: int | None) -> tuple[Any, Event]:
    read_as = Event(ts, one.cpu, before, "sched_switch")
    state = ("R", "S", "D", "S|D")[one.small]
    read_as.args = [
        ("next_pid", one.tid, None),
        ("next_prio", 120, None),
        ("next_comm", None, COMMS[one.tid % 3]),
        ("prev_state", None, state),
    ]
    if before is not None:
        read_as.args.append(("prev_pid", before, None))
    return (ts, one.tid, one.small, COMMS[one.tid % 3]), read_as


def waking(one: Drawn, ts: int) -> tuple[Any, Event]:
    read_as = Event(ts, one.cpu, None, "sched_waking")
    read_as.args = [
        ("pid", one.tid, None),
        ("prio", 120, None),
        ("target_cpu", one.small, None),
        ("comm", None, COMMS[one.tid % 3]),
    ]
    return (ts, one.tid, one.small, COMMS[one.tid % 3]), read_as


class Writer:
    """Writes drain cycles as Perfetto does: one CPU after the other, symbols anew in each."""

    def __init__(self) -> None:
        self.packets: list[Any] = []
        self.expected: list[Event] = []
        self.now = 1
        self.running: dict[int, int] = {}
        self.ends: dict[int, int] = {}

    def drain(self, nth: int, events: list[Drawn]) -> None:
        ids = {name: (i + nth) % len(SYMBOLS) + 1 for i, name in enumerate(SYMBOLS)}
        times = []
        for one in events:
            self.now += one.gap_ns
            times.append(self.now)
        flags = 1
        for cpu in range(CPUS):
            mine = [(ts, one) for ts, one in zip(times, events, strict=True) if one.cpu == cpu]
            if mine:
                self.packets.append(self.bundle(cpu, mine, ids, flags))
                flags = 0

    def bundle(
        self, cpu: int, mine: list[tuple[int, Drawn]], ids: dict[str, int], flags: int
    ) -> Any:
        plain, switches, wakings = [], [], []
        compact: list[Event] = []
        for ts, one in mine:
            if one.kind == "switch":
                written, read_as = switch(one, ts, self.running.get(cpu))
                self.running[cpu] = one.tid
                switches.append(written)
                compact.append(read_as)
            elif one.kind != "waking":
                written, read_as = event(one, ts, ids)
                plain.append(written)
                self.expected.append(read_as)
        self.expected += compact
        for ts, one in mine:
            if one.kind == "waking":
                written, read_as = waking(one, ts)
                wakings.append(written)
                self.expected.append(read_as)
        found = w.bundle(
            cpu, plain, compact_sched=w.compact(switches, wakings),
            generic_event_descriptors=DESCRIBED,
            previous_bundle_end_timestamp=self.ends.get(cpu, 0),
        )  # fmt: skip
        self.ends[cpu] = mine[-1][0]
        names = w.symbols({iid: name for name, iid in ids.items()})
        return w.packet(ftrace_events=found, interned_data=names, sequence_flags=flags)


def packed(packets: list[Any], every: int) -> Iterator[Any]:
    """*packets*, some of them in compressed ones."""
    for at in range(0, len(packets), 3):
        some = packets[at : at + 3]
        if every and at % (3 * every) == 0:
            yield w.compressed(*some, zstd=bool(at % 2))
        else:
            yield from some


@settings(max_examples=40, deadline=None)
@given(cycles, st.sampled_from([1, 7, 1000]), st.integers(0, 3))
def test_what_was_written_is_read(
    drawn_cycles: list[list[Drawn]], batch_events: int, compressed: int
) -> None:
    writer = Writer()
    for nth, events in enumerate(drawn_cycles):
        writer.drain(nth, events)
    content = w.trace(w.ftrace_config(), *packed(writer.packets, compressed))
    found = read(content, all_events=True, batch_events=batch_events)
    assert found.rows() == expected_rows(writer.expected)
    times = found.column("ts_ns")
    assert times == sorted(times)
    assert found.losses.is_empty()
    assert set(found.diagnostics) <= {"no-ftrace-events"}
    assert ("no-ftrace-events" in found.diagnostics) == (not writer.packets)
