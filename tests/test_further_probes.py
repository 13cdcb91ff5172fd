"""Several probes on one function: a call is one call."""

from __future__ import annotations

import pytest

from tests.writers.events import Recorder
from traceview.queries.analysis import analyze

UNMAP, FLUSH = "kvm_pgtable_stage2_unmap", "__kvm_tlb_flush_vmid_ipa"


def recording() -> Recorder:
    recorder = Recorder()
    for at in range(3):
        recorder.write("plain", "entry", symbol=UNMAP)
        recorder.write("with_args", "entry", symbol=UNMAP, addr=at << 12, size=4096)
        recorder.call(FLUSH, ipa=at << 12, level=3)
        recorder.write("first_ret", "exit", symbol=UNMAP)
        recorder.write("second_ret", "exit", symbol=UNMAP, ret=0)
    return recorder


@pytest.mark.parametrize("batch_events", [1, 2, 3, 7, None])
def test_a_function_with_several_probes_is_called_once_per_call(batch_events: int | None) -> None:
    analysis = analyze(recording().trace(batch_events))
    assert analysis.unmaps["status"].to_list() == ["complete"] * 3
    assert analysis.unmaps["duration_ns"].to_list() == [40] * 3
    assert ("further-probes", 6) in {(d.code, d.count) for _, d in analysis.diagnostics}


def test_the_arguments_of_all_probes_belong_to_the_call() -> None:
    unmaps = analyze(recording().trace()).unmaps
    assert unmaps["ipa"].to_list() == [0, 4096, 8192]
    assert unmaps["length_bytes"].to_list() == [4096] * 3


def test_all_records_are_counted_as_events() -> None:
    assert analyze(recording().trace()).event_counts["count"].sum() == 18


def test_the_same_name_on_two_functions_is_no_further_probe() -> None:
    recorder = Recorder()
    for symbol in (UNMAP, FLUSH):
        recorder.write("probe", "entry", symbol=symbol)
        recorder.write("probe_ret", "exit", symbol=symbol)
    codes = {d.code for _, d in analyze(recorder.trace()).diagnostics}
    assert "further-probes" not in codes
