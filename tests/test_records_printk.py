"""trace_printk: the format lies in the kernel, the numbers in the record."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.record_reading import NEEDED, decode
from tests.writers import records as writer
from traceview.parsers.event_format import parse_event_format
from traceview.parsers.record_texts import parse_printk_formats

FORMAT = 0xFFFF800081234560
K = 0xFFFF800080000000


def packed(*arguments: tuple[int, Any]) -> bytes:
    """Arguments as vbin_printf packs them: (bytes, number), or (0, text)."""
    content = b""
    for size, value in arguments:
        if size:
            content += bytes(-len(content) % min(size, 4))
            content += (value % (1 << 8 * size)).to_bytes(size, "little")
        else:
            content += str(value).encode() + b"\0"
    return content + bytes(-len(content) % 4)


def printed(form: str, *arguments: tuple[int, Any]) -> Any:
    """The text of a marker that was written with *form*."""
    event = parse_event_format(writer.BPRINT.format(), "ftrace")
    content = writer.BPRINT.record(fmt=FORMAT, buf=packed(*arguments))
    found = decode([event], [content], NEEDED, {K: "_text", K + 0x100: "kvm_age"}, {FORMAT: form})
    assert not found.counts
    assert (found.events[0].name, found.events[0].evidence) == ("print", "marker")
    return found.events[0].args["buf"]


@pytest.mark.parametrize(
    ("form", "arguments", "text"),
    [
        ("no numbers, 100%%\n", [], "no numbers, 100%"),
        ("%d %u %i", [(4, -1), (4, -1), (4, 7)], "-1 4294967295 7"),
        ("%lld|%lu|%zd|%td", [(8, -1), (8, -1), (8, 5), (8, -6)],
         "-1|18446744073709551615|5|-6"),
        ("%hhd %hd %hhu %c", [(1, -1), (2, -2), (1, 255), (1, 65)], "-1 -2 255 A"),
        ("%x %X %o %#x %#llx", [(4, 255), (4, 255), (4, 8), (4, 255), (8, 1 << 40)],
         "ff FF 10 0xff 0x10000000000"),
        ("[%5d] [%-5d] [%05d] [%+d] [% d]", [(4, 7)] * 5, "[    7] [7    ] [00007] [+7] [ 7]"),
        ("[%05d] [%#08x] [%.3d]", [(4, -7), (4, 255), (4, 7)], "[-0007] [0x0000ff] [007]"),
        ("[%*d] [%-*d] [%*d]", [(4, 4), (4, 7), (4, 3), (4, 7), (4, -3), (4, 7)],
         "[   7] [7  ] [7  ]"),
        ("%s=%s.", [(0, "name"), (0, "")], "name=."),
        ("[%6s] [%-6s] [%.2s] [%.*s]", [(0, "ab"), (0, "ab"), (0, "abc"), (4, 1), (0, "abc")],
         "[    ab] [ab    ] [ab] [a]"),
        ("%c%lld", [(1, 66), (8, 1)], "B1"),
        ("%s%d", [(0, "ab"), (4, 9)], "ab9"),
        ("%p %px %pK", [(8, 255)] * 3, " ".join(["00000000000000ff"] * 3)),
        ("%ps %pS %ps", [(8, K + 0x104), (8, K + 0x100), (8, 5)], "kvm_age kvm_age+0x0 0x5"),
        ("%pe %pe", [(8, -22), (8, 255)], "-22 00000000000000ff"),
        ("%pI4 %pUb|%d", [(0, "10.0.0.1"), (0, "uuid"), (4, 3)], "10.0.0.1 uuid|3"),
        ("%p-%p.", [(8, 1), (8, 2)], "0000000000000001-0000000000000002."),
        ("what is %y", [], "what is %y"),
    ],
)  # fmt: skip
def test_numbers_are_filled_in_as_the_kernel_does(
    form: str, arguments: list[tuple[int, Any]], text: str
) -> None:
    assert printed(form, *arguments) == text


ARGUMENTS = st.one_of(
    st.tuples(st.just("%d"), st.just(4), st.integers(-(2**31), 2**31 - 1)),
    st.tuples(st.just("%llu"), st.just(8), st.integers(0, 2**64 - 1)),
    st.tuples(st.just("%hhd"), st.just(1), st.integers(-128, 127)),
    st.tuples(st.just("%hd"), st.just(2), st.integers(-(2**15), 2**15 - 1)),
    st.tuples(st.just("%s"), st.just(0), st.text("abc é", max_size=9)),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(ARGUMENTS, max_size=12))
def test_numbers_of_all_sizes_are_found(arguments: list[tuple[str, int, Any]]) -> None:
    form = "|".join(spec for spec, _, _ in arguments) + "|"
    text = "|".join(str(value) for _, _, value in arguments) + "|"
    assert printed(form, *((size, value) for _, size, value in arguments)) == text


def test_bputs_is_the_text_at_its_address() -> None:
    event = parse_event_format(writer.BPUTS.format(), "ftrace")
    content = writer.BPUTS.record(str=FORMAT)
    found = decode([event], [content], NEEDED, None, {FORMAT: "100%d\n"})
    assert found.events[0].args == {"buf": "100%d"}


@pytest.mark.parametrize("event", [writer.BPRINT, writer.BPUTS])
def test_a_format_that_is_not_in_the_file_is_counted(event: writer.Event) -> None:
    content = event.record(fmt=FORMAT, str=FORMAT)
    found = decode([parse_event_format(event.format(), "ftrace")], [content], NEEDED)
    assert found.events[0].args == {"buf": f"(no format at {FORMAT:#x})"}
    assert found.counts == {"unknown-print-formats": 1}


@pytest.mark.parametrize("form", ["%d %d", "%d%lld", "%d%s", "%d%*d"])
def test_a_record_without_the_numbers_of_its_format_is_rendered_as_far_as_it_goes(
    form: str,
) -> None:
    event = parse_event_format(writer.BPRINT.format(), "ftrace")
    content = writer.BPRINT.record(fmt=FORMAT, buf=[7])
    found = decode([event], [content], NEEDED, None, {FORMAT: form})
    assert found.events[0].args == {"buf": form.replace("%d", "7", 1)}
    assert found.counts == {"damaged-fields": 1}


def test_a_text_is_no_longer_than_the_kernel_makes_it() -> None:
    wide = printed("%*d" * 300, *[(4, 99999), (4, 1)] * 300)
    assert len(wide) <= 1024
    assert len(printed("x" * 5000)) <= 1024


def test_the_list_of_formats_is_read_with_its_escapes() -> None:
    listed = (
        '0xffff800081234560 : "a=%d\\n"\n'
        'ffff800081234568: "tab\\t \\"quoted\\" \\\\n \\101\\x42"\n'
        'nonsense\n0xzz : "x"\n'
    )
    assert parse_printk_formats(listed) == {
        0xFFFF800081234560: "a=%d\n",
        0xFFFF800081234568: 'tab\t "quoted" \\n AB',
    }
