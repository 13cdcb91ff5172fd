"""Traces read part by part, with everything listening that writes what streams by."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any, Self

from traceview.cli.screen import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    import polars as pl

    from traceview.cli.outputs import Outputs
    from traceview.queries import Analysis
    from traceview.queries.calls import Chunk
    from traceview.queries.slow_calls import SlowCalls
    from traceview.queries.source_tables import SourceTables
    from traceview.report.evidence import Evidence
    from traceview.report.parquet import ParquetTables
    from traceview.report.recipe import Found, Recipe
    from traceview.trace import Batch, Trace

    Hear = Callable[[int, Batch, Chunk, SourceTables], None]


class Reading(AbstractContextManager["Reading"]):
    """Reads the parts of a report (report/recipe.py) and writes the tables that were asked for."""

    def __init__(self, outputs: Outputs) -> None:
        """Refuse folders that hold something already."""
        self._outputs = outputs
        self._held = ExitStack()
        self._parquet: ParquetTables | None = None
        self._evidence: Evidence | None = None
        self._said: list[str] = []
        self._calls: dict[str, pl.DataFrame] = {}
        self._slow: dict[str, tuple[SlowCalls, Sequence[Trace], dict[str, Any]]] = {}
        if outputs.parquet is not None:
            from traceview.report.parquet import ParquetTables  # noqa: PLC0415 - imports pyarrow

            self._parquet = ParquetTables(outputs.parquet, force=outputs.force)
        if outputs.evidence is not None:
            from traceview.report.evidence import Evidence  # noqa: PLC0415 - imports pyarrow

            self._evidence = Evidence(outputs.evidence, force=outputs.force)

    def __enter__(self) -> Self:
        for one in (self._parquet, self._evidence):
            if one is not None:
                self._held.enter_context(one)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._held.__exit__(kind, error, at)

    def part(self, name: str, traces: Sequence[Trace], what: str, **steps: Any) -> Analysis:
        """One pass over the *traces* of a part, *what* being how the progress calls it."""
        from traceview.queries import analyze  # noqa: PLC0415 - not needed by --help

        ears = self._ears(name, traces, steps)
        with progress(f"reading {what}".rstrip(), quiet=self._outputs.quiet) as advance:
            return analyze(
                traces,
                sink=self._sink(name),
                all_events=self._parquet is not None and name == "traces",
                hear=_all(ears),
                progress=advance,
                **steps,
            )

    def finish(self, found: Found, parts: Mapping[str, Analysis], recipe: Recipe) -> None:
        """Write the tables that did not stream by."""
        if self._parquet is not None:
            from traceview.report.contents import Contents  # noqa: PLC0415 - not for --help

            assert isinstance(found, Contents)
            written = self._parquet.finish(found.analysis)
            folder = self._outputs.parquet
            self._said.append(f"wrote {len(written)} tables to {folder}/ (docs/schema.md)")
        if self._evidence is not None:
            from traceview.report.evidence import reports_of  # noqa: PLC0415 - imports pyarrow

            written = self._evidence.finish(parts, recipe, reports_of(found, recipe))
            folder = self._outputs.evidence
            self._said.append(f"wrote {len(written)} files to {folder}/ (docs/evidence.md)")

    def say(self) -> None:
        """Say where the tables are."""
        for text in self._said:
            self._outputs.say(text)

    def _sink(self, part: str) -> Callable[[int, str, pl.DataFrame], None] | None:
        if self._evidence is not None:
            return self._evidence.sink(part)
        # Tables of --parquet are those of the traces alone.
        return self._parquet.sink if self._parquet is not None and part == "traces" else None

    def slow_calls(self, part: str, unmaps: pl.DataFrame) -> pl.DataFrame:
        """The calls of the slowest of *unmaps*, those of *part* that the report is about."""
        from traceview.queries.slow_calls import slow_calls  # noqa: PLC0415 - not for --help

        if part not in self._calls:  # a page and pictures ask for the same
            heard, traces, steps = self._slow[part]
            with progress("reading the slowest", quiet=self._outputs.quiet):
                self._calls[part] = slow_calls(unmaps, heard, traces, **steps)
        return self._calls[part]

    def _ears(self, part: str, traces: Sequence[Trace], steps: dict[str, Any]) -> list[Hear]:
        ears: list[Hear] = []
        if self._evidence is not None:
            ears.append(self._evidence.hear(part))
        if self._outputs.draws and not part.endswith("calibration"):
            from traceview.queries.slow_calls import SlowCalls  # noqa: PLC0415 - not for --help

            slow = SlowCalls()
            self._slow[part] = slow, traces, steps
            ears.append(slow.hear)
        return ears


def _all(ears: Sequence[Hear]) -> Hear | None:
    if not ears:
        return None

    def hear(source_id: int, batch: Batch, chunk: Chunk, tables: SourceTables) -> None:
        for ear in ears:
            ear(source_id, batch, chunk, tables)

    return hear
