"""`traceview simulate`: traces of unmaps on a machine that a profile describes, with the truth."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from traceview.cli import options as opt  # noqa: TC001 - typer evaluates annotations
from traceview.cli import simulate_options as sim  # noqa: TC001 - the same
from traceview.cli.exits import answered
from traceview.cli.outputs import outputs_of
from traceview.cli.screen import progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from traceview.cli.outputs import Outputs
    from traceview.cli.simulating import Target
    from traceview.report.simulation import ProfileShown, SimulatedFile
    from traceview.simulate.profile import Profile
    from traceview.simulate.ring import Buffer
    from traceview.simulate.simulator import Options
    from traceview.simulate.workload import Step


def simulate(  # noqa: PLR0913 - one per option
    profile: sim.ProfileName = None,
    *,
    output: sim.TraceFile = None,
    show_list: sim.List = False,
    format_name: sim.Format = None,
    unmaps: sim.Unmaps = None,
    steps: sim.Steps = None,
    size: sim.Size = "2M",
    backing: sim.Backing = "",
    action: sim.Action = "dontneed",
    chunk: sim.Chunk = None,
    mapped: sim.Mapped = None,
    cpus: sim.Vms = 1,
    seed: sim.Seed = 1,
    strategy: sim.Strategy = "auto",
    preset: sim.Preset = "split",
    tracer: sim.TracerName = None,
    function: sim.Function = None,
    interrupts: sim.Interrupts = False,
    clock: sim.Clock = "local",
    buffer_kb: sim.BufferKb = None,
    discard: sim.Discard = False,
    drain_kb_s: sim.Drain = 0,
    settings: sim.Set = None,
    runs: sim.Runs = None,
    against: sim.Against = None,
    json: opt.Json = False,
    force: opt.Force = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write traces of unmaps as a profile has them, with the truth of each: synthetic."""
    with answered():
        from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
        from traceview.simulate.profile import changed, read_profile  # noqa: PLC0415

        outputs = outputs_of(json=json, output=None, force=force, quiet=quiet)
        if show_list:
            _refuse_files(output)
            _show_profiles(outputs, profile, settings or [])
            return
        if profile is None:
            raise SettingError("which profile?\nvalid: traceview simulate --list shows them")
        machine = changed(read_profile(profile), settings or [])
        wanted = _Workload(steps, size, backing, action, chunk, mapped, unmaps, cpus)
        traced = _Traced(preset, tracer, tuple(function or ()), interrupts, clock)
        recordings = _recordings(
            machine, wanted, traced, _buffer(buffer_kb, drain_kb_s, discard=discard),
            _sides(strategy, against, runs), seed,
        )  # fmt: skip
        targets = _targets(output, format_name, [name for name, _ in recordings], seed, runs)
        for target in targets:
            target.refuse_existing(force=force)
        files = _write(machine, targets, recordings, force=force, quiet=quiet)
        _show(outputs, machine, files)


@dataclass(frozen=True, slots=True)
class _Workload:
    """The options that say what is unmapped."""

    steps: Path | None
    size: str
    backing: str
    action: str
    chunk: str | None
    mapped: float | None
    unmaps: int | None
    cpus: int

    def made(self, profile: Profile) -> tuple[Step, ...]:
        """The steps; with --unmaps as often as that takes."""
        from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
        from traceview.simulate.page_table import Granule  # noqa: PLC0415
        from traceview.simulate.steps import make_step, read_steps  # noqa: PLC0415
        from traceview.simulate.workload import plan_round, repeated  # noqa: PLC0415

        page = profile.whole("machine.page_size_bytes")
        granule = Granule(page, profile.whole("machine.ipa_bits"))
        if self.steps is not None:
            steps = read_steps(self.steps)
        else:
            stated: dict[str, Any] = {
                "action": self.action, "size": self.size, "backing": self.backing or page,
            }  # fmt: skip
            stated |= {} if self.chunk is None else {"chunk": self.chunk}
            stated |= {} if self.mapped is None else {"mapped": self.mapped}
            steps = (make_step(stated, "the options"),)
        for step in steps:  # refuse what cannot be, before anything is written
            plan_round(step, granule)
        if self.unmaps is None:
            return steps
        if self.steps is not None and any(step.repetitions > 1 for step in steps):
            raise SettingError("--unmaps says how often, and so do steps of the file")
        return repeated(steps, self.unmaps, granule, self.cpus)


@dataclass(frozen=True, slots=True)
class _Traced:
    """The options that say what is traced."""

    preset: str
    tracer: str | None
    functions: tuple[str, ...]
    interrupts: bool
    clock: str

    def check(self) -> None:
        """Refuse names that there are not."""
        from traceview.simulate.presets import PRESETS, TRACERS  # noqa: PLC0415
        from traceview.simulate.simulator import CLOCK_OFFSETS_NS  # noqa: PLC0415

        _one_of("--preset", self.preset, PRESETS)
        _one_of("--clock", self.clock, tuple(CLOCK_OFFSETS_NS))
        if self.tracer is not None:
            _one_of("--tracer", self.tracer, TRACERS)


def _one_of(option: str, value: str, valid: Iterable[str]) -> None:
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help

    if value not in valid:
        raise SettingError(f"{option} {value!r}\nvalid: {', '.join(valid)}")


def _buffer(kb: int | None, drain_kb_s: int, *, discard: bool) -> Buffer | None:
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
    from traceview.simulate.ring import Buffer  # noqa: PLC0415

    if kb is None:
        if discard or drain_kb_s:
            raise SettingError(
                "--discard and --drain-kb-s say what a buffer does: give --buffer-kb"
            )
        return None
    return Buffer(kb, overwrite=not discard, drain_kb_s=drain_kb_s)


def _sides(strategy: str, against: str | None, runs: int | None) -> list[str]:
    """The strategies of the recordings, in order: an A/B is interleaved, ABBA."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
    from traceview.simulate.simulator import STRATEGIES  # noqa: PLC0415

    for one in (strategy, *([against] if against else [])):
        _one_of("--strategy and --against:", one, STRATEGIES)
    if against is None:
        return [strategy] * (runs or 1)
    if runs is None:
        raise SettingError("--against makes two sides of several runs: give --runs")
    if against == strategy:
        raise SettingError(f"--against {against}: both sides are the same")
    pairs = [(strategy, against), (against, strategy)]
    return [side for number in range(runs) for side in pairs[number % 2]]


def _recordings(
    profile: Profile, wanted: _Workload, traced: _Traced, buffer: Buffer | None, sides: list[str],
    seed: int,
) -> list[tuple[str, Options]]:  # fmt: skip
    """What is recorded, in order: the strategy, and how."""
    from traceview.simulate.call_trees import INTERRUPT  # noqa: PLC0415 - not needed by --help
    from traceview.simulate.presets import tracer_of  # noqa: PLC0415
    from traceview.simulate.simulator import Options, machine_of  # noqa: PLC0415

    traced.check()
    steps = wanted.made(profile)
    functions = (*traced.functions, *(INTERRUPT if traced.interrupts else ()))
    found = []
    for number, strategy in enumerate(sides):
        machine = machine_of(profile, strategy)
        tracer = tracer_of(traced.preset, machine, tracer=traced.tracer, functions=functions)
        options = Options(
            steps, tracer, vms=wanted.cpus, strategy=strategy, clock=traced.clock,
            seed=seed if len(sides) == 1 else seed * len(sides) + number, buffer=buffer,
        )  # fmt: skip
        found.append((strategy, options))
    return found


def _targets(
    output: Path | None, format_name: str | None, sides: list[str], seed: int, runs: int | None
) -> list[Target]:
    """Where the recordings go."""
    from traceview.cli.simulating import FORMATS, SUFFIXES, Target  # noqa: PLC0415
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help

    if output is None:
        raise SettingError("where to?\nvalid: -o FILE.txt, FILE.dat or FILE.perfetto")
    if format_name is not None:
        _one_of("--format", format_name, FORMATS)
    if runs is None:
        found = format_name or SUFFIXES.get(output.suffix)
        if found is None:
            raise SettingError(
                f"no format is known by the name {output.name}"
                f"\nvalid: {', '.join(SUFFIXES)}, or --format NAME"
            )
        return [Target(output, found, f"synthetic-{seed}", None, None)]
    if not output.is_dir():
        raise SettingError(f"with --runs a folder is written to, and {output} is none")
    kind = format_name or "text"
    counted: dict[str, int] = {}
    targets = []
    for order, side in enumerate(sides):
        counted[side] = counted.get(side, 0) + 1
        name = f"{side}-{counted[side]:02}"
        path = output / f"{name}{FORMATS[kind]}"
        targets.append(Target(path, kind, f"synthetic-{seed}-{name}", side, order))
    return targets


def _write(
    profile: Profile, targets: Sequence[Target], recordings: Sequence[tuple[str, Options]], *,
    force: bool, quiet: bool,
) -> list[SimulatedFile]:  # fmt: skip
    """Write all recordings; say how far it is on standard error."""
    from traceview.cli.simulating import write_simulated  # noqa: PLC0415 - not needed by --help
    from traceview.report.simulation import SimulatedFile  # noqa: PLC0415
    from traceview.simulate.page_table import Granule  # noqa: PLC0415
    from traceview.simulate.simulator import machine_of, simulate  # noqa: PLC0415
    from traceview.simulate.workload import plan_round  # noqa: PLC0415

    granule = Granule(profile.whole("machine.page_size_bytes"), profile.whole("machine.ipa_bits"))
    options = recordings[0][1]
    each = sum(plan_round(one, granule).unmaps * one.repetitions for one in options.steps)
    total, done = max(1, each * options.vms * len(targets)), 0
    files = []
    with progress("simulating", quiet=quiet) as hear:
        for target, (strategy, how) in zip(targets, recordings, strict=True):
            recorded, truth = simulate(profile, how)
            tracer = how.tracer.visible(machine_of(profile, strategy))
            written = write_simulated(
                target, recorded, truth, tracer, force=force,
                progress=partial(_hear, hear, done, total),
            )  # fmt: skip
            done += written.unmaps
            files.append(
                SimulatedFile(
                    str(target.path), target.run, target.label or "-", written.unmaps,
                    written.records, written.lost, written.statuses,
                )
            )  # fmt: skip
    return files


def _hear(hear: Callable[[float], None], before: int, total: int, unmaps: int) -> None:
    hear((before + unmaps) / total)


def _show(outputs: Outputs, profile: Profile, files: Sequence[SimulatedFile]) -> None:
    from traceview.report.simulation import simulated_json, simulated_report  # noqa: PLC0415

    shown = _shown(profile)
    commands = _next(files)
    outputs.show(
        lambda: simulated_json(shown, files),
        lambda width: simulated_report(shown, files, commands, width),
    )


def _next(files: Sequence[SimulatedFile]) -> list[str]:
    """What can be asked of the files."""
    labels = list(dict.fromkeys(one.label for one in files))
    if len(labels) == 1:
        return [f"traceview analyze {shlex.quote(one.path)}" for one in files[:1]]
    sides = [
        " ".join(shlex.quote(one.path) for one in files if one.label == label) for label in labels
    ]
    return [f"traceview compare --base {sides[0]} --with {sides[1]}"]


def _refuse_files(output: Path | None) -> None:
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help

    if output is not None:
        raise SettingError("--list writes no trace: leave -o out")


def _show_profiles(outputs: Outputs, name: str | None, settings: Iterable[str]) -> None:
    from traceview.report.simulation import (  # noqa: PLC0415 - not needed by --help
        profile_report,
        profiles_json,
        profiles_report,
    )
    from traceview.simulate.profile import changed, profile_names, read_profile  # noqa: PLC0415

    if name is not None:
        one = _shown(changed(read_profile(name), settings))
        outputs.show(lambda: profiles_json([one]), lambda width: profile_report(one, width))
        return
    shown = [_shown(read_profile(each)) for each in profile_names()]
    outputs.show(lambda: profiles_json(shown), lambda width: profiles_report(shown, width))


def _shown(profile: Profile) -> ProfileShown:
    from traceview.report.simulation import ProfileNumber, ProfileShown  # noqa: PLC0415

    facts = {key: text for key, text in profile.texts.items() if key not in ("title", "what")}
    facts |= {key: "yes" if on else "no" for key, on in profile.switches.items()}
    return ProfileShown(
        profile.name, profile.texts["title"], profile.texts.get("what", ""), facts,
        [
            ProfileNumber(one.key, one.value, one.source, one.where)
            for one in profile.numbers.values()
        ],
    )  # fmt: skip
