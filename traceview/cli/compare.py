"""`traceview compare`: two sides, two strategies inside one set, or the runs of one side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from traceview.cli import options as opt  # noqa: TC001 - typer evaluates annotations
from traceview.cli.exits import FINDING, Stop, answered
from traceview.cli.opening import open_calibration, open_traces, refuse_damage
from traceview.cli.outputs import outputs_of
from traceview.cli.reading import Reading
from traceview.cli.recipe import filters_of, recipe_of, steps_of
from traceview.cli.scrubbing import scrub_recipe, scrub_steps, scrub_traces

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from traceview.queries import Analysis
    from traceview.trace import Trace

T = TypeVar("T")
# The part that says what tracing of another one cost (report/recipe.py).
CALIBRATED: Final = {
    "base": "base-calibration", "with": "with-calibration", "all": "all-calibration",
}  # fmt: skip


def compare(  # noqa: PLR0913 - one per option
    context: typer.Context,
    traces: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TRACE]...", help="The set of traces for --group and --aa."),
    ] = None,
    *,
    base: opt.Base = None,
    with_: opt.With = None,
    base_calibration: opt.BaseCalibration = None,
    with_calibration: opt.WithCalibration = None,
    group: opt.Group = None,
    aa: opt.SameSide = False,
    claim: opt.Claims = None,
    json: opt.Json = False,
    mail: opt.Mail = False,
    markdown: opt.Markdown = False,
    output: opt.Output = None,
    html: opt.Html = None,
    png: opt.Png = None,
    svg: opt.Svg = None,
    evidence: opt.Evidence = None,
    scrub: opt.Scrub = False,
    force: opt.Force = False,
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
    order: opt.Order = None,
    host: opt.Host = None,
    kallsyms: opt.Kallsyms = None,
    vocabulary: opt.Vocabulary = None,
    steps: opt.Steps = None,
    step_pattern: opt.StepPattern = None,
) -> None:
    """Compare two sides: how much faster, by what, and whether these runs can tell.

    Options that are given once for each trace take those of --base first, then those of --with.
    Of --label, --origin and --kallsyms two values are those of all of --base, all of --with.
    """
    with answered():
        from traceview.report.compared import Compared  # noqa: PLC0415 - not needed by --help
        from traceview.report.recipe import found, parts_of  # noqa: PLC0415

        outputs = outputs_of(
            json=json, mail=mail, markdown=markdown, output=output, html=html, png=png, svg=svg,
            evidence=evidence, force=force, quiet=quiet,
        )  # fmt: skip
        sides = sides_of(traces, base, with_, group, one_side=aa)
        _refuse_unfit(sides, with_calibration, claim if aa else None, draws=aa and outputs.draws)
        outputs.spare(
            *sides.values(), base_calibration, with_calibration, host, kallsyms, vocabulary,
            [steps] if steps else (),
        )  # fmt: skip
        form = "runs" if aa else "strategies" if group else "comparison"
        with Reading(outputs) as reading:
            named = steps_of(steps, step_pattern)
            recipe = recipe_of(
                form, context.obj or (), filters_of(step, trigger, cpu, tid, from_, to),
                vocabulary, named, claim,
            )  # fmt: skip
            opened = _by_name(sides, open_traces(
                [path for paths in sides.values() for path in paths],
                stated={
                    "origin": by_side(origin, sides), "label": by_side(label, sides), "run": run,
                    "order": order,
                },
                host=host,
                kallsyms=by_side(kallsyms, sides),
                vocabularies=vocabulary or (),
                digest=outputs.lasting,
            ))  # fmt: skip
            fewer = _open_calibrations(
                opened, sides, {"base": base_calibration, "with": with_calibration}, kallsyms,
                digest=outputs.lasting,
            )  # fmt: skip
            if scrub:
                sets = [*opened.values(), *fewer.values()]
                scrubber, sets = scrub_traces(sets, named, quiet=quiet)
                recipe, named = scrub_recipe(recipe, scrubber), scrub_steps(named, scrubber)
                opened = dict(zip(opened, sets, strict=False))
                fewer = dict(zip(fewer, sets[len(opened) :], strict=True))
            # Traces of one set may be of several kernels; those of one side are of one.
            names = {"all": "one side"} if aa else {"base": "base", "with": "with"}
            calibrations = {
                name: reading.part(CALIBRATED[name], of, f"--{CALIBRATED[name]}", **named)
                for name, of in fewer.items()
            }
            read = _priced(reading, opened, calibrations, names, named)
            for analysis in (*read.values(), *calibrations.values()):
                refuse_damage(analysis, strict=strict, quiet=quiet)
            parts = parts_of(form, read, calibrations)
            said = found(recipe, parts)
            reading.finish(said, parts, recipe)
        outputs.report(said, recipe, reading.slow_calls)
        reading.say()
        if isinstance(said, Compared) and any(one.overall == "fails" for one in said.claims):
            raise Stop(FINDING)


def sides_of(
    traces: list[str] | None,
    base: list[str] | None,
    with_: list[str] | None,
    group: str | None,
    *,
    one_side: bool,
) -> dict[str, list[str]]:
    """The traces of each side, or of the one set under `all`; raises SettingError."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help

    if group is not None and group != "strategy":
        raise SettingError(f"unknown --group {group!r}\nvalid: strategy")
    asked = [
        name for name, is_given in (
            ("--base and --with", base or with_), ("--group", group), ("--aa", one_side),
        ) if is_given
    ]  # fmt: skip
    if len(asked) > 1:
        raise SettingError(f"{' and '.join(asked)} exclude each other")
    if not asked:
        raise SettingError(
            "nothing to compare: valid are --base TRACE... --with TRACE..., --group strategy"
            " TRACE..., --aa TRACE..."
        )
    if base or with_:
        if not base or not with_:
            raise SettingError(f"--{'with' if base else 'base'} is missing: two sides are compared")
        if traces:
            raise SettingError(
                f"neither of --base nor of --with: {traces[0]}\n"
                "valid: traces stand directly behind --base or --with"
            )
        return {"base": base, "with": with_}
    if not traces:
        raise SettingError(f"{asked[0]} wants the traces of one set")
    return {"all": traces}


def by_side(values: Sequence[T] | None, sides: dict[str, list[str]]) -> Sequence[T] | None:
    """Two values for two sides are that of --base and that of --with, for all of their traces."""
    many = [len(paths) for paths in sides.values()]
    if values is None or len(values) != 2 or len(many) != 2:
        return values
    return [value for value, times in zip(values, many, strict=True) for _ in range(times)]


def _refuse_unfit(
    sides: dict[str, list[str]],
    calibration: list[str] | None,
    claims: list[str] | None,
    *,
    draws: bool,
) -> None:
    """Refuse a --with-calibration, --claim or chart that this form of comparison cannot use."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help

    if "all" in sides and calibration:
        raise SettingError(
            "--with-calibration has no side --with to belong to\n"
            "valid: --base-calibration, for the one set of traces"
        )
    if claims:
        raise SettingError("--claim speaks of two sides, and --aa has one")
    if draws:
        from traceview.report.drawings import of_one_side  # noqa: PLC0415 - for this alone

        raise of_one_side()


def _by_name(sides: dict[str, list[str]], opened: Sequence[Trace]) -> dict[str, list[Trace]]:
    """The traces of each side, of all in order."""
    left = iter(opened)
    return {name: [next(left) for _ in paths] for name, paths in sides.items()}


def _open_calibrations(
    opened: dict[str, list[Trace]],
    sides: dict[str, list[str]],
    files: dict[str, list[str] | None],
    kallsyms: Sequence[Path] | None,
    *,
    digest: bool,
) -> dict[str, list[Trace]]:
    """The captures that say what tracing cost, of the sides that they were given for."""
    found = {}
    tables: dict[str, Sequence[Path] | None] = dict.fromkeys(sides, kallsyms)
    if kallsyms and len(kallsyms) == len(sides):  # one for each side
        tables = {name: [table] for name, table in zip(sides, kallsyms, strict=True)}
    for name, paths in sides.items():
        fewer = files["base" if name == "all" else name]
        if fewer:
            found[name] = open_calibration(
                fewer, paths, kallsyms=tables[name], vocabulary=opened[name][0].vocabulary,
                digest=digest,
            )  # fmt: skip
    return found


def _priced(
    reading: Reading,
    opened: dict[str, list[Trace]],
    calibrations: dict[str, Analysis],
    names: dict[str, str],
    steps: dict[str, Any],
) -> dict[str, Analysis]:
    """Each side read once, and its tracing priced."""
    from traceview.queries.like_sides import refuse_same_runs  # noqa: PLC0415 - not for --help
    from traceview.queries.observer import priced  # noqa: PLC0415

    wholes = {
        name: reading.part(name, of, "" if name == "all" else f"--{name}", **steps)
        for name, of in opened.items()
    }
    if "all" not in wholes:
        refuse_same_runs(wholes["base"], wholes["with"])
    return {
        name: priced(_named(whole, names.get(name)), calibrations.get(name))
        for name, whole in wholes.items()
    }


def _named(side: Analysis, name: str | None) -> Analysis:
    """The traces of a side are of one label: theirs, or *name*."""
    import polars as pl  # noqa: PLC0415 - not needed by --help

    if name is None:
        return side
    return replace(side, sources=side.sources.with_columns(pl.col("label").fill_null(name)))
