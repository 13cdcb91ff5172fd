"""`traceview query`: SQL over the tables of traces."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from traceview.cli import options as opt
from traceview.cli.exits import answered
from traceview.cli.opening import open_calibration, open_traces, refuse_damage
from traceview.cli.outputs import spare
from traceview.cli.recipe import steps_of
from traceview.cli.screen import note, progress, show, show_text, width, writing
from traceview.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from traceview.queries import Analysis
    from traceview.queries.sql_text import Statement
    from traceview.trace import Trace

STDOUT: Final = "-"
FORMATS: Final = {
    "table": (".txt",), "csv": (".csv",), "json": (".json",),
    "arrow": (".arrow", ".feather", ".ipc"), "parquet": (".parquet",),
}  # fmt: skip
BINARY: Final = ("arrow", "parquet")
WORDS: Final = 'valid: traceview query TRACE... "SELECT ..."; --list shows queries that are ready'

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TRACE... QUERY",
        help="Traces, or a folder that --parquet or --evidence wrote; then SQL, the name of a"
        " ready query, or @FILE with SQL (@-: stdin).",
        show_default=False,
    ),
]
List = Annotated[bool, typer.Option("--list", help="Show the ready queries and what they answer.")]
Show = Annotated[
    str | None, typer.Option("--show", metavar="NAME", help="Print the SQL of a ready query.")
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="KIND",
        help="table (the default), csv, json, arrow, parquet; of -o FILE as its name ends.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Write the answer to FILE; - is stdout."),
]
Rows = Annotated[
    int,
    typer.Option(
        "--rows", metavar="N", parser=opt.whole_number(0), help="Rows of a table; 0: all."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite FILE.")]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the tables come from, and what was said about it."""

    traces: list[str]
    stated: Mapping[str, Any]
    host: list[Path] | None
    kallsyms: list[Path] | None
    vocabulary: list[Path]
    calibration: list[str]
    steps: dict[str, Any]
    scrub: bool
    strict: bool
    quiet: bool


def query(  # noqa: PLR0913 - one per option
    words: Words = None,
    *,
    list_: List = False,
    show_: Show = None,
    format_: Format = None,
    output: Output = None,
    rows: Rows = 1000,
    force: Force = False,
    scrub: opt.Scrub = False,
    strict: opt.Strict = False,
    quiet: opt.Quiet = False,
    origin: opt.Origin = None,
    label: opt.Label = None,
    run: opt.Run = None,
    host: opt.Host = None,
    kallsyms: opt.Kallsyms = None,
    vocabulary: opt.Vocabulary = None,
    steps: opt.Steps = None,
    step_pattern: opt.StepPattern = None,
    calibration: opt.Calibration = None,
) -> None:
    """Ask the tables of traces in SQL: unmaps, calls, events, groups, ... (docs/query.md)."""
    with answered():
        if list_ or show_ is not None:
            _show_ready(show_, words)
            return
        traces, asked = _asked(words or [])
        kind = _kind(format_, output, force=force)
        queried = [words[-1].removeprefix("@")] if words and words[-1].startswith("@") else ()
        spare(
            [output], traces, host, kallsyms, vocabulary, calibration, queried,
            [steps] if steps else (),
        )  # fmt: skip
        inputs = Inputs(
            traces, {"origin": origin, "label": label, "run": run}, host, kallsyms,
            vocabulary or [], calibration or [], steps_of(steps, step_pattern), scrub,
            strict, quiet,
        )  # fmt: skip
        with contextlib.ExitStack() as held:
            answer = _answer(inputs, asked, held)
            _write(answer, asked.text, kind, output, rows=rows, force=force)
        if output is not None and str(output) != STDOUT and not quiet:
            note(f"wrote {output}")


def _show_ready(name: str | None, words: list[str] | None) -> None:
    from traceview.queries.ready_queries import ready_queries, ready_query  # noqa: PLC0415
    from traceview.queries.sql import tables_of  # noqa: PLC0415
    from traceview.queries.sql_text import statement  # noqa: PLC0415
    from traceview.report.layout import facts  # noqa: PLC0415
    from traceview.report.queried_tables import no_rows  # noqa: PLC0415

    if words:
        raise SettingError("--list and --show take no trace")
    if name is not None:
        show_text([ready_query(name).sql])
        return
    tables = no_rows(frozenset())
    said = []
    for one in ready_queries().values():
        read = ", ".join(sorted(tables_of(statement(one.sql), tables)))
        said.append((one.name, f"{one.answers} [{read}]"))
    show(facts(said, width()))


def _asked(words: list[str]) -> tuple[list[str], Statement]:
    """The traces, and the query behind them."""
    from traceview.queries.sql_text import statement  # noqa: PLC0415 - not needed by --help

    if not words:
        raise SettingError(f"neither a trace nor a query\n{WORDS}")
    *traces, text = words
    if not traces:
        missing = "a query" if _is_file(text) or text == STDOUT else "a trace"
        raise SettingError(f"{missing} is missing: {text!r} is all there is\n{WORDS}")
    if text == "@-" and STDOUT in traces:
        raise SettingError("standard input cannot be both the trace and the query")
    if text.startswith("@"):
        text = _text_of(text[1:])
    elif _is_file(text):
        raise SettingError(f"a query is missing: {text} is a file\n{WORDS}; @{text} reads it")
    elif text.strip() and " " not in text.strip():
        from traceview.queries.ready_queries import ready_query  # noqa: PLC0415

        text = ready_query(text.strip()).sql
    return traces, statement(text)


def _is_file(text: str) -> bool:
    try:
        return bool(text) and Path(text).exists()
    except (OSError, ValueError):  # SQL may be longer than the name of a file
        return False


def _text_of(name: str) -> str:
    try:
        if name == STDOUT:
            return sys.stdin.read() if sys.stdin is not None else ""
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as err:
        raise SettingError(f"query cannot be read: {name}: {err}") from err


def _kind(asked: str | None, output: Path | None, *, force: bool) -> str:
    """The format of the answer; raises SettingError where there is none, or a file is there."""
    to_file = output is not None and str(output) != STDOUT
    if asked is not None and asked not in FORMATS:
        raise SettingError(f"unknown format {asked!r}\nvalid: {', '.join(FORMATS)}")
    if to_file:
        from traceview.report.new_file import refuse_existing  # noqa: PLC0415

        assert output is not None
        by_name = {suffix: kind for kind, several in FORMATS.items() for suffix in several}
        kind = asked or by_name.get(output.suffix.lower())
        if kind is None:
            raise SettingError(
                f"which format is {output.name}?\nvalid: a name that ends in"
                f" {', '.join(by_name)}; or --format"
            )
        refuse_existing(output, force=force)
        return kind
    kind = asked or "table"
    if kind in BINARY and sys.stdout.isatty():
        raise SettingError(f"{kind} is not for a terminal\nvalid: -o FILE, or a pipe")
    return kind


def _answer(inputs: Inputs, asked: Statement, held: contextlib.ExitStack) -> pl.LazyFrame:
    """The answer, not computed yet; what it needs is held until then."""
    from traceview.queries.sql import plan, tables_of  # noqa: PLC0415 - not for --help
    from traceview.report.queried_tables import (  # noqa: PLC0415
        folder_tables,
        is_folder_of_tables,
        no_rows,
    )

    folders = [path for path in inputs.traces if is_folder_of_tables(Path(path))]
    if folders and len(inputs.traces) > 1:
        raise SettingError(f"a folder of tables is asked alone: {folders[0]}")
    if folders and inputs.scrub:
        raise SettingError("--scrub is refused: a folder of tables is scrubbed when it is written")
    if folders:
        return plan(asked, folder_tables(Path(folders[0]), asked.names))
    # Nobody waits for a trace to hear that a word is wrong.
    needed = tables_of(asked, no_rows(asked.names))
    return plan(asked, _tables(inputs, needed, held))


def _tables(
    inputs: Inputs, names: frozenset[str], held: contextlib.ExitStack
) -> dict[str, pl.LazyFrame]:
    from traceview.report.queried_tables import Streamed, analysis_tables  # noqa: PLC0415

    opened = open_traces(
        inputs.traces, stated=inputs.stated, host=inputs.host, kallsyms=inputs.kallsyms,
        vocabularies=inputs.vocabulary, digest="sources" in names,
    )  # fmt: skip
    words = opened[0].vocabulary
    plain = open_calibration(
        inputs.calibration, inputs.traces, kallsyms=inputs.kallsyms, vocabulary=words
    )
    if inputs.scrub:
        from traceview.cli.scrubbing import scrub_steps, scrub_traces  # noqa: PLC0415

        scrubber, (opened, plain) = scrub_traces((opened, plain), inputs.steps, quiet=inputs.quiet)
        inputs = replace(inputs, steps=scrub_steps(inputs.steps, scrubber))
    streamed = held.enter_context(Streamed(names))
    analysis = _analysed(opened, plain, inputs, streamed)
    return analysis_tables(analysis, names, words) | streamed.tables()


def _analysed(opened: list[Trace], plain: list[Trace], inputs: Inputs, streamed: Any) -> Analysis:
    from traceview.queries import analyze  # noqa: PLC0415 - not needed by --help
    from traceview.queries.observer import priced  # noqa: PLC0415

    every = bool({"events", "args"} & set(streamed.names))
    with progress("reading", quiet=inputs.quiet) as hear:
        sink = streamed.sink if streamed.names else None
        whole = analyze(opened, sink=sink, all_events=every, progress=hear, **inputs.steps)
    refuse_damage(whole, strict=inputs.strict, quiet=inputs.quiet)
    if not plain:
        return whole
    pattern = {name: of for name, of in inputs.steps.items() if name == "step_pattern"}
    with progress("reading the calibration", quiet=inputs.quiet) as hear:
        known = analyze(plain, progress=hear, **pattern)
    refuse_damage(known, strict=inputs.strict, quiet=inputs.quiet)
    return priced(whole, known)


def _write(
    answer: pl.LazyFrame, sql: str, kind: str, output: Path | None, *, rows: int, force: bool
) -> None:
    from traceview.queries.sql import computed, schema  # noqa: PLC0415 - not needed by --help
    from traceview.report import query_result as result  # noqa: PLC0415
    from traceview.report.new_file import new_file, write_file  # noqa: PLC0415

    columns, pieces = schema(answer), computed(answer)
    to_file = output is not None and str(output) != STDOUT
    if kind == "table":
        lines = result.result_table(columns, pieces, width(), rows)
        if to_file:
            assert output is not None
            write_file(output, (f"{line.plain}\n" for line in lines), force=force)
        else:
            show(lines)
        return
    with contextlib.ExitStack() as held:
        if to_file:
            assert output is not None
            file = held.enter_context(new_file(output, force=force))
        else:
            held.enter_context(writing())
            file = sys.stdout.buffer
        if kind == "csv":
            result.write_csv(columns, pieces, file)
        elif kind == "json":
            result.write_json(columns, pieces, file, sql)
        elif kind == "arrow":
            result.write_arrow(columns, pieces, file, sql)
        else:
            result.write_parquet(columns, pieces, file, sql)
