"""tracefs `events/SYSTEM/NAME/format` and `header_page`: where the fields of a record lie.

    name: irq_handler_entry
    ID: 101
    format:
        field:unsigned short common_type;	offset:0;	size:2;	signed:0;
        field:__data_loc char[] name;	offset:12;	size:4;	signed:0;

    print fmt: "irq=%d name=%s", REC->irq, __get_str(name)

The offset counts from `common_type`, the start of the record. What is no number of 1, 2, 4 or 8
bytes, no text and no array is read as an array of bytes. Only sizes of types that `__data_loc`
arrays are made of have to be known from their names: such a field's own size is that of its
location. Kernels of 64 bits are assumed there (`long` has 8 bytes).

Sources of truth: kernel/trace/trace_events.c (f_show, event_define_fields), include/trace/stages of
Linux 5.10 to 7.2; Documentation/trace/events.rst.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from traceview.errors import ParseError

# A record fits into a sub-buffer of 64 KiB at most, and its size is a 16-bit number in perf.data.
MAX_RECORD_BYTES: Final = 1 << 16
MAX_PAGE_BYTES: Final = 1 << 24  # 2^8 pages of 64 KiB (trace.c: buffer_subbuf_size_write)
MAX_ID: Final = (1 << 16) - 1  # common_type has 16 bits
MAX_FIELDS: Final = 1024
NUMBER_SIZES: Final = (1, 2, 4, 8)
LOCATION_BYTES: Final = 4

FIELD: Final = re.compile(
    r"^\s*field:(?P<declaration>[^;]+);\s*offset:\s*(?P<offset>\d{1,9});\s*size:\s*(?P<size>\d{1,9});"
    r"(?:\s*signed:\s*(?P<signed>-?\d{1,9});)?",
    re.MULTILINE,
)
NAME: Final = re.compile(r"^name:\s*(\S+)\s*$", re.MULTILINE)
ID: Final = re.compile(r"^ID:\s*(\d{1,9})\s*$", re.MULTILINE)
PRINT: Final = re.compile(r"^print fmt:\s*(.*)", re.MULTILINE | re.DOTALL)

# A declaration: type, name (`graph_ent.func`: the last part counts), array length.
DECLARATION: Final = re.compile(
    r"^(?P<location>__data_loc\s+|__rel_loc\s+)?(?P<type>.*?[\s*])"
    r"(?P<name>[\w.$]+)\s*(?P<array>\[[^\]]*\])?(?:\[[^\]]*\])*$"
)
ELEMENT: Final = re.compile(r"(?:\s*\[[^\]]*\])+\s*$")

TYPE_BYTES: Final = {
    "char": 1, "bool": 1, "_Bool": 1, "u8": 1, "s8": 1, "__u8": 1, "__s8": 1, "uint8_t": 1,
    "int8_t": 1, "short": 2, "u16": 2, "s16": 2, "__u16": 2, "__s16": 2, "__le16": 2, "__be16": 2,
    "uint16_t": 2, "int16_t": 2, "int": 4, "unsigned": 4, "u32": 4, "s32": 4, "__u32": 4,
    "__s32": 4, "__le32": 4, "__be32": 4, "uint32_t": 4, "int32_t": 4, "gfp_t": 4, "dev_t": 4,
    "pid_t": 4, "uid_t": 4, "gid_t": 4, "umode_t": 2, "long": 8, "u64": 8, "s64": 8, "__u64": 8,
    "__s64": 8, "__le64": 8, "__be64": 8, "uint64_t": 8, "int64_t": 8, "size_t": 8, "ssize_t": 8,
    "loff_t": 8, "phys_addr_t": 8, "dma_addr_t": 8, "sector_t": 8, "uintptr_t": 8,
}  # fmt: skip

FieldKind = Literal["number", "text", "array", "data_loc", "rel_loc"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record.

    `kind`: number; text (`char x[16]`, or `char x[]` to the end of the record, then length is 0);
    array (of numbers; length 0: to the end of the record); data_loc and rel_loc (`length` places of
    text or of an array; rel_loc counts from the end of the field). `length` counts elements of
    `element_size` bytes, which for places is that of the elements there; `is_text` says that these
    are characters.
    """

    name: str
    declaration: str
    offset: int
    size: int
    signed: bool
    kind: FieldKind
    length: int = 1
    element_size: int = 1
    is_text: bool = False

    @property
    def end(self) -> int:
        """Where the field ends; what is dynamic comes on top."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class EventFormat:
    """The layout of one event; `fields` include the common ones, in the order of the file."""

    id: int
    name: str
    system: str
    fields: tuple[Field, ...]
    print_format: str

    def field(self, name: str) -> Field | None:
        """The field of that name."""
        return next((one for one in self.fields if one.name == name), None)

    @property
    def own_fields(self) -> tuple[Field, ...]:
        """The fields that other events do not have."""
        return tuple(one for one in self.fields if not one.name.startswith("common_"))


@dataclass(frozen=True, slots=True)
class PageHeader:
    """The layout of a sub-buffer's head: offsets and sizes of its timestamp, commit and data."""

    timestamp_offset: int
    timestamp_size: int
    commit_offset: int
    commit_size: int
    data_offset: int
    data_size: int


def parse_event_format(text: str, system: str) -> EventFormat:
    """The layout that *text*, the content of a `format` file of *system*, describes.

    Raises ParseError when it has no name, no id or no fields, or a field that no record can have.
    """
    head, mark, rest = text.partition("print fmt:")
    name, number = NAME.search(head), ID.search(head)
    if name is None or number is None:
        raise _nonsense("an event format needs a name and an ID", text)
    identity = int(number[1])
    if not 0 < identity <= MAX_ID:
        raise _nonsense(f"event id {identity} does not fit into 16 bits", name[1])
    fields = _fields(head, name[1])
    if not fields:
        raise _nonsense("an event format without fields", name[1])
    if sum(one.size for one in fields) > MAX_RECORD_BYTES:
        raise _nonsense("the fields have more bytes than a record can have", name[1])
    printed = PRINT.search(mark + rest) if mark else None
    return EventFormat(identity, name[1], system, fields, printed[1].strip() if printed else "")


def parse_header_page(text: str) -> PageHeader:
    """The layout of sub-buffers, from tracefs `events/header_page`.

    Raises ParseError when a field is missing or lies where it cannot.
    """
    fields = {one.name: one for one in _fields(text, "header_page", MAX_PAGE_BYTES)}
    missing = [name for name in ("timestamp", "commit", "data") if name not in fields]
    if missing:
        raise _nonsense(f"the page header lacks {missing[0]}", "header_page")
    timestamp, commit, data = (fields[name] for name in ("timestamp", "commit", "data"))
    if timestamp.size != 8 or commit.size not in NUMBER_SIZES:
        raise _nonsense("the page header's timestamp and commit must be numbers", "header_page")
    if data.offset < max(timestamp.end, commit.end) or data.size == 0:
        raise _nonsense("the page header's data must follow its other fields", "header_page")
    return PageHeader(
        timestamp.offset, timestamp.size, commit.offset, commit.size, data.offset, data.size
    )


def _fields(text: str, name: str, most: int = MAX_RECORD_BYTES) -> tuple[Field, ...]:
    """The fields of *text*, which end within *most* bytes."""
    found = [_field(match, name, most) for match in FIELD.finditer(text)]
    if len(found) > MAX_FIELDS:
        raise _nonsense(f"{len(found)} fields", name)
    return tuple(found)


def _field(match: re.Match[str], event: str, most: int) -> Field:
    declaration = " ".join(match["declaration"].split())
    offset, size = int(match["offset"]), int(match["size"])
    if offset + size > most:
        raise _nonsense(f"{declaration} ends at byte {offset + size} of its record", event)
    signed = int(match["signed"] or "0") != 0
    parsed = DECLARATION.match(declaration)
    if parsed is None:
        return Field(declaration, declaration, offset, size, signed, "array", size)
    name = parsed["name"].rpartition(".")[2]
    kind, length, element = _shape(parsed, size)
    is_text = kind == "text" or (kind.endswith("_loc") and _is_char(parsed["type"]))
    return Field(name, declaration, offset, size, signed, kind, length, element, is_text)


def _shape(parsed: re.Match[str], size: int) -> tuple[FieldKind, int, int]:
    """Kind, number of elements, and size of each."""
    of_type = parsed["type"]
    if parsed["location"] and size and size % LOCATION_BYTES == 0:
        kind: FieldKind = "data_loc" if "__data_loc" in parsed["location"] else "rel_loc"
        return kind, size // LOCATION_BYTES, _type_bytes(ELEMENT.sub("", of_type))
    if parsed["array"]:
        if _is_char(of_type):
            return "text", size, 1
        element = _type_bytes(of_type)
        said = parsed["array"].strip("[] ")
        if said.isdecimal() and size and int(said) and size % int(said) == 0:
            element = size // int(said)
        element = element if element in NUMBER_SIZES and size % element == 0 else 1
        return "array", size // element, element
    if size in NUMBER_SIZES:
        return "number", 1, size
    return "array", size, 1


def _is_char(of_type: str) -> bool:
    words = ELEMENT.sub("", of_type).split()
    return bool(words) and words[-1] == "char" and "*" not in of_type and "unsigned" not in words


def _type_bytes(of_type: str) -> int:
    words = of_type.split()
    if "*" in of_type:
        return 8
    return TYPE_BYTES.get(words[-1], 1) if words else 1


def _nonsense(reason: str, reading: str) -> ParseError:
    return ParseError(reason, path="", reading=f"the event format {reading[:80]!r}")
