"""Whether two sides are what a comparison takes them for.

They must be of different runs: a run compared with itself differs by how it was recorded, and by
nothing else. And the traces of a side must be of one thing: what two labels differ by is no noise
of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.errors import QueryError
from traceview.queries.filters import apply
from traceview.queries.matched_unmaps import usable
from traceview.queries.matching import known_to_differ

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.queries.analysis import Analysis
    from traceview.queries.filters import Filters

# What two captures of one run cannot differ in.
OF_HOST: Final = (
    "kernel", "machine", "cpus", "midr", "fwb", "tlbirange", "lpa2", "page_size_bytes", "errata",
    "origin",
)  # fmt: skip
MOST_NAMED: Final = 3


def refuse_same_runs(base: Analysis, with_: Analysis) -> None:
    """Raise QueryError where one run is on both sides, as their sources state it.

    By label and run; where a label is not stated by the run, its place in the recording plan and
    the host. What is known to differ of two hosts is of two runs.
    """
    theirs: dict[str, list[dict[str, Any]]] = {}
    for row in _stated_runs(with_):
        theirs.setdefault(row["run"], []).append(row)
    same = [
        one for one in _stated_runs(base)
        if any(_is_same(one, other) for other in theirs.get(one["run"], ()))
    ]  # fmt: skip
    if not same:
        return
    names = list(dict.fromkeys(_name(one) for one in same))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    runs = "run is" if len(names) == 1 else "runs are"
    raise QueryError(
        f"the same {runs} on both sides: {', '.join(names[:MOST_NAMED])}{more}\n"
        "captures of one run differ by how they were recorded, not by what is compared\n"
        "valid: all captures of a run on one side; runs that only share a name are told apart by"
        " labels (--label BASE --label WITH, or sidecars: docs/sidecar.md)"
    )


def _stated_runs(of: Analysis) -> list[dict[str, Any]]:
    rows = of.sources.drop_nulls("run").select(
        "run", "label", "order", *(pl.col(name).cast(pl.String) for name in OF_HOST)
    )
    return rows.unique(maintain_order=True).to_dicts()


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two sources of runs of one name are of one run."""
    labelled = one["label"] is not None and other["label"] is not None
    facts = OF_HOST if labelled else (*OF_HOST, "order")
    return not known_to_differ(one, other, facts) and (
        not labelled or one["label"] == other["label"]
    )


def _name(one: dict[str, str | None]) -> str:
    return f"{one['run']}" if one["label"] is None else f"{one['run']} of {one['label']}"


def kept(filters: Filters, whole: Analysis, side: str) -> Analysis:
    """What *filters* keep of a side, `--base`, or of one set.

    Raises QueryError where they take everything that has a time to compare.
    """
    found = apply(filters, whole)
    timed = len(whole.unmaps.filter(usable()))
    if timed and found.unmaps.filter(usable()).is_empty():
        raise QueryError(
            f"the filters ({filters}) leave nothing of {side}: it has {timed:,}"
            f" complete {'unmap' if timed == 1 else 'unmaps'} with a duration, and none that they"
            " keep"
        )
    return found


def labels_of(of: Analysis) -> Sequence[str]:
    """The labels of the sources of a side, in order."""
    return of.sources["label"].drop_nulls().unique(maintain_order=True).to_list()
