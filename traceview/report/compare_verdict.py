"""The three hypotheses: what each side says of them, and what the difference of the sides does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from traceview.report.compare_headline import side_names
from traceview.report.compare_split import is_decided
from traceview.report.compared import SIDES
from traceview.report.layout import bullets
from traceview.report.verdict import tells, verdict
from traceview.report.wording import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

    from traceview.queries.decomposition import Decomposition, Part
    from traceview.queries.verdict import Verdict
    from traceview.report.compared import Compared

INVALIDATIONS = ("invalidate_leaf", "invalidate_table", "invalidate_ipa", "invalidate_range")


def hypotheses(found: Compared, width: int) -> list[Text]:
    """The most expensive kind of unmap of each side that says anything, then the difference."""
    lines = verdict(of_sides(found), width, found.leaf_sizes)
    return lines + bullets(difference_texts(found), width) if lines else []


def of_sides(found: Compared) -> list[Verdict]:
    """The most expensive kind of unmap of each side that says anything, under the side's name."""
    names = SIDES if found.one_set else side_names(found)
    return [
        replace(next(filter(tells, side), side[0]), label=name)
        for name, side in zip(names, found.verdicts, strict=True)
        if side
    ]


def difference_texts(found: Compared) -> Iterator[str]:
    """What of the difference is invalidation, and what cache maintenance."""
    of, plan = found.comparison.decomposition, found.comparison.plan
    if isinstance(of, str) or not is_decided(of.net or of.total, plan):
        return
    whole = (of.net or of.total).difference.value
    amount = f"of {number(abs(whole))} ns per leaf by which the sides differ"
    parts = _invalidations(of)
    if parts:
        value = sum(part.difference.value for part in parts) * (1 if whole > 0 else -1)
        yield (
            f"between these runs: invalidate calls are {number(value)} {amount}; what of that is"
            " their number and what the wait of their DSBs is not separable"
        )
    cmo = next((part for part in of.parts if part.name == "cmo"), None)
    if cmo is None:
        yield "between these runs: nothing of cache maintenance, which is not separated on both"
    elif cmo.base_ns or cmo.with_ns:
        value = cmo.difference.value * (1 if whole > 0 else -1)
        yield f"between these runs: cache maintenance is {number(value)} {amount}"


def _invalidations(of: Decomposition) -> list[Part]:
    """None where leaf and range are not both told apart: what is hidden is in the rest."""
    names = {part.name for part in of.parts}
    whole = "invalidate_range" in names and names & {"invalidate_leaf", "invalidate_ipa"}
    return [part for part in of.parts if part.name in INVALIDATIONS] if whole else []
