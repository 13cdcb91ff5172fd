"""Raw records become the events that were written, and what a slow decoder makes of them."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.record_reading import EVERYTHING, NEEDED, decode
from tests.record_reference import Event, Reference
from tests.writers import records as writer
from traceview.parsers.event_format import EventFormat, parse_event_format

if TYPE_CHECKING:
    from traceview.trace import Want

K = 0xFFFF800080000000
SYMBOLS = {K: "_text", K + 0x100: "vfs_read", K + 0x200: "__kvm_tlb_flush_vmid_ipa"}
TLBI, CALLER = K + 0x200, K + 0x150
CAPTURES = Path(__file__).parents[2] / "shared/traces"

WORD = st.integers(0, 2**64 - 1)
ADDRESS = st.sampled_from([0, 1, 0x5000, K - 1, K, K + 4, K + 0x104, K + 0x20C, K + 0x210]) | WORD
TID = st.integers(0, 2**31 - 1)


def form(*events: writer.Event) -> list[EventFormat]:
    return [parse_event_format(one.format(), one.system) for one in events]


def only(event: writer.Event, want: Want = EVERYTHING, **values: Any) -> Event:
    """What a record of *event* becomes."""
    found = decode(form(event), [event.record(**values)], want, SYMBOLS)
    assert not found.counts
    return found.events[0]


# ---- the tracers' own events


@pytest.mark.parametrize("layout", [writer.GRAPH_ENTRY, writer.GRAPH_ENTRY_ARGS])
def test_an_entry_names_its_function_and_says_how_deep_it_is(layout: writer.Event) -> None:
    assert only(layout, tid=7, func=TLBI + 8, depth=3) == Event(
        7, "funcgraph_entry", "entry", "fgraph", "__kvm_tlb_flush_vmid_ipa", TLBI + 8, depth=3
    )


@pytest.mark.parametrize(
    "layout", [writer.GRAPH_EXIT, writer.GRAPH_EXIT_5_10, writer.GRAPH_EXIT_RETVAL]
)
def test_the_duration_of_an_exit_is_that_of_the_local_clock(layout: writer.Event) -> None:
    found = only(layout, func=TLBI, depth=2, calltime=10**15, rettime=10**15 + 1234, overrun=5)
    returned = {"ret": 0} if layout is writer.GRAPH_EXIT_RETVAL else {}
    assert found == Event(
        100, "funcgraph_exit", "exit", "fgraph", "__kvm_tlb_flush_vmid_ipa", TLBI, 1234, 2,
        {"overrun": 5, **returned},
    )  # fmt: skip


def test_a_clock_that_ran_backwards_gives_no_duration() -> None:
    assert only(writer.GRAPH_EXIT, calltime=11, rettime=10).duration_ns is None
    assert only(writer.GRAPH_EXIT, calltime=0, rettime=2**63).duration_ns is None
    assert only(writer.GRAPH_EXIT, calltime=2**64 - 1, rettime=5).duration_ns is None


def test_a_depth_that_no_stack_has_is_unknown() -> None:
    assert only(writer.GRAPH_ENTRY_ARGS, depth=2**40).depth is None
    assert only(writer.GRAPH_ENTRY, depth=-1).depth is None


def test_what_a_function_returned_is_an_argument() -> None:
    assert only(writer.GRAPH_EXIT_RETVAL, NEEDED, retval=-22).args == {"ret": -22}


def test_registers_behind_an_entry_are_arguments_by_position() -> None:
    values: dict[str, Any] = {"func": TLBI, "depth": 0, "args": [0xFFFF000000000001, 2, 3, 4]}
    found = only(writer.GRAPH_ENTRY_ARGS, **values).args
    assert found == {"arg1": 0xFFFF000000000001 - 2**64, "arg2": 2, "arg3": 3, "arg4": 4}
    # The vocabulary knows three arguments of this function, and none of the other.
    assert only(writer.GRAPH_ENTRY_ARGS, NEEDED, **values).args == {
        name: value for name, value in found.items() if name != "arg4"
    }
    assert only(writer.GRAPH_ENTRY_ARGS, NEEDED, **{**values, "func": K + 0x100}).args == {}


def test_no_more_registers_are_read_than_a_function_can_have() -> None:
    found = only(writer.FUNCTION_ARGS, ip=TLBI, args=list(range(20)))
    assert {name for name in found.args if name != "parent_ip"} == {f"arg{n}" for n in range(1, 9)}


def test_an_entry_with_its_return_address_is_an_entry() -> None:
    found = only(writer.GRAPH_RETADDR, func=TLBI, depth=1, retaddr=CALLER)
    assert (found.name, found.phase, found.depth) == ("funcgraph_entry", "entry", 1)
    assert found.args == {"parent_ip": "vfs_read"}


def test_a_traced_function_names_its_caller_where_all_is_wanted() -> None:
    found = only(writer.FUNCTION, ip=TLBI + 4, parent_ip=CALLER)
    assert found == Event(
        100, "function", "entry", "function", "__kvm_tlb_flush_vmid_ipa", TLBI + 4,
        args={"parent_ip": "vfs_read"},
    )  # fmt: skip
    assert only(writer.FUNCTION, ip=TLBI, parent_ip=8).args == {"parent_ip": 8}
    assert only(writer.FUNCTION, NEEDED, ip=TLBI, parent_ip=CALLER).args == {}


def test_without_a_symbol_table_functions_have_an_address_only() -> None:
    events = (writer.GRAPH_ENTRY, writer.FUNCTION, writer.TLBI_IPA)
    contents = [
        writer.GRAPH_ENTRY.record(func=TLBI), writer.FUNCTION.record(ip=TLBI),
        writer.TLBI_IPA.record(__probe_ip=TLBI, level=3),
    ]  # fmt: skip
    found = decode(form(*events), contents, NEEDED).events
    assert [(one.symbol, one.probe_ip) for one in found.values()] == [(None, TLBI)] * 3
    assert found[2].args == {"mmu": 0, "ipa": 0, "level": 3}  # any of them may be needed


# ---- probes


def test_a_probe_is_known_by_its_fields() -> None:
    event = replace(writer.TLBI_IPA, name="funcgraph_entry", system="ftrace")
    found = only(event, __probe_ip=TLBI + 4, mmu=K, ipa=0x8000, level=-3)
    assert found == Event(
        100, "funcgraph_entry", "entry", "kprobe", "__kvm_tlb_flush_vmid_ipa", TLBI + 4,
        args={"mmu": K - 2**64, "ipa": 0x8000, "level": -3},
    )  # fmt: skip


def test_a_probe_inside_of_a_function_is_instant() -> None:
    assert only(writer.TLBI_IPA, __probe_ip=TLBI + 12).phase == "entry"
    assert only(writer.TLBI_IPA, __probe_ip=TLBI + 16).phase == "instant"
    fprobe = replace(writer.TLBI_IPA, system="fprobes")
    assert only(fprobe, __probe_ip=TLBI + 16).evidence == "fprobe"


def test_a_return_probe_names_the_function_that_returns() -> None:
    found = only(writer.TLBI_IPA_RET, NEEDED, __probe_func=TLBI, __probe_ret_ip=CALLER, ret=-22)
    assert found == Event(
        100, "tlbi_ipa_ret", "exit", "kprobe", "__kvm_tlb_flush_vmid_ipa", TLBI, args={"ret": -22}
    )
    assert "__probe_ret_ip" in only(writer.TLBI_IPA_RET, __probe_ret_ip=CALLER).args


def test_one_event_may_sit_on_several_functions_whose_arguments_differ() -> None:
    event = writer.Event(40, "two", ("unsigned long __probe_ip", "u64 ipa", "__data_loc char[] s"))
    contents = [event.record(__probe_ip=ip, ipa=n, s=f"t{n}")
                for n, ip in enumerate([TLBI, K + 0x100, TLBI, 0x400000])]  # fmt: skip
    found = decode(form(event), contents, NEEDED, SYMBOLS).events
    assert [one.symbol for one in found.values()] == [
        "__kvm_tlb_flush_vmid_ipa", "vfs_read", "__kvm_tlb_flush_vmid_ipa", None,
    ]  # fmt: skip
    assert [one.args for one in found.values()] == [
        {"ipa": 0}, {}, {"ipa": 2}, {"ipa": 3, "s": "t3"},
    ]  # fmt: skip


def test_a_probe_of_a_program_is_no_call_of_a_kernel_function() -> None:
    found = only(writer.TLBI_IPA, __probe_ip=0xAAAA00001000)
    assert (found.symbol, found.phase, found.evidence) == (None, "instant", "tracepoint")


def test_arguments_have_the_types_that_the_probe_gave_them() -> None:
    event = writer.Event(
        41, "typed",
        ("unsigned long __probe_ip", "u8 a", "s8 b", "u16 c", "s16 d", "u32 e", "s32 f", "u64 g",
         "s64 h", "char i", "__data_loc char[] s", "__data_loc char[] fault", "u8 x[3]",
         "u16 y[2]", "s32 z[2]", "__data_loc char[][2] both", "bool yes"),
        print_format='"(%lx) x={0x%x,0x%x,0x%x} y={%u,%u} z={%d,%d}"',
    )  # fmt: skip
    values: dict[str, Any] = {
        "a": 255, "b": -1, "c": 65535, "d": -2, "e": 2**32 - 1, "f": -3, "g": 2**64 - 1,
        "h": -(2**63), "i": ord("k"), "s": "größe", "fault": b"", "x": [0, 16, 255],
        "y": [1, 65535], "z": [-1, 2], "both": ["one", "two"], "yes": 1,
    }  # fmt: skip
    assert only(event, __probe_ip=K, **values).args == {
        **values, "g": -1, "i": "k", "fault": "(fault)", "x": "{0x0,0x10,0xff}", "y": "{1,65535}",
        "z": "{-1,2}", "both": '{"one","two"}',
    }  # fmt: skip


# ---- tracepoints and markers


def test_a_switch_says_who_ran_and_who_runs_next() -> None:
    values: dict[str, Any] = {
        "prev_comm": "bash", "prev_pid": 7, "prev_prio": 120, "prev_state": 0x102,
        "next_comm": "a_name_of_15_byt", "next_pid": 0, "next_prio": 10,
    }  # fmt: skip
    comms = [(7, "bash"), (0, "a_name_of_15_byt")]
    pids = {"prev_pid": 7, "next_pid": 0}
    found = only(writer.SCHED_SWITCH, NEEDED, tid=7, **values)
    assert found == Event(7, "sched_switch", args=dict(pids), comms=comms)
    assert only(writer.SCHED_SWITCH, **values).args == {**values, "prev_state": "D+"}


def test_a_comm_of_another_size_is_read_as_well() -> None:
    declarations = tuple(one.replace("[16]", "[24]") for one in writer.SCHED_SWITCH.declarations)
    event = replace(writer.SCHED_SWITCH, declarations=declarations)
    found = only(event, prev_pid=7, prev_comm="longer_than_fifteen", next_pid=8)
    assert found.comms == [(7, "longer_than_fifteen"), (8, "")]


@pytest.mark.parametrize("location", ["__data_loc", "__rel_loc"])
def test_a_tracepoint_has_all_its_fields_or_none(location: str) -> None:
    event = replace(writer.IRQ_ENTRY, declarations=("int irq", f"{location} char[] name"))
    assert only(event, irq=-7, name="arch_timer").args == {"irq": -7, "name": "arch_timer"}
    assert only(event, NEEDED, irq=7, name="arch_timer") == Event(100, "irq_handler_entry")


def test_what_nobody_asked_for_is_counted_by_name() -> None:
    other = writer.Event(400, "kvm_other", ("u64 x",), "kvm")
    contents = [other.record(), writer.USER_STACK.record()[:12], other.record()]
    found = decode(form(other, writer.USER_STACK), contents, NEEDED)
    assert not found.events
    assert found.skipped == {"kvm_other": 2, "user_stack": 1}
    assert not found.counts  # a stack is as long as it was deep
    assert decode(form(other, writer.USER_STACK), contents).skipped == {"user_stack": 1}


def test_repeated_calls_are_counted_and_not_invented() -> None:
    found = decode(form(writer.FUNC_REPEATS), [writer.FUNC_REPEATS.record(count=9)], NEEDED)
    assert (found.events, found.skipped) == ({}, {"func_repeats": 1})
    assert found.counts == {"repeated-functions": 1}
    assert only(writer.FUNC_REPEATS, ip=K, count=9).args["count"] == 9


def test_a_marker_is_text_without_its_line_end() -> None:
    found = only(writer.PRINT, NEEDED, ip=K, buf="KVMLAB begin s01\n")
    assert found == Event(100, "print", "instant", "marker", args={"buf": "KVMLAB begin s01"})
    assert only(writer.PRINT, ip=1, buf="x").args == {"buf": "x", "ip": 1}
    assert only(writer.PRINT, NEEDED, buf=b"no end").args == {"buf": "no end"}
    assert only(writer.PRINT, NEEDED, buf=b"\xff\xc3(\0rest").args == {"buf": "��("}


# ---- any layout, any value


@st.composite
def layouts(draw: st.DrawFn) -> tuple[writer.Event, list[dict[str, Any]]]:
    """An event of any layout, and values of several records of it."""
    types = {
        "u8": st.integers(0, 255), "s8": st.integers(-128, 127), "u16": st.integers(0, 65535),
        "s16": st.integers(-32768, 32767), "u32": st.integers(0, 2**32 - 1),
        "s32": st.integers(-(2**31), 2**31 - 1), "s64": st.integers(-(2**63), 2**63 - 1),
        "unsigned long": st.integers(0, 2**63 - 1), "void *": st.integers(0, 2**63 - 1),
    }  # fmt: skip
    text = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=9)
    declarations: list[str] = []
    values: dict[str, st.SearchStrategy[Any]] = {}
    for n in range(draw(st.integers(0, 6))):
        name = f"f{n}"
        shape = draw(st.sampled_from(["number", "number", "fixed", "__data_loc", "__rel_loc"]))
        if shape == "number":
            kind = draw(st.sampled_from(sorted(types)))
            declarations.append(f"{kind} {name}")
            values[name] = types[kind]
        elif shape == "fixed":
            declarations.append(f"char {name}[40]")
            values[name] = text
        else:
            declarations.append(f"{shape} char[] {name}")
            values[name] = text
    if not declarations or draw(st.booleans()):
        declarations.append("char last[]")
        values["last"] = text
    event = writer.Event(
        draw(st.integers(1, 65535)), "any", tuple(declarations), packed=draw(st.booleans())
    )
    if "last" in values:  # nothing may follow what goes to the end
        located = [one for one in declarations if "_loc" in one]
        event = replace(event, declarations=tuple(d for d in declarations if d not in located))
        values = {name: values[name] for name in (place.name for place in event.places[4:])}
    return event, draw(st.lists(st.fixed_dictionaries(values), max_size=5))


@settings(max_examples=100, deadline=None)
@given(layouts(), TID)
def test_what_was_written_is_read(
    made: tuple[writer.Event, list[dict[str, Any]]], tid: int
) -> None:
    event, rows = made
    found = decode(form(event), [event.record(tid, **row) for row in rows])
    assert not found.counts
    assert [one.args for one in found.events.values()] == rows
    assert {one.tid for one in found.events.values()} <= {tid}


EVENTS = (
    writer.FUNCTION_ARGS, writer.GRAPH_ENTRY_ARGS, writer.GRAPH_RETADDR, writer.GRAPH_EXIT,
    writer.PRINT, writer.BPUTS, writer.FUNC_REPEATS, writer.USER_STACK, writer.SCHED_SWITCH,
    writer.IRQ_ENTRY, writer.TLBI_IPA, writer.TLBI_IPA_RET,
    writer.Event(60, "strings", ("unsigned long __probe_ip", "__data_loc char[][2] both",
                                 "__rel_loc char[] rel", "char c", "u16 x[3]")),
    writer.Event(61, "inside", ("__data_loc u32[] words", "__rel_loc u8[] bytes", "u8 rest[]")),
)  # fmt: skip


@st.composite
def raw_records(draw: st.DrawFn) -> bytes:
    """A record as it was written, or with changed, missing or added bytes."""
    event = draw(st.sampled_from(EVENTS))
    values: dict[str, Any] = {}
    for place in event.places[4:]:
        if place.location:
            values[place.name] = ["ab", "c"] if place.count > 1 else b"word\0"
        elif place.count == 1:
            values[place.name] = draw(ADDRESS)
        elif place.count == 0:
            values[place.name] = draw(st.binary(max_size=24))
    content = bytearray(event.record(draw(TID), **values))
    for _ in range(draw(st.sampled_from([0, 0, 1, 4]))):
        at = draw(st.integers(0, len(content) - 1))
        content[at] = draw(st.integers(0, 255))
    cut = draw(st.sampled_from([None, None, None, 0, 1, 4, 7, 8, 9, 12, 20]))
    return bytes(content[:cut]) + draw(st.sampled_from([b"", b"", b"\0\0\0", b"\xff" * 8]))


@settings(max_examples=120, deadline=None)
@given(st.lists(raw_records(), max_size=8), st.sampled_from([EVERYTHING, NEEDED]), st.booleans())
def test_a_slow_decoder_agrees(contents: list[bytes], want: Want, named: bool) -> None:  # noqa: FBT001
    agree(form(*EVENTS), contents, want, SYMBOLS if named else {})


def agree(
    formats: list[EventFormat], contents: list[bytes], want: Want, symbols: dict[int, str]
) -> None:
    reference = Reference(formats, want, symbols)
    expected = {n: one for n, raw in enumerate(contents) if (one := reference.decode(raw))}
    found = decode(formats, contents, want, symbols)
    for event in expected.values():
        event.probe_ip = event.probe_ip or None  # 0 stands for none
    assert found.events == expected
    assert found.skipped == dict(reference.skipped)
    counts = {
        "unknown-events": reference.unknown.total(),
        "short-records": reference.short.total() + reference.headless,
        "damaged-fields": reference.fields.total(),
    }
    assert {code: found.counts.get(code, 0) for code in counts} == counts


@pytest.mark.captures
@pytest.mark.parametrize("want", [EVERYTHING, NEEDED], ids=["everything", "needed"])
@pytest.mark.parametrize("folder", ["6.1-max", "6.12-max", "6.12-neoverse-n1"])
def test_a_slow_decoder_agrees_on_the_layouts_of_real_kernels(folder: str, want: Want) -> None:
    files = sorted((CAPTURES / folder / "formats").glob("*.format"))
    if not files:
        pytest.skip(f"the captures are not here: {CAPTURES / folder / 'formats'}")
    formats = [
        parse_event_format(file.read_text(encoding="utf-8"), file.name.split(".")[0])
        for file in files
    ]
    chance = random.Random(folder)
    contents = []
    for n in range(2000):
        event = chance.choice(formats)
        body = bytes(chance.choice((0, 1, 3, 0x80, 0xFF, 0x41)) for _ in range(70))
        size = chance.choice((8, 12, 24, 40, 48, 64, 72))
        contents.append(
            (event.id.to_bytes(2, "little") + b"\0\0" + n.to_bytes(4, "little") + body)[:size]
        )
    agree(formats, contents, want, SYMBOLS)
