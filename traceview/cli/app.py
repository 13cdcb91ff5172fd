"""The program `traceview`: its commands, and what happens when one of them fails."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

import traceview
from traceview.cli import (
    analyze,
    audit,
    claims,
    compare,
    export,
    info,
    predict,
    query,
    record,
    simulate,
    verify,
)
from traceview.cli.exits import exit_code
from traceview.cli.several import CompareCommand, SeveralCommand

app = typer.Typer(
    name="traceview",
    help="Where the time of KVM/arm64 stage-2 unmaps goes, from traces of real hosts.",
    add_completion=False,
    no_args_is_help=True,
    # Plain help: the same in a terminal, a pipe and a document.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
EPILOG: Final = (
    "Lines are as wide as the terminal; the variable COLUMNS sets the width in a pipe or a file,"
    " NO_COLOR=1 turns colours off."
)
app.command("analyze", short_help="Where the time of each unmap goes.", epilog=EPILOG)(
    analyze.analyze
)
# What is too much is refused in words of ours.
app.command(
    "info",
    short_help="What a trace holds, and which questions it answers.",
    epilog=EPILOG,
    context_settings={"allow_extra_args": True},
)(info.info)
app.command(
    "compare",
    short_help="Two sides: how much faster, by what, and whether that can be said.",
    cls=CompareCommand,
    epilog=EPILOG,
)(compare.compare)
app.command(
    "audit", short_help="Whether every unmap invalidates what it clears, in time.", epilog=EPILOG
)(audit.audit)
app.command("claims", short_help="Which claims of a posted table hold.", epilog=EPILOG)(
    claims.claims
)
app.command("export", short_help="The analysis as a Perfetto trace.", epilog=EPILOG)(export.export)
app.command(
    "simulate", short_help="Synthetic traces of a machine that a profile describes.", epilog=EPILOG
)(simulate.simulate)
app.command(
    "predict",
    short_help="The same unmaps under the other strategy, or of other sizes.",
    cls=SeveralCommand,
    epilog=EPILOG,
)(predict.predict)
app.command("query", short_help="SQL over the tables of traces.", epilog=EPILOG)(query.query)
app.command("verify", short_help="Whether a report follows from its evidence.", epilog=EPILOG)(
    verify.verify
)
# What follows the command's name is the command's.
app.command(
    "record",
    short_help="Record on this host.",
    epilog=EPILOG,
    context_settings={"allow_interspersed_args": False},
)(record.record)


def _version(asked: bool) -> None:  # noqa: FBT001 - the signature of an option's callback
    if asked:
        typer.echo(f"traceview {traceview.__version__}")
        raise typer.Exit


@app.callback()
def traceview_options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Where the time of KVM/arm64 stage-2 unmaps goes, from traces of real hosts."""


def run(arguments: list[str] | None = None) -> int:
    """Run the program with *arguments* (those of the process) and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    # The commands find them in their context: reports say how they were made.
    return exit_code(lambda: app(given, obj=tuple(given)))
