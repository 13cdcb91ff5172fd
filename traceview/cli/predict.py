"""`traceview predict`: what the same unmaps would take under another strategy, size or host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from traceview.cli import options as opt
from traceview.cli.exits import FINDING, Stop, answered
from traceview.cli.opening import open_calibration, open_traces, refuse_damage
from traceview.cli.outputs import outputs_of
from traceview.cli.recipe import filters_of, steps_of
from traceview.cli.screen import progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from traceview.cli.outputs import Outputs
    from traceview.queries import Analysis
    from traceview.queries.filters import Filters
    from traceview.queries.prediction import Prediction, Wish
    from traceview.queries.prediction_check import Check
    from traceview.queries.prediction_holdout import Trial
    from traceview.trace import Trace

Strategy = Annotated[
    str | None,
    typer.Option(
        "--strategy",
        metavar="NAME",
        help="Predict: deferred_range (one range invalidation after the walk) or per_pte (one"
        " invalidation per leaf). Without it: the strategy of the traces.",
    ),
]
Sizes = Annotated[
    str | None,
    typer.Option(
        "--sizes",
        metavar="LIST",
        help="Also unmaps of these ranges (2M,16M) or numbers of leaves (512,4096).",
    ),
]
Level = Annotated[
    str | None,
    typer.Option(
        "--level",
        metavar="N",
        help="Leaves of this level: 3 (4K pages), 2 (2M blocks), 1; of traces that do not say it,"
        " the level that --sizes is in.",
    ),
]
Cpus = Annotated[
    int | None,
    typer.Option(
        "--cpus",
        metavar="N",
        parser=opt.whole_number(1, 1 << 16),
        help="On N CPUs, from captures with at least three other numbers of them.",
    ),
]
Tables = Annotated[
    str,
    typer.Option(
        "--tables",
        metavar="WHEN",
        help="With deferral, freed tables are invalidated: eager (6.9 and later, 6.6.47) or"
        " deferred (6.6 to 6.8).",
    ),
]
AsIf = Annotated[
    bool,
    typer.Option(
        "--as-if", help="Also of a host that cannot defer, as if it had FWB and TLBIRANGE."
    ),
]
Against = Annotated[
    list[str] | None,
    typer.Option(
        "--against",
        metavar="TRACE...",
        help="Hold the prediction against these captures of the same workload; exit code 1 if a"
        " count is not as predicted.",
    ),
]
AgainstCalibration = Annotated[
    list[str] | None,
    typer.Option(
        "--against-calibration",
        metavar="FILE...",
        help="What tracing cost --against, as --calibration.",
    ),
]
Calibration = Annotated[
    list[str] | None,
    typer.Option(
        "--calibration",
        metavar="FILE...",
        help="Captures of the same workload on the same host with fewer calls traced, best"
        " kvm_pgtable_stage2_unmap alone: what tracing cost (docs/observer.md).",
    ),
]


def predict(  # noqa: PLR0913 - one per option
    traces: opt.Traces,
    *,
    strategy: Strategy = None,
    sizes: Sizes = None,
    level: Level = None,
    cpus: Cpus = None,
    tables: Tables = "eager",
    as_if: AsIf = False,
    against: Against = None,
    against_calibration: AgainstCalibration = None,
    json: opt.Json = False,
    mail: opt.Mail = False,
    markdown: opt.Markdown = False,
    output: opt.Output = None,
    force: opt.Force = False,
    step: opt.Step = None,
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
    calibration: Calibration = None,
) -> None:
    """Predict what the same unmaps would do and take under another strategy, or of another size."""
    with answered():
        from traceview.queries.prediction import predict as ask  # noqa: PLC0415 - not for --help
        from traceview.queries.prediction_holdout import hold_out  # noqa: PLC0415

        wish = _wish(strategy, sizes, level, cpus, tables, as_if=as_if)
        outputs = outputs_of(
            json=json, mail=mail, markdown=markdown, output=output, force=force, quiet=quiet
        )
        outputs.spare(
            traces, calibration, against, against_calibration, host, kallsyms, vocabulary,
            [steps] if steps else (),
        )  # fmt: skip
        opened = open_traces(
            traces,
            stated={"origin": origin, "label": label, "run": run},
            host=host,
            kallsyms=kallsyms,
            vocabularies=vocabulary or (),
        )
        filters = filters_of(step, None, None, None, None, None)
        reading = _Reading(steps_of(None, step_pattern), strict=strict, quiet=quiet)
        others = _fewer(calibration, traces, opened, kallsyms)
        whole, fewer = reading.priced(opened, others, steps_of(steps, step_pattern))
        found = ask(_kept(whole, filters), wish, fewer)
        held = _held(found, against, against_calibration, opened, reading)
        _report(found, hold_out(found), held, outputs)
        if held is not None and not held.counts_hold:
            raise Stop(FINDING)


def _wish(
    strategy: str | None, sizes: str | None, level: str | None, cpus: int | None, tables: str, *,
    as_if: bool,
) -> Wish:  # fmt: skip
    """What the options ask for; raises SettingError where they ask for nothing that there is."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
    from traceview.queries.prediction import Wish  # noqa: PLC0415
    from traceview.queries.prediction_sizes import parse_sizes  # noqa: PLC0415
    from traceview.queries.strategy_counts import STRATEGIES, TABLES  # noqa: PLC0415

    named = next((one for one in STRATEGIES if one == strategy), None)
    if strategy is not None and named is None:
        raise SettingError(f"no strategy: {strategy!r}\nvalid: {', '.join(STRATEGIES)}")
    when = next((one for one in TABLES if one == tables), None)
    if when is None:
        raise SettingError(f"--tables {tables!r}\nvalid: {', '.join(TABLES)}")
    if level not in {None, "1", "2", "3"}:
        raise SettingError(f"no level of leaves: {level!r}\nvalid: 1, 2, 3")
    return Wish(
        named, parse_sizes(sizes) if sizes is not None else (),
        None if level is None else f"l{level}", cpus, when, as_if,
    )  # fmt: skip


class _Reading:
    """Reads traces, and what calibrates them: *named* says what a step is in these."""

    def __init__(self, named: dict[str, Any], *, strict: bool, quiet: bool) -> None:
        self._named, self._strict, self._quiet = named, strict, quiet

    def one(self, traces: Sequence[Trace], named: dict[str, Any] | None = None) -> Analysis:
        """What is in *traces*, where *named* says what a step is, if they have their own."""
        from traceview.queries import analyze  # noqa: PLC0415 - not needed by --help

        with progress("reading", quiet=self._quiet) as hear:
            found = analyze(traces, progress=hear, **(named or self._named))
        refuse_damage(found, strict=self._strict, quiet=self._quiet)
        return found

    def priced(
        self, traces: Sequence[Trace], fewer: Sequence[Trace], named: dict[str, Any] | None = None
    ) -> tuple[Analysis, Analysis | None]:
        """The traces with what tracing cost, and the captures that say so."""
        from traceview.queries.observer import priced  # noqa: PLC0415 - not needed by --help

        whole = self.one(traces, named)
        if not fewer:
            return whole, None
        calibration = self.one(fewer)
        return priced(whole, calibration), calibration


def _fewer(
    paths: list[str] | None, traces: list[str], opened: Sequence[Trace],
    kallsyms: list[Path] | None,
) -> list[Trace]:  # fmt: skip
    return open_calibration(paths or (), traces, kallsyms=kallsyms, vocabulary=opened[0].vocabulary)


def _kept(whole: Analysis, filters: Filters) -> Analysis:
    from traceview.queries.filters import apply  # noqa: PLC0415 - not needed by --help

    return apply(filters, whole)


def _held(
    found: Prediction, against: list[str] | None, calibration: list[str] | None,
    opened: Sequence[Trace], reading: _Reading,
) -> Check | None:  # fmt: skip
    """The prediction held against other captures, if any are given."""
    if not against:
        return None
    from traceview.queries.prediction_check import check  # noqa: PLC0415 - not needed by --help

    there = open_calibration(against, (), kallsyms=None, vocabulary=opened[0].vocabulary)
    fewer = _fewer(calibration, against, opened, None)
    truth, known = reading.priced(there, fewer)
    return check(found, truth, known)


def _report(
    found: Prediction, trials: Sequence[Trial], held: Check | None, outputs: Outputs
) -> None:
    from traceview.report import prediction as report  # noqa: PLC0415 - not needed by --help

    if outputs.document in {"mail", "markdown"}:
        from traceview.report.mail import mail  # noqa: PLC0415
        from traceview.report.markdown import markdown  # noqa: PLC0415

        write = mail if outputs.document == "mail" else markdown
        outputs.deliver(write(report.prediction_sections(found, trials, held)))
        return
    from traceview.report.prediction_json import prediction_json  # noqa: PLC0415

    outputs.show(
        lambda: prediction_json(found, trials, held),
        lambda width: report.prediction_report(found, trials, held, width),
    )
