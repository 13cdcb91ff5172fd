"""Where a profiler's samples fell inside unmaps, as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.report.layout import Column, heading, table, wrapped
from traceview.report.wording import clean, count, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

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
TITLE: Final = "Where samples fell inside unmaps"
COLUMNS: Final = (
    Column("doing"), Column("samples", right=True), Column("share", right=True),
    Column("95% interval", right=True),
)  # fmt: skip
HOW_TO_READ: Final = (
    "share of the samples inside unmaps, with the 95% interval of counting alone; interrupts are"
    " masked inside an invalidate call, so a sample due there falls at its end"
)


def samples(found: Contents, width: int) -> list[Text]:
    """The section, empty without samples inside unmaps."""
    if found.sample_groups.is_empty():
        return []
    lines = heading(TITLE, width)
    lines += wrapped(HOW_TO_READ, width, indent=2, hang=2)
    for said, values in sampled(found):
        lines += wrapped(said, width, indent=2, hang=2)
        lines += table(COLUMNS, values, width)
    return lines


def sampled(found: Contents) -> Iterator[tuple[str, list[list[str]]]]:
    """Per label and sampled event: a title, and what the unmaps were doing."""
    several = found.sample_groups["label"].n_unique() > 1
    groups = found.sample_groups.group_by("label", "event", maintain_order=True)
    for (label, event), of in groups:
        placed = int(of["of_unmaps"].sum())
        said = f"{clean(event)}: {plural(int(of['samples'].sum()), 'sample')} inside unmaps"
        said += f" ({placed:,} of them in unmaps recorded beside)" if placed else ""
        yield f"{clean(label)}, {said}" if several else said, [
            [
                DOING[row["operation"]], count(row["samples"]), _percent(row["share"]),
                f"{_percent(row['share_low'])} .. {_percent(row['share_high'])}",
            ]
            for row in of.iter_rows(named=True)
        ]  # fmt: skip


def _percent(part: float) -> str:
    return f"{100 * part:.1f}%"
