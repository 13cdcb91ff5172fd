"""Files appear whole or not at all, and replace no other without being asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from traceview.errors import SettingError
from traceview.report.new_file import write_file

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_file_is_written_with_nothing_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    write_file(path, ["one\n", b"two\n", "caf\u00e9\n"])
    assert path.read_text(encoding="utf-8") == "one\ntwo\ncaf\u00e9\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_there_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_text("mine")
    with pytest.raises(SettingError, match="exists already"):
        write_file(path, ["theirs"])
    assert path.read_text() == "mine"


def test_a_file_that_is_there_is_replaced_on_request(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_text("mine")
    write_file(path, ["theirs"], force=True)
    assert path.read_text() == "theirs"


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_text("mine")
    path.chmod(0o640)
    write_file(path, ["theirs"], force=True)
    assert path.stat().st_mode & 0o777 == 0o640


def test_an_error_on_the_way_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"
    path.write_text("mine")

    def pieces() -> Iterator[str]:
        yield "half"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_file(path, pieces(), force=True)
    assert path.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_came_into_being_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "report.txt"

    def pieces() -> Iterator[str]:
        path.write_text("theirs")
        yield "ours"

    with pytest.raises(SettingError, match="exists already"):
        write_file(path, pieces())
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_one_and_a_dangling_one_is_refused(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    with pytest.raises(SettingError, match="exists already"):
        write_file(link, ["new"])
    write_file(link, ["new"], force=True)
    assert link.is_symlink()
    assert target.read_text() == "new"
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(SettingError, match="exists already"):
        write_file(dangling, ["new"])


def test_a_device_is_written_as_it_is() -> None:
    write_file(Path(os.devnull), ["gone"])
    assert not Path(os.devnull).is_file()


def test_the_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    path, other = tmp_path / "ours", tmp_path / "other"
    other.write_text("")
    write_file(path, ["x"])
    assert path.stat().st_mode == other.stat().st_mode


@pytest.mark.parametrize(
    ("name", "said"), [("", "a folder is where"), ("no/such/file", "there is no folder")]
)
def test_what_cannot_be_written_is_said(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        write_file(tmp_path / name, ["x"])


def test_a_full_device_is_no_defect() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with pytest.raises(SettingError, match="cannot be written: /dev/full: No space"):
        write_file(Path("/dev/full"), ["x"])
