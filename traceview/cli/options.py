"""The options of the commands, each defined once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SOURCE = "What the trace cannot say"
KEEP = "What to keep"
OUT = "What to write"

Traces = Annotated[
    list[str], typer.Argument(metavar="TRACE", help="Trace files of any format; - is stdin.")
]
Trace = Annotated[str, typer.Argument(metavar="TRACE", help="A trace file; - is stdin.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object (docs/json.md).")]
Parquet = Annotated[
    Path | None,
    typer.Option(
        "--parquet", metavar="DIR", help="Write every table to DIR/TABLE.parquet (docs/schema.md)."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite tables that are in DIR already.")]
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
    typer.Option("--cpu", metavar="N", help="Keep those on this CPU (repeatable)."),
]
Tid = Annotated[
    list[int] | None,
    typer.Option("--tid", metavar="N", help="Keep those of this task (repeatable)."),
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
Top = Annotated[int, typer.Option("--top", metavar="N", min=0, help="Show the N slowest unmaps.")]
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
