"""The lab's command line: `python3 -m sample_traces.lab`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sample_traces.lab import image, kernels, packages, requirements
from sample_traces.lab.boot import SECONDS, Boot, boot, job_path
from sample_traces.lab.errors import LabError
from sample_traces.lab.folder import VARIABLE, Folder, lab_folder
from sample_traces.lab.machine import CPU_MODELS, MODES, Machine
from traceview.errors import TraceviewError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NAMES: Final = tuple(series.name for series in packages.SERIES)
FINDING: Final = 1
WRONG_USE: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0; 1: it did not work, or something differs."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    at = words.index("--") if "--" in words else len(words)
    given = parser().parse_args(words[:at], argparse.Namespace(arguments=words[at + 1 :]))
    action: Callable[[Folder, argparse.Namespace], int] = given.action
    folder = lab_folder()
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        return action(folder, given)
    except (LabError, TraceviewError, OSError) as err:
        print(f"error: {err}", file=sys.stderr)
        return FINDING
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Every command and its options."""
    top = argparse.ArgumentParser(
        prog="python3 -m sample_traces.lab",
        description="Real arm64 kernels with KVM under QEMU. See sample_traces/lab/README.md.",
        epilog=f"Everything is kept in ${VARIABLE}, else in ~/.cache/traceview-lab.",
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, action: Callable[[Folder, argparse.Namespace], int], what: str
    ) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=what, description=what)
        one.set_defaults(action=action)
        return one

    one = command("setup", set_up, "requirements, fetch and build, whatever of it is not done yet")
    _fetching(one)
    one.add_argument("--install", action="store_true", help="install what is missing, as root")
    one = command("requirements", require, "what of the host's programs is missing")
    one.add_argument("--install", action="store_true", help="install what is missing, as root")
    _fetching(command("fetch", fetch, "packages of kernels and of the guest's programs"))
    command("build", build, "root file system, kernels, workload")
    command("kernels", list_kernels, "the kernels that can be booted")
    _booting(command("boot", run_job, "boot a kernel and run a job in it"))
    one = command("check", check, "compare the captures of a boot with its ground truth")
    one.add_argument("out", type=Path, nargs="+", help="folder of a boot")
    one = command("samples", samples, "record the bundled samples anew and compare the counts")
    one.add_argument("--kernel", action="append", help="only those of this kernel")
    return top


def _fetching(one: argparse.ArgumentParser) -> None:
    one.add_argument("--kernel", action="append", choices=NAMES, help="not all of them")
    one.add_argument("--again", action="store_true", help="look for newer packages")


def _booting(one: argparse.ArgumentParser) -> None:
    machine = Machine()
    one.add_argument(
        "job", help="a name below jobs/, or the path of a script; after -- its arguments"
    )
    one.add_argument("--kernel", default="6.12", help="6.12 unless given")
    one.add_argument("--cpu", default=machine.cpu, choices=CPU_MODELS)
    one.add_argument("--cpus", type=int, help="2; 1 where time is deterministic")
    one.add_argument("--memory", type=int, default=machine.memory_mib, metavar="MIB")
    one.add_argument("--mode", default=machine.mode, choices=MODES)
    one.add_argument("--deterministic", action="store_true", help="1 instruction = 1 ns")
    one.add_argument("--append", default="", metavar="WORDS", help="of the kernel's command line")
    one.add_argument("--name", default="", help="of the folder below out/")
    one.add_argument("--file", action="append", type=Path, default=[], help="put into /share")
    one.add_argument("--project", action="store_true", help="traceview itself in the guest")
    one.add_argument("--plugin", action="store_true", help="write what the CPU executed")
    one.add_argument("--seconds", type=float, default=SECONDS, help="time limit")


def set_up(folder: Folder, given: argparse.Namespace) -> int:
    """All that is needed before a boot."""
    require(folder, given)
    fetch(folder, given)
    return build(folder, given)


def require(folder: Folder, given: argparse.Namespace) -> int:
    """What the host has to have."""
    if given.install:
        requirements.install(folder.apt / "host")
    requirements.require()
    return 0


def fetch(folder: Folder, given: argparse.Namespace) -> int:
    """What is not there yet."""
    wanted = given.kernel or list(NAMES)
    packages.Fetcher(folder, again=given.again).all(wanted)
    return 0


def build(folder: Folder, _: argparse.Namespace) -> int:
    """Images, when something that they are made of has changed."""
    image.build_if_changed(folder)
    kernels.build_debian_kernels(folder)
    return 0


def list_kernels(folder: Folder, _: argparse.Namespace) -> int:
    """Name, release and origin."""
    for one in kernels.known(folder).values():
        print(f"{one.name}\t{one.release}\t{one.origin}")
    return 0


def run_job(folder: Folder, given: argparse.Namespace) -> int:
    """One boot; its folder is printed."""
    cpus = given.cpus or (1 if given.deterministic else Machine().cpus)
    machine = Machine(
        cpu=given.cpu,
        cpus=cpus,
        memory_mib=given.memory,
        mode=given.mode,
        deterministic=given.deterministic,
        kernel_arguments=given.append,
    )
    asked = Boot(
        job_path(given.job),
        given.kernel,
        machine,
        tuple(given.arguments),
        given.name,
        tuple(given.file),
        project=given.project,
        plugin=given.plugin,
        seconds=given.seconds,
    )
    out = boot(folder, asked)
    print(out)
    _write_sidecars(out)
    return 0


def _write_sidecars(out: Path) -> None:
    from sample_traces.lab.captures import write_sidecars  # noqa: PLC0415 - the rest needs no traceview

    if any(path.name != "guest.setup" for path in out.glob("*.setup")):
        write_sidecars(out)


def check(_: Folder, given: argparse.Namespace) -> int:
    """Print a line for each capture; 1 when something differs from the truth."""
    from sample_traces.lab.checked_boot import check_boot  # noqa: PLC0415 - needs traceview

    wrong = 0
    for out in given.out:
        for name, checked in check_boot(out).items():
            print(f"{out.name}/{name}: {checked.line()}")
            for line in checked.wrong:
                print(f"  {line}")
            wrong += len(checked.wrong)
    return FINDING if wrong else 0


def samples(folder: Folder, given: argparse.Namespace) -> int:
    """Record and compare; 1 when a count differs."""
    from sample_traces.lab.samples import record_samples  # noqa: PLC0415 - needs traceview

    found = record_samples(folder, frozenset(given.kernel) if given.kernel else None)
    print(f"in {folder.out / 'samples'}")
    return FINDING if any(found.values()) else 0


def run() -> None:
    """The process."""
    try:
        sys.exit(main())
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FINDING)
