"""`traceview verify`: whether a folder of evidence bears itself out, and its recordings do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path  # noqa: TC003 - typer evaluates annotations
from typing import TYPE_CHECKING, Annotated

import typer

from traceview.cli import options as opt  # noqa: TC001 - typer evaluates annotations
from traceview.cli.exits import FINDING, Stop, answered
from traceview.cli.outputs import outputs_of
from traceview.cli.screen import page_width, plain, progress, show, width

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traceview.report.asked import Asked, AskedInput
    from traceview.report.evidence_reading import EvidenceFolder
    from traceview.report.manifest import Input
    from traceview.report.verification import Verification
    from traceview.symbols import Kallsyms
    from traceview.trace import Settings, Trace


@dataclass(frozen=True, slots=True)
class Wanted:
    """A recording that was given: which it is, and what its own sidecar and the command say."""

    part: str
    number: int
    input: Input
    trace: Trace
    own: Settings | None
    asked: AskedInput | None


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
        asked = _asked(held, of)
        _read_again(held, of, traces or (), kallsyms or (), asked, quiet=quiet)
        if outputs.document == "json":
            outputs.deliver(verify_json(of, str(folder)))
        elif outputs.to is not None:
            outputs.deliver(plain(verify_report(of, str(folder), page_width())))
        elif outputs.shows_summary:
            show(verify_report(of, str(folder), width()))
        if not of.matches:
            raise Stop(FINDING)


def _asked(held: EvidenceFolder, of: Verification) -> Asked | None:
    """What the command of the evidence asks for, compared; None where it is no command."""
    from traceview.cli.asked import asked_of  # noqa: PLC0415 - not needed by --help
    from traceview.errors import SettingError  # noqa: PLC0415
    from traceview.report.asked import asked_for  # noqa: PLC0415
    from traceview.report.verification import check, shortened  # noqa: PLC0415

    try:
        asked = asked_of(held.manifest.recipe.arguments)
    except SettingError as err:
        said = shortened(" ".join(str(err).split()))
        of.checks.append(check("arguments", "the command", [said]))
        return None
    of.checks.append(asked_for(asked, held.manifest, of.parts))
    return asked


def _read_again(
    held: EvidenceFolder,
    of: Verification,
    traces: Sequence[str],
    kallsyms: Sequence[Path],
    asked: Asked | None,
    *,
    quiet: bool,
) -> None:
    """Compare the tables with *traces*, each known by its digest."""
    from traceview.cli.opening import refuse_sidecars  # noqa: PLC0415 - not needed by --help
    from traceview.parsers.source import open_source  # noqa: PLC0415
    from traceview.report.rereading import reread  # noqa: PLC0415
    from traceview.report.restated import restated  # noqa: PLC0415
    from traceview.report.verification import check  # noqa: PLC0415

    refuse_sidecars(traces)
    tables = _symbol_tables(kallsyms)
    inputs = [(part, number, one) for part, several in held.manifest.inputs.items()
              for number, one in enumerate(several)]  # fmt: skip
    wanted: list[Wanted] = []
    for path in traces:
        digest = open_source(path).sha256()
        mine = [(part, number, one) for part, number, one in inputs if one.sha256 == digest]
        if not mine:
            of.checks.append(check("trace", path, [f"none of the recordings: SHA-256 {digest}"]))
        for part, number, one in mine:
            of_command = _of_command(asked, part, number)
            own = _own(path, one)
            trace = _opened(path, one, held, {**_table_of(own), **tables}, of_command)
            wanted.append(Wanted(part, number, one, trace, own, of_command))
    if held.manifest.recipe.scrubbed and wanted:
        wanted = _scrubbed(wanted, inputs, held, quiet=quiet)
    for each in wanted:
        with progress(f"reading {each.trace.path}", quiet=quiet) as hear:
            of.checks.append(reread(held, each.part, each.number, each.trace, hear))
        if each.own is not None:
            where = f"{each.part}, source {each.number}"
            of.checks.append(restated(where, each.input, each.own, each.asked))
    read = [(each.part, each.number) for each in wanted]
    of.not_read = tuple(one for part, number, one in inputs if (part, number) not in read)


def _scrubbed(
    wanted: Sequence[Wanted],
    inputs: Sequence[tuple[str, int, Input]],
    held: EvidenceFolder,
    *,
    quiet: bool,
) -> list[Wanted]:
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
        scrubber = Scrubber([each.trace for each in wanted], step_pattern=pattern, progress=hear)
    found = []
    for each in wanted:
        own = each.own
        if own is not None:  # as they were replaced then
            own = scrubbed(replace(each.trace, settings=own), scrubber).settings
        found.append(replace(each, trace=scrubbed(each.trace, scrubber), own=own))
    return found


def _symbol_tables(paths: Sequence[Path]) -> dict[str | None, Kallsyms]:
    """Symbol tables by their digests, with and without addresses."""
    from traceview.report.manifest import digest_of  # noqa: PLC0415 - not needed by --help
    from traceview.symbols import read_kallsyms  # noqa: PLC0415

    tables = [read_kallsyms(path) for path in paths]
    return {digest: table for table in tables for digest in (digest_of(table), table.names_sha256)}


def _own(path: str, one: Input) -> Settings | None:
    """What the sidecar beside the recording says, None where there is none."""
    from traceview.host import read_settings, sidecar_path  # noqa: PLC0415 - not for --help

    if path == "-" or not sidecar_path(path).is_file():
        return None
    return read_settings(path, stated={"sha256": one.sha256})


def _table_of(own: Settings | None) -> dict[str | None, Kallsyms]:
    """The symbol table that a sidecar names, by its digests."""
    from traceview.report.manifest import digest_of  # noqa: PLC0415 - not needed by --help

    table = None if own is None else own.symbols.kallsyms
    return {} if table is None else {digest_of(table): table, table.names_sha256: table}


def _of_command(asked: Asked | None, part: str, number: int) -> AskedInput | None:
    """What the command says of an input."""
    several = () if asked is None else asked.inputs.get(part, ())
    return several[number] if number < len(several) else None


def _opened(
    path: str,
    one: Input,
    held: EvidenceFolder,
    tables: dict[str | None, Kallsyms],
    asked: AskedInput | None,
) -> Trace:
    """The recording *path* as it was opened then; raises SettingError without its symbol table."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
    from traceview.parsers import open_trace  # noqa: PLC0415
    from traceview.symbols import SymbolSources  # noqa: PLC0415
    from traceview.trace import Settings  # noqa: PLC0415

    table = None if one.kallsyms is None else tables.get(one.kallsyms)
    if one.kallsyms is not None and table is None:
        name = f", then called {asked.kallsyms}" if asked and asked.kallsyms else ""
        what = "names" if held.manifest.recipe.scrubbed else "addresses and names"
        raise SettingError(
            f"the addresses of {path} were named by a symbol table that is not in the folder{name}"
            f"\nvalid: --kallsyms FILE, the copy of /proc/kallsyms that was given then (SHA-256 of"
            f" its {what}: {one.kallsyms})"
        )
    settings = Settings(
        facts={**one.stated, "sha256": one.sha256},
        traced=None if one.traced is None else frozenset(one.traced),
        symbols=SymbolSources(one.probes, table),
    )
    return open_trace(path, settings=settings, vocabulary=held.manifest.recipe.vocabulary())
