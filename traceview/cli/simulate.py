"""`traceview simulate`: traces of unmaps on a machine that a profile describes, with the truth."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from traceview.cli import options as opt  # noqa: TC001 - typer evaluates annotations
from traceview.cli import simulate_options as sim  # noqa: TC001 - the same
from traceview.cli.exits import answered
from traceview.cli.outputs import STDOUT, outputs_of, spare
from traceview.cli.screen import progress, show_text
from traceview.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
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
    show_file: sim.Show = False,
    format_name: sim.Format = None,
    unmaps: sim.Unmaps = None,
    steps: sim.Steps = None,
    size: sim.Size = None,
    backing: sim.Backing = None,
    action: sim.Action = None,
    chunk: sim.Chunk = None,
    mapped: sim.Mapped = None,
    cpus: sim.Vms = 1,
    seed: sim.Seed = 1,
    strategy: sim.Strategy = "auto",
    preset: sim.Preset = "split",
    tracer: sim.TracerName = None,
    function: sim.Function = None,
    interrupts: sim.Interrupts = False,
    clock: sim.Clock = "mono",
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
        from traceview.simulate.profile import (  # noqa: PLC0415
            changed,
            profile_text,
            read_profile,
        )

        outputs = outputs_of(json=json, output=None, force=force, quiet=quiet)
        if show_list:
            _refuse_files(output, "--list")
            _show_profiles(outputs, profile, settings or [])
            return
        if profile is None:
            raise SettingError("which profile?\nvalid: traceview simulate --list shows them")
        if show_file:
            _refuse_files(output, "--show")
            show_text([profile_text(profile)])
            return
        machine = changed(read_profile(profile), settings or [])
        wanted = _Workload(steps, size, backing, action, chunk, mapped, unmaps, cpus)
        traced = _Traced(preset, tracer, tuple(function or ()), interrupts, clock)
        recordings = _recordings(
            machine, wanted, traced, _buffer(buffer_kb, drain_kb_s, discard=discard),
            _sides(strategy, against, runs), seed,
        )  # fmt: skip
        with _folder(output, runs):
            targets = _targets(output, format_name, machine, recordings, runs)
            for target in targets:
                spare(target.files, [profile], [steps] if steps else None)
                target.refuse_existing(force=force)
            files = _write(machine, targets, recordings, force=force, quiet=quiet)
        _show(outputs, machine, files)


@dataclass(frozen=True, slots=True)
class _Workload:
    """The options that say what is unmapped."""

    steps: Path | None
    size: str | None
    backing: str | None
    action: str | None
    chunk: str | None
    mapped: float | None
    unmaps: int | None
    cpus: int

    def made(self, profile: Profile) -> tuple[Step, ...]:
        """The steps; with --unmaps as often as that takes."""
        from traceview.simulate.page_table import Granule  # noqa: PLC0415
        from traceview.simulate.steps import make_step, read_steps  # noqa: PLC0415
        from traceview.simulate.workload import plan_round, repeated  # noqa: PLC0415

        if self.cpus > profile.whole("machine.cpus"):
            most = profile.whole("machine.cpus")
            raise SettingError(
                f"--cpus {self.cpus}: this machine has {most}"
                f"\nvalid: up to {most}, or more with --set machine.cpus={self.cpus}"
            )
        page = profile.whole("machine.page_size_bytes")
        granule = Granule(page, profile.whole("machine.ipa_bits"))
        options = {
            "action": self.action, "size": self.size, "backing": self.backing, "chunk": self.chunk,
            "mapped": self.mapped,
        }  # fmt: skip
        stated = {key: value for key, value in options.items() if value is not None}
        steps: tuple[Step, ...]
        if self.steps is None:
            steps = (make_step({"backing": page, **stated}, "the options"),)
        elif stated:
            raise SettingError(f"--steps says what is done, and so does --{min(stated)}")
        else:
            steps = read_steps(self.steps)
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
    if value not in valid:
        raise SettingError(f"{option} {value!r}\nvalid: {', '.join(valid)}")


def _buffer(kb: int | None, drain_kb_s: int, *, discard: bool) -> Buffer | None:
    from traceview.simulate.ring import Buffer  # noqa: PLC0415

    if kb is None:
        if discard or drain_kb_s:
            raise SettingError(
                "--discard and --drain-kb-s say what a buffer does: give --buffer-kb"
            )
        return None
    if discard and drain_kb_s:
        raise SettingError(
            "--discard with --drain-kb-s: the kernel does not say where such a buffer lost events,"
            " so nobody could tell which unmaps are whole"
        )
    return Buffer(kb, overwrite=not discard, drain_kb_s=drain_kb_s)


def _sides(strategy: str, against: str | None, runs: int | None) -> list[str]:
    """The strategies of the recordings, in order: an A/B is interleaved, ABBA."""
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


@contextlib.contextmanager
def _folder(output: Path | None, runs: int | None) -> Iterator[None]:
    """The folder that several runs go into: made if it is not there, and not left empty."""
    made = output is not None and runs is not None and not output.exists()
    if made and output is not None:
        try:
            output.mkdir()
        except OSError as err:
            raise SettingError(f"a folder that cannot be made: {output}: {err.strerror}") from err
    try:
        yield
    finally:
        if made and output is not None:
            with contextlib.suppress(OSError):
                output.rmdir()


def _targets(
    output: Path | None, format_name: str | None, profile: Profile,
    recordings: Sequence[tuple[str, Options]], runs: int | None,
) -> list[Target]:  # fmt: skip
    """Where the recordings go."""
    from traceview.cli.simulating import FORMATS, Target  # noqa: PLC0415 - not needed by --help
    from traceview.simulate.simulator import run_name  # noqa: PLC0415

    if output is None:
        raise SettingError("where to?\nvalid: -o FILE.txt, FILE.dat or FILE.perfetto")
    if output == STDOUT:
        raise SettingError("a trace, its truth and its sidecar are three files\nvalid: -o FILE")
    if format_name is not None:
        _one_of("--format", format_name, FORMATS)
    names = [run_name(profile, options) for _, options in recordings]
    if runs is None:
        return [Target(output, _format(output, format_name), names[0], None, None)]
    if not output.is_dir():
        raise SettingError(f"with --runs a folder is written to, and {output} is none")
    kind = format_name or "text"
    counted: dict[str, int] = {}
    targets = []
    for order, ((side, _), name) in enumerate(zip(recordings, names, strict=True)):
        counted[side] = counted.get(side, 0) + 1
        path = output / f"{side}-{counted[side]:02}{FORMATS[kind]}"
        targets.append(Target(path, kind, name, side, order))
    return targets


def _format(output: Path, stated: str | None) -> str:
    """The format that is asked for, or that the name says."""
    from traceview.cli.simulating import SUFFIXES  # noqa: PLC0415 - not needed by --help

    found = stated or SUFFIXES.get(output.suffix)
    if found is None:
        raise SettingError(
            f"no format is known by the name {output.name}"
            f"\nvalid: {', '.join(SUFFIXES)}, or --format NAME"
        )
    return found


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
                    str(target.path), target.run, target.label, written.unmaps,
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


def _refuse_files(output: Path | None, option: str) -> None:
    if output is not None:
        raise SettingError(f"{option} writes no trace: leave -o out")


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
            ProfileNumber(
                one.key, int(one.value) if one.value.is_integer() else one.value, one.source,
                one.where,
            )
            for one in profile.numbers.values()
        ],
    )  # fmt: skip
