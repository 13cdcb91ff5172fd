"""What the lab takes from Debian and from the Python package index: by name, newest of its series.

Suites move on. Where a series is in several, the first that still has it is taken.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sample_traces.lab.apt import Apt, Package, fetched, newest
from sample_traces.lab.errors import LabError
from sample_traces.lab.folder import PROJECT
from sample_traces.lab.programs import run
from sample_traces.lab.stamp import digest, is_current, mark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sample_traces.lab.folder import Folder

GUEST: Final = "arm64"


@dataclass(frozen=True, slots=True)
class Series:
    """One kernel of the lab. `also`: packages of the same version that hold its parts."""

    name: str
    suites: tuple[str, ...]
    pattern: str
    also: tuple[str, ...] = ()
    optional: bool = False


# From 7.0 on linux-image is empty; linux-binary and linux-modules hold what it did.
SERIES: Final = (
    Series("6.1", ("bookworm",), r"linux-image-6\.1\.0-\d+-arm64"),
    Series("6.12", ("bookworm-backports", "trixie"), r"linux-image-6\.12\.\d+\+deb\d+-arm64"),
    Series(
        "7",
        ("forky", "sid"),
        r"linux-binary-7\.\d+\.\d+\+deb\d+-arm64",
        ("linux-base", "linux-modules"),
        optional=True,
    ),
)
# trace-cmd 3.4, perf 7, Perfetto 56: older suites have no Perfetto.
USERLAND_SUITE: Final = "forky"
USERLAND: Final = ("busybox-static", "trace-cmd", "linux-perf", "perfetto", "python3")
# What `traceview record` imports, with what that needs.
WHEELS: Final = ("rich", "typer")
PLATFORMS: Final = ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "any")


class Fetcher:
    """Fetches packages; each suite's index is read once."""

    def __init__(self, folder: Folder, *, again: bool = False) -> None:
        """With *again* also what is there is looked for anew."""
        self._folder = folder
        self._again = again
        self._suites: dict[str, Apt] = {}

    def all(self, kernels: Sequence[str]) -> None:
        """Everything that the images are built from."""
        for series in SERIES:
            if series.name in kernels:
                self._kernel(series)
        target = self._folder.debs / "userland"
        if self._wanted("userland"):
            apt = self._apt(USERLAND_SUITE)
            apt.download(apt.closure(USERLAND), target)
        python = python_version(fetched(target))
        made_of = digest([PROJECT / "constraints.txt"], python, *WHEELS, *PLATFORMS)
        if self._again or not is_current(self._folder.wheels, made_of):
            fetch_wheels(self._folder, python)
            mark(self._folder.wheels, made_of)

    def _wanted(self, name: str) -> bool:
        return self._again or not fetched(self._folder.debs / name)

    def _kernel(self, series: Series) -> None:
        if not self._wanted(f"kernel-{series.name}"):
            return
        for suite in series.suites:
            apt = self._apt(suite)
            name = newest(apt.names("linux-"), series.pattern)
            if name is None:
                continue
            release = name.split("-", 2)[2]
            packages = apt.described([name, *(f"{part}-{release}" for part in series.also)])
            apt.download(packages, self._folder.debs / f"kernel-{series.name}")
            say(f"kernel {series.name}: {packages[0].name} {packages[0].version}, from {suite}")
            return
        if not series.optional:
            raise LabError(f"no suite has a kernel {series.name}: {', '.join(series.suites)}")
        say(f"kernel {series.name}: in no suite of {', '.join(series.suites)}, left out")

    def _apt(self, suite: str) -> Apt:
        if suite not in self._suites:
            say(f"index of {suite}")
            apt = Apt(self._folder.apt / suite, suite, GUEST)
            apt.prepare()
            self._suites[suite] = apt
        return self._suites[suite]


def python_version(packages: Sequence[Package]) -> str:
    """The guest's Python, "3.14"."""
    for package in packages:
        if package.name == "python3":
            return ".".join(package.version.split(".")[:2])
    raise LabError("the userland has no package python3\nrun: python3 -m sample_traces.lab fetch")


def fetch_wheels(folder: Folder, python: str) -> None:
    """Python packages for the guest, in the versions of constraints.txt."""
    folder.wheels.mkdir(parents=True, exist_ok=True)
    for old in folder.wheels.glob("*.whl"):
        old.unlink()
    where = ("--dest", str(folder.wheels), "--constraint", str(PROJECT / "constraints.txt"))
    built = ("--only-binary=:all:", "--implementation=cp", f"--python-version={python}")
    abis = (f"--abi=cp{python.replace('.', '')}", "--abi=none")
    command = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
    run([*command, *where, *built, *abis, *(f"--platform={one}" for one in PLATFORMS), *WHEELS])
    say(f"{len(list(folder.wheels.glob('*.whl')))} Python packages for Python {python}")


def say(what: str) -> None:
    """Tell what goes on."""
    print(what, flush=True)
