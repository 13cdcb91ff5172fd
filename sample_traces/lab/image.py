"""The root file system of every boot, and the workload in it.

An ext4 file made by mke2fs -d, so that no root and no mount is needed; mounted read-only. Packages
are unpacked, not installed: no maintainer script runs.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sample_traces.lab.apt import unpack
from sample_traces.lab.errors import LabError
from sample_traces.lab.folder import HERE
from sample_traces.lab.packages import say
from sample_traces.lab.programs import run
from sample_traces.lab.stamp import digest, is_current, mark

if TYPE_CHECKING:
    from sample_traces.lab.folder import Folder

# Nothing in the guest reads them.
LEFT_OUT: Final = (
    "usr/share/bash-completion",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl",
    "usr/share/perl5",
    "usr/share/zoneinfo",
    "usr/lib/aarch64-linux-gnu/gconv",
    "usr/lib/aarch64-linux-gnu/perl",
    "usr/lib/aarch64-linux-gnu/perl-base",
)
MOUNT_POINTS: Final = ("proc", "sys", "dev", "tmp", "run", "share", "root", "etc")
PYTHON_PACKAGES: Final = "opt/python"
SPARE_BYTES: Final = 32 << 20
COMPILER: Final = ("aarch64-linux-gnu-gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static")


def build_if_changed(folder: Folder) -> None:
    """Build the image unless it is made of what is there now."""
    wheels = sorted(folder.wheels.glob("*.whl"))
    sources = (HERE / "image.py", HERE / "guest/init.sh", HERE / "workload/workload.c")
    packages = folder.debs / "userland/packages.json"
    if not packages.exists():
        raise LabError("nothing was fetched\nrun: python3 -m sample_traces.lab fetch")
    made_of = digest([*sources, packages], *(wheel.name for wheel in wheels))
    if not is_current(folder.root_image, made_of):
        build_image(folder)
        mark(folder.root_image, made_of)


def build_image(folder: Folder) -> None:
    """Unpack the userland, add the project's parts, and make the image."""
    build_workload(folder)
    with tempfile.TemporaryDirectory(dir=folder.path) as scratch:
        root = Path(scratch) / "root"
        unpack(folder.debs / "userland", root)
        for name in LEFT_OUT:
            shutil.rmtree(root / name, ignore_errors=True)
        _complete(root, folder)
        fresh = folder.root_image.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        blocks = (_bytes_below(root) * 5 // 4 + SPARE_BYTES) // 4096
        options = ["-q", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-E", "root_owner=0:0"]
        run(["mke2fs", *options, "-d", str(root), str(fresh), str(blocks)])
        fresh.rename(folder.root_image)
    say(f"root file system: {folder.root_image.stat().st_size >> 20} MiB")


def build_workload(folder: Folder) -> None:
    """Compile the KVM program."""
    folder.workload.parent.mkdir(parents=True, exist_ok=True)
    source = HERE / "workload" / "workload.c"
    run([*COMPILER, "-pthread", "-o", str(folder.workload), str(source)])


def _complete(root: Path, folder: Folder) -> None:
    for name in ("bin", "sbin", "lib"):
        if not (root / name).exists():
            (root / "usr" / name).mkdir(exist_ok=True)
            (root / name).symlink_to(f"usr/{name}")
    for name in MOUNT_POINTS:
        (root / name).mkdir(exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n", encoding="utf-8")
    (root / "etc/group").write_text("root:x:0:\n", encoding="utf-8")
    busybox = root / "usr/bin/busybox"
    if not busybox.exists():
        raise LabError("the userland has no busybox")
    shutil.copy(busybox, folder.busybox)
    shell = root / "usr/bin/sh"
    shell.unlink(missing_ok=True)
    shell.symlink_to("busybox")
    shutil.copy(folder.workload, root / "usr/bin/workload")
    init = root / "init"
    shutil.copy(HERE / "guest/init.sh", init)
    init.chmod(0o755)
    for wheel in sorted(folder.wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as packed:
            packed.extractall(root / PYTHON_PACKAGES)


def _bytes_below(root: Path) -> int:
    """What the files take, in blocks of 4 KiB; an inode and its folder entry count as one more."""
    sizes = [path.lstat().st_size for path in root.rglob("*") if not path.is_dir()]
    return sum((size // 4096 + 2) * 4096 for size in sizes)
