"""The options of the commands, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable


def whole_number(least: int | None = None, most: int | None = None) -> Callable[[str], int]:
    """What reads an option's whole number, from *least* to *most*; it repeats what is none."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise typer.BadParameter(f"not a whole number: {text!r}") from None
        if least is not None and number < least:
            raise typer.BadParameter(f"less than {least}: {text}")
        if most is not None and number > most:
            raise typer.BadParameter(f"more than {most}: {text}")
        return number

    return read


Traces = Annotated[
    list[str], typer.Argument(metavar="TRACE", help="Trace files of any format; - is stdin.")
]
Trace = Annotated[str, typer.Argument(metavar="TRACE", help="A trace file; - is stdin.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object (docs/json.md).")]
Complete = Annotated[
    bool,
    typer.Option(
        "--complete", help="Exit with 1 also where anything could not be checked, or nothing was."
    ),
]
Parquet = Annotated[
    Path | None,
    typer.Option(
        "--parquet", metavar="DIR", help="Write every table to DIR/TABLE.parquet (docs/schema.md)."
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Overwrite files and tables that are there already.")
]
Mail = Annotated[
    bool,
    typer.Option(
        "--mail", help="Print plain text of 72 columns to paste into a mail (docs/mail.md)."
    ),
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print the same as Markdown.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FILE", help="Write what is printed to FILE; - is stdout."
    ),
]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE",
        help="Write a dashboard: one file that needs nothing but a browser (docs/dashboard.md).",
    ),
]
Png = Annotated[
    Path | None,
    typer.Option("--png", metavar="DIR", help="Write each chart to DIR (docs/pictures.md)."),
]
Svg = Annotated[Path | None, typer.Option("--svg", metavar="DIR", help="The same as SVG.")]
Evidence = Annotated[
    Path | None,
    typer.Option(
        "--evidence",
        metavar="DIR",
        help="Write to DIR all that this report is made of, for `traceview verify`"
        " (docs/evidence.md).",
    ),
]
Scrub = Annotated[
    bool,
    typer.Option(
        "--scrub",
        help="Replace names of hosts, commands and files, PIDs and kernel addresses"
        " (docs/scrub.md).",
    ),
]
Step = Annotated[
    list[str] | None,
    typer.Option("--step", metavar="ID", help="Keep the unmaps of this step (globs, repeatable)."),
]
Trigger = Annotated[
    list[str] | None,
    typer.Option(
        "--trigger",
        metavar="KIND",
        help="Keep those asked for by: notifier, memslot, nested, vcpu_init, guest_memfd, unknown"
        " (repeatable).",
    ),
]
Cpu = Annotated[
    list[int] | None,
    typer.Option(
        "--cpu", metavar="N", parser=whole_number(), help="Keep those on this CPU (repeatable)."
    ),
]
Tid = Annotated[
    list[int] | None,
    typer.Option(
        "--tid", metavar="N", parser=whole_number(), help="Keep those of this task (repeatable)."
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="TIME",
        help="Keep those that began at TIME of the trace's clock or later:"
        " seconds as tracefs prints them (30.155), or with a unit (s, ms, us, ns).",
    ),
]
To = Annotated[
    str | None,
    typer.Option("--to", metavar="TIME", help="Keep those that began at TIME or before."),
]
Top = Annotated[
    int,
    typer.Option("--top", metavar="N", parser=whole_number(0), help="Show the N slowest unmaps."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Damage and loss are errors: no result, exit code 2.")
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="No summary, progress or notes; files, JSON and errors only."
    ),
]
Origin = Annotated[
    list[str] | None,
    typer.Option(
        "--origin",
        metavar="KIND",
        help="It was recorded on: hardware, emulated, synthetic, unknown; once for all traces, or"
        " once for each.",
    ),
]
Label = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="TEXT",
        help="What the traces are called in groups: once for all, or once for each in order.",
    ),
]
Run = Annotated[
    list[str] | None,
    typer.Option(
        "--run",
        metavar="ID",
        help="The run (boot, VM) they were recorded in: once for all, or once for each.",
    ),
]
Host = Annotated[
    list[Path] | None,
    typer.Option(
        "--host",
        metavar="FILE",
        help="The sidecar, instead of TRACE.host.json (docs/sidecar.md); of several traces once"
        " for each.",
    ),
]
Kallsyms = Annotated[
    list[Path] | None,
    typer.Option(
        "--kallsyms",
        metavar="FILE",
        help="A copy of the host's /proc/kallsyms: once for all traces, or once for each.",
    ),
]
Vocabulary = Annotated[
    list[Path] | None,
    typer.Option(
        "--vocabulary",
        metavar="FILE",
        help="More function names and their meaning, TOML (docs/vocabulary.md; repeatable).",
    ),
]
Calibration = Annotated[
    list[str] | None,
    typer.Option(
        "--calibration",
        metavar="FILE",
        help="A capture of the same workload on the same host with fewer calls traced, best"
        " kvm_pgtable_stage2_unmap alone: what tracing cost; it has at least 3 steps or sizes in"
        " common with the trace, of as many unmaps (docs/observer.md; repeatable).",
    ),
]
Steps = Annotated[
    Path | None,
    typer.Option(
        "--steps",
        metavar="FILE",
        help="Steps of a trace without markers, JSON lines (docs/steps.md).",
    ),
]
StepPattern = Annotated[
    str | None,
    typer.Option(
        "--step-pattern",
        metavar="REGEX",
        help="A marker that begins or ends a step; groups `edge` (begin, end) and `id`.",
    ),
]
Order = Annotated[
    list[int] | None,
    typer.Option(
        "--order",
        metavar="N",
        parser=whole_number(0, 2**31 - 1),
        help="The position of a trace in the recording plan, once for each trace; the same number"
        " on both sides: recorded at the same time.",
    ),
]
Base = Annotated[
    list[str] | None,
    typer.Option("--base", metavar="TRACE...", help="The traces of the side to compare with."),
]
With = Annotated[
    list[str] | None,
    typer.Option("--with", metavar="TRACE...", help="The traces of the other side."),
]
BaseCalibration = Annotated[
    list[str] | None,
    typer.Option(
        "--base-calibration",
        metavar="FILE...",
        help="Captures of the workload of --base, on its host and kernel, in which fewer functions"
        " were traced: they show what tracing cost (docs/observer.md).",
    ),
]
WithCalibration = Annotated[
    list[str] | None,
    typer.Option("--with-calibration", metavar="FILE...", help="The same of --with."),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="strategy",
        help="Compare inside one set of traces: unmaps that invalidate per page (base) with those"
        " that defer (with).",
    ),
]
SameSide = Annotated[
    bool,
    typer.Option("--aa", help="Compare the runs of one set with each other: the noise floor."),
]
Claims = Annotated[
    list[str] | None,
    typer.Option(
        "--claim",
        metavar="TEXT",
        help="Check this: at least 3x, at most 2x, up to 4x, 4x, ~15% (repeatable); exit code 1 if"
        " one fails.",
    ),
]
