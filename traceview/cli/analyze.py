"""`traceview analyze`: parse -> open -> query -> report."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import typer  # noqa: TC002 - typer evaluates annotations

from traceview.cli import options as opt  # noqa: TC001 - typer evaluates annotations
from traceview.cli.exits import answered
from traceview.cli.opening import open_calibration, open_traces, refuse_damage
from traceview.cli.outputs import outputs_of
from traceview.cli.screen import blocks, page_width, plain, progress, show, width

if TYPE_CHECKING:
    from pathlib import Path

    from traceview.cli.outputs import Outputs
    from traceview.queries import Analysis
    from traceview.queries.filters import Filters
    from traceview.report.contents import Contents
    from traceview.report.parquet import ParquetTables
    from traceview.trace import Trace


def analyze(  # noqa: PLR0913 - one per option
    context: typer.Context,  # noqa: ARG001
    traces: opt.Traces,
    *,
    json: opt.Json = False,
    output: opt.Output = None,
    parquet: opt.Parquet = None,
    force: opt.Force = False,
    step: opt.Step = None,
    trigger: opt.Trigger = None,
    cpu: opt.Cpu = None,
    tid: opt.Tid = None,
    from_: opt.From = None,
    to: opt.To = None,
    top: opt.Top = 5,
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
    """Break down the time of each kvm_pgtable_stage2_unmap, per unmap and per leaf."""
    with answered():
        from traceview.report.contents import contents  # noqa: PLC0415 - not needed by --help

        outputs = outputs_of(json=json, output=output, parquet=parquet, force=force, quiet=quiet)
        filters = filters_of(step, trigger, cpu, tid, from_, to)
        opened = open_traces(
            traces,
            stated={"origin": origin, "label": label, "run": run},
            host=host,
            kallsyms=kallsyms,
            vocabularies=vocabulary or (),
            digest=outputs.lasting,
        )
        plain = open_calibration(
            calibration or (),
            traces,
            kallsyms=kallsyms,
            vocabulary=opened[0].vocabulary,
            digest=outputs.lasting,
        )
        with _tables(outputs) as tables:
            whole = _read(opened, tables, steps_of(steps, step_pattern), quiet=quiet)
            refuse_damage(whole, strict=strict, quiet=quiet)
            known = _read(plain, None, steps_of(None, step_pattern), quiet=quiet) if plain else None
            whole = _priced(whole, known, strict=strict, quiet=quiet)
            found = contents(whole, filters, opened[0].vocabulary, known)
            written = tables.finish(found.analysis) if tables else []
        _report(found, outputs, top)
        if written:
            outputs.say(f"wrote {len(written)} tables to {parquet}/ (docs/schema.md)")


def filters_of(
    steps: list[str] | None,
    triggers: list[str] | None,
    cpus: list[int] | None,
    tids: list[int] | None,
    first: str | None,
    last: str | None,
) -> Filters:
    """The filters that the options ask for."""
    from traceview.queries.filters import Filters, parse_time  # noqa: PLC0415

    return Filters(
        steps=tuple(steps or ()),
        triggers=tuple(triggers or ()),
        cpus=tuple(cpus or ()),
        tids=tuple(tids or ()),
        from_ns=None if first is None else parse_time(first),
        to_ns=None if last is None else parse_time(last),
    )


def _tables(outputs: Outputs) -> contextlib.AbstractContextManager[ParquetTables | None]:
    if outputs.parquet is None:
        return contextlib.nullcontext()
    from traceview.report.parquet import ParquetTables  # noqa: PLC0415 - imports pyarrow

    return ParquetTables(outputs.parquet, force=outputs.force)


def steps_of(path: Path | None, pattern: str | None) -> dict[str, Any]:
    """The arguments of `analyze` that say what a step is."""
    from traceview.queries.steps import read_steps  # noqa: PLC0415

    found: dict[str, Any] = {} if path is None else {"steps": read_steps(path)}
    return found if pattern is None else {**found, "step_pattern": pattern}


def _read(
    traces: list[Trace], tables: ParquetTables | None, steps: dict[str, Any], *, quiet: bool
) -> Analysis:
    from traceview.queries import analyze as ask  # noqa: PLC0415

    with progress("reading", quiet=quiet) as hear:
        if tables is None:
            return ask(traces, progress=hear, **steps)
        return ask(traces, sink=tables.sink, all_events=True, progress=hear, **steps)


def _priced(
    whole: Analysis, calibration: Analysis | None, *, strict: bool, quiet: bool
) -> Analysis:
    """*whole* with what *calibration* says tracing cost."""
    if calibration is None:
        return whole
    from traceview.queries.observer import priced  # noqa: PLC0415

    refuse_damage(calibration, strict=strict, quiet=quiet)
    return priced(whole, calibration)


def _report(found: Contents, outputs: Outputs, top: int) -> None:
    from traceview.report.json_document import analysis_json  # noqa: PLC0415
    from traceview.report.terminal import summary  # noqa: PLC0415

    if outputs.document == "json":
        outputs.deliver(analysis_json(found))
    elif outputs.to is not None:
        outputs.deliver(plain(summary(found, page_width(), top=top)))
    elif outputs.shows_summary:
        show(summary(found, width(), top=top, blocks=blocks()))
