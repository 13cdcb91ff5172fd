"""`traceview record`: plan a capture on this host, say what it can answer, record it.

Nothing here imports polars: it runs where typer, rich and the standard library are all there is.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from traceview.cli import options as opt
from traceview.cli.exits import FINDING, Stop, answered
from traceview.cli.recording_options import alone, of_a_script
from traceview.cli.screen import note, plain, show, show_text, width

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from traceview.record.backend import Backend
    from traceview.record.host import Host
    from traceview.record.plan import Plan
    from traceview.record.recorder import Recorded
    from traceview.record.sidecar import Said

DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|min|h)?")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, None: 1.0}


def _duration(text: str) -> float:
    found = DURATION.fullmatch(text)
    if found is None or not float(found[1]):
        raise typer.BadParameter(
            f"no duration: {text!r}; valid: 10s, 500ms, 2min, 1h, a number of seconds"
        )
    return float(found[1]) * SECONDS[found[2]]


@dataclass(frozen=True, slots=True)
class Asked:
    """The options, of which one recording and a series of them have most in common."""

    output: Path | None
    command: tuple[str, ...]
    presets: tuple[str, ...]
    backend: str
    seconds: float | None
    said: Said
    buffer_kb: int | None
    operands: tuple[str, ...]
    top_level: bool
    hypervisor: bool | None
    state_dir: Path
    root: Path
    quiet: bool

    def say(self, text: str) -> None:
        """One line on standard error."""
        if not self.quiet:
            note(text)


def record(  # noqa: PLR0913 - one per option
    context: typer.Context,
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND...",
            help="What is recorded; without it, until --duration is over or Ctrl-C.",
        ),
    ] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="The run folder, which is made."),
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(
            "--preset",
            metavar="NAME",
            help="What is traced: top, split, args, bystanders, deep (docs/record.md); with --runs"
            " repeatable: each run is recorded once with each.",
        ),
    ] = None,
    backend: Annotated[
        str,
        typer.Option(
            "--backend", metavar="NAME", help="What records: tracefs, trace-cmd, perf, perfetto."
        ),
    ] = "tracefs",
    duration: Annotated[
        float | None,
        typer.Option(
            "--duration",
            metavar="TIME",
            parser=_duration,
            help="Record for 10s, 500ms, 2min, 1h; a number alone is seconds.",
        ),
    ] = None,
    origin: Annotated[
        str | None,
        typer.Option(
            "--origin", metavar="KIND", help="What this host is: hardware, emulated; never guessed."
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", metavar="TEXT", help="What the recording is called.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="ID", help="The run (boot, VM) it is of; else this boot."),
    ] = None,
    order: Annotated[
        int | None,
        typer.Option(
            "--order",
            metavar="N",
            parser=opt.whole_number(0, 2**31 - 1),
            help="Its position in a plan of several recordings.",
        ),
    ] = None,
    buffer_kb: Annotated[
        int | None,
        typer.Option(
            "--buffer-kb",
            metavar="N",
            parser=opt.whole_number(64, 2**31 - 1),
            help="The ring buffer of each CPU; else chosen by the memory that is free.",
        ),
    ] = None,
    operand: Annotated[
        list[str] | None,
        typer.Option(
            "--operand",
            metavar="+OFFSET,REGISTER,INSTRUCTION",
            help="With --preset args, a kprobe of a TLBI of __kvm_tlb_flush_vmid_range, such as"
            " +0x54,x0,ipas2e1is (docs/how-to.md; repeatable).",
        ),
    ] = None,
    top_level: Annotated[
        bool,
        typer.Option(
            "--top-level", help="Record in tracefs' own buffers also where an instance would do."
        ),
    ] = False,
    hypervisor: Annotated[
        bool | None,
        typer.Option(
            "--hypervisor/--no-hypervisor",
            help="Record what EL2 records of itself beside the host (nVHE and pKVM, 7.1 and later);"
            " else where there is that.",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(
            "--runs",
            metavar="N",
            parser=opt.whole_number(1, 500),
            help="Plan N runs of each side in DIR, in blocks ABBA drawn at random.",
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="LABEL", help="The other side of --runs."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option("--seed", metavar="N", parser=opt.whole_number(0), help="Of that order."),
    ] = None,
    switch: Annotated[
        list[str] | None,
        typer.Option(
            "--switch",
            metavar="LABEL=COMMAND",
            help="Makes this host that side before a run (twice): all runs are then made at once.",
        ),
    ] = None,
    next_run: Annotated[
        Path | None,
        typer.Option("--next", metavar="DIR", help="Record the next run of the plan in DIR."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan, and record nothing.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="With --dry-run: the plan as one JSON object.")
    ] = False,
    script: Annotated[
        bool,
        typer.Option(
            "--script",
            help="Print a POSIX sh script that records the same on a host without Python: the"
            " presets named, of which the first is its default.",
        ),
    ] = False,
    restore: Annotated[
        bool,
        typer.Option("--restore", help="Put back what a recording that was killed left behind."),
    ] = False,
    state_dir: Annotated[
        Path,
        typer.Option(
            "--state-dir", metavar="DIR", help="Where the state of tracefs is kept meanwhile."
        ),
    ] = Path("/run/traceview"),
    quiet: opt.Quiet = False,
    host_root: Annotated[Path, typer.Option("--host-root", hidden=True)] = Path("/"),
) -> None:
    """Record unmaps on this arm64 KVM host, and say beforehand what the capture will answer."""
    with answered():
        from traceview.errors import SettingError  # noqa: PLC0415
        from traceview.record.sidecar import RECORDED_ON, Said  # noqa: PLC0415

        if origin is not None and origin not in RECORDED_ON:
            raise SettingError(f"no origin {origin!r}\nvalid: {', '.join(RECORDED_ON)}")
        for one in preset or ():
            if (preset or []).count(one) > 1:
                raise SettingError(f"--preset {one} is said twice: it is one recording of a run")
        if json and not dry_run:
            raise SettingError("--json is of --dry-run: standard output is the command's")
        asked = Asked(
            output, tuple(command or ()), tuple(preset or ("top",)), backend, duration,
            Said(origin, label, run, order), buffer_kb, tuple(operand or ()), top_level, hypervisor,
            state_dir, host_root, quiet,
        )  # fmt: skip
        if restore:
            alone(context, "restore")
            _restore(asked)
        elif script:
            _script(context, asked)
        elif next_run is not None:
            from traceview.cli.recording_series import record_next  # noqa: PLC0415

            alone(context, "next_run")
            record_next(asked, next_run)
        elif runs is not None or against is not None or switch:
            from traceview.cli.recording_series import record_series  # noqa: PLC0415

            record_series(asked, runs, against, seed, switch or [], dry_run=dry_run)
        else:
            _record(asked, dry_run=dry_run, as_json=json)


def _script(context: typer.Context, asked: Asked) -> None:
    from traceview.record.script import script  # noqa: PLC0415

    of_a_script(context)
    show_text([script(asked.presets)])


def _restore(asked: Asked) -> None:
    from traceview.errors import SettingError  # noqa: PLC0415
    from traceview.record.state import StateFile, undo  # noqa: PLC0415

    state_file = StateFile(asked.state_dir, asked.root)
    state = state_file.read()
    if state is None:
        asked.say(f"nothing to restore: no recording left anything behind in {asked.state_dir}")
        return
    if state_file.runs(state):
        raise SettingError(f"process {state.pid} is recording into {state.folder}: end it first")
    left = undo(state)
    if left:
        raise SettingError("not all could be put back:\n" + "\n".join(left))
    state_file.end()
    asked.say(f"restored: tracefs is as it was before the recording into {state.folder}")


def _record(asked: Asked, *, dry_run: bool, as_json: bool) -> None:
    from traceview.errors import SettingError  # noqa: PLC0415

    if len(asked.presets) > 1:
        raise SettingError("several presets are several recordings\nvalid: one --preset, or --runs")
    if not dry_run:
        folder_of(asked)
    from traceview.record.probing import look  # noqa: PLC0415

    host = look(asked.root, asked.backend)
    plan, backend = planned(asked, host, asked.presets[0])
    if dry_run:
        _show_plan(asked, host, plan, backend, as_json=as_json)
        return
    done = one_recording(asked, host, plan, backend, folder_of(asked), asked.said)
    raise Stop(exit_code_of(done, by_signal=not asked.command and asked.seconds is None))


def folder_of(asked: Asked) -> Path:
    """The folder that is made; raises SettingError where none was named."""
    from traceview.errors import SettingError  # noqa: PLC0415

    if asked.output is None:
        raise SettingError("-o DIR is missing: where the recording goes, a folder that is made")
    return asked.output


def refuse(asked: Asked, host: Host, presets: Sequence[str], *, pending: bool) -> None:
    """Raise SettingError where the host cannot record *presets*, before anything is written.

    *pending*: also where a recording runs, or was killed.
    """
    from traceview.errors import SettingError  # noqa: PLC0415
    from traceview.record.command import check  # noqa: PLC0415
    from traceview.record.planning import problems  # noqa: PLC0415
    from traceview.record.state import StateFile  # noqa: PLC0415

    if pending and host.is_root:
        StateFile(asked.state_dir, asked.root).refuse_pending()
    found: dict[str, None] = {}  # each reason once
    for preset in presets:
        plan, backend = planned(asked, host, preset)
        found |= dict.fromkeys([*problems(host, plan), *backend.problems(host, plan)])
    if found:
        raise SettingError("\n".join(found))
    check(asked.command)


def planned(asked: Asked, host: Host, preset: str) -> tuple[Plan, Backend]:
    """The plan of a recording, and what makes it."""
    from traceview.record.backends import backend as backend_of  # noqa: PLC0415
    from traceview.record.planning import Wish, make_plan  # noqa: PLC0415

    backend = backend_of(asked.backend)
    wish = Wish(
        preset, asked.backend, asked.buffer_kb, asked.top_level, asked.operands, asked.hypervisor
    )
    return make_plan(host, wish), backend


def _show_plan(asked: Asked, host: Host, plan: Plan, backend: Backend, *, as_json: bool) -> None:
    from traceview.errors import SettingError  # noqa: PLC0415
    from traceview.record.planning import problems  # noqa: PLC0415

    found = [*problems(host, plan), *backend.problems(host, plan)]
    if as_json:
        import json  # noqa: PLC0415

        from traceview.record.plan_file import plan_document  # noqa: PLC0415

        document = plan_document(host, plan, found)
        show_text([json.dumps(document, indent=2), "\n"])
    elif not found:
        from traceview.cli.recording_text import plan_text  # noqa: PLC0415

        show(plan_text(host, plan, backend.limits(host, plan), asked.said.origin, width()))
    if found:
        sys.stdout.flush()
        raise SettingError("\n".join(found))


def one_recording(
    asked: Asked, host: Host, plan: Plan, backend: Backend, folder: Path, said: Said,
    *, files: dict[str, str] | None = None,
) -> Recorded:  # fmt: skip
    """Say the plan, record, say what became of it."""
    from traceview.cli.recording_text import plan_text, recorded_text  # noqa: PLC0415
    from traceview.record.planning import problems  # noqa: PLC0415
    from traceview.record.recorder import Request, record  # noqa: PLC0415

    say: Callable[[str], None] = asked.say
    if not problems(host, plan):
        lines = plan_text(host, plan, backend.limits(host, plan), said.origin, width())
        say("".join(plain(lines)).rstrip("\n"))
    request = Request(
        folder, asked.command, asked.seconds, said, asked.state_dir, files=files or {}
    )
    done = record(host, plan, backend, request, say)
    for line in recorded_text(done, plan):
        say(line)
    return done


def exit_code_of(done: Recorded, *, by_signal: bool) -> int:
    """What a recording that was made exits with; *by_signal*: Ctrl-C is its planned end."""
    if done.signal is not None and not by_signal:
        return 128 + done.signal
    failed = done.exit_code not in {None, 0}
    return FINDING if done.losses.any or done.left or failed else 0
