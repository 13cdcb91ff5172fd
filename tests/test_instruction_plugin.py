"""The list that the emulator's plugin reads, and how it tells instructions apart."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sample_traces.lab.errors import LabError
from sample_traces.lab.plugin.btf import Btf
from sample_traces.lab.plugin.functions import listed

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGIN = Path(__file__).parent.parent / "sample_traces" / "lab" / "plugin"
KALLSYMS = """\
ffff800080015f30 T cpu_switch_to
ffff800080096bd8 T __kvm_tlb_flush_vmid_ipa
ffff800080096ca8 t other
ffff80008009dc08 t stage2_unmap_walker
ffff80008009dea8 d some_data
ffff80008009e538 T kvm_tlb_flush_vmid_range
ffff80008009e640 t kvm_s2_put_page.isra.0
ffff80008009ee10 T kvm_pgtable_stage2_unmap
ffff80008009eed8 T last
ffff80008021bbd0 t tracing_mark_write
"""
INT, PTR, STRUCT, UNION, CONST, FUNC, FUNC_PROTO = 1, 2, 4, 5, 10, 12, 13
WALKER, CONTEXT = "stage2_unmap_walker", "kvm_pgtable_visit_ctx"


class Types:
    """BTF under construction; types are numbered from 1."""

    def __init__(self) -> None:
        self.types, self.strings, self.count = b"", b"\0", 0

    def name(self, text: str) -> int:
        at = len(self.strings)
        self.strings += text.encode() + b"\0"
        return at if text else 0

    def add(self, kind: int, name: str, refers: int, members: tuple[bytes, ...] = ()) -> int:
        info = kind << 24 | len(members)
        self.types += struct.pack("<III", self.name(name), info, refers) + b"".join(members)
        self.types += struct.pack("<I", 64) if kind == INT else b""
        self.count += 1
        return self.count

    def structure(self, name: str, **offsets: int) -> int:
        members = tuple(struct.pack("<III", self.name(of), 1, at * 8) for of, at in offsets.items())
        return self.add(STRUCT, name, 64, members)

    def function(self, name: str, **parameters: int) -> None:
        given = tuple(struct.pack("<II", self.name(of), at) for of, at in parameters.items())
        proto = self.add(FUNC_PROTO, "", 1, given)
        self.add(FUNC, name, proto)

    def data(self) -> bytes:
        sizes = (0, len(self.types), len(self.types), len(self.strings))
        return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, *sizes) + self.types + self.strings


def kernel_types(*, context: bool) -> Types:
    types = Types()
    types.add(INT, "long", 8)
    types.structure("thread_info", flags=0, cpu=16)
    types.structure("task_struct", thread_info=0, pid=0x560, tgid=0x564, comm=0x780)
    if context:
        visit = types.structure(CONTEXT, ptep=0, old=8, addr=0x28, level=0x38)
        pointer = types.add(PTR, "", types.add(CONST, "", visit))
        types.function(WALKER, ctx=pointer, visit=1)
    else:
        types.function(WALKER, addr=1, end=1, level=1, ptep=1)
    return types


def lines(btf: Btf | None = None, kallsyms: str = KALLSYMS) -> list[str]:
    return list(listed(kallsyms, btf))


def test_functions_are_listed_with_sizes_and_what_is_asked_of_them() -> None:
    assert lines()[0] == "function ffff800080096bd8 d0 __kvm_tlb_flush_vmid_ipa gate"
    assert "function ffff80008009e640 7d0 kvm_s2_put_page.isra.0" in lines()
    assert "function ffff80008009ee10 c8 kvm_pgtable_stage2_unmap gate" in lines()
    assert lines()[-2:] == ["switch ffff800080015f30", "marker ffff80008021bbd0"]


def test_the_walkers_entry_is_where_the_kernel_says() -> None:
    by_context = lines(Btf(kernel_types(context=True).data()))
    assert by_context[1].endswith("stores addr=+0x28(%x0):x64 level=+0x38(%x0):s8")
    by_registers = lines(Btf(kernel_types(context=False).data()))
    assert by_registers[1].endswith("stores addr=%x0:x64 level=%x2:s32")
    assert by_context[-1] == "task pid=560 tgid=564 comm=780 cpu=10"


def test_a_kernel_without_types_has_the_entry_where_6_6_has_it_or_nowhere() -> None:
    assert lines()[1].endswith("stores addr=+0x28(%x0):x64 level=+0x38(%x0):s8")
    older = KALLSYMS.replace("kvm_tlb_flush_vmid_range", "something_else")
    assert lines(kallsyms=older)[1].endswith("stores")
    assert not any(line.startswith("task") for line in lines())


def test_a_member_of_a_nameless_union_is_found_where_the_union_is() -> None:
    types = Types()
    types.add(INT, "int", 4)
    inner = types.add(UNION, "", 8, (struct.pack("<III", types.name("inside"), 1, 16),))
    outer = (struct.pack("<III", types.name("first"), 1, 0), struct.pack("<III", 0, inner, 64))
    types.add(STRUCT, "whole", 16, outer)
    assert Btf(types.data()).offset("whole", "inside") == 10
    assert Btf(types.data()).offset("whole", "absent") is None
    assert Btf(types.data()).offset("absent", "first") is None


@pytest.mark.parametrize("content", [b"", b"nothing of this is BTF, not even the beginning"])
def test_what_is_no_btf_is_refused(content: bytes) -> None:
    with pytest.raises(LabError, match="not BTF"):
        Btf(content)


def test_btf_that_is_cut_off_is_refused_wherever_it_is_cut() -> None:
    whole = kernel_types(context=True).data()
    for size in range(len(whole) - len("comm") - 2):
        with pytest.raises(LabError):
            Btf(whole[:size])


@pytest.mark.parametrize(
    ("kallsyms", "said"),
    [
        ("", "no kvm_pgtable_stage2_unmap among 0 symbols"),
        (KALLSYMS.replace("cpu_switch_to", "x"), "no cpu_switch_to"),
        ("".join(f"{'0' * 16} T {name}\n" for name in ("a", "b")), "among 0 symbols"),
    ],
)
def test_symbols_that_are_not_of_such_a_kernel_are_refused(kallsyms: str, said: str) -> None:
    with pytest.raises(LabError, match=said):
        lines(kallsyms=kallsyms)


@pytest.fixture(scope="module")
def describe(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    library = tmp_path_factory.mktemp("a64") / "a64.so"
    flags = ("-shared", "-fPIC", "-Wall", "-Werror")
    subprocess.run([compiler, *flags, "-o", library, PLUGIN / "a64.c"], check=True)
    function = ctypes.CDLL(str(library)).a64_describe
    function.restype = ctypes.c_bool

    def described(code: int) -> str:
        text, register = ctypes.create_string_buffer(32), ctypes.c_int()
        if not function(ctypes.c_uint32(code), text, ctypes.byref(register)):
            return ""
        operand = "" if register.value < 0 else f" x{register.value}"
        return text.value.decode() + operand

    return described


# As GNU as 2.40 encodes them for aarch64.
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0xD50C8020, "tlbi: op=ipas2e1is x0"),
        (0xD50C8044, "tlbi: op=ripas2e1is x4"),
        (0xD50C80A7, "tlbi: op=ipas2le1is x7"),
        (0xD50C8423, "tlbi: op=ipas2e1 x3"),
        (0xD508831F, "tlbi: op=vmalle1is x31"),
        (0xD50C83DF, "tlbi: op=vmalls12e1is x31"),
        (0xD50C83A1, "tlbi: op=vale2is x1"),
        (0xD508822C, "tlbi: op=rvae1is x12"),
        (0xD50B7E23, "dc: op=civac x3"),
        (0xD50B7A20, "dc: op=cvac x0"),
        (0xD50B7523, "ic: op=ivau x3"),
        (0xD508711F, "ic: op=ialluis"),
        (0xD5033A9F, "dsb: option=ishst"),
        (0xD5033B9F, "dsb: option=ish"),
        (0xD5033F9F, "dsb: option=sy"),
        (0xD5033E3F, "dsb: option=synxs"),
        (0xD5033FDF, "isb: option=sy"),
        (0xD5033BBF, ""),  # dmb ish
        (0xD503309F, ""),  # ssbb
        (0xD50B7420, ""),  # dc zva
        (0xD5087800, ""),  # at s1e1r
        (0xD65F03C0, ""),  # ret
    ],
)
def test_maintenance_and_barriers_are_named(
    describe: Callable[[int], str], code: int, said: str
) -> None:
    assert describe(code) == said
