"""What the lab takes from where, and what it builds of it.

Nothing is fetched and nothing boots here; tests/test_lab_boots.py does.
"""

from __future__ import annotations

import gzip
import lzma
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from sample_traces.lab import requirements
from sample_traces.lab.apt import (
    Package,
    debian_mirror,
    fetched,
    listed,
    newest,
    planned,
    sources,
    unpack,
)
from sample_traces.lab.errors import LabError
from sample_traces.lab.folder import HERE, VARIABLE, Folder, lab_folder
from sample_traces.lab.initramfs import archive, initramfs, load_order
from sample_traces.lab.kernels import Kernel, kernel, known, write
from sample_traces.lab.packages import SERIES, python_version
from sample_traces.lab.requirements import codename, version
from sample_traces.lab.stamp import digest, is_current, mark

if TYPE_CHECKING:
    from pathlib import Path

TARGETS = """\
http://mirror.example/nodistro/ nodistro main
http://mirror.example/debian-security/ bookworm-security main
http://mirror.example/debian/ bookworm main
http://mirror.example/other/ bookworm main
"""


def test_the_mirror_is_that_of_debian_itself() -> None:
    assert debian_mirror(TARGETS) == "http://mirror.example/debian/"
    assert debian_mirror("http://mirror.example/ubuntu/ noble main\n") is None
    assert debian_mirror("http://mirror.example/debian/ bookworm contrib\n") is None
    assert debian_mirror("\n") is None


def test_a_source_states_its_keys_where_there_are_some(tmp_path: Path) -> None:
    text = sources("http://mirror.example/debian/", ["forky"], tmp_path)
    assert "Suites: forky\n" in text
    assert f"Signed-By: {tmp_path}\n" in text
    assert "Signed-By" not in sources("http://mirror.example/debian/", ["forky"], None)


@pytest.mark.parametrize(
    ("series", "release"),
    [("6.1", "6.1.0-50-arm64"), ("6.12", "6.12.95+deb12-arm64"), ("7", "7.10.2+deb14-arm64")],
)
def test_the_newest_kernel_of_a_series_is_taken_by_number_not_by_letter(
    series: str, release: str
) -> None:
    names = [
        "linux-image-6.1.0-9-arm64",
        "linux-image-6.1.0-50-arm64",
        "linux-image-6.1.0-50-cloud-arm64",
        "linux-image-6.1.0-51-rt-arm64",
        "linux-image-6.1.0-60-arm64-unsigned",
        "linux-image-6.1-arm64",
        "linux-image-6.12.9+deb12-arm64",
        "linux-image-6.12.95+deb12-arm64",
        "linux-headers-6.12.99-arm64",
        "linux-binary-7.2.12+deb14-arm64",
        "linux-binary-7.10.2+deb14-arm64",
        "linux-image-7.11.0-arm64",
    ]
    (pattern,) = [one.pattern for one in SERIES if one.name == series]
    found = newest(names, pattern)
    assert found is not None
    assert found.split("-", 2)[2] == release


def test_a_series_that_a_suite_lacks_is_none() -> None:
    assert newest(["linux-image-amd64"], SERIES[0].pattern) is None


def test_what_apt_would_install_is_read_from_its_simulation() -> None:
    said = (
        "Reading package lists...\n"
        "Inst libc6 (2.43-7 Debian:14.0/testing [arm64])\n"
        "Inst busybox-static (1:1.38.0-3+b1 Debian:14.0/testing, x:y [arm64]) []\n"
        "Conf libc6 (2.43-7 Debian:14.0/testing [arm64])\n"
    )
    packages = planned(said)
    assert [one.name for one in packages] == ["libc6", "busybox-static"]
    assert packages[1].file == "busybox-static_1%3a1.38.0-3+b1_arm64.deb"


def test_what_the_index_says_of_packages_is_read_by_paragraph() -> None:
    first = "Package: a\nVersion: 1\nArchitecture: arm64\nDescription: x\n y\n\n"
    said = first + "Package: b\nVersion: 2\nArchitecture: all\n\n"
    assert listed(said) == [Package("a", "1", "arm64"), Package("b", "2", "all")]


def test_packages_count_as_fetched_when_every_file_is_there(tmp_path: Path) -> None:
    assert fetched(tmp_path) == []
    (tmp_path / "packages.json").write_text('[["a", "1:2", "all"], ["b", "3", "arm64"]]')
    (tmp_path / "a_1%3a2_all.deb").touch()
    assert fetched(tmp_path) == []
    with pytest.raises(LabError, match="packages are missing"):
        unpack(tmp_path, tmp_path / "to")
    (tmp_path / "b_3_arm64.deb").touch()
    assert [one.name for one in fetched(tmp_path)] == ["a", "b"]


def test_the_python_of_the_guest_is_that_of_its_package() -> None:
    assert python_version([Package("python3", "3.14.7-3", "arm64")]) == "3.14"
    with pytest.raises(LabError, match="no package python3"):
        python_version([])


def test_the_version_of_qemu_is_compared_by_number() -> None:
    said = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright"
    assert version(said) == (10, 0, 2)
    assert version(said) > requirements.OLDEST_QEMU > version("version 6.2.19")
    with pytest.raises(LabError, match="no version"):
        version("nothing")
    assert codename('NAME="Debian"\nVERSION_CODENAME=bookworm\n') == "bookworm"
    assert codename("") is None


def test_what_is_missing_is_named_with_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "find", lambda _: None)
    with pytest.raises(LabError) as caught:
        requirements.require()
    for word in (
        "qemu-system-aarch64 not found",
        "gcc-aarch64-linux-gnu",
        "e2fsprogs",
        "--install",
    ):
        assert word in str(caught.value)


def test_an_old_qemu_is_refused_with_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "find", lambda _: "/bin/true")
    monkeypatch.setattr(requirements, "qemu_version", lambda: (6, 2, 19))
    with pytest.raises(LabError, match=r"is 6\.2\.19, needs \d+\.\d+ or later"):
        requirements.require()


def test_only_root_installs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(requirements, "find", lambda _: None)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="only root"):
        requirements.install(tmp_path)


def test_the_folder_is_the_one_that_is_stated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert lab_folder().path == tmp_path
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert lab_folder().path == tmp_path / "traceview-lab"


# ---- what boots


def members(content: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content of the members of a cpio archive of format newc."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert content[at : at + 6] == b"070701"
        fields = [int(content[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = content[at + 110 : at + 110 + fields[11] - 1].decode()
        begin = (at + 110 + fields[11] + 3) // 4 * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (fields[1], content[begin : begin + fields[6]])
        at = (begin + fields[6] + 3) // 4 * 4


def test_the_archive_has_folders_before_what_is_in_them() -> None:
    found = members(archive({"init": b"#!", "mod/00-a.ko": b"12345"}, {"bin/sh": "busybox"}))
    assert list(found) == [
        "bin",
        "dev",
        "mod",
        "new",
        "proc",
        "sys",
        "init",
        "mod/00-a.ko",
        "bin/sh",
    ]
    assert found["init"] == (0o100755, b"#!")
    assert found["bin/sh"] == (0o120777, b"busybox")
    assert found["mod"] == (0o040755, b"")


def test_modules_are_loaded_after_those_that_they_need() -> None:
    lines = [
        "k/ext4.ko.xz: k/jbd2.ko.xz k/mbcache.ko.xz",
        "k/jbd2.ko.xz: k/crc.ko",
        "k/crc.ko:",
        "k/mbcache.ko.xz:",
        "k/x-y.ko: k/crc.ko",
    ]
    dep = "\n".join(lines)
    order = load_order(dep, ["x_y", "ext4", "built_in"])
    assert order == ["k/crc.ko", "k/x-y.ko", "k/jbd2.ko.xz", "k/mbcache.ko.xz", "k/ext4.ko.xz"]


def test_the_initramfs_has_modules_unpacked_and_is_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text("k/virtio_blk.ko.xz:\n")
    (tmp_path / "k").mkdir()
    (tmp_path / "k/virtio_blk.ko.xz").write_bytes(lzma.compress(b"ELF"))
    once = initramfs(b"B", b"I", tmp_path)
    found = members(gzip.decompress(once))
    assert found["mod/00-virtio_blk.ko"][1] == b"ELF"
    assert once == initramfs(b"B", b"I", tmp_path)
    assert "mod" not in members(gzip.decompress(initramfs(b"B", b"I", None)))
    (tmp_path / "modules.dep").write_text("k/ext4.ko.lz9:\n")
    (tmp_path / "k/ext4.ko.lz9").touch()
    with pytest.raises(LabError, match="not known"):
        initramfs(b"B", b"I", tmp_path)


def test_a_kernel_is_found_by_name_and_others_are_named(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    with pytest.raises(LabError, match=r"there is no kernel '6\.12'\nthere are: none"):
        kernel(folder, "6.12")
    folder.busybox.parent.mkdir()
    folder.busybox.write_bytes(b"B")
    image = tmp_path / "vmlinuz"
    image.write_bytes(b"image")
    one = Kernel("mine", "6.12.95-mine", "built from linux 6.12.95-1 with a patch")
    write(folder, one, image, None)
    assert known(folder) == {"mine": one}
    assert (folder.kernels / "mine/Image").read_bytes() == b"image"
    with pytest.raises(LabError, match="there are: mine"):
        kernel(folder, "other")
    (folder.kernels / "mine/kernel.json").write_text("{}")
    with pytest.raises(LabError, match="not a kernel's description"):
        known(folder)


def test_what_was_built_is_built_anew_when_what_it_is_made_of_changed(tmp_path: Path) -> None:
    built, part = tmp_path / "built", tmp_path / "part"
    part.write_text("1")
    mark(built, digest([part], "x"))
    assert not is_current(built, digest([part], "x"))
    built.touch()
    assert is_current(built, digest([part], "x"))
    assert not is_current(built, digest([part], "y"))
    part.write_text("2")
    assert not is_current(built, digest([part], "x"))


@pytest.mark.parametrize("path", sorted(HERE.glob("*/*.sh")), ids=lambda path: str(path.name))
def test_a_script_of_the_guest_is_posix_shell(path: Path) -> None:
    assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0
