"""What the lab needs of the host, and how it is installed.

Nothing is installed unless it is asked for, and by root. On Debian 12 QEMU comes from
bookworm-backports, for the plugin's sake; its index is read through the lab's own state of apt.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sample_traces.lab.apt import KEYRING, mirror, sources
from sample_traces.lab.errors import LabError
from sample_traces.lab.packages import say
from sample_traces.lab.programs import find, run

QEMU: Final = "qemu-system-aarch64"
# Tried: 7.2.22 (whose `max` lacks DIC) and 10.0.2.
OLDEST_QEMU: Final = (7, 2)
OS_RELEASE: Final = Path("/etc/os-release")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A program, the packages that bring it, and what it is for."""

    program: str
    packages: tuple[str, ...]
    why: str


REQUIREMENTS: Final = (
    Requirement(QEMU, ("qemu-system-arm",), "the machine"),
    Requirement(
        "aarch64-linux-gnu-gcc",
        ("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"),
        "compiles the workload",
    ),
    Requirement("apt-get", ("apt",), "fetches kernels and the guest's programs"),
    Requirement("dpkg-deb", ("dpkg",), "unpacks them"),
    Requirement("mke2fs", ("e2fsprogs",), "makes the root file system"),
    Requirement("depmod", ("kmod",), "which kernel module needs which"),
)


def qemu_version() -> tuple[int, ...] | None:
    """The version of QEMU, or None without it."""
    if find(QEMU) is None:
        return None
    return version(run([QEMU, "--version"]))


def version(said: str) -> tuple[int, ...]:
    """The first version number of a text."""
    found = re.search(r"version (\d+(?:\.\d+)+)", said)
    if found is None:
        raise LabError(f"no version of QEMU in: {said.splitlines()[:1]}")
    return tuple(int(part) for part in found[1].split("."))


def missing() -> list[tuple[Requirement, str]]:
    """What is missing or too old, each with a word."""
    found = [(one, "not found") for one in REQUIREMENTS if find(one.program) is None]
    there = qemu_version()
    if there is not None and there < OLDEST_QEMU:
        oldest = ".".join(map(str, OLDEST_QEMU))
        have = ".".join(map(str, there))
        found.append((REQUIREMENTS[0], f"is {have}, needs {oldest} or later"))
    if importlib.util.find_spec("pip") is None:
        pip = Requirement(f"pip of {sys.executable}", ("python3-pip",), "the guest's packages")
        found.append((pip, "not found"))
    if not KEYRING.exists():
        keys = Requirement("Debian's keys", ("debian-archive-keyring",), "checks signatures")
        found.append((keys, "not found"))
    return found


def require() -> None:
    """Raises LabError that names all that is missing and the packages that bring it."""
    lacking = missing()
    if not lacking:
        return
    lines = [f"  {one.program} {word}: {one.why}" for one, word in lacking]
    names = " ".join(sorted({name for one, _ in lacking for name in one.packages}))
    raise LabError(
        "\n".join(("programs of the host are missing", *lines))
        + f"\npackages: {names}\nas root: python3 -m sample_traces.lab setup --install"
    )


def codename(os_release: str) -> str | None:
    """VERSION_CODENAME of os-release(5)."""
    found = re.search(r"^VERSION_CODENAME=(\S+)$", os_release, re.MULTILINE)
    return found[1].strip('"') if found else None


def install(state: Path) -> None:
    """Install what is missing with the host's apt. Raises LabError unless root."""
    lacking = missing()
    if not lacking:
        return
    if os.geteuid() != 0:
        raise LabError("only root can install packages: run setup --install as root, once")
    names = sorted({name for one, _ in lacking for name in one.packages})
    say(f"installing {' '.join(names)}")
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    release = OS_RELEASE.read_text(encoding="utf-8") if OS_RELEASE.exists() else ""
    options: list[str] = []
    if "qemu-system-arm" in names and codename(release) == "bookworm":
        options = _with_backports(state)
        names = [
            f"{name}/bookworm-backports" if name.startswith("qemu") else name for name in names
        ]
        options.append("--target-release=bookworm-backports")
    run(["apt-get", "--quiet", *options, "update"])
    run(["apt-get", "--quiet", *options, "install", "--yes", "--no-install-recommends", *names])
    require()


def _with_backports(state: Path) -> list[str]:
    """Options by which apt sees the host's sources and bookworm-backports, this once."""
    parts = state / "sources.list.d"
    shutil.rmtree(parts, ignore_errors=True)
    shutil.copytree("/etc/apt/sources.list.d", parts)
    text = sources(mirror(), ["bookworm-backports"], KEYRING if KEYRING.exists() else None)
    (parts / "traceview-lab.sources").write_text(text, encoding="utf-8")
    (state / "lists/partial").mkdir(parents=True, exist_ok=True)
    return [f"-oDir::Etc::SourceParts={parts}", f"-oDir::State::Lists={state}/lists"]
