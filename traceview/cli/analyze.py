"""`traceview analyze`: parse -> open -> query -> report."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import typer  # noqa: TC002 - typer evaluates annotations

from traceview.cli import options as opt  # noqa: TC001 - typer evaluates annotations
from traceview.cli.exits import answered
from traceview.cli.opening import open_calibration, open_traces, refuse_damage
from traceview.cli.outputs import outputs_of
from traceview.cli.recipe import filters_of, recipe_of, steps_of
from traceview.cli.screen import progress

if TYPE_CHECKING:
    from traceview.cli.outputs import Outputs
    from traceview.queries import Analysis
    from traceview.report.parquet import ParquetTables
    from traceview.trace import Trace


def analyze(  # noqa: PLR0913 - one per option
    context: typer.Context,
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
        from traceview.report.contents import Contents  # noqa: PLC0415 - not needed by --help
        from traceview.report.recipe import found, parts_of  # noqa: PLC0415

        outputs = outputs_of(json=json, output=output, parquet=parquet, force=force, quiet=quiet)
        with _tables(outputs) as tables:
            named = steps_of(steps, step_pattern)
            recipe = recipe_of(
                "analysis", context.obj or (), filters_of(step, trigger, cpu, tid, from_, to),
                vocabulary, named,
            )  # fmt: skip
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
            whole = _read(opened, tables, named, quiet=quiet)
            refuse_damage(whole, strict=strict, quiet=quiet)
            known = _read(plain, None, steps_of(None, step_pattern), quiet=quiet) if plain else None
            whole = _priced(whole, known, strict=strict, quiet=quiet)
            known_by = {} if known is None else {"traces": known}
            said = found(recipe, parts_of("analysis", {"traces": whole}, known_by))
            assert isinstance(said, Contents)
            written = tables.finish(said.analysis) if tables else []
        outputs.report(said, recipe, top=top)
        if written:
            outputs.say(f"wrote {len(written)} tables to {parquet}/ (docs/schema.md)")


def _tables(outputs: Outputs) -> contextlib.AbstractContextManager[ParquetTables | None]:
    if outputs.parquet is None:
        return contextlib.nullcontext()
    from traceview.report.parquet import ParquetTables  # noqa: PLC0415 - imports pyarrow

    return ParquetTables(outputs.parquet, force=outputs.force)


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
