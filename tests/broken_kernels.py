"""What the audit says of real broken kernels, for the tests of bundled and of fresh traces."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from traceview.queries.audit_results import Audit

TABLES: Final = "table-before-release"
OPERATIONS: Final = "range-operations"
RELEASED: Final = re.compile(r"(\d+) page-table pages? (?:was|were) released before")


def checks_that_found(found: Audit) -> list[str]:
    return sorted(set(found.findings["check"].to_list()))


def tables_released(found: Audit) -> list[tuple[str | None, int]]:
    """Per unmap its step and how many page-table pages the audit says it released too early."""
    rows = found.findings.filter(found.findings["check"] == TABLES)
    counts = []
    for step, text in rows.select("step", "text").iter_rows():
        match = RELEASED.match(text)
        assert match is not None, text
        counts.append((step, int(match[1])))
    return counts
