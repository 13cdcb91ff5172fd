"""Why something is unknown of the unmaps of a source, in words that hold for what was hit.

A function that was recorded, if only by its entry, is never said to be untraced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.queries.recorded import names

if TYPE_CHECKING:
    from traceview.queries.recorded import Recorded

FLUSH_ABSENT: Final = "__kvm_tlb_flush_vmid_ipa was not traced or never hit, or the host runs nVHE"
RANGE_ABSENT: Final = "kvm_tlb_flush_vmid_range was not traced or never hit, or the host runs nVHE"
CMO_ABSENT: Final = "clean_dcache_guest_page was not traced or never hit"
PUT_ABSENT: Final = "kvm_s2_put_page was not traced or never hit"
IRQ_ABSENT: Final = "no interrupt function or event was traced or hit"
BLURRED: Final = (
    "a flush could be a leaf's or a table's: neither its arguments nor the page-table puts beside"
    " it tell"
)


def why_no_leaves(recorded: Recorded, source_id: int) -> str:
    """Why the leaves of unmaps of this source are unknown."""
    hits = recorded.hits([source_id], "table_put", "invalidate_ipa", "cmo")
    if not hits:
        return (
            "no page-table put, invalidation or cache maintenance per leaf was traced, or none was"
            " hit"
        )
    return f"what was hit ({names(hits)}) does not tell them from freed tables and holes"


def why_no_strategy(recorded: Recorded, source_id: int) -> str:
    """Why the invalidation strategy of unmaps of this source is unknown."""
    flushes = recorded.hits([source_id], "invalidate_ipa")
    ranges = recorded.hits([source_id], "invalidate_range")
    if not flushes and not ranges:
        return "no TLB flush function was traced or hit, or the host runs nVHE"
    missing = []
    if not flushes:
        missing.append("__kvm_tlb_flush_vmid_ipa was not traced or never hit")
    if not ranges:
        missing.append("kvm_tlb_flush_vmid_range was not traced or never hit")
    more = f"; {', '.join(missing)}" if missing else ""
    return f"what was hit ({names((*flushes, *ranges))}) does not tell{more}"


def why_no_trigger(recorded: Recorded, source_id: int) -> str:
    """Why it is unknown who asked for unmaps of this source."""
    hits = recorded.hits([source_id], "trigger")
    if not hits:
        return "no function that asks for unmaps was traced or hit"
    if not any(hit.ends for hit in hits):
        return (
            f"{names(hits)} was recorded by entry only, and an entry does not say what lies inside"
        )
    return f"they lie in no call of what was recorded of those that ask ({names(hits)})"
