"""`traceview audit`: whether TLBs and page tables are synchronised once an unmap has returned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traceview.cli import options as opt  # noqa: TC001 - typer evaluates annotations
from traceview.cli.exits import FINDING, Stop, answered
from traceview.cli.opening import open_traces, refuse_damage
from traceview.cli.outputs import outputs_of
from traceview.cli.recipe import filters_of, steps_of
from traceview.cli.screen import progress

if TYPE_CHECKING:
    from traceview.cli.outputs import Outputs
    from traceview.queries.audit_results import Audit


def audit(  # noqa: PLR0913 - one per option
    traces: opt.Traces,
    *,
    json: opt.Json = False,
    output: opt.Output = None,
    force: opt.Force = False,
    complete: opt.Complete = False,
    step: opt.Step = None,
    trigger: opt.Trigger = None,
    cpu: opt.Cpu = None,
    tid: opt.Tid = None,
    from_: opt.From = None,
    to: opt.To = None,
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
) -> None:
    """Check that every unmap invalidates what it clears: in time, in order, and all of it."""
    with answered():
        from traceview.queries.audit import audit as ask  # noqa: PLC0415 - not needed by --help

        outputs = outputs_of(json=json, output=output, force=force, quiet=quiet)
        outputs.spare(traces, host, kallsyms, vocabulary, [steps] if steps else ())
        filters = filters_of(step, trigger, cpu, tid, from_, to)
        opened = open_traces(
            traces,
            stated={"origin": origin, "label": label, "run": run},
            host=host,
            kallsyms=kallsyms,
            vocabularies=vocabulary or (),
            digest=outputs.lasting,
        )
        with progress("reading", quiet=quiet) as hear:
            found = ask(opened, filters=filters, progress=hear, **steps_of(steps, step_pattern))
        refuse_damage(found.whole, strict=strict, quiet=quiet)
        _report(found, outputs)
        if not found.is_clean or (complete and not found.is_complete):
            raise Stop(FINDING)


def _report(found: Audit, outputs: Outputs) -> None:
    from traceview.report.audit import audit_json, audit_report  # noqa: PLC0415

    outputs.show(lambda: audit_json(found), lambda width: audit_report(found, width))
