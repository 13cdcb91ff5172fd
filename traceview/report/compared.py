"""What every report of a comparison is made of, computed once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.queries.compared_claims import JudgedClaim, judged
from traceview.queries.comparison import compare, compare_strategies
from traceview.queries.filters import Filters, undecided
from traceview.queries.ledger import PLACES, ledger
from traceview.queries.like_sides import kept as left_by
from traceview.queries.like_sides import labels_of
from traceview.queries.verdict import verdicts
from traceview.report.caveat import Caveat
from traceview.report.caveats import caveats, left_out
from traceview.report.terminal import leaf_sizes
from traceview.report.wording import UNKNOWN, bytes_size, clean, count

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from traceview.queries.analysis import Analysis
    from traceview.queries.claims import Claim
    from traceview.queries.comparison import Comparison, Line
    from traceview.queries.verdict import Verdict
    from traceview.vocabulary import Vocabulary

SIDES: Final = ("base", "with")
# Caveats about what a trace shows of the inside of unmaps.
OF_SPLIT: Final = frozenset({
    "leaves-unknown", "strategy-unknown", "trigger-unknown", "leaf-size-unknown",
    "invalidation-not-separated", "not-separated", "leaf-table-not-separable",
    "tlbi-dsb-not-separable",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class SideCaveat:
    """A caveat and the side that it is about; None: both, of each of which it holds by itself."""

    side: str | None
    caveat: Caveat


@dataclass(frozen=True, slots=True)
class Compared:
    """`wholes` is what was read of each side, before the filters; with one set, twice the same.

    `ledger`: per side, how many unmaps began and what became of them (queries/ledger.py).
    `unassigned`: unmaps of one set that are of neither side's strategy.
    """

    comparison: Comparison
    wholes: tuple[Analysis, Analysis]
    filters: Filters
    claims: tuple[JudgedClaim, ...]
    ledger: tuple[dict[str, int], dict[str, int]]
    unassigned: int
    caveats: tuple[SideCaveat, ...]
    verdicts: tuple[tuple[Verdict, ...], tuple[Verdict, ...]]
    calibrations: tuple[Analysis | None, Analysis | None]
    leaf_sizes: dict[str, str]

    @property
    def one_set(self) -> bool:
        """Whether both sides are of one set of traces."""
        return self.wholes[0] is self.wholes[1]

    @property
    def untraced(self) -> bool:
        """Whether no tracer ran on either side: executed instructions cost the guest nothing."""
        sides = (self.comparison.base, self.comparison.with_)
        return all((side.tracing_costs["method"] == "none").all() for side in sides)

    @property
    def headline_line(self) -> Line | None:
        """The line that the headline is the slope of, None where it is of a size."""
        of = self.comparison.headline
        return next((line for line in self.comparison.lines if line.ratio is of), None)


def compared_sides(
    read: dict[str, Analysis],
    calibrations: Mapping[str, Analysis],
    filters: Filters,
    claims: Sequence[Claim],
    vocabulary: Vocabulary | None,
) -> Compared:
    """`base` and `with` of *read*, or the two strategies of one set, `all`, compared.

    *calibrations*: what these were priced with, by the same names. Raises QueryError.
    """
    kept = {
        name: left_by(filters, whole, "the traces" if name == "all" else f"--{name}")
        for name, whole in read.items()
    }
    if "all" in kept:
        comparison = compare_strategies(kept["all"], read["all"])
    else:
        comparison = compare(kept["base"], kept["with"], (read["base"], read["with"]))
    return compared(comparison, read, filters, claims, vocabulary, calibrations=calibrations)


def compared(
    found: Comparison,
    read: dict[str, Analysis],
    filters: Filters | None = None,
    claims: Sequence[Claim] = (),
    vocabulary: Vocabulary | None = None,
    *,
    calibrations: Mapping[str, Analysis] | None = None,
) -> Compared:
    """What a report says of *found*; *read* holds `base` and `with`, or one set as `all`.

    *calibrations*: what these were priced with, by the same names.
    """
    names = ("all", "all") if "all" in read else SIDES
    priced_with = tuple((calibrations or {}).get(name) for name in names)
    filters = filters or Filters()
    if "all" in read:
        wholes = (read["all"], read["all"])
        kept = (found.base, found.with_)
        ledgers = (_ledger(kept[0], kept[0], Filters()), _ledger(kept[1], kept[1], Filters()))
        unassigned = len(read["all"].unmaps) - sum(len(side.unmaps) for side in kept)
    else:
        wholes, unassigned = (read["base"], read["with"]), 0
        ledgers = (
            _ledger(wholes[0], found.base, filters), _ledger(wholes[1], found.with_, filters),
        )  # fmt: skip
    said = [
        (*left_out(undecided(filters, whole)), *_caveats(kept, found, vocabulary, calibration))
        for whole, kept, calibration in zip(
            wholes, (found.base, found.with_), priced_with, strict=True
        )
    ]
    return Compared(
        found, wholes, filters, judged(found, claims), ledgers, unassigned,
        (*_several(found), *_merged(said[0], said[1])),
        (verdicts(found.base), verdicts(found.with_)),
        (priced_with[0], priced_with[1]),
        leaf_sizes(pl.concat([side.sources for side in (found.base, found.with_)])),
    )  # fmt: skip


def _ledger(whole: Analysis, kept: Analysis, filters: Filters) -> dict[str, int]:
    table = ledger(whole, kept, filters)
    names = ("began", *PLACES, "loss_unknown")
    return {name: int(table[name].sum()) for name in names}


def _caveats(
    side: Analysis,
    found: Comparison,
    vocabulary: Vocabulary | None,
    calibration: Analysis | None,
) -> list[Caveat]:
    """Those of a side; captures of the unmap alone are not asked for what they never show."""
    said = caveats(side, vocabulary, calibration)
    detailed = side.unmaps.filter((pl.col("traced_calls") > 0).any().over("source_id"))
    if not found.matched.alone or detailed.is_empty():
        return list(said)
    of_split = caveats(replace(side, unmaps=detailed), vocabulary)
    return [
        *(one for one in said if one.code not in OF_SPLIT),
        *(one for one in of_split if one.code in OF_SPLIT),
    ]


def _several(found: Comparison) -> list[SideCaveat]:
    """Sides whose traces are of several labels."""
    return [
        SideCaveat(name, several)
        for name, side in zip(SIDES, (found.base, found.with_), strict=True)
        if (several := several_labels(side)) is not None
    ]


def several_labels(side: Analysis) -> Caveat | None:
    """That the traces of a side are of several things, as their labels say."""
    labels = labels_of(side)
    if len(labels) < 2:
        return None
    text = (
        f"its traces are of {len(labels)} labels ({label_of(side)}): what these differ by is taken"
        " for what runs of one thing differ by"
    )
    return Caveat("several-labels", text, severity="strong")


def _merged(base: Sequence[Caveat], with_: Sequence[Caveat]) -> tuple[SideCaveat, ...]:
    """Those of both sides once, the gravest first."""
    texts = [{(one.code, one.text) for one in side} for side in (base, with_)]
    found = [
        SideCaveat(None if key in texts[1] else "base", one)
        for one in base for key in [(one.code, one.text)]
    ]  # fmt: skip
    found += [SideCaveat("with", one) for one in with_ if (one.code, one.text) not in texts[0]]
    return tuple(sorted(found, key=lambda one: one.caveat.severity != "strong"))


def joined(found: Compared) -> Analysis:
    """Sources, diagnostics and the compared unmaps of both sides, numbered base, then with."""
    base, with_ = found.wholes
    kept = found.comparison.base.unmaps, found.comparison.with_.unmaps
    if found.one_set:
        return replace(base, unmaps=pl.concat(kept))
    first = len(base.sources)
    return replace(
        base, sources=pl.concat([base.sources, renumbered(with_.sources, first)]),
        unmaps=pl.concat([kept[0], renumbered(kept[1], first)]),
        diagnostics=(
            *base.diagnostics, *((first + source, what) for source, what in with_.diagnostics)
        ),
    )  # fmt: skip


def renumbered(rows: pl.DataFrame, first: int) -> pl.DataFrame:
    """*rows* with the number of their source *first* higher."""
    return rows.with_columns((pl.col("source_id") + first).cast(pl.Int32))


def label_of(side: Analysis) -> str:
    """What the traces of a side are called."""
    names = [clean(name) for name in side.sources["label"].drop_nulls().unique(maintain_order=True)]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def cell_words(cell: dict[str, Any], sizes: dict[str, str]) -> str:
    """A cell in words: `2,048 leaves of 4K, memslot, step w04`."""
    said = []
    leaves, level = cell.get("leaves"), cell.get("level")
    if leaves is not None:
        said.append(f"{count(leaves)} {'leaf' if leaves == 1 else 'leaves'}")
        size = sizes.get(level or "", UNKNOWN)
        if size not in {UNKNOWN, "none"}:
            said[-1] += f" of {size}" if size != "mixed" else " of mixed size"
        said[-1] += _length_words(cell, size)
    said += [str(cell["trigger"])] if cell.get("trigger") else []
    said += [f"step {clean(cell['stem'])}"] if cell.get("stem") is not None else []
    return ", ".join(said) or "all unmaps"


def _length_words(cell: dict[str, Any], size: str) -> str:
    """The length of the range, where it is not that of the leaves."""
    length, leaves = cell.get("length_bytes"), cell.get("leaves")
    if length is None or (leaves and length % leaves == 0 and bytes_size(length // leaves) == size):
        return ""
    return f" in {bytes_size(length)}"


def line_words(line: Line, sizes: dict[str, str]) -> str:
    """What a line is of."""
    level = sizes.get(line.line["level"] or "", UNKNOWN)
    name = "leaves of unknown size" if level == UNKNOWN else f"leaves of {level}"
    trigger = line.line["trigger"]
    of = f"{name}, {trigger}" if trigger else name
    return f"{of} ({len(line.sizes)} sizes, {count(line.sizes[0])} to {count(line.sizes[-1])})"
