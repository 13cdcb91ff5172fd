"""Build arm64 kernels of one source, each with another invalidation of stage 2.

    python3 -m sample_traces.lab.kernel.build NAME... [--suite SUITE] [--jobs JOBS]

switch                   deferral can be switched at run time (docs/how-to), nothing else changed
eager-tables-reverted    also without f62d4c3eb687: table pages are released before their TLBI
range-operand-reverted   also without e3ba51ab24fd: 2^21 pages at once are not all invalidated

The last two are BROKEN ON PURPOSE, for an emulator. The source is Debian's package `linux`, with
Debian's patches, from the mirror of the host's apt; the configuration is allnoconfig and
kernel.config. All share one tree and one object tree in the lab's folder (2 GB), so the second
kernel and later ones compile only what their patch touches. Besides what every kernel of the lab
has, `operands` says where the TLBIs of __kvm_tlb_flush_vmid_range are, as --operand of
`traceview record` takes them. Tried: 6.12.95-1~bpo12+1, gcc 12.2.
Sources: Documentation/kbuild/kbuild.rst of 6.12, dpkg-source(1).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sample_traces.lab.apt import Apt
from sample_traces.lab.errors import LabError
from sample_traces.lab.folder import PROJECT, Folder, lab_folder
from sample_traces.lab.kernels import Kernel, write
from sample_traces.lab.packages import GUEST, say
from sample_traces.lab.programs import find, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE: Final = Path(__file__).parent
SWITCH: Final = PROJECT / "docs/how-to/unmap-defer-6.12.patch"
CONFIGURATION: Final = HERE / "kernel.config"
SUITE: Final = "bookworm-backports"
# The patches of each, in order.
VARIANTS: Final = {
    "switch": (SWITCH,),
    "eager-tables-reverted": (SWITCH, HERE / "eager-tables-reverted.patch"),
    "range-operand-reverted": (SWITCH, HERE / "range-operand-reverted.patch"),
}
PATCHES: Final = (SWITCH, *(patches[-1] for name, patches in VARIANTS.items() if name != "switch"))
PROGRAMS: Final = {
    "dpkg-source": "dpkg-dev", "patch": "patch", "make": "make", "gcc": "gcc", "flex": "flex",
    "bison": "bison", "bc": "bc",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
}  # fmt: skip
CROSS: Final = "aarch64-linux-gnu-"
FLUSH: Final = "__kvm_tlb_flush_vmid_range"
# "ffff80008006f914:  tlbi  ripas2e1is, x4", of objdump
TLBI: Final = re.compile(r"^\s*([0-9a-f]+):\s+tlbi\s+(r?ipas2e1is), (x\d+)$", re.MULTILINE)
START: Final = re.compile(rf"^([0-9a-f]+) <{FLUSH}>:$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where kernels are built."""

    path: Path
    jobs: int

    @property
    def source(self) -> Path:
        """The tree, with the patches of the kernel that was built last."""
        return self.path / "source"

    @property
    def objects(self) -> Path:
        """What make writes."""
        return self.path / "objects"

    def make(self, variant: str, *targets: str) -> None:
        """Run make; LOCALVERSION names the variant."""
        settings = (f"O={self.objects}", "ARCH=arm64", f"CROSS_COMPILE={CROSS}")
        release = f"LOCALVERSION=-{variant}"
        run(["make", "-s", "-C", str(self.source), *settings, release, *targets])


def build(folder: Folder, variants: Sequence[str], suite: str, jobs: int) -> None:
    """Build kernels and put them where `boot` finds them. Raises LabError."""
    unknown = [name for name in variants if name not in VARIANTS]
    if unknown:
        raise LabError(f"no kernel {unknown[0]!r} to build\nthere are: {', '.join(VARIANTS)}")
    lacking = [package for program, package in PROGRAMS.items() if find(program) is None]
    if lacking:
        raise LabError(f"programs are missing: apt install {' '.join(lacking)}")
    shop = Workshop(folder.path / "kernel-build", jobs)
    package = unpack(folder, shop, suite)
    compile_slot(folder)
    for variant in variants:
        started = time.monotonic()
        for name, text in compiled(shop, variant, package, folder):
            (folder.kernels / variant / name).write_text(text, encoding="utf-8")
        say(f"kernel {variant}: {time.monotonic() - started:.0f} s with {jobs} jobs")


def unpack(folder: Folder, shop: Workshop, suite: str) -> str:
    """Fetch and unpack the source unless it is there; what it is: package, version, suite."""
    stated = shop.path / "package"
    if stated.exists():
        return stated.read_text(encoding="utf-8").strip()
    say(f"source package of linux, from {suite}")
    apt = Apt(folder.apt / f"{suite}-source", suite, GUEST, "deb-src")
    apt.prepare()
    fetched = folder.debs / "kernel-source"
    shutil.rmtree(fetched, ignore_errors=True)
    description = apt.download_source("linux", fetched)
    shutil.rmtree(shop.path, ignore_errors=True)
    shop.path.mkdir(parents=True)
    # apt has checked signature and digests.
    run(["dpkg-source", "--no-check", "--extract", str(description), str(shop.source)])
    for copied in shop.path.glob("*.tar.*"):
        copied.unlink()
    name = f"Debian's linux {description.stem.partition('_')[2]}, {suite}"
    stated.write_text(f"{name}\n", encoding="utf-8")
    return name


def compiled(
    shop: Workshop, variant: str, package: str, folder: Folder
) -> Iterator[tuple[str, str]]:
    """Build one; files that go beside it."""
    arrange(shop.source, VARIANTS[variant], PATCHES)
    configure(shop, variant)
    shop.make(variant, f"-j{shop.jobs}", "Image")
    release = (shop.objects / "include/config/kernel.release").read_text(encoding="utf-8").strip()
    names = ", ".join(patch.name for patch in VARIANTS[variant])
    gcc = run([f"{CROSS}gcc", "--version"]).splitlines()[0]
    origin = f"{package}, with {names}; allnoconfig and {CONFIGURATION.name}; {gcc}"
    image = shop.objects / "arch/arm64/boot/Image"
    write(folder, Kernel(variant, release, origin), image, None)
    said = run([f"{CROSS}objdump", "-d", "--no-show-raw-insn", f"--disassemble={FLUSH}",
                str(shop.objects / "vmlinux")])  # fmt: skip
    yield "operands", "".join(f"{line}\n" for line in operands(said))


def arrange(tree: Path, wanted: Sequence[Path], known: Sequence[Path]) -> None:
    """Give a tree these of the patches that it may have, whatever a build before this one left.

    Files that have the right content are not touched: make would compile all that uses them.
    """
    for patch in reversed(known):
        if patch not in wanted and has(tree, patch):
            patched(tree, patch, "--reverse")
    for patch in wanted:
        if not has(tree, patch):
            patched(tree, patch)


def has(tree: Path, patch: Path) -> bool:
    """Whether a patch was applied: it can be taken back."""
    try:
        run([*_patch(tree, patch), "--reverse", "--dry-run"])
    except LabError:
        return False
    return True


def patched(tree: Path, patch: Path, *how: str) -> None:
    """Apply a patch, wholly or not at all."""
    run([*_patch(tree, patch), *how, "--dry-run"])
    run([*_patch(tree, patch), *how])


def _patch(tree: Path, patch: Path) -> list[str]:
    # --force: no questions.
    options = ["-p1", "--force", "--no-backup-if-mismatch", "--reject-file=-"]
    return ["patch", "-d", str(tree), *options, "-i", str(patch)]


def configure(shop: Workshop, variant: str) -> None:
    """Make the configuration anew if it is older than kernel.config. Refused options are errors."""
    result = shop.objects / ".config"
    if result.exists() and result.stat().st_mtime > CONFIGURATION.stat().st_mtime:
        return
    shop.objects.mkdir(exist_ok=True)
    shop.make(variant, "allnoconfig")
    merge = shop.source / "scripts/kconfig/merge_config.sh"
    run(["sh", str(merge), "-m", "-O", str(shop.objects), str(result), str(CONFIGURATION)],
        folder=shop.source)  # fmt: skip
    shop.make(variant, "olddefconfig")
    lacking = refused(CONFIGURATION.read_text(encoding="utf-8"), result.read_text(encoding="utf-8"))
    if lacking:
        result.unlink()
        raise LabError(f"the kernel does not take these of {CONFIGURATION}: {', '.join(lacking)}")


def refused(asked: str, result: str) -> list[str]:
    """Lines of a configuration that is asked for and that the result does not have."""
    have = set(result.splitlines())
    return [line for line in asked.splitlines() if line.startswith("CONFIG_") and line not in have]


def operands(disassembly: str) -> list[str]:
    """+0xOFFSET,REGISTER,INSTRUCTION of each TLBI of a stage-2 address in the function."""
    start = START.search(disassembly)
    if start is None:
        raise LabError(f"no {FLUSH} in the kernel: was it built without KVM?")
    first = int(start[1], 16)
    return [
        f"+{int(at, 16) - first:#x},{register},{instruction}"
        for at, instruction, register in TLBI.findall(disassembly)
    ]


def compile_slot(folder: Folder) -> None:
    """slot.c, for the guest."""
    target = folder.workload.with_name("slot")
    target.parent.mkdir(parents=True, exist_ok=True)
    run(
        [
            f"{CROSS}gcc",
            "-O2",
            "-Wall",
            "-Wextra",
            "-static",
            "-o",
            str(target),
            str(HERE / "slot.c"),
        ]
    )


def main(arguments: Sequence[str]) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python3 -m sample_traces.lab.kernel.build")
    parser.add_argument("names", nargs="+", metavar="NAME", help=", ".join(VARIANTS))
    parser.add_argument("--suite", default=SUITE)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args(arguments)
    try:
        build(lab_folder(), asked.names, asked.suite, asked.jobs)
    except LabError as err:
        print(f"lab: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
