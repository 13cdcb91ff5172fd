"""`traceview analyze`: parse -> open -> query -> report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer  # noqa: TC002 - typer evaluates annotations

from traceview.cli import options as opt  # noqa: TC001 - typer evaluates annotations
from traceview.cli.exits import answered
from traceview.cli.opening import open_calibration, open_traces, refuse_damage
from traceview.cli.outputs import outputs_of
from traceview.cli.reading import Reading
from traceview.cli.recipe import filters_of, recipe_of, steps_of
from traceview.cli.scrubbing import scrub_recipe, scrub_steps, scrub_traces

if TYPE_CHECKING:
    from traceview.queries import Analysis


def analyze(  # noqa: PLR0913 - one per option
    context: typer.Context,
    traces: opt.Traces,
    *,
    json: opt.Json = False,
    mail: opt.Mail = False,
    markdown: opt.Markdown = False,
    output: opt.Output = None,
    html: opt.Html = None,
    png: opt.Png = None,
    svg: opt.Svg = None,
    parquet: opt.Parquet = None,
    evidence: opt.Evidence = None,
    scrub: opt.Scrub = False,
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
        from traceview.report.recipe import found, parts_of  # noqa: PLC0415 - not for --help

        outputs = outputs_of(
            json=json, mail=mail, markdown=markdown, output=output, html=html, png=png, svg=svg,
            evidence=evidence, parquet=parquet, force=force, quiet=quiet,
        )  # fmt: skip
        outputs.spare(traces, calibration, host, kallsyms, vocabulary, [steps] if steps else ())
        with Reading(outputs) as reading:
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
            fewer = open_calibration(
                calibration or (),
                traces,
                kallsyms=kallsyms,
                vocabulary=opened[0].vocabulary,
                digest=outputs.lasting,
            )
            if scrub:
                scrubber, (opened, fewer) = scrub_traces([opened, fewer], named, quiet=quiet)
                recipe, named = scrub_recipe(recipe, scrubber), scrub_steps(named, scrubber)
            whole = reading.part("traces", opened, "", **named)
            refuse_damage(whole, strict=strict, quiet=quiet)
            known = {}
            if fewer:
                named = steps_of(None, step_pattern)
                known["traces"] = reading.part("calibration", fewer, "--calibration", **named)
            whole = _priced(whole, known.get("traces"), strict=strict, quiet=quiet)
            parts = parts_of("analysis", {"traces": whole}, known)
            said = found(recipe, parts)
            reading.finish(said, parts, recipe)
        outputs.report(said, recipe, reading.slow_calls, top=top)
        reading.say()


def _priced(
    whole: Analysis, calibration: Analysis | None, *, strict: bool, quiet: bool
) -> Analysis:
    """*whole* with what *calibration* says tracing cost."""
    if calibration is None:
        return whole
    from traceview.queries.observer import priced  # noqa: PLC0415

    refuse_damage(calibration, strict=strict, quiet=quiet)
    return priced(whole, calibration)
