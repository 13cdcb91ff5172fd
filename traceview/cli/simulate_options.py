"""The options of `traceview simulate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from traceview.cli import options as opt


def _share(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise typer.BadParameter(f"not a number from 0 to 1: {text}")
    return number


ProfileName = Annotated[
    str | None,
    typer.Argument(metavar="[PROFILE]", help="A machine by name, or a file (docs/simulate.md)."),
]
TraceFile = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="The trace: .txt (ftrace text), .dat (trace-cmd), .perfetto; with --runs a folder, new"
        " or not.",
    ),
]
List = Annotated[
    bool,
    typer.Option("--list", help="Show the profiles, or every number of PROFILE and its source."),
]
Show = Annotated[
    bool, typer.Option("--show", help="Print the file of PROFILE: to change, and to give back.")
]
Format = Annotated[
    str | None,
    typer.Option("--format", metavar="NAME", help="text, trace-cmd or perfetto, whatever FILE is."),
]
Unmaps = Annotated[
    int | None,
    typer.Option(
        "--unmaps", metavar="N", parser=opt.whole_number(1, 100_000_000),
        help="Repeat the steps until there are at least so many.",
    ),
]  # fmt: skip
Steps = Annotated[
    Path | None,
    typer.Option(
        "--steps",
        metavar="FILE",
        help="What to do: a TOML file of [[step]] (docs/simulate.md), no JSON lines of steps.",
    ),
]
Size = Annotated[
    str | None,
    typer.Option("--size", metavar="SIZE", help="Memory that is mapped and unmapped; 2M if not."),
]
Backing = Annotated[
    str | None,
    typer.Option("--backing", metavar="SIZE", help="Leaves: 4k, 2M, 1G, ...; pages if not."),
]
Action = Annotated[
    str | None,
    typer.Option(
        "--action",
        metavar="NAME",
        help="dontneed (if not stated), chunks, sparse, half, memslot, munmap, mprotect, move,"
        " vcpu_init, or dirtylog, which unmaps nothing.",
    ),
]
Chunk = Annotated[
    str | None, typer.Option("--chunk", metavar="SIZE", help="Memory that one request takes.")
]
Mapped = Annotated[
    float | None,
    typer.Option(
        "--mapped",
        metavar="SHARE",
        parser=_share,
        help="Share of the leaves that are there, 0 to 1.",
    ),
]
Vms = Annotated[
    int,
    typer.Option(
        "--cpus", metavar="N", parser=opt.whole_number(1, 1024),
        help="CPUs that unmap, a VM on each.",
    ),
]  # fmt: skip
Seed = Annotated[
    int,
    typer.Option(
        "--seed", metavar="N", parser=opt.whole_number(0, 1 << 62),
        help="The same seed gives the same files.",
    ),
]  # fmt: skip
Strategy = Annotated[
    str,
    typer.Option(
        "--strategy",
        metavar="NAME",
        help="per_pte or deferred_range; auto is what the kernel does on such a machine.",
    ),
]
Preset = Annotated[
    str,
    typer.Option("--preset", metavar="NAME", help="What is traced: top, split, deep or args."),
]
TracerName = Annotated[
    str | None,
    typer.Option("--tracer", metavar="NAME", help="function_graph, or kprobe (that of args)."),
]
Function = Annotated[
    list[str] | None,
    typer.Option("--function", metavar="NAME", help="Trace this one too (repeatable)."),
]
Interrupts = Annotated[
    bool, typer.Option("--interrupts", help="Trace the functions of hard interrupts too.")
]
Clock = Annotated[
    str, typer.Option("--clock", metavar="NAME", help="local, mono, mono_raw, boot or global.")
]
BufferKb = Annotated[
    int | None,
    typer.Option(
        "--buffer-kb", metavar="N", parser=opt.whole_number(8, 1 << 30),
        help="Ring buffer of each CPU: what it cannot hold is lost. Without: nothing is.",
    ),
]  # fmt: skip
Discard = Annotated[
    bool, typer.Option("--discard", help="A full buffer discards the newest, not the oldest.")
]
Drain = Annotated[
    int,
    typer.Option(
        "--drain-kb-s", metavar="N", parser=opt.whole_number(0, 1 << 30),
        help="What a reader takes out of each buffer per second meanwhile.",
    ),
]  # fmt: skip
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the profile (repeatable)."),
]
Runs = Annotated[
    int | None,
    typer.Option(
        "--runs", metavar="N", parser=opt.whole_number(1, 1000),
        help="Write so many runs of each strategy, interleaved, into the folder FILE.",
    ),
]  # fmt: skip
Against = Annotated[
    str | None,
    typer.Option("--against", metavar="STRATEGY", help="The other side of an A/B (with --runs)."),
]
