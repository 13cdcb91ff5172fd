"""Who asked for an unmap is said by calls that end; a probe of the entry alone says nothing."""

from __future__ import annotations

from tests.writers.events import Recorder
from traceview.queries.analysis import analyze

UNMAP = "kvm_pgtable_stage2_unmap"
MEMSLOT = "kvm_arch_flush_shadow_memslot"


def test_a_request_that_never_ends_did_not_cause_all_that_follows() -> None:
    recorder = Recorder()
    recorder.enter(MEMSLOT)
    for _ in range(5):
        recorder.call(UNMAP)
    assert set(analyze(recorder.trace()).unmaps["trigger"]) == {"unknown"}


def test_a_request_that_is_cut_off_counts_where_others_like_it_ended() -> None:
    recorder = Recorder()
    recorder.enter(MEMSLOT)
    recorder.call(UNMAP)
    recorder.leave(MEMSLOT)
    recorder.enter(MEMSLOT)
    recorder.call(UNMAP)
    assert analyze(recorder.trace()).unmaps["trigger"].to_list() == ["memslot", "memslot"]
