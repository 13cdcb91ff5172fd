"""Kernels that boot: `kernels/NAME/` of the lab's folder, Debian's or built from source.

Image         what QEMU loads
initrd.gz     initramfs.py; not there: the kernel has all drivers built in and no initrd
kernel.json   {"name", "release", "origin"}: origin says package and version, or how it was built
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sample_traces.lab.apt import unpack
from sample_traces.lab.errors import LabError
from sample_traces.lab.folder import HERE
from sample_traces.lab.initramfs import initramfs
from sample_traces.lab.packages import SERIES, say
from sample_traces.lab.programs import run
from sample_traces.lab.stamp import digest, is_current, mark

if TYPE_CHECKING:
    from sample_traces.lab.folder import Folder


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel of the lab."""

    name: str
    release: str  # uname -r
    origin: str


def known(folder: Folder) -> dict[str, Kernel]:
    """The kernels that are there, by name."""
    return {path.parent.name: read(path) for path in sorted(folder.kernels.glob("*/kernel.json"))}


def read(path: Path) -> Kernel:
    """One kernel.json."""
    try:
        row = json.loads(path.read_text(encoding="utf-8"))
        return Kernel(row["name"], row["release"], row["origin"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise LabError(f"not a kernel's description: {path}: {err!r}") from err


def kernel(folder: Folder, name: str) -> Kernel:
    """The kernel of that name. Raises LabError that names those which are there."""
    there = known(folder)
    if name not in there:
        have = ", ".join(there) or "none"
        raise LabError(
            f"there is no kernel {name!r}\nthere are: {have}\n"
            "Debian's: python3 -m sample_traces.lab setup; from source: sample_traces/lab/kernel"
        )
    return there[name]


def write(folder: Folder, one: Kernel, image: Path, modules: Path | None) -> None:
    """Put a kernel where `boot` finds it. *modules*: lib/modules/RELEASE, with depmod's files."""
    home = folder.kernels / one.name
    fresh = home.with_name(f".{one.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    shutil.copyfile(image, fresh / "Image")
    init = (HERE / "guest" / "initramfs-init.sh").read_bytes()
    packed = initramfs(folder.busybox.read_bytes(), init, modules)
    (fresh / "initrd.gz").write_bytes(packed)
    (fresh / "kernel.json").write_text(json.dumps(asdict(one), indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(home, ignore_errors=True)
    fresh.rename(home)


def build_debian_kernels(folder: Folder) -> None:
    """Every kernel whose packages were fetched, unless it is made of them already."""
    sources = (HERE / "initramfs.py", HERE / "guest/initramfs-init.sh")
    for series in SERIES:
        debs = folder.debs / f"kernel-{series.name}"
        if (debs / "packages.json").exists():
            made_of = digest([*sources, debs / "packages.json"])
            home = folder.kernels / series.name
            if not is_current(home, made_of):
                _build(folder, series.name, debs)
                mark(home, made_of)


def _build(folder: Folder, name: str, debs: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.path) as scratch:
        root = Path(scratch) / "root"
        packages = unpack(debs, root)
        libraries = root / "lib" if (root / "lib/modules").exists() else root / "usr/lib"
        modules = next((libraries / "modules").iterdir())
        images = [*root.glob("boot/vmlinuz-*"), *modules.glob("vmlinuz*")]
        if not images:
            raise LabError(f"no kernel image in {', '.join(one.file for one in packages)}")
        run(["depmod", "--basedir", str(libraries.parent), modules.name])
        origin = f"Debian's {packages[0].name} {packages[0].version}"
        write(folder, Kernel(name, modules.name, origin), images[0], modules)
    say(f"kernel {name}: {modules.name}")
