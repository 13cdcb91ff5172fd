"""Builds the plugin: its header is that of the QEMU that runs, from Debian's source package of it.

QEMU's packages have no header, and the interface changes between versions; the tarball of the
source package is fetched by name and version. GLib's headers are taken from the host, or from its
package without installing it: the plugin finds GLib's functions in QEMU itself.
"""

from __future__ import annotations

import re
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sample_traces.lab.apt import Apt, unpack
from sample_traces.lab.errors import LabError
from sample_traces.lab.packages import say
from sample_traces.lab.programs import find, run
from sample_traces.lab.requirements import OS_RELEASE
from sample_traces.lab.stamp import digest, is_current, mark

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sample_traces.lab.folder import Folder

HERE: Final = Path(__file__).parent
HEADER: Final = "include/qemu/qemu-plugin.h"
PACKAGE: Final = "qemu-system-arm"
GLIB: Final = "libglib2.0-dev"
SUITE: Final = re.compile(r"^VERSION_CODENAME=\"?([a-z]+)", re.MULTILINE)
FLAGS: Final = (
    *("-std=gnu11", "-O2", "-fPIC", "-shared"),
    *("-Wall", "-Wextra", "-Wshadow"),
)


def built(folder: Folder) -> Path:
    """The plugin for the QEMU of this host, built unless it is. Raises LabError."""
    plugin = folder.plugin / "executed.so"
    version = _qemu_version()
    made_of = digest(sorted(HERE.glob("*.[ch]")), version, *FLAGS)
    if is_current(plugin, made_of):
        return plugin
    lacking = [program for program in ("gcc", "apt-get", "dpkg-deb") if find(program) is None]
    if lacking:
        raise LabError(f"programs are missing: apt install {' '.join(lacking)}")
    folder.plugin.mkdir(parents=True, exist_ok=True)
    header = _header(folder, version)
    include = [f"-isystem{header.parent}", *_glib(folder)]
    code = [str(path) for path in sorted(HERE.glob("*.c"))]
    run(["gcc", *FLAGS, "-o", str(plugin), *code, *include])
    mark(plugin, made_of)
    return plugin


def _qemu_version() -> str:
    return run(["dpkg-query", "--show", "--showformat=${source:Version}", PACKAGE]).strip()


def _suites() -> Iterator[str]:
    """Where the version that is installed may come from, the likeliest first."""
    found = SUITE.search(OS_RELEASE.read_text(encoding="utf-8"))
    name = found[1] if found else "bookworm"
    yield from (f"{name}-backports", name, "trixie", "forky", "sid")


def _header(folder: Folder, version: str) -> Path:
    """qemu-plugin.h of that version, fetched unless it is there."""
    kept = folder.plugin / f"qemu-{version.replace(':', '_')}"
    header = kept / "qemu-plugin.h"
    if header.exists():
        return header
    say(f"source package of QEMU {version}, for its plugin interface")
    kept.mkdir(parents=True, exist_ok=True)
    failures = []
    for suite in dict.fromkeys(_suites()):
        try:
            _fetch_tarball(folder, suite, version, kept)
            break
        except LabError as error:
            failures.append(f"{suite}: {str(error).splitlines()[-1].strip()}")
    else:
        raise LabError("\n".join([f"no source package of QEMU {version} was fetched", *failures]))
    (tarball,) = kept.glob("qemu_*.orig.tar.*")
    with tarfile.open(tarball) as archive:
        for member in archive:
            if member.name.endswith(HEADER):
                content = archive.extractfile(member)
                header.write_bytes(content.read() if content else b"")
                break
    tarball.unlink()
    if not header.exists():
        raise LabError(f"QEMU {version} has no {HEADER}")
    return header


def _fetch_tarball(folder: Folder, suite: str, version: str, into: Path) -> None:
    """The tarball alone, with its digest checked: apt with a state of its own."""
    architecture = run(["dpkg", "--print-architecture"]).strip()
    apt = Apt(folder.apt / f"{suite}-source", suite, architecture, "deb-src")
    apt.prepare()
    apt.download_tarball("qemu", version, into)


def _glib(folder: Folder) -> list[str]:
    """Where GLib's headers are: on the host, or unpacked from its package."""
    if find("pkg-config") is not None:
        try:
            return run(["pkg-config", "--cflags", "glib-2.0"]).split()
        except LabError:
            pass  # not installed
    into = folder.plugin / "glib"
    if not into.exists():
        say(f"package {GLIB}, unpacked and not installed")
        suite = [*dict.fromkeys(_suites())][1]
        apt = Apt(
            folder.apt / f"{suite}-host", suite, run(["dpkg", "--print-architecture"]).strip()
        )
        apt.prepare()
        fetched = folder.debs / "glib"
        apt.download(apt.described([GLIB]), fetched)
        unpack(fetched, into)
    return [
        f"-isystem{path.parent}" for name in ("glib.h", "glibconfig.h") for path in into.rglob(name)
    ]
