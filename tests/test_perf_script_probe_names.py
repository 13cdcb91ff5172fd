"""What the names that perf probe gives to events say of functions, in `perf script` text."""

from __future__ import annotations

import lzma
from typing import TYPE_CHECKING

import pytest

import traceview
from tests.perf_script_reading import Table, differences, read
from tests.truth import TRACES
from tests.writers.perf_script import Script
from traceview.parsers import open_trace
from traceview.symbols import Probe, SymbolSources

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = "(ffff80008009ee10) addr=0x80000000"
RETURN = "(ffff80008009ee10 <- ffff800080060d88)"
LONG = 3000  # events, more than one chunk of those that the tests read


def text(*names: str) -> str:
    script = Script()
    for number, name in enumerate(names):
        script.tracepoint(name, RETURN if name.endswith("__return") else ENTRY, number * 10**6)
    return script.text()


def symbols(table: Table) -> list[str | None]:
    return table.events["symbol"].to_list()


def test_a_function_is_known_by_the_name_without_its_underscores() -> None:
    table = read(text("probe:kvm_pgtable_stage2_unmap", "probe:kvm_tlb_flush_vmid_ipa",
                      "probe:kvm_tlb_flush_vmid_ipa__return"))  # fmt: skip
    assert table.events.select("name", "symbol", "phase").rows() == [
        ("kvm_pgtable_stage2_unmap", "kvm_pgtable_stage2_unmap", "entry"),
        ("kvm_tlb_flush_vmid_ipa", "__kvm_tlb_flush_vmid_ipa", "entry"),
        ("kvm_tlb_flush_vmid_ipa__return", "__kvm_tlb_flush_vmid_ipa", "exit"),
    ]
    assert table.facts["traced"] == ("__kvm_tlb_flush_vmid_ipa",)
    assert table.diagnostics["assumed-functions"].severity == "info"


def test_where_two_functions_fit_neither_is_assumed() -> None:
    table = read(text("probe:kvm_tlb_flush_vmid_range"))
    assert symbols(table) == [None]
    assert table.diagnostics["ambiguous-probe-names"].severity == "warning"


def test_only_the_group_of_perf_probe_says_functions() -> None:
    name = "kvm_pgtable_stage2_unmap"
    table = read(text(f"kvmlab:{name}", f"probe:{name}", f"probe_x:{name}"))
    assert symbols(table) == [None, name, None]
    assert "assumed-functions" not in read(text(f"kvmlab:{name}")).diagnostics


@pytest.mark.parametrize("packed", [False, True])
def test_a_number_at_the_end_of_a_long_text_is_known_at_its_beginning(
    tmp_path: Path, *, packed: bool
) -> None:
    first, last = "probe:stage2_unmap_walker", "probe:stage2_unmap_walker_1"
    data = text(*[first] * LONG, "probe:kvm_s2_put_page", last)
    for table in (read(data), read(data, chunk_bytes=9000, batch_events=100)):
        assert symbols(table) == [None] * LONG + ["kvm_s2_put_page", None]
        assert last.partition(":")[2] in table.diagnostics["ambiguous-probe-names"].message
    assert differences(data.encode(), all_events=True, chunk_bytes=9000) == []
    path = tmp_path / "script.txt"
    path.write_bytes(lzma.compress(data.encode()) if packed else data.encode())
    trace = open_trace(path)
    batches = list(trace.batches(batch_events=100))
    assert sum(len(batch.events) for batch in batches) == LONG + 2
    assert len(batches) > 1


def test_what_the_user_states_wins() -> None:
    stated = SymbolSources(probes={"kvm_pgtable_stage2_unmap": Probe("f", "instant", "kprobe")})
    table = read(text("probe:kvm_pgtable_stage2_unmap", "probe:kvm_s2_put_page"), symbols=stated)
    assert symbols(table) == [None, "kvm_s2_put_page"]


@pytest.mark.captures
@pytest.mark.skipif(not TRACES.is_dir(), reason="no captures in ../shared/traces")
@pytest.mark.parametrize("machine", ["6.1-max", "6.12-max", "6.12-neoverse-n1"])
def test_unmaps_are_those_of_perf_data(machine: str) -> None:
    folder = TRACES / machine
    binary, printed = (
        traceview.analyze(traceview.open_trace(folder / f"perf-probe.{kind}")).unmaps
        for kind in ("perf.data", "script.txt")
    )
    assert len(printed) == len(binary) > 0
    columns = ("tid", "ipa", "length_bytes")
    assert printed.select(columns).equals(binary.select(columns))
