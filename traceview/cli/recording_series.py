"""`traceview record --runs` and `--next`: runs of two sides, in an order that permits inference."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from traceview.cli.exits import FINDING, Stop
from traceview.cli.record import exit_code_of, folder_of, one_recording, planned, refuse
from traceview.cli.screen import show_text
from traceview.errors import SettingError
from traceview.record import series as plans
from traceview.record.backends import backend
from traceview.record.probing import look
from traceview.record.sidecar import Said

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from traceview.cli.record import Asked
    from traceview.record.host import Host
    from traceview.record.series import Series

TWO_KERNELS: Final = "planned as two kernels, each booted by you"


def record_series(
    asked: Asked, runs: int | None, against: str | None, seed: int | None,
    switches: Sequence[str], *, dry_run: bool,
) -> None:  # fmt: skip
    """Write the plan of all runs; make them all, where this host can be both sides."""
    folder = folder_of(asked)
    if runs is None or against is None or asked.said.label is None:
        raise SettingError("several runs want --runs N, --label LABEL and --against LABEL")
    if not asked.command and asked.seconds is None:
        raise SettingError("several runs want a command, or --duration")
    host = look(asked.root, asked.backend)
    made = _series(asked, host, runs, against, seed, switches)
    refuse(asked, host, made.presets, pending=not dry_run)
    if not made.switched:
        asked.say(_why_two_kernels(host))
    if dry_run:
        show_text(f"{line}\n" for line in plans.text(made))
        return
    plans.write(folder, made)
    for line in plans.text(made):
        asked.say(line)
    if not made.switched:
        asked.say(f"next: traceview record --next {shlex.quote(str(folder))}")
        return
    try:
        _record_all(asked, host, folder, made)
    finally:
        plans.discard(folder)


def _why_two_kernels(host: Host) -> str:
    if host.defer_switch:
        first, second = plans.SWITCHED
        return f"the switch unmap_defer is of the labels {first} and {second}: {TWO_KERNELS}"
    return f"no switch unmap_defer here: {TWO_KERNELS}"


def _series(
    asked: Asked, host: Host, runs: int, against: str, seed: int | None, switches: Sequence[str]
) -> Series:
    label = asked.said.label
    assert label is not None
    labels = (label, against)
    plans.check_labels(labels)
    commands = dict(_switch(one) for one in switches)
    if commands and set(commands) != set(labels):
        raise SettingError(f"--switch LABEL=COMMAND wants both sides: {label} and {against}")
    builtin = not commands and host.defer_switch and set(labels) == set(plans.SWITCHED)
    if seed is None:
        import secrets  # noqa: PLC0415

        seed = secrets.randbelow(2**31)
    here = None if commands or builtin else host.kernel
    return plans.Series(
        seed=seed,
        sides=(
            plans.Side(label, here, commands.get(label)),
            plans.Side(against, None, commands.get(against)),
        ),
        order=plans.draw(runs, labels, seed),
        presets=asked.presets,
        backend=asked.backend,
        words=asked.command,
        seconds=asked.seconds,
        origin=asked.said.origin,
        buffer_kb=asked.buffer_kb,
        top_level=asked.top_level,
        unmap_defer=builtin,
        hypervisor=asked.hypervisor,
    )


def _switch(text: str) -> tuple[str, str]:
    label, equals, command = text.partition("=")
    if not equals or not command:
        raise SettingError(f"no switch: {text!r}\nvalid: --switch LABEL=COMMAND")
    return label, command


def record_next(asked: Asked, folder: Path) -> None:
    """Make the next run of a plan: of all that are left, where this host can be both sides."""
    series = plans.read(folder)
    asked = replace(
        asked, command=series.words, presets=series.presets, backend=series.backend,
        seconds=series.seconds, buffer_kb=series.buffer_kb, top_level=series.top_level,
        hypervisor=series.hypervisor, said=Said(origin=series.origin),
    )  # fmt: skip
    host = look(asked.root, asked.backend)
    if series.switched:
        _record_all(asked, host, folder, series)
        return
    order = plans.next_run(folder, series)
    if order is None:
        _say_done(asked, folder, series)
        return
    series = plans.on_this_kernel(folder, series, order, host.kernel)
    _record_run(asked, host, folder, series, order)
    left = len(series.order) - order
    if left:
        following = series.order[order]
        asked.say(
            f"{left} runs are left, the next is of {following}: boot"
            f" {series.side(following).kernel or 'its kernel'}, also if it is the same, then"
            f" traceview record --next {shlex.quote(str(folder))}"
        )
    else:
        _say_done(asked, folder, series)


def _record_all(asked: Asked, host: Host, folder: Path, series: Series) -> None:
    while (order := plans.next_run(folder, series)) is not None:
        _record_run(asked, host, folder, series, order)
    _say_done(asked, folder, series)


def _record_run(asked: Asked, host: Host, folder: Path, series: Series, order: int) -> None:
    """All recordings of one run; ends the program where one is not fit for a comparison."""
    label = series.order[order - 1]
    said = Said(series.origin, label, f"run-{order}", order)
    switch = series.side(label).switch
    for preset, name in zip(series.presets, series.folders(order), strict=True):
        asked.say(f"run {order} of {len(series.order)}: {name}")
        if switch is not None:
            _run_switch(switch)
        plan, recorder = planned(asked, host, preset)
        files = {plans.SWITCH: plans.SWITCHED[label]} if series.unmap_defer else {}
        done = one_recording(asked, host, plan, recorder, folder / name, said, files=files)
        code = exit_code_of(done, by_signal=False)
        if code:
            if code == FINDING:
                asked.say(
                    f"run {order} is not fit for a comparison: remove {folder / name}, then"
                    f" traceview record --next {shlex.quote(str(folder))}"
                )
            raise Stop(code)


def _run_switch(command: str) -> None:
    done = subprocess.run(["/bin/sh", "-c", command], check=False, stdin=subprocess.DEVNULL)  # noqa: S603 - the user's own command
    if done.returncode:
        raise SettingError(f"the switch failed with exit code {done.returncode}: {command}")


def _say_done(asked: Asked, folder: Path, series: Series) -> None:
    first, second = (one.label for one in series.sides)
    # Folders end in the label, or in the preset.
    end = "*" if len(series.presets) > 1 else ""
    trace = backend(series.backend).trace
    sides = [f"{shlex.quote(str(folder))}/*-{one}{end}/{trace}" for one in (second, first)]
    asked.say(f"all {len(series.order)} runs are recorded")
    asked.say(f"next: traceview compare --base {sides[0]} --with {sides[1]}")
