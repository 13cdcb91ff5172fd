"""`traceview verify`: whether a folder of evidence bears itself out, and its recordings do."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import TYPE_CHECKING, Annotated

import typer

from traceview.cli import options as opt  # noqa: TC001 - typer evaluates annotations
from traceview.cli.exits import FINDING, Stop, answered
from traceview.cli.outputs import outputs_of
from traceview.cli.screen import page_width, plain, progress, show, width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.report.evidence_reading import EvidenceFolder
    from traceview.report.manifest import Input
    from traceview.report.verification import Verification
    from traceview.symbols import Kallsyms
    from traceview.trace import Trace


def verify(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="What --evidence wrote (docs/evidence.md).")
    ],
    traces: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TRACE]...",
            help="Its recordings, some or all, wherever they lie: they are read again.",
        ),
    ] = None,
    *,
    json: opt.Json = False,
    output: opt.Output = None,
    force: opt.Force = False,
    kallsyms: Annotated[
        list[Path] | None,
        typer.Option(
            "--kallsyms",
            metavar="FILE",
            help="The symbol table that named their addresses, where one did (repeatable).",
        ),
    ] = None,
    quiet: opt.Quiet = False,
) -> None:
    """Make a report again from its evidence: exit code 1 where anything does not match."""
    with answered():
        from traceview.report.evidence_reading import EvidenceFolder  # noqa: PLC0415
        from traceview.report.verification import verification  # noqa: PLC0415
        from traceview.report.verify_report import verify_json, verify_report  # noqa: PLC0415

        outputs = outputs_of(json=json, output=output, force=force, quiet=quiet)
        held = EvidenceFolder(folder)
        of = verification(held)
        _read_again(held, of, traces or (), kallsyms or (), quiet=quiet)
        if outputs.document == "json":
            outputs.deliver(verify_json(of, str(folder)))
        elif outputs.to is not None:
            outputs.deliver(plain(verify_report(of, str(folder), page_width())))
        elif outputs.shows_summary:
            show(verify_report(of, str(folder), width()))
        if not of.matches:
            raise Stop(FINDING)


def _read_again(
    held: EvidenceFolder,
    of: Verification,
    traces: Sequence[str],
    kallsyms: Sequence[Path],
    *,
    quiet: bool,
) -> None:
    """Compare the tables with *traces*, each known by its digest."""
    from traceview.parsers.source import open_source  # noqa: PLC0415 - not needed by --help
    from traceview.report.rereading import reread  # noqa: PLC0415
    from traceview.report.verification import check  # noqa: PLC0415

    tables = _symbol_tables(kallsyms)
    inputs = [(part, number, one) for part, several in held.manifest.inputs.items()
              for number, one in enumerate(several)]  # fmt: skip
    wanted: list[tuple[str, int, Input, Trace]] = []
    for path in traces:
        digest = open_source(path).sha256()
        mine = [(part, number, one) for part, number, one in inputs if one.sha256 == digest]
        if not mine:
            of.checks.append(check("trace", path, [f"none of the recordings: SHA-256 {digest}"]))
        wanted += [(*which, _opened(path, which[2], held, tables)) for which in mine]
    if held.manifest.recipe.scrubbed and wanted:
        wanted = _scrubbed(wanted, inputs, held, quiet=quiet)
    for part, number, _, trace in wanted:
        with progress(f"reading {trace.path}", quiet=quiet) as hear:
            of.checks.append(reread(held, part, number, trace, hear))
    read = [(part, number) for part, number, _, _ in wanted]
    of.not_read = tuple(one for part, number, one in inputs if (part, number) not in read)


def _scrubbed(
    wanted: Sequence[tuple[str, int, Input, Trace]],
    inputs: Sequence[tuple[str, int, Input]],
    held: EvidenceFolder,
    *,
    quiet: bool,
) -> list[tuple[str, int, Input, Trace]]:
    """The recordings with the names replaced that were replaced then: by all of them together."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
    from traceview.scrub import Scrubber, scrubbed  # noqa: PLC0415

    if len(wanted) != len(inputs):
        raise SettingError(
            f"names in this evidence were replaced (--scrub), the same in all of its {len(inputs)}"
            f" recordings, of which {len(wanted)} are given\nvalid: all of them, or none"
        )
    pattern = held.manifest.recipe.step_pattern
    with progress("looking for names to replace", quiet=quiet) as hear:
        scrubber = Scrubber(
            [trace for _, _, _, trace in wanted], step_pattern=pattern, progress=hear
        )
    return [(part, number, one, scrubbed(trace, scrubber)) for part, number, one, trace in wanted]


def _symbol_tables(paths: Sequence[Path]) -> dict[str | None, Kallsyms]:
    """Symbol tables by their digest."""
    from traceview.report.manifest import digest_of  # noqa: PLC0415 - not needed by --help
    from traceview.symbols import read_kallsyms  # noqa: PLC0415

    tables = [read_kallsyms(path) for path in paths]
    return {digest_of(table): table for table in tables}


def _opened(
    path: str, one: Input, held: EvidenceFolder, tables: dict[str | None, Kallsyms]
) -> Trace:
    """The recording *path* as it was opened then; raises SettingError without its symbol table."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
    from traceview.parsers import open_trace  # noqa: PLC0415
    from traceview.symbols import SymbolSources  # noqa: PLC0415
    from traceview.trace import Settings  # noqa: PLC0415

    table = tables.get(one.kallsyms)
    if held.manifest.recipe.scrubbed and len(tables) == 1:  # then none is named
        (table,) = tables.values()
    if one.kallsyms is not None and table is None:
        raise SettingError(
            f"the addresses of {path} were named by a symbol table that is not in the folder\n"
            "valid: --kallsyms FILE, the copy of /proc/kallsyms that was given then"
        )
    settings = Settings(
        facts={**one.stated, "sha256": one.sha256},
        traced=None if one.traced is None else frozenset(one.traced),
        symbols=SymbolSources(one.probes, table),
    )
    return open_trace(path, settings=settings, vocabulary=held.manifest.recipe.vocabulary())
