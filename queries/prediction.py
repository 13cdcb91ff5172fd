"""What unmaps would take under another strategy, of another size, level or number of CPUs.

The same page table is unmapped: what is done follows from it exactly (strategy_counts.py). The
times follow from those that were measured, with what is done no more taken away and what is done
instead added (predicted_cell.py); of other sizes, from costs that are fitted to those times
(unmap_costs.py), as far as leaving sizes out shows that this can be trusted (prediction_reach.py).
Nothing here is evidence about another machine, or about a machine at all where the times are
emulated.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import polars as pl

from traceview.errors import QueryError
from traceview.queries.duration_step import duration_step_of
from traceview.queries.observer import priced
from traceview.queries.predicted_cell import (
    Costs,
    Predicted,
    change_of,
    complete,
    costs_of,
    key_of,
    predicted,
    unchanged,
)
from traceview.queries.prediction_cells import CELL, COUNTS, Measured, measured
from traceview.queries.prediction_cpus import at_cpus
from traceview.queries.prediction_locations import (
    Location,
    cells_of,
    locations,
    without_spread,
)
from traceview.queries.prediction_refusals import host_of, refuse
from traceview.queries.prediction_sizes import Size, sizes_of
from traceview.queries.strategy_counts import Counts, counts, range_operations

if TYPE_CHECKING:
    from traceview.queries.analysis import Analysis
    from traceview.queries.prediction_refusals import Host
    from traceview.queries.prediction_sizes import AskedSize
    from traceview.queries.size_costs import SizeFit
    from traceview.queries.strategy_counts import Strategy, Tables

NO_COSTS: Final = Costs(None, None, None)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked. `strategy` None: that of the traces; `sizes`: none, those measured alone.

    `as_if`: also where the machine could not defer.
    """

    strategy: Strategy | None = None
    sizes: tuple[AskedSize, ...] = ()
    level: str | None = None
    cpus: int | None = None
    tables: Tables = "eager"
    as_if: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell: where it is (`location`), what is done `before` and `after`, and the time then."""

    location: Location
    before: Counts
    after: Counts
    then: Predicted

    @property
    def ratio(self) -> tuple[float, float, float] | None:
        """Time before over time after, and its interval; above 1 what is predicted is faster.

        The times of both are of the same further unmaps, so what both vary by cancels.
        """
        if self.then.value <= 0:
            return None
        now = self.location.ns
        high = now / self.then.low if self.then.low > 0 else float("inf")
        return now / self.then.value, now / self.then.high, high


@dataclass(frozen=True, slots=True)
class Prediction:
    """Everything about one prediction."""

    wish: Wish
    host: Host
    strategy: Strategy
    to: Strategy
    measured: Measured
    runs: tuple[str, ...]
    no_spread: bool
    quantum_ns: float
    costs: Costs
    cells: tuple[Cell, ...]
    fitted: SizeFit | str
    sizes: tuple[Size, ...]
    not_costed: int = 0
    analysis: Analysis | None = field(default=None, repr=False)

    @property
    def levels_unknown(self) -> bool:
        """Whether no unmap says of which level its leaves are."""
        leaves = self.measured.timed.filter(pl.col("leaves") > 0)
        return leaves["level"].unique().to_list() == ["unknown"]


def predict(analysis: Analysis, wish: Wish, calibration: Analysis | None = None) -> Prediction:
    """What *wish* asks of the unmaps of *analysis*, which is priced (observer.py).

    Raises QueryError where the traces cannot bear a prediction.
    """
    host = host_of(analysis, wish.as_if)
    analysis = as_one(analysis, calibration)
    taken = measured(analysis, calibration)
    strategy = refuse(taken, host, wish.strategy, several_cpus=wish.cpus is not None)
    taken = _of_level(taken, wish.level)
    quantum = duration_step_of(analysis)
    to = wish.strategy or strategy
    found, pooled, not_costed = predicted_cells(taken, wish, host, strategy, quantum)
    if wish.cpus is not None:
        found = at_cpus(found, wish.cpus)
    fitted, sizes = sizes_of(found, wish.sizes, host, to, wish.tables, wish.level)
    return Prediction(
        wish, host, strategy, to, taken, tuple(taken.timed["run"].unique(maintain_order=True)),
        without_spread(taken.timed, quantum), quantum, pooled, found, fitted, sizes, not_costed,
        analysis,
    )  # fmt: skip


def as_one(analysis: Analysis, calibration: Analysis | None) -> Analysis:
    """*analysis* as traces of one label, so that its captures calibrate each other.

    Where nobody gave them any label, each trace would be one of its own.
    """
    labels = analysis.sources["label"]
    if calibration is not None or len(labels) < 2 or labels.null_count() < len(labels):
        return analysis
    sources = analysis.sources.with_columns(pl.lit("traces").alias("label"))
    return priced(replace(analysis, sources=sources))


def predicted_cells(
    taken: Measured, wish: Wish, host: Host, strategy: Strategy, quantum_ns: float
) -> tuple[tuple[Cell, ...], Costs, int]:
    """Every cell under the wish; what calls cost over all; unmaps that no cost is known for."""
    to = wish.strategy or strategy
    details = {key_of(cell): rows for cell, rows in cells_of(taken.detailed)}
    costs = costs_of([(dict(zip(CELL, key, strict=True)), of) for key, of in details.items()])
    found, not_costed = [], 0
    bounds = _tracing_bounds(taken)
    done_in = {key_of(cell): rows for cell, rows in cells_of(taken.timed)}
    for at in locations(taken.timed, quantum_ns):
        key = key_of(at.cell)
        where = replace(at, tracing=bounds.get(key, (1.0, 1.0, 1.0)))
        before, after = _counts(done_in[key], wish, host, strategy, to)
        change = change_of(before, after)
        if to == strategy and not change.cmo:
            found.append(Cell(where, before, after, unchanged(where)))
            continue
        lone = before.invalidate_leaf + before.invalidate_table
        mine = complete(costs.get(key, NO_COSTS), costs[()], to, after.range_operations)
        if mine is None:
            not_costed += at.unmaps
            continue
        found.append(
            Cell(where, before, after, predicted(where, details.get(key), change, mine, lone))
        )
    if not found:
        raise QueryError(
            "no call of an invalidation was recorded with its duration: what one takes is not"
            " known\nvalid: both ends of the calls (function_graph, or entry and return probes)"
        )
    found.sort(key=lambda cell: (cell.before.leaves, str(cell.location.cell["stem"])))
    return tuple(found), costs[()], not_costed


def _tracing_bounds(taken: Measured) -> dict[tuple[Any, ...], tuple[float, float, float]]:
    """Per cell: between which parts of its time it may be, where the times are corrected ones."""
    if taken.basis != "corrected":
        return {}
    found = {}
    for cell, rows in cells_of(taken.detailed):
        middle, low, high = (
            float(rows[f"ns{which}"].median() or 0.0)  # type: ignore[arg-type]
            for which in ("", "_low", "_high")
        )
        if middle > 0:
            found[key_of(cell)] = (1.0, max(0.0, min(low / middle, 1.0)), max(high / middle, 1.0))
    return found


def _counts(
    rows: pl.DataFrame, wish: Wish, host: Host, strategy: Strategy, to: Strategy
) -> tuple[Counts, Counts]:
    """What an unmap of a cell did, and will do: medians, where neighbouring sizes are one cell."""
    done = {
        name: None if rows[name].null_count() else round(float(rows[name].median() or 0))  # type: ignore[arg-type]
        for name in COUNTS
    }
    operations = range_operations(
        done["length_bytes"], host.page_bytes, host.kernel, lpa2=host.lpa2
    )
    freed = round(float(rows["freed"].median() or 0))  # type: ignore[arg-type]
    before = Counts(
        done["leaves"] or 0, freed, done["invalidate_leaf"] or 0, done["invalidate_table"] or 0,
        done["invalidate_range"] or 0, done["cmo"], done["table_put"],
        operations if strategy == "deferred_range" else (0, 0),
    )  # fmt: skip
    if to == strategy:
        return before, before
    return before, counts(done, to, wish.tables, operations)


def _of_level(taken: Measured, level: str | None) -> Measured:
    """The unmaps with leaves of *level* alone, and empty ones; all where levels are not known."""
    if level is None:
        return taken
    rows = taken.timed.filter(pl.col("leaves") > 0)
    seen = rows["level"].unique(maintain_order=True).to_list()
    if level not in seen and seen != ["unknown"]:
        raise QueryError(
            f"no unmap has leaves of level {level[1:]} (the traces hold: {', '.join(seen)}): what a"
            " leaf of another level takes is not known, its cache maintenance differs"
            " five-hundredfold\nvalid: captures of a workload with such leaves"
        )
    if seen == ["unknown"]:
        return taken
    kept = pl.col("level").is_in([level, "none"])
    return replace(taken, timed=taken.timed.filter(kept), detailed=taken.detailed.filter(kept))
