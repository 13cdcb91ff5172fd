"""tracefs `format` and `header_page` files say where fields lie."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.writers import records as writer
from traceview.errors import ParseError
from traceview.parsers.event_format import Field, parse_event_format, parse_header_page

CAPTURES = Path(__file__).parents[2] / "shared/traces"
HEADER_PAGE = """\
\tfield: u64 timestamp;\toffset:0;\tsize:8;\tsigned:0;
\tfield: local_t commit;\toffset:8;\tsize:8;\tsigned:1;
\tfield: int overwrite;\toffset:8;\tsize:1;\tsigned:1;
\tfield: char data;\toffset:16;\tsize:65520;\tsigned:0;
"""


def shape(declaration: str, size: int, signed: int = 0) -> Field:
    """The only field of an event."""
    text = (
        "name: one\nID: 7\nformat:\n"
        f'\tfield:{declaration};\toffset:16;\tsize:{size};\tsigned:{signed};\n\nprint fmt: "x"\n'
    )
    return parse_event_format(text, "any").fields[0]


def test_an_event_has_a_name_an_id_fields_and_a_print_format() -> None:
    found = parse_event_format(writer.TLBI_IPA.format(), "kvmlab")
    assert (found.id, found.name, found.system) == (1551, "tlbi_ipa", "kvmlab")
    assert [one.name for one in found.own_fields] == ["__probe_ip", "mmu", "ipa", "level"]
    assert found.field("common_pid") == found.fields[3]
    assert found.field("none") is None
    assert found.print_format.startswith('"(%lx) mmu=0x%Lx')


@pytest.mark.parametrize(
    ("declaration", "size", "name", "kind", "length", "element", "is_text"),
    [
        ("unsigned long func", 8, "func", "number", 1, 8, False),
        ("unsigned long graph_ent.func", 8, "func", "number", 1, 8, False),
        ("const char * fmt", 8, "fmt", "number", 1, 8, False),
        ("const char *fmt", 8, "fmt", "number", 1, 8, False),
        ("enum some_kind what", 4, "what", "number", 1, 4, False),
        ("struct big thing", 24, "thing", "array", 24, 1, False),
        ("char comm[16]", 16, "comm", "text", 16, 1, True),
        ("char comm[TASK_COMM_LEN]", 16, "comm", "text", 16, 1, True),
        ("char buf[]", 0, "buf", "text", 0, 1, True),
        ("unsigned char raw[4]", 4, "raw", "array", 4, 1, False),
        ("u32 buf[]", 0, "buf", "array", 0, 4, False),
        ("unsigned long args[]", 0, "args", "array", 0, 8, False),
        ("u64 ctrls[16]", 128, "ctrls", "array", 16, 8, False),
        ("unknown_t pair[2]", 8, "pair", "array", 2, 4, False),
        ("unknown_t odd[3]", 8, "odd", "array", 8, 1, False),
        ("__data_loc char[] name", 4, "name", "data_loc", 1, 1, True),
        ("__data_loc unsigned long[] bits", 4, "bits", "data_loc", 1, 8, False),
        ("__data_loc cpumask_t *[] cpus", 4, "cpus", "data_loc", 1, 8, False),
        ("__data_loc char[][3] names", 12, "names", "data_loc", 3, 1, True),
        ("__rel_loc char[] name", 4, "name", "rel_loc", 1, 1, True),
        ("__rel_loc char name[]", 4, "name", "rel_loc", 1, 1, True),
        ("__data_loc char[] odd", 8, "odd", "data_loc", 2, 1, True),
        ("__data_loc char[] odd", 6, "odd", "array", 6, 1, False),
        ("nameless", 4, "nameless", "array", 4, 1, False),
    ],
)  # fmt: skip
def test_a_declaration_says_what_a_field_holds(
    declaration: str, size: int, name: str, kind: str, length: int, element: int, is_text: bool,  # noqa: FBT001
) -> None:  # fmt: skip
    found = shape(declaration, size)
    assert (found.name, found.kind, found.length, found.element_size, found.is_text) == (
        name, kind, length, element, is_text
    )  # fmt: skip
    assert (found.offset, found.size, found.end) == (16, size, 16 + size)


def test_signs_are_those_that_the_file_states() -> None:
    assert shape("s32 x", 4, 1).signed
    assert not shape("int x", 4, 0).signed
    text = writer.PRINT.format().replace("\tsigned:1;", "")  # kernels before 2.6.30
    assert not parse_event_format(text, "ftrace").fields[3].signed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0\xff",
        "name: x\nID: 7\n",
        "ID: 7\n\tfield:int x;\toffset:0;\tsize:4;\tsigned:1;\n",
        "name: x\n\tfield:int x;\toffset:0;\tsize:4;\tsigned:1;\n",
        "name: x\nID: 70000\n\tfield:int x;\toffset:0;\tsize:4;\tsigned:1;\n",
        "name: x\nID: 0\n\tfield:int x;\toffset:0;\tsize:4;\tsigned:1;\n",
        "name: x\nID: 7\n\tfield:int x;\toffset:65534;\tsize:4;\tsigned:1;\n",
        "name: x\nID: 7\n" + "\tfield:u8 x;\toffset:0;\tsize:1;\tsigned:0;\n" * 2000,
    ],
)
def test_what_is_no_event_format_is_refused(text: str) -> None:
    with pytest.raises(ParseError):
        parse_event_format(text, "any")


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("nameID:field offsetsize;\n\t0123[]*_"), max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    text = f"name: x\nID: 7\n\tfield:int x;\toffset:8;\tsize:4;\tsigned:1;\n{text}"
    try:
        found = parse_event_format(text, "any")
    except ParseError:
        return
    assert all(one.end <= 1 << 16 for one in found.fields)


def test_a_page_header_says_where_time_commit_and_data_lie() -> None:
    found = parse_header_page(HEADER_PAGE)
    assert (found.timestamp_offset, found.timestamp_size) == (0, 8)
    assert (found.commit_offset, found.commit_size) == (8, 8)
    assert (found.data_offset, found.data_size) == (16, 65520)


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("u64 timestamp", "u64 time"), ("local_t commit", "local_t x"), ("char data", "char x"),
        ("offset:16", "offset:12"), ("size:65520", "size:0"), ("size:8", "size:4"),
        ("offset:8;\tsize:8", "offset:8;\tsize:9"),
    ],
)  # fmt: skip
def test_a_page_header_that_makes_no_sense_is_refused(line: str, instead: str) -> None:
    with pytest.raises(ParseError):
        parse_header_page(HEADER_PAGE.replace(line, instead, 1))


@pytest.mark.captures
def test_the_formats_of_real_kernels_are_read() -> None:
    files = sorted(CAPTURES.glob("*/formats/*.format"))
    if not files:
        pytest.skip(f"the captures are not here: {CAPTURES}")
    for file in files:
        system, name, _ = file.name.split(".")
        found = parse_event_format(file.read_text(encoding="utf-8"), system)
        assert found.name == name
        assert [one.name for one in found.fields[:4]] == [
            "common_type", "common_flags", "common_preempt_count", "common_pid",
        ]  # fmt: skip
        assert all(one.kind in ("number", "text") or "_loc" in one.kind for one in found.fields)
    for file in CAPTURES.glob("*/formats/header_page"):
        assert parse_header_page(file.read_text(encoding="utf-8")).data_size == 4080
