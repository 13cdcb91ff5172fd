"""`traceview info`: what a trace holds, and which questions it can answer."""

from __future__ import annotations

import typer  # noqa: TC002 - typer evaluates annotations

from traceview.cli import options as opt  # noqa: TC001 - typer evaluates annotations
from traceview.cli.exits import answered
from traceview.cli.opening import open_traces, refuse_damage
from traceview.cli.outputs import outputs_of
from traceview.cli.screen import progress


def info(  # noqa: PLR0913 - one per option
    context: typer.Context,
    trace: opt.Trace,
    *,
    json: opt.Json = False,
    output: opt.Output = None,
    force: opt.Force = False,
    strict: opt.Strict = False,
    origin: opt.Origin = None,
    host: opt.Host = None,
    kallsyms: opt.Kallsyms = None,
    vocabulary: opt.Vocabulary = None,
    step_pattern: opt.StepPattern = None,
) -> None:
    """Show what a trace holds: host, clock, events, loss, and which questions it can answer."""
    with answered():
        from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
        from traceview.queries import analyze  # noqa: PLC0415
        from traceview.queries.questions import answers  # noqa: PLC0415
        from traceview.queries.steps import STEP_PATTERN  # noqa: PLC0415
        from traceview.report.information import information  # noqa: PLC0415
        from traceview.report.json_document import info_json  # noqa: PLC0415

        outputs = outputs_of(json=json, output=output, force=force, quiet=False)
        if context.args:
            raise SettingError(
                f"info takes one trace, and {len(context.args) + 1} are given:"
                f" {', '.join([trace, *context.args])}\nvalid: analyze takes several"
            )
        outputs.spare([trace], host, kallsyms, vocabulary)
        (opened,) = open_traces(
            [trace],
            stated={"origin": origin},
            host=host,
            kallsyms=kallsyms,
            vocabularies=vocabulary or (),
            digest=outputs.lasting,
        )
        pattern = STEP_PATTERN if step_pattern is None else step_pattern
        with progress("reading") as hear:
            analysis = analyze(opened, progress=hear, step_pattern=pattern)
        refuse_damage(analysis, strict=strict)
        answered_all = answers(analysis, opened.vocabulary, opened.settings.traced)
        outputs.show(
            lambda: info_json(analysis, answered_all),
            lambda width: information(analysis, answered_all, width),
        )
