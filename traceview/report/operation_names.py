"""What the operations of unmaps that are counted are called in tables."""

from __future__ import annotations

from typing import Final

COUNTED: Final = {
    "invalidate_leaf": "leaf invalidations", "invalidate_table": "table invalidations",
    "invalidate_ipa": "leaf or table invalidations", "invalidate_range": "range flushes",
    "cmo": "CMO", "table_put": "puts", "tlbi_insns": "TLBI", "dsb_insns": "DSB",
    "cmo_lines": "CMO lines", "traced_calls": "traced calls",
}  # fmt: skip
SHORT: Final = {
    "invalidate_leaf": "leaf inv.", "invalidate_table": "table inv.",
    "invalidate_ipa": "leaf/table inv.", "invalidate_range": "range",
    "traced_calls": "traced",
}  # fmt: skip
# What titles do not say by themselves.
COUNT_NOTES: Final = {
    "table_put": "references to page-table pages dropped (kvm_s2_put_page)",
    "traced_calls": "calls inside the unmap that were traced", "cmo": "cache maintenance calls",
}  # fmt: skip
