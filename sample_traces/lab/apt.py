"""Debian packages by name, through apt-get with a state of its own: the host's apt is untouched.

Mirror and proxy are those that the host's apt is set up with; on a host that is no Debian the
mirror is stated ($TRACEVIEW_LAB_MIRROR). apt checks signatures and digests, with the keys of
debian-archive-keyring. Sources: apt.conf(5), sources.list(5), apt-get(8) of apt 2.6.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sample_traces.lab.errors import LabError
from sample_traces.lab.programs import run

if TYPE_CHECKING:
    from collections.abc import Sequence

MIRROR_VARIABLE: Final = "TRACEVIEW_LAB_MIRROR"
KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITES_OF_DEBIAN: Final = frozenset(
    ("bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable", "oldstable")
)
FORMAT: Final = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
# "Inst python3 (3.14.7-3 Debian:14.0/testing [arm64])", of apt-get --simulate
INSTALLED: Final = re.compile(
    r"^Inst (?P<name>\S+) \((?P<version>\S+) .*\[(?P<arch>\S+)\]\)", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Package:
    """One package of the archive."""

    name: str
    version: str
    architecture: str

    @property
    def file(self) -> str:
        """The name that apt gives to its file: the epoch's colon is escaped."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.architecture}.deb"


def mirror() -> str:
    """The Debian mirror of the host's apt, or the one that is stated."""
    stated = os.environ.get(MIRROR_VARIABLE)
    if stated:
        return stated
    found = debian_mirror(run(["apt-get", "indextargets", "--format", FORMAT]))
    if found is None:
        raise LabError(
            "apt has no Debian mirror among its sources\n"
            f"state one, as in sources.list(5): {MIRROR_VARIABLE}=URL"
        )
    return found


def debian_mirror(targets: str) -> str | None:
    """The first repository of `apt-get indextargets` that has a suite of Debian itself."""
    for line in targets.splitlines():
        uri, suite, component = (*line.split(), "", "", "")[:3]
        of_debian = suite.split("-")[0] in SUITES_OF_DEBIAN and not suite.endswith("-security")
        if of_debian and component == "main":
            return uri
    return None


def sources(uri: str, suites: Sequence[str], keyring: Path | None, kind: str = "deb") -> str:
    """A file of sources.list.d (deb822). *kind*: deb, or deb-src for source packages."""
    signed = f"Signed-By: {keyring}\n" if keyring else ""
    return f"Types: {kind}\nURIs: {uri}\nSuites: {' '.join(suites)}\nComponents: main\n{signed}"


def newest(names: Sequence[str], pattern: str) -> str | None:
    """Of names such as linux-image-6.1.0-50-arm64 the one with the highest numbers."""
    matching = [name for name in names if re.fullmatch(pattern, name)]
    return max(matching, key=lambda name: [int(n) for n in re.findall(r"\d+", name)], default=None)


def planned(simulation: str) -> list[Package]:
    """What `apt-get --simulate install` would install."""
    return [Package(*found.groups()) for found in INSTALLED.finditer(simulation)]


def listed(index: str) -> list[Package]:
    """The packages of `apt-cache show`: paragraphs of fields."""
    found = []
    for paragraph in index.strip().split("\n\n"):
        fields = dict(
            re.findall(r"^(Package|Version|Architecture): (\S+)$", paragraph, re.MULTILINE)
        )
        found.append(Package(fields["Package"], fields["Version"], fields["Architecture"]))
    return found


@dataclass(frozen=True, slots=True)
class Apt:
    """apt for one suite and one architecture, with its state in *root*."""

    root: Path
    suite: str
    architecture: str
    kind: str = "deb"

    def prepare(self) -> None:
        """Make the private state and read the suite's index."""
        for name in ("etc/sources.list.d", "etc/preferences.d", "lists/partial", "cache/archives"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "status").touch()
        keyring = KEYRING if KEYRING.exists() else None
        text = sources(mirror(), [self.suite], keyring, self.kind)
        (self.root / "etc/sources.list.d/lab.sources").write_text(text, encoding="utf-8")
        try:
            self._run("apt-get", "update", "--error-on=any")
        except LabError as err:
            hint = "" if keyring else "\nits keys are missing: apt install debian-archive-keyring"
            raise LabError(f"suite {self.suite}: {err}{hint}") from err

    def names(self, prefix: str) -> list[str]:
        """The packages of the suite whose names begin so."""
        return self._run("apt-cache", "pkgnames", prefix).split()

    def described(self, names: Sequence[str]) -> list[Package]:
        """These packages, as the index has them."""
        return listed(self._run("apt-cache", "--no-all-versions", "show", *names))

    def closure(self, names: Sequence[str]) -> list[Package]:
        """These packages and all that they depend on: nothing counts as installed."""
        return planned(self._run("apt-get", "--simulate", "install", *names))

    def download(self, packages: Sequence[Package], folder: Path) -> None:
        """Fetch packages into a folder, with the list of what they are."""
        folder.mkdir(parents=True, exist_ok=True)
        exact = [f"{package.name}={package.version}" for package in packages]
        missing = [
            name
            for name, package in zip(exact, packages, strict=True)
            if not (folder / package.file).exists()
        ]
        if missing:
            self._run("apt-get", "download", *missing, folder=folder)
        rows = [[package.name, package.version, package.architecture] for package in packages]
        (folder / "packages.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")

    def download_source(self, name: str, folder: Path) -> Path:
        """Fetch the newest source package of that name; its description (.dsc)."""
        folder.mkdir(parents=True, exist_ok=True)
        self._run("apt-get", "source", "--download-only", name, folder=folder)
        (description,) = folder.glob("*.dsc")
        return description

    def download_tarball(self, name: str, version: str, folder: Path) -> None:
        """Fetch of a source package of that version the tarball alone."""
        what = ("source", "--download-only", "--tar-only", f"{name}={version}")
        self._run("apt-get", *what, folder=folder)

    def _run(self, program: str, *arguments: str, folder: Path | None = None) -> str:
        settings = {
            "Dir::Etc": f"{self.root}/etc",
            "Dir::Etc::Parts": "/etc/apt/apt.conf.d",
            "Dir::Etc::NetrcParts": "/etc/apt/auth.conf.d",
            "Dir::Etc::Trusted": "/etc/apt/trusted.gpg",
            "Dir::Etc::TrustedParts": "/etc/apt/trusted.gpg.d",
            "Dir::State": f"{self.root}",
            "Dir::State::Lists": f"{self.root}/lists",
            "Dir::State::Status": f"{self.root}/status",
            "Dir::Cache": f"{self.root}/cache",
            "APT::Architecture": self.architecture,
            "APT::Architectures::": self.architecture,
            "APT::Install-Recommends": "false",
            # The lab's folder may be closed to the user _apt.
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
        }
        options = [f"-o{name}={value}" for name, value in settings.items()]
        return run([program, "--quiet", *options, *arguments], folder=folder)


def fetched(folder: Path) -> list[Package]:
    """The packages of a folder, or none unless all of them are there."""
    try:
        rows = json.loads((folder / "packages.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    packages = [Package(*row) for row in rows]
    return packages if all((folder / package.file).exists() for package in packages) else []


def unpack(folder: Path, into: Path) -> list[Package]:
    """Unpack the packages of a folder into an empty one, without installing anything."""
    packages = fetched(folder)
    if not packages:
        raise LabError(f"packages are missing: {folder}\nrun: python3 -m sample_traces.lab fetch")
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    for package in packages:
        run(["dpkg-deb", "--extract", str(folder / package.file), str(into)])
    return packages
