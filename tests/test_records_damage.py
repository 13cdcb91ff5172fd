"""Records and formats that lie: what can be read is read, the rest is counted, nothing breaks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.record_reading import EVERYTHING, NEEDED, decode
from tests.writers import records as writer
from traceview.errors import ParseError
from traceview.parsers.classes import Classes
from traceview.parsers.event_format import EventFormat, Field, parse_event_format
from traceview.parsers.names import Names
from traceview.parsers.records import RecordDecoder, Records

TYPED = writer.Event(
    41, "typed", ("unsigned long __probe_ip", "u32 n", "__data_loc char[] s", "__rel_loc char[] r")
)


def form(*events: writer.Event) -> list[EventFormat]:
    return [parse_event_format(one.format(), one.system) for one in events]


def changed(event: writer.Event, name: str, value: int, **values: Any) -> bytes:
    """A record of *event* in which the 4 bytes of the field *name* are *value*."""
    content = bytearray(event.record(**values))
    at = next(place.offset for place in event.places if place.name == name)
    content[at : at + 4] = value.to_bytes(4, "little")
    return bytes(content)


# ---- records


def test_records_too_short_for_their_fields_are_counted_by_event() -> None:
    whole = TYPED.record(s="text", r="")
    contents = [whole[:size] for size in (27, 8, 7, 2, 0)] + [whole]
    found = decode(form(TYPED), contents)
    assert list(found.events) == [5]
    assert found.counts == {"short-records": 5}
    assert "typed (2)" in found.messages


def test_events_without_a_format_are_counted_by_id() -> None:
    other = replace(TYPED, id=999)
    found = decode(form(TYPED), [other.record(), TYPED.record(), other.record(), bytes(8)])
    assert list(found.events) == [1]
    assert found.counts == {"unknown-events": 3}
    assert "999 (2), 0 (1)" in found.messages


def test_without_any_format_everything_is_unknown() -> None:
    found = decode([], [TYPED.record(), b"\x01"])
    assert (found.events, found.counts) == ({}, {"unknown-events": 1, "short-records": 1})


@pytest.mark.parametrize(
    "word", [0xFFFFFFFF, 0x00010000 | 0xFFFF, 0xFFFF0000, 40 << 16, 1 << 16 | 33]
)
def test_text_outside_of_its_record_is_left_out_and_counted(word: int) -> None:
    contents = [changed(TYPED, "s", word, n=7, r="fine")[:33], TYPED.record(s="good", r="fine")]
    found = decode(form(TYPED), contents)
    assert found.events[0].args == {"n": 7, "r": "fine"}
    assert found.events[1].args == {"n": 0, "s": "good", "r": "fine"}
    assert found.counts == {"damaged-fields": 1}
    assert "typed.s (1)" in found.messages


def test_places_that_overlap_cannot_multiply_the_text() -> None:
    declarations = tuple(f"__data_loc char[] s{n}" for n in range(100))
    event = writer.Event(50, "bomb", declarations)
    size = 8 + 4 * 100 + 10_000
    word = (10_000 << 16 | 408).to_bytes(4, "little")
    content = event.record()[:8] + word * 100 + b"x" * 10_000
    assert len(content) == size
    found = decode(form(event), [content])
    assert sum(len(str(text)) for text in found.events[0].args.values()) <= size
    assert found.counts == {"damaged-fields": 99}


def test_places_that_overlap_are_found_where_only_some_functions_have_the_argument() -> None:
    event = writer.Event(
        51, "two", ("unsigned long __probe_ip", "__data_loc char[] mmu", "__data_loc char[] ipa")
    )
    kernel = 0xFFFF800080000000
    contents = [
        event.record(__probe_ip=ip)[:16] + (9 << 16 | 24).to_bytes(4, "little") * 2 + b"x" * 9
        for ip in (kernel, kernel + 0x100)
    ]
    symbols = {kernel: "__kvm_tlb_flush_vmid_ipa", kernel + 0x100: "vfs_read"}
    taken = decode(form(event), [contents[0] + b"y" * 9], NEEDED, symbols)
    assert taken.events[0].args == {"mmu": "x" * 9, "ipa": "x" * 9}  # it has the room
    whole = (33 << 16).to_bytes(4, "little") * 2
    contents = [one[:16] + whole + one[24:] for one in contents]
    found = decode(form(event), contents, NEEDED, symbols)
    assert [list(one.args) for one in found.events.values()] == [["mmu"], []]
    assert found.counts == {"damaged-fields": 1}


def test_places_behind_each_other_may_fill_the_record() -> None:
    found = decode(form(TYPED), [TYPED.record(s="a" * 3000, r="b" * 3000)])
    assert found.events[0].args == {"n": 0, "s": "a" * 3000, "r": "b" * 3000}


def test_text_that_is_no_utf_8_is_replaced() -> None:
    found = decode(form(TYPED), [TYPED.record(s=b"\xff\xfea\0", r=b"no end")])
    assert found.events[0].args == {"n": 0, "s": "��a", "r": "no end"}


def test_records_that_claim_to_lie_outside_of_the_data_are_damage() -> None:
    content = TYPED.record()
    data = np.frombuffer(content, dtype=np.uint8)
    start = np.array([0, 0, -1, 1, 2**62, -(2**62)])
    size = np.array([len(data), len(data) + 1, 8, len(data), 8, 8])
    zeros = np.zeros(6, dtype=np.int64)
    decoder = RecordDecoder(form(TYPED), EVERYTHING, Names(), Classes())
    records = Records(start, size, zeros, zeros.astype(np.int32), zeros.astype(np.uint32))
    chunk, rows = decoder.decode(data, records)
    assert (len(chunk), rows.tolist()) == (1, [0])
    assert [one.count for one in decoder.diagnostics()] == [5]
    chunk, rows = decoder.decode(data[:1], records)
    assert (len(chunk), rows.tolist()) == (0, [])


def test_no_records_give_no_events() -> None:
    assert not decode(form(TYPED), []).events


# ---- formats


@pytest.mark.parametrize(
    ("event", "kept"),
    [
        (writer.GRAPH_ENTRY, ("unsigned long address", "int depth")),
        (writer.GRAPH_EXIT, ("u64 calltime", "u64 rettime")),
        (writer.FUNCTION, ("unsigned long parent_ip",)),
        (writer.PRINT, ("unsigned long ip",)),
        (writer.PRINT, ("unsigned long ip", "u64 buf")),
        (writer.BPRINT, ("unsigned long ip", "u32 buf[]")),
        (writer.GRAPH_ENTRY, ("u8 func[8]",)),
    ],
)
def test_an_event_without_its_field_is_a_plain_tracepoint(
    event: writer.Event, kept: tuple[str, ...]
) -> None:
    event = replace(event, declarations=kept)
    found = decode(form(event), [event.record(), event.record()])
    assert {(one.name, one.phase, one.evidence) for one in found.events.values()} == {
        (event.name, "instant", "tracepoint")
    }
    assert "damaged-formats" in found.counts
    assert f"{event.name} has no field" in found.messages
    needed = decode(form(event), [event.record()], NEEDED)
    assert all(not one.args for one in needed.events.values())
    assert len(needed.events) + needed.skipped.get(event.name, 0) == 1


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (writer.GRAPH_ENTRY, "depth"), (writer.GRAPH_EXIT, "calltime"),
        (writer.GRAPH_EXIT, "depth"), (writer.SCHED_SWITCH, "prev_comm"),
        (writer.SCHED_SWITCH, "prev_state"), (writer.FUNCTION, "parent_ip"), (writer.PRINT, "ip"),
    ],
)  # fmt: skip
def test_an_event_may_lack_what_it_can_do_without(event: writer.Event, field: str) -> None:
    lacking = replace(
        event, declarations=tuple(one for one in event.declarations if field not in one)
    )
    found = decode(form(lacking), [lacking.record()])
    assert not found.counts
    assert len(found.events) == 1
    whole = decode(form(event), [event.record()]).events[0]
    assert (found.events[0].name, found.events[0].evidence) == (whole.name, whole.evidence)


def test_a_switch_without_its_tasks_is_a_plain_tracepoint() -> None:
    event = writer.Event(310, "sched_switch", ("int prev_pid",), "sched")
    assert decode(form(event), [event.record(prev_pid=7)]).events[0].args == {"prev_pid": 7}


def test_the_first_of_two_formats_with_one_id_counts() -> None:
    second = replace(TYPED, name="second")
    found = decode(form(TYPED, TYPED, second), [TYPED.record()])
    assert found.events[0].name == "typed"
    assert found.counts == {"damaged-formats": 1}


def test_a_format_with_other_common_fields_is_left_out() -> None:
    odd = form(replace(TYPED, id=42, name="odd"))[0]
    moved = tuple(replace(one, offset=one.offset + 4) for one in odd.fields)
    found = decode([replace(odd, fields=moved), *form(TYPED, writer.PRINT)], [TYPED.record()])
    assert found.counts == {"damaged-formats": 1}
    assert "odd has other common fields" in found.messages
    assert len(found.events) == 1


def test_records_without_a_task_have_none() -> None:
    whole = form(TYPED)[0]
    without = replace(whole, fields=tuple(f for f in whole.fields if f.name != "common_pid"))
    assert decode([without], [TYPED.record()]).events[0].tid == -1


def test_a_task_id_that_is_damaged_stays_a_number() -> None:
    assert decode(form(TYPED), [TYPED.record(-5)]).events[0].tid == -5


def test_fields_far_apart_and_on_top_of_each_other_are_read() -> None:
    def number(name: str, offset: int, size: int) -> Field:
        return Field(name, f"u64 {name}", offset, size, False, "number", 1, size)  # noqa: FBT003

    whole = form(writer.Event(70, "odd", ("u64 a",)))[0]
    own = (number("a", 8, 8), number("b", 8, 4), number("c", 9, 2), number("d", 5000, 8))
    event = replace(whole, fields=(*whole.fields[:4], *own))
    content = writer.Event(70, "odd", ("u64 a",)).record(a=0x0807060504030201)
    content += bytes(4984) + (7).to_bytes(8, "little")
    assert decode([event], [content, content[:-1]]).events[0].args == {
        "a": 0x0807060504030201, "b": 0x04030201, "c": 0x0302, "d": 7
    }  # fmt: skip


FIELD_TEXTS = st.builds(
    "\tfield:{} {};\toffset:{};\tsize:{};\tsigned:{};\n".format,
    st.sampled_from(
        ["u8", "long", "char", "__data_loc char[]", "__rel_loc u64[]", "__data_loc char[][2]",
         "struct x", "const char *", ""]
    ),
    st.sampled_from(
        ["__probe_ip", "__probe_func", "func", "depth", "args[]", "buf[]", "fmt", "a[3]", "b[]",
         "common_pid", "x.y", "prev_pid", "next_pid", "prev_comm[16]"]
    ),
    st.integers(0, 70),
    st.sampled_from([0, 1, 2, 3, 4, 5, 8, 16, 40]),
    st.integers(0, 1),
)  # fmt: skip
HEADS = st.sampled_from(
    [("funcgraph_entry", 11), ("funcgraph_exit", 10), ("print", 5), ("bprint", 6), ("any", 12),
     ("sched_switch", 13), ("function", 1)]
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(
    HEADS,
    st.lists(FIELD_TEXTS, max_size=8),
    st.lists(st.binary(max_size=80), max_size=6),
    st.sampled_from([EVERYTHING, NEEDED]),
)
def test_no_format_and_no_record_breaks_the_decoder(
    head: tuple[str, int], fields: list[str], bodies: list[bytes], want: Any
) -> None:
    name, number = head
    common = "".join(place.line() for place in writer.PRINT.places[:4])
    text = f"name: {name}\nID: {number}\nformat:\n{common}\n{''.join(fields)}\nprint fmt: x\n"
    event = parse_event_format(text, "ftrace")
    contents = [number.to_bytes(2, "little") + body for body in bodies]
    found = decode([event], contents, want, {1 << 63: "_text"}, {0: "%d %s %s"})
    counted = found.counts.get("short-records", 0) + sum(found.skipped.values())
    assert len(found.events) + counted == len(contents)


def test_a_format_with_more_bytes_than_a_record_can_have_is_refused() -> None:
    text = writer.PRINT.format()
    line = "\tfield:char a[60000];\toffset:8;\tsize:60000;\tsigned:0;\n"
    with pytest.raises(ParseError, match="more bytes than a record can have"):
        parse_event_format(text.replace("\n\nprint", f"\n{line}{line}\nprint"), "ftrace")
