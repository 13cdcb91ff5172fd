"""The bytes of a file come out the same, however they are packed."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import zstandard

from traceview.errors import ParseError, UnknownFormatError, UnsupportedError
from traceview.parsers import open_trace
from traceview.parsers.source import open_source

if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT = bytes(range(256)) * 4096


def zipped(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


PACKED = {
    "plain": CONTENT,
    "gzip": gzip.compress(CONTENT),
    "zstd": zstandard.compress(CONTENT),
    "two zstd frames": zstandard.compress(CONTENT[:5]) + zstandard.compress(CONTENT[5:]),
    "xz": lzma.compress(CONTENT),
    "zip": zipped(("trace.pftrace", CONTENT)),
}


@pytest.mark.parametrize("packing", PACKED)
def test_chunks_view_and_head_give_the_unpacked_bytes(tmp_path: Path, packing: str) -> None:
    file = tmp_path / "any.name"
    file.write_bytes(PACKED[packing])
    source = open_source(file)
    for _ in range(2):
        assert b"".join(source.chunks(chunk_bytes=1000)) == CONTENT
    assert source.head() == CONTENT[: 64 * 1024]
    with source.view() as view:
        assert bytes(view) == CONTENT
    assert source.damage == []


@pytest.mark.parametrize("packing", ["gzip", "zstd", "xz"])
def test_a_packed_file_that_ends_early_gives_what_it_has_and_says_so(
    tmp_path: Path, packing: str
) -> None:
    file = tmp_path / "cut"
    file.write_bytes(PACKED[packing][: len(PACKED[packing]) // 2])
    source = open_source(file)
    got = b"".join(source.chunks())
    assert CONTENT.startswith(got)
    assert [found.code for found in source.damage] == ["damaged-compression"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress, lzma.compress])
def test_all_but_the_last_of_a_cut_stream_is_recovered(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    content = random.Random(1).randbytes(3_000_000)
    file = tmp_path / "cut"
    file.write_bytes(pack(content)[:2_000_000])
    got = b"".join(open_source(file).chunks())
    assert content.startswith(got)
    assert len(got) > 1_700_000


def test_a_zip_with_several_files_names_them(tmp_path: Path) -> None:
    file = tmp_path / "many.zip"
    file.write_bytes(zipped(("a", b"1"), ("b", b"2")))
    with pytest.raises(UnsupportedError, match="a, b"):
        open_source(file).head()


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04 no zip at all", b"\x1f\x8bnothing", b"\xfd7zXZ\x00"]
)
def test_a_file_that_only_begins_like_a_packed_one_is_refused(
    tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "fake"
    file.write_bytes(content)
    with pytest.raises((ParseError, UnknownFormatError)):
        open_trace(file)


@pytest.mark.parametrize("packing", PACKED)
def test_standard_input_is_read_once_and_can_be_read_again(
    monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(PACKED[packing])))
    source = open_source("-")
    assert b"".join(source.chunks()) == CONTENT
    assert b"".join(source.chunks()) == CONTENT


def test_what_is_no_readable_file_is_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for bad in (tmp_path, tmp_path / "none", empty, Path("/dev/null"), "a\0b"):
        with pytest.raises(ParseError):
            open_source(bad)


@pytest.mark.skipif(not Path("/proc/version").is_file(), reason="no proc here")
def test_a_file_of_proc_is_not_called_empty() -> None:
    with pytest.raises(ParseError, match=r"no size: cat /proc/version \| traceview analyze -"):
        open_source("/proc/version")


def test_a_pipe_of_tracefs_is_not_read_to_see_whether_it_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "trace_pipe"
    pipe.touch()
    with pytest.raises(ParseError, match="the file is empty"):
        open_source(pipe)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_blocks=0))
    with pytest.raises(ParseError, match=r"has no size: cat .*trace_pipe \| traceview analyze -"):
        open_source(pipe)
    pipe = pipe.rename(tmp_path / "trace_pipe_raw")
    with pytest.raises(ParseError, match=r"has no size: docs/formats\.md"):
        open_source(pipe)


def test_tracefs_itself_is_refused_with_a_word_on_copies(tmp_path: Path) -> None:
    raw = tmp_path / "per_cpu/cpu0/trace_pipe_raw"
    raw.parent.mkdir(parents=True)
    for file in (raw, tmp_path / "tracing_on"):
        file.touch()
    with pytest.raises(ParseError, match=r'docs/formats.md says under "Raw dumps"'):
        open_source(tmp_path)
    (tmp_path / "tracing_on").write_text("0\n", encoding="utf-8")  # a copy made with cat
    assert open_source(tmp_path).is_folder()


@pytest.mark.parametrize("beside", ["data.0", "kcore_dir"])
def test_a_directory_of_perf_record_is_refused_for_what_it_is(tmp_path: Path, beside: str) -> None:
    (tmp_path / "data").write_bytes(b"PERFILE2" + bytes(96))
    (tmp_path / beside).touch()
    with pytest.raises(UnsupportedError, match="perf record --threads or --kcore"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n" + bytes(200),
        b"hello world\n" * 50,
        b"\x7fELF" + bytes(100),
        bytes(5000),
    ],
)
def test_a_file_that_nobody_claims_lists_what_is_known(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "trace.perfetto"
    file.write_bytes(content)
    with pytest.raises(UnknownFormatError, match="perfetto") as refused:
        open_trace(file)
    assert "ftrace text" in str(refused.value)
    assert "gzip, zstd, xz or zip" in str(refused.value)


def test_a_header_that_was_never_written_is_told(tmp_path: Path) -> None:
    file = tmp_path / "perf.data"
    file.write_bytes(bytes(104) + b"P\0\0\0")
    with pytest.raises(UnknownFormatError, match="stopped before it wrote the header"):
        open_trace(file)
    file.write_bytes(bytes(16) + b"P" + bytes(100))
    with pytest.raises(UnknownFormatError, match="it begins with: "):
        open_trace(file)


def test_what_is_packed_with_bzip2_is_to_be_unpacked_first(tmp_path: Path) -> None:
    file = tmp_path / "trace.bz2"
    file.write_bytes(bz2.compress(CONTENT))
    with pytest.raises(UnknownFormatError, match="bzip2, which is not read: unpack it first"):
        open_trace(file)
