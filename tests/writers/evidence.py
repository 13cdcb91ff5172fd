"""Evidence folders, written as the command line writes them, and changed as a forger would."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow.parquet as pq

from traceview.cli.opening import open_traces
from traceview.queries.analysis import analyze
from traceview.queries.observer import priced
from traceview.report.evidence import Evidence, reports_of, schema_of
from traceview.report.evidence_reading import polars_schema
from traceview.report.recipe import FORMS, Recipe, found, parts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from traceview.queries.analysis import Analysis
    from traceview.queries.filters import Filters
    from traceview.trace import Trace

SAMPLES = Path(__file__).parent.parent.parent / "sample_traces"
GRAPH = str(SAMPLES / "fgraph-6.12-neoverse-n1.perfetto")


def opened(paths: Sequence[str]) -> list[Trace]:
    return open_traces(paths, stated={}, host=None, kallsyms=None, vocabularies=(), digest=True)


def evidence(
    folder: Path,
    sides: Mapping[str, Sequence[Trace]],
    *,
    form: str = "analysis",
    calibrations: Mapping[str, Sequence[Trace]] | None = None,
    force: bool = False,
    steps: dict[str, Any] | None = None,
    **asked: Any,
) -> Path:
    """A folder of evidence of these traces."""
    if "arguments" not in asked:
        asked["arguments"] = command(form, sides, calibrations or {}, **asked)
    recipe = Recipe(form, **asked, **(steps or {}))
    with Evidence(folder, force=force) as writer:

        def read(part: str, traces: Sequence[Trace]) -> Analysis:
            of_traces = {} if part == "calibration" else steps or {}
            return analyze(traces, sink=writer.sink(part), hear=writer.hear(part), **of_traces)

        known = {name: read(FORMS[form][name], of) for name, of in (calibrations or {}).items()}
        whole = {name: read(name, of) for name, of in sides.items()}
        whole = {name: priced(of, known.get(name)) if name in known else of
                 for name, of in whole.items()}  # fmt: skip
        parts = parts_of(form, whole, known)
        writer.finish(parts, recipe, reports_of(found(recipe, parts), recipe))
    return folder


def command(
    form: str,
    sides: Mapping[str, Sequence[Trace]],
    calibrations: Mapping[str, Sequence[Trace]],
    *,
    claims: Sequence[str] = (),
    vocabularies: Sequence[tuple[str, str]] = (),
    filters: Filters | None = None,
) -> tuple[str, ...]:
    """The arguments that ask for this; of filters those by trigger."""
    found = ["analyze" if form == "analysis" else "compare"]
    found += {"runs": ["--aa"], "strategies": ["--group", "strategy"]}.get(form, [])
    options = {"traces": "", "all": "", "base": "--base", "with": "--with"}
    for options_of, of in (
        (options, sides),
        ({"traces": "--calibration", "all": "--base-calibration",
          "base": "--base-calibration", "with": "--with-calibration"}, calibrations),
    ):  # fmt: skip
        for name, traces in of.items():
            for trace in traces:
                found += [one for one in (options_of[name], trace.path) if one]
    for option, values in (
        ("--claim", claims), ("--vocabulary", [name for name, _ in vocabularies]),
        ("--trigger", filters.triggers if filters else ()),
    ):  # fmt: skip
        found += [word for value in values for word in (option, value)]
    return tuple(found)


def table(folder: Path, name: str) -> pl.DataFrame:
    """A table of the folder, `traces/unmaps`."""
    rows = pl.from_arrow(pq.read_table(folder / f"{name}.parquet"))
    assert isinstance(rows, pl.DataFrame)
    schema = polars_schema(name.partition("/")[2])
    return rows.select(pl.col(column).cast(dtype) for column, dtype in schema.items())


def put(folder: Path, name: str, rows: pl.DataFrame) -> None:
    """Put *rows* in the place of a table."""
    schema = schema_of(name.partition("/")[2])
    pq.write_table(rows.to_arrow().cast(schema), folder / f"{name}.parquet", compression="zstd")


def forge(folder: Path, name: str, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Change a table, and the manifest so that its digests fit."""
    put(folder, name, change(table(folder, name)))
    fit(folder)


def fit(folder: Path) -> None:
    """Make the digests of the manifest those of the files."""

    def digests(document: dict[str, Any]) -> None:
        for name, file in document["files"].items():
            content = (folder / name).read_bytes()
            file |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}

    edit(folder, digests)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest."""
    path = folder / "manifest.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Changed:
    """The value of a column in the first row that has one, made another one."""

    column: str

    def __call__(self, rows: pl.DataFrame) -> pl.DataFrame:
        """*rows* with that value changed."""
        values = rows[self.column]
        at = values.is_not_null().arg_max()
        assert at is not None
        return rows.with_columns(
            pl.when(pl.int_range(pl.len()) == at).then(other(values))
            .otherwise(pl.col(self.column)).alias(self.column)
        )  # fmt: skip


def other(values: pl.Series) -> pl.Expr:
    """Another value of the same kind."""
    column, kind = pl.col(values.name), values.dtype
    if isinstance(kind, pl.Enum):
        names = kind.categories.to_list()
        swap = dict(zip(names, [*names[1:], names[0]], strict=True))
        return column.cast(pl.String).replace(swap).cast(kind)
    if kind == pl.Boolean:
        return ~column
    if isinstance(kind, pl.List):
        return column.list.head(1)
    if kind.is_numeric():
        return (column + 1).cast(kind)
    return (column.cast(pl.String) + "x").cast(kind)
