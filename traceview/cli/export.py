"""`traceview export`: the trace and its analysis in a form that other programs show."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from traceview.cli import options as opt  # noqa: TC001 - typer evaluates annotations
from traceview.cli.exits import answered
from traceview.cli.opening import open_calibration, open_traces, refuse_damage
from traceview.cli.outputs import STDOUT, spare
from traceview.cli.recipe import steps_of
from traceview.cli.screen import note, progress, writing
from traceview.cli.scrubbing import scrub_steps, scrub_traces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from traceview.queries import Analysis
    from traceview.queries.audit_results import Audit
    from traceview.report.caveat import Caveat
    from traceview.report.perfetto.export import Export
    from traceview.report.perfetto.output import Original
    from traceview.report.perfetto.sequence import Taken
    from traceview.trace import Batch, Trace, Want

STDIN = "<stdin>"

Perfetto = Annotated[
    Path | None,
    typer.Option(
        "--perfetto", metavar="FILE", help="Write a Perfetto trace (docs/export.md); - is stdout."
    ),
]
NoEvents = Annotated[
    bool, typer.Option("--no-events", help="Write the tracks of the analysis alone.")
]


def export(  # noqa: PLR0913 - one per option
    trace: opt.Trace,
    *,
    perfetto: Perfetto = None,
    no_events: NoEvents = False,
    scrub: opt.Scrub = False,
    force: opt.Force = False,
    strict: opt.Strict = False,
    quiet: opt.Quiet = False,
    origin: opt.Origin = None,
    host: opt.Host = None,
    kallsyms: opt.Kallsyms = None,
    vocabulary: opt.Vocabulary = None,
    steps: opt.Steps = None,
    step_pattern: opt.StepPattern = None,
    calibration: opt.Calibration = None,
) -> None:
    """Write the unmaps, their components and findings on the timeline of the trace's events."""
    with answered(), contextlib.ExitStack() as held:
        from traceview.report.perfetto.export import Export  # noqa: PLC0415 - not for --help

        path = _target(perfetto, trace, force=force)
        spare(
            [path], [trace], host, kallsyms, vocabulary, calibration, [steps] if steps else ()
        )  # fmt: skip
        is_stdin = trace == "-"
        trace = held.enter_context(_spooled()) if is_stdin else trace
        opened = open_traces(
            [trace],
            stated={"origin": origin},
            host=host,
            kallsyms=kallsyms,
            vocabularies=vocabulary or (),
        )[0]
        opened = _of_stdin(opened) if is_stdin else opened
        plain = open_calibration(
            calibration or (), [trace], kallsyms=kallsyms, vocabulary=opened.vocabulary
        )
        asked = steps_of(steps, step_pattern)
        if scrub:
            scrubber, ([opened], plain) = scrub_traces([[opened], plain], asked, quiet=quiet)
            asked = scrub_steps(asked, scrubber)
        with progress("reading", quiet=quiet) as hear:
            found, known = _answered(opened, plain, asked, hear)
        refuse_damage(found.whole, strict=strict, quiet=quiet)
        original, taken = _original(trace, opened, held, scrub=scrub)
        caveats = _caveats(found.whole, opened, known)
        made = Export(opened, found, caveats, original, taken, asked, with_events=not no_events)
        with progress("writing", quiet=quiet) as hear:
            _write(made, path, force=force, hear=hear)
        if not quiet:
            for text in [] if path == STDOUT else [f"wrote {path}"]:
                note(text)
            for text in made.notes():
                note(f"note: {text}")


def _target(path: Path | None, trace: str, *, force: bool) -> Path:
    """The file to write; raises SettingError before any work is done."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
    from traceview.report.new_file import refuse_existing  # noqa: PLC0415

    if path is None:
        raise SettingError("nothing says what to export to\nvalid: --perfetto FILE")
    if path == STDOUT:
        if sys.stdout.isatty():
            raise SettingError("a Perfetto trace is no text for a terminal\nvalid: --perfetto FILE")
        return path
    with contextlib.suppress(OSError):
        if path.samefile(trace):
            raise SettingError(f"--perfetto names the trace itself: {path}")
    if not path.exists() or path.is_file() or path.is_dir():
        refuse_existing(path, force=force)
    return path


@contextlib.contextmanager
def _spooled() -> Iterator[str]:
    """Standard input as a file: it is read more than once."""
    from traceview.errors import ParseError, TraceviewError  # noqa: PLC0415 - not for --help

    if sys.stdin is None:
        raise ParseError("standard input is closed", path=STDIN)
    with tempfile.NamedTemporaryFile(prefix="traceview-stdin-") as spool:
        shutil.copyfileobj(sys.stdin.buffer, spool)
        spool.flush()
        try:
            yield spool.name
        except TraceviewError as err:
            raise TraceviewError(str(err).replace(spool.name, STDIN)) from err


def _of_stdin(opened: Trace) -> Trace:
    """*opened*, of which nobody knows the file, under the name of what it is a copy of."""

    def read(want: Want, hear: Callable[[float], None]) -> Iterator[Batch]:
        return (_told_of_stdin(batch, opened.path) for batch in opened.read(want, hear))

    return replace(opened, path=STDIN, read=read)


def _told_of_stdin(batch: Batch, path: str) -> Batch:
    said = tuple(replace(one, message=one.message.replace(path, STDIN))
                 for one in batch.diagnostics)  # fmt: skip
    return replace(batch, diagnostics=said) if said else batch


def _answered(
    opened: Trace, calibration: list[Trace], steps: dict[str, Any], hear: Callable[[float], None]
) -> tuple[Audit, Analysis | None]:
    """What the first pass finds, priced with the calibration, and what that one holds."""
    from traceview.queries import analyze  # noqa: PLC0415 - not needed by --help
    from traceview.queries.audit import audit  # noqa: PLC0415
    from traceview.queries.observer import priced  # noqa: PLC0415

    found = audit([opened], progress=hear, **steps)
    if not calibration:
        return found, None
    known = analyze(calibration)
    return replace(found, whole=priced(found.whole, known)), known


def _caveats(whole: Analysis, trace: Trace, calibration: Analysis | None) -> tuple[Caveat, ...]:
    from traceview.report.caveats import caveats  # noqa: PLC0415 - not needed by --help

    return tuple(caveats(whole, trace.vocabulary, calibration))


def _write(made: Export, path: Path, *, force: bool, hear: Callable[[float], None]) -> None:
    from traceview.report.new_file import new_file  # noqa: PLC0415 - not needed by --help

    if path != STDOUT:
        with new_file(path, force=force) as file:
            made.write(file.write, hear)
        return
    with writing():
        made.write(sys.stdout.buffer.write, hear)
        sys.stdout.buffer.flush()


def _original(
    trace: str, opened: Trace, held: contextlib.ExitStack, *, scrub: bool
) -> tuple[Original | None, Taken]:
    """The packets of a Perfetto trace up to the last whole one, and what they use.

    None to *scrub*: they hold names.
    """
    from traceview.report.perfetto.sequence import Taken  # noqa: PLC0415 - not needed by --help

    if opened.format != "perfetto" or scrub:
        return None, Taken()
    import numpy as np  # noqa: PLC0415

    from traceview.parsers.perfetto_taken import read_taken  # noqa: PLC0415
    from traceview.parsers.source import open_source  # noqa: PLC0415
    from traceview.report.perfetto.output import Original  # noqa: PLC0415

    view = held.enter_context(open_source(os.fspath(trace)).view())
    used = read_taken(view)
    taken = Taken(
        frozenset(used.sequences),
        frozenset(used.uuids),
        max(used.clocks, default=0),
        tuple(sorted(used.snapshots.items())),
    )
    first = used.end if used.first is None else used.first
    ends, begins_ns = (np.array(one, dtype=np.int64) for one in (used.ends, used.begins_ns))
    return Original(view[: used.end], ends, begins_ns, first, len(view) - used.end), taken
