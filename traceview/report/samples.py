"""Where a profiler's samples fell inside unmaps, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.report.layout import Column, heading, table, wrapped
from traceview.report.wording import clean, count, plural

if TYPE_CHECKING:
    from rich.text import Text

    from traceview.report.contents import Contents

DOING: Final = {
    "invalidate_ipa": "leaf or table invalidate calls",
    "invalidate_range": "range invalidate calls",
    "invalidate_vmid": "invalidate calls of the whole VMID",
    "cmo": "cache maintenance",
    "table_put": "table release",
    "hypercall": "hypercalls",
    "irq": "interrupts",
    "walk": "rest of the walk",
    None: "unknown (the frames have no names: give --kallsyms FILE)",
}
HOW_TO_READ: Final = (
    "share of the samples inside unmaps, with the 95% interval of counting alone; interrupts are"
    " masked inside an invalidate call, so a sample due there falls at its end"
)


def samples(found: Contents, width: int) -> list[Text]:
    """The section, empty without samples inside unmaps."""
    rows = found.sample_groups
    if rows.is_empty():
        return []
    columns = (
        Column("doing"), Column("samples", right=True), Column("share", right=True),
        Column("95% interval", right=True),
    )  # fmt: skip
    lines = heading("Where samples fell inside unmaps", width)
    lines += wrapped(HOW_TO_READ, width, indent=2, hang=2)
    for (label, event), of in rows.group_by("label", "event", maintain_order=True):
        placed = int(of["of_unmaps"].sum())
        said = f"{clean(event)}: {plural(int(of['samples'].sum()), 'sample')} inside unmaps"
        said += f" ({placed:,} of them in unmaps recorded beside)" if placed else ""
        several = found.sample_groups["label"].n_unique() > 1
        lines += wrapped(f"{clean(label)}, {said}" if several else said, width, indent=2, hang=2)
        values = [
            [
                DOING[row["operation"]], count(row["samples"]), _percent(row["share"]),
                f"{_percent(row['share_low'])} .. {_percent(row['share_high'])}",
            ]
            for row in of.iter_rows(named=True)
        ]  # fmt: skip
        lines += table(columns, values, width)
    return lines


def _percent(part: float) -> str:
    return f"{100 * part:.1f}%"
