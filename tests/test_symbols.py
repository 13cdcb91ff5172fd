"""Probe definitions and symbol tables name what a trace left unnamed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import polars as pl
import pytest

from tests.writers.events import Recorder
from traceview.errors import SettingError
from traceview.symbols import (
    Probe,
    SymbolSources,
    name_probes,
    parse_kallsyms,
    parse_kprobe_events,
    read_kallsyms,
)
from traceview.trace import Settings

if TYPE_CHECKING:
    from pathlib import Path

DEFINITIONS = """\
p:kvmlab/s2_unmap kvm_pgtable_stage2_unmap pgt=%x0:x64 addr=%x1:x64
r10:kvmlab/s2_unmap_ret kvm_pgtable_stage2_unmap ret=$retval:s32
p:middle kvm_pgtable_stage2_unmap+0x40
p:kvm/in_module kvm:kvm_age_gfn
f:fp __kvm_tlb_flush_vmid_ipa
f:fp_ret __kvm_tlb_flush_vmid_ipa%return
p kvm_unnamed
p:probe/by_distance _text+650768 addr=%x1:x64
nonsense
"""
TABLE = """\
ffff800080001000 T kvm_pgtable_stage2_unmap
ffff800080000000 t earlier [kvm]
ffff800080002000 D data_symbol
"""


def table(folder: Path, text: str = TABLE) -> Path:
    file = folder / "kallsyms"
    file.write_text(text, encoding="utf-8")
    return file


def test_every_kind_of_definition_is_understood() -> None:
    found = parse_kprobe_events(DEFINITIONS)
    assert found == {
        "s2_unmap": Probe("kvm_pgtable_stage2_unmap", "entry", "kprobe"),
        "kvmlab:s2_unmap": Probe("kvm_pgtable_stage2_unmap", "entry", "kprobe"),
        "s2_unmap_ret": Probe("kvm_pgtable_stage2_unmap", "exit", "kprobe"),
        "kvmlab:s2_unmap_ret": Probe("kvm_pgtable_stage2_unmap", "exit", "kprobe"),
        "middle": Probe("kvm_pgtable_stage2_unmap", "instant", "kprobe"),
        "in_module": Probe("kvm_age_gfn", "entry", "kprobe"),
        "kvm:in_module": Probe("kvm_age_gfn", "entry", "kprobe"),
        "fp": Probe("__kvm_tlb_flush_vmid_ipa", "entry", "fprobe"),
        "fp_ret": Probe("__kvm_tlb_flush_vmid_ipa", "exit", "fprobe"),
    }


def test_an_address_is_named_by_the_symbol_below_it(tmp_path: Path) -> None:
    found = read_kallsyms(table(tmp_path)).resolve(
        pl.Series([0xFFFF800080001004, 0xFFFF800080000FFF, 0x10], dtype=pl.UInt64)
    )
    assert found.rows() == [
        ("kvm_pgtable_stage2_unmap", 4),
        ("earlier", 0xFFF),
        (None, None),
    ]


def test_an_address_too_far_from_any_function_has_no_name(tmp_path: Path) -> None:
    lines = "ffff800080000000 t last_of_kernel\nffff800090000000 t last_of_all\n"
    found = read_kallsyms(table(tmp_path, lines)).resolve(
        pl.Series([0xFFFF8000800FFFFF, 0xFFFF800080100000, 0xFFFF800090000FFF, 0xFFFF800090001000,
                   (1 << 64) - 1], dtype=pl.UInt64)
    )  # fmt: skip
    assert found["symbol"].to_list() == ["last_of_kernel", None, "last_of_all", None, None]


@pytest.mark.parametrize("shift", [0, 4, 0x40, 1 << 28])
def test_a_table_of_another_boot_is_noticed(tmp_path: Path, shift: int) -> None:
    made = Recorder()
    begin = 0xFFFF800080000000 + shift
    for number in range(3):
        made.write("ret", "exit", probe_ip=begin + 0x1000 * number)
        made.write("graph", "entry", evidence="fgraph", probe_ip=begin + 0x1000 * number)
        made.write("inside", "entry", probe_ip=0xFFFF800080000000 + 0x800 + number)
    made.write("named", "exit", symbol="f", probe_ip=1)
    lines = "".join(f"{0xFFFF800080000000 + 0x1000 * n:x} t f{n}\n" for n in range(4))
    sources = SymbolSources(kallsyms=read_kallsyms(table(tmp_path, lines)))
    trace = replace(made.trace(), settings=Settings(symbols=sources))
    for _ in range(2):
        said = [d for b in trace.batches() for d in b.diagnostics]
        assert [(d.code, d.severity, d.count) for d in said] == (
            [("symbol-table-mismatch", "warning", 3)] if shift > 4 else []
        )
        assert all("3 of 3 addresses" in d.message for d in said)


def test_a_few_addresses_outside_the_table_are_no_mismatch(tmp_path: Path) -> None:
    made = Recorder()
    for address in (0xFFFF800080000000, 0xFFFF800080001004, 0x10):
        made.write("ret", "exit", probe_ip=address)
    sources = SymbolSources(kallsyms=read_kallsyms(table(tmp_path)))
    tables = replace(made.trace(), settings=Settings(symbols=sources)).tables()
    assert tables.diagnostics == ()
    assert tables.events["symbol"].to_list() == ["earlier", "kvm_pgtable_stage2_unmap", None]


def test_a_table_is_read_whatever_stands_between_its_functions() -> None:
    lines = (
        b"ffff800080003000 t last\t[kvm]\r\n\xff\xfe\n0\n\n ffff800080000010 t indented\n"
        b"ffff800080001000 T first\nffff800080001000 t alias\nffff800080000020 t $x\t[kvm]\n"
        b'11111111111111111 t too_long\nffff800080002000 W "quoted\nffff800080000030 d data\n'
        b"ffff800080000040  t two_spaces\nffff800080000050 t"
    )
    found = parse_kallsyms(lines)
    assert found is not None
    assert dict(zip(found.addresses.tolist(), found.names.tolist(), strict=True)) == {
        0xFFFF800080001000: "first",
        0xFFFF800080002000: '"quoted',
        0xFFFF800080003000: "last",
    }


@pytest.mark.parametrize("text", [b"", b"\n", b"x", b"0000000000000000 T all_hidden\n"])
def test_a_table_that_says_no_address_gives_none(text: bytes) -> None:
    assert parse_kallsyms(text) is None


@pytest.mark.parametrize("text", ["", "no symbols\n", "0000000000000000 T all_hidden\n"])
def test_a_table_without_addresses_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingError):
        read_kallsyms(table(tmp_path, text))


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        read_kallsyms(tmp_path / "none")


def test_definitions_win_over_addresses_and_named_probes_stay_as_they_are(tmp_path: Path) -> None:
    made = Recorder()
    made.write("s2_unmap", "entry", probe_ip=0xFFFF800080000000)
    made.write("other", "entry", probe_ip=0xFFFF800080001008)
    made.write("mid", "entry", probe_ip=0xFFFF800080001800)
    made.write("named", "entry", symbol="kvm_s2_put_page", probe_ip=0xFFFF800080000000)
    made.write("fgraph", "exit", evidence="fgraph")
    events = next(made.trace().batches()).events
    sources = SymbolSources(parse_kprobe_events(DEFINITIONS), read_kallsyms(table(tmp_path)))
    found = name_probes(events, sources)
    assert found.select("symbol", "phase").rows() == [
        ("kvm_pgtable_stage2_unmap", "entry"),
        ("kvm_pgtable_stage2_unmap", "entry"),
        ("kvm_pgtable_stage2_unmap", "instant"),
        ("kvm_s2_put_page", "entry"),
        (None, "exit"),
    ]
    assert found["seq"].to_list() == [0, 1, 2, 3, 4]


def test_definitions_that_contradict_the_symbol_table_are_said(tmp_path: Path) -> None:
    file = table(tmp_path)
    made = Recorder()
    at = 0xFFFF800080001000
    made.write("flush", "entry", symbol=None, probe_ip=at)
    made.write("unmap", "entry", symbol=None, probe_ip=at)
    defined = {
        "flush": Probe("__kvm_tlb_flush_vmid_ipa", "entry", "kprobe"),
        "unmap": Probe("kvm_pgtable_stage2_unmap.isra.0", "entry", "kprobe"),
    }
    stated = Settings(symbols=SymbolSources(defined, read_kallsyms(file)))
    found = [d for b in made.trace(settings=stated).batches() for d in b.diagnostics]
    assert [d.code for d in found] == ["names-contradict"]
    assert "flush is of __kvm_tlb_flush_vmid_ipa" in found[0].message
