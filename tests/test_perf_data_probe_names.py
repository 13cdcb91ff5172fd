"""What the names that perf probe gives to events say of the functions probed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.perf_data_reading import EVERYTHING, knowing, read
from tests.writers import perf_data as w
from tests.writers import records
from traceview.parsers import open_trace
from traceview.symbols import Kallsyms, Probe, SymbolSources
from traceview.trace import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.perf_data_reading import Read
    from traceview.trace import Want

ADDRESS = 0xFFFF80008009EE10


def probes(*names: str, group: str = "probe") -> list[records.Event]:
    """Formats of probes with these names; those of returns say so."""
    found = []
    for number, name in enumerate(names):
        fields: tuple[str, ...] = ("unsigned long __probe_ip",)
        if "__return" in name or name.endswith("_ret"):
            fields = ("unsigned long __probe_func", "unsigned long __probe_ret_ip")
        found.append(records.Event(1500 + number, name, fields, group))
    return found


def recording(*formats: records.Event) -> bytes:
    events = [
        w.Event(f"{form.system}:{form.name}", (form.id,), w.TRACEPOINT, form.id, w.USUAL)
        for form in formats
    ]
    body = b"".join(
        w.Sample(
            event, n, raw=form.record(__probe_ip=ADDRESS, __probe_func=ADDRESS)
        ).record()
        for n, (event, form) in enumerate(zip(events, formats, strict=True))
    )  # fmt: skip
    features = {1: w.tracing_data(formats), 12: w.event_desc(events)}
    return w.Recording(events, body, features).file()


def found(*names: str, want: Want = EVERYTHING, group: str = "probe") -> Read:
    return read(recording(*probes(*names, group=group)), want)


def test_a_function_is_known_by_the_name_without_its_underscores() -> None:
    names = ("kvm_pgtable_stage2_unmap", "kvm_tlb_flush_vmid_ipa", "kvm_tlb_flush_vmid_ipa__return")
    result = found(*names)
    assert result.events.select("name", "symbol", "phase").rows() == [
        ("kvm_pgtable_stage2_unmap", "kvm_pgtable_stage2_unmap", "entry"),
        ("kvm_tlb_flush_vmid_ipa", "__kvm_tlb_flush_vmid_ipa", "entry"),
        ("kvm_tlb_flush_vmid_ipa__return", "__kvm_tlb_flush_vmid_ipa", "exit"),
    ]
    assert result.facts["traced"] == ("__kvm_tlb_flush_vmid_ipa",)
    assert result.diagnostics["assumed-functions"].severity == "info"


def test_where_two_functions_fit_neither_is_assumed() -> None:
    result = found("kvm_tlb_flush_vmid_range", "kvm_tlb_flush_vmid_range__return")
    assert result.column("symbol") == [None, None]
    assert result.column("phase") == ["entry", "exit"]
    assert result.column("probe_ip") == [ADDRESS, ADDRESS]
    unsure = result.diagnostics["ambiguous-probe-names"]
    assert unsure.severity == "warning"
    assert "kprobe_events" in unsure.message


def test_two_functions_that_mean_the_same_do_no_harm() -> None:
    # __clean_dcache_guest_page is what clean_dcache_guest_page was called before Linux 5.13.
    assert found("clean_dcache_guest_page").column("symbol") == ["clean_dcache_guest_page"]


def test_numbered_probes_are_not_told_apart() -> None:
    result = found("stage2_unmap_walker", "stage2_unmap_walker_1", "kvm_s2_put_page")
    assert result.column("symbol") == [None, None, "kvm_s2_put_page"]
    assert "stage2_unmap_walker_1" in result.diagnostics["ambiguous-probe-names"].message


@pytest.mark.parametrize("name", ["kvm_pgtable_stage2_unmap_L12", "my_unmap", "handle_tlbi_el2"])
def test_a_name_that_is_no_function_of_the_vocabulary_says_nothing(name: str) -> None:
    result = found(name)
    assert result.column("symbol") == [None]
    assert not {"assumed-functions", "ambiguous-probe-names"} & result.diagnostics.keys()


def test_names_of_other_groups_say_nothing() -> None:
    result = found("kvm_pgtable_stage2_unmap", group="kvmlab")
    assert result.column("symbol") == [None]
    mixed = read(
        recording(*probes("kvm_pgtable_stage2_unmap"), records.Event(
            1600, "kvm_pgtable_stage2_unmap", ("unsigned long __probe_ip",), "mine"
        ))
    )  # fmt: skip
    assert mixed.column("symbol") == [None, None]
    assert "ambiguous-probe-names" in mixed.diagnostics


def test_what_the_user_states_wins() -> None:
    stated = SymbolSources(probes={"kvm_pgtable_stage2_unmap": Probe("f", "instant", "kprobe")})
    result = found("kvm_pgtable_stage2_unmap", "kvm_s2_put_page", want=knowing(stated))
    assert result.column("symbol") == [None, "kvm_s2_put_page"]


def test_a_symbol_table_leaves_nothing_to_assume(tmp_path: Path) -> None:
    path = tmp_path / "perf.data"
    path.write_bytes(recording(*probes("kvm_pgtable_stage2_unmap")))
    table = Kallsyms(np.array([ADDRESS - 64], dtype=np.uint64), np.array(["other"], dtype=object))
    trace = open_trace(path, settings=Settings(symbols=SymbolSources(kallsyms=table)))
    events = trace.tables().events
    assert events.select("symbol", "phase").rows() == [("other", "instant")]
