"""The small file system in memory that loads what a kernel needs to reach the root file system.

A cpio archive of format `newc` (Documentation/driver-api/early-userspace/buffer-format.rst), packed
with gzip. Owners, times and inode numbers are fixed: the same content gives the same bytes.
"""

from __future__ import annotations

import gzip
import lzma
import stat
from typing import TYPE_CHECKING, Final

from sample_traces.lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MAGIC: Final = b"070701"
TRAILER: Final = "TRAILER!!!"
# What carries the root file system and the folder shared with the host. ext4 asks the kernel's
# crypto layer for crc32c by name up to 6.13, which is no dependency that depmod sees.
MODULES: Final = ("crc32c_generic", "virtio_pci", "virtio_blk", "ext4", "9p", "9pnet_virtio")


def member(name: str, mode: int, content: bytes, number: int) -> bytes:
    """One member of the archive: a header of hexadecimal fields, name and content padded to 4."""
    path = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    head = MAGIC + b"".join(b"%08x" % field for field in fields) + path
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def archive(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    """Programs and modules by path (executable), symbolic links, and the folders above them."""
    paths = [*files, *links, "proc/x", "sys/x", "dev/x", "new/x"]
    folders = sorted({path.rpartition("/")[0] for path in paths} - {""})
    members = [(name, stat.S_IFDIR | 0o755, b"") for name in folders]
    members += [(name, stat.S_IFREG | 0o755, content) for name, content in files.items()]
    members += [(name, stat.S_IFLNK | 0o777, to.encode()) for name, to in links.items()]
    members.append((TRAILER, 0, b""))
    return b"".join(member(*one, number) for number, one in enumerate(members, 1))


def load_order(modules_dep: str, wanted: Sequence[str]) -> list[str]:
    """Paths of the modules that are needed, what is needed by others first.

    *modules_dep* is depmod's file: "path: path path". A module that it lacks is built in.
    """
    needs: dict[str, list[str]] = {}
    for line in modules_dep.splitlines():
        path, _, others = line.partition(":")
        needs[path] = others.split()
    by_name = {_module_name(path): path for path in needs}
    ordered: list[str] = []

    def add(path: str) -> None:
        for other in needs[path]:
            add(other)
        if path not in ordered:
            ordered.append(path)

    for name in wanted:
        if name in by_name:
            add(by_name[name])
    return ordered


def initramfs(busybox: bytes, init: bytes, modules: Path | None) -> bytes:
    """Everything, packed. *modules* is lib/modules/RELEASE, with depmod's files; None: none."""
    files = {"init": init, "bin/busybox": busybox}
    if modules is not None:
        dep = (modules / "modules.dep").read_text(encoding="utf-8")
        for number, path in enumerate(load_order(dep, MODULES)):
            name = f"mod/{number:02}-{_module_name(path)}.ko"
            files[name] = unpacked(modules / path)
    return gzip.compress(archive(files, {"bin/sh": "busybox"}), compresslevel=1, mtime=0)


def unpacked(path: Path) -> bytes:
    """A kernel module as the kernel takes it."""
    content = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(content)
    if path.suffix == ".ko":
        return content
    raise LabError(f"a kernel module is packed in a way that is not known: {path}")


def _module_name(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0].replace("-", "_")
