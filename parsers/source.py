"""The bytes of a trace: plain, gzip, zstd, xz, a zip with one trace inside, or standard input.

A source may also be a directory with copies of tracefs files, ring buffers among them.

Compression is recognised by content. A `Source` can be read any number of times in chunks
(bounded memory), or at random through `view()` (a memory map; a compressed file is unpacked to
an unnamed temporary file first). Standard input is spooled to one as well.

A compressed file that ends early or is damaged gives what could be unpacked and a diagnostic.
Sources of truth: RFC 1952 (gzip), RFC 8878 (zstd), the xz and zip specifications.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import mmap
import os
import shutil
import stat
import sys
import tempfile
import weakref
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, cast

import pyarrow as pa

from traceview.errors import ParseError, UnsupportedError
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator

PERF_MAGIC = b"PERFILE2"
HEAD_BYTES = 64 * 1024
CHUNK_BYTES = 4 * 1024 * 1024
PIECE_BYTES = 16 * 1024

# What is not unpacked, but recognised.
BZIP2_MAGIC = b"BZh"

MAGICS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"PK\x03\x04", "zip"),
)


# The ring buffers of a copy of tracefs, and what is needed to read them.
FOLDER_FILES = (
    "per_cpu/cpu*/trace_pipe_raw", "instances/*/per_cpu/cpu*/trace_pipe_raw",
    "events/header_page", "instances/*/events/header_page", "events/*/*/format",
    "remotes/hypervisor/trace_pipe",
)  # fmt: skip

# Files of tracefs that reading empties, and that make who reads them wait.
CONSUMED = "trace_pipe"

# What the unpackers raise on damaged or truncated input.
UNPACKING_ERRORS = (
    OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError,
    NotImplementedError,
)  # fmt: skip


@dataclass(slots=True, weakref_slot=True, eq=False)
class Source:
    """One input file. `path` is how the user named it; `file` where its bytes lie.

    `damage` collects what went wrong while unpacking, during the latest pass.
    """

    path: str
    file: Path | BinaryIO
    size_bytes: int
    compression: str | None = None
    damage: list[Diagnostic] = field(default_factory=list)

    def chunks(
        self,
        progress: Callable[[float], None] = lambda _: None,
        chunk_bytes: int = CHUNK_BYTES,
    ) -> Iterator[bytes]:
        """The unpacked bytes from the start, in pieces of at most *chunk_bytes*."""
        self.damage.clear()
        with self._raw() as raw, _unpacked(raw, self) as stream:
            while chunk := self._read(stream, chunk_bytes):
                progress(min(1.0, raw.tell() / max(1, self.size_bytes)))
                yield chunk
                if self.damage:
                    return

    def _read(self, stream: IO[bytes], size: int) -> bytes:
        """The next *size* bytes, or as many as there are before the end or the damage.

        Unpacked in small pieces: a piece that runs into damage is lost as a whole.
        """
        pieces, missing = [], size
        while missing and not self.damage:
            try:
                piece = stream.read(min(missing, PIECE_BYTES) if self.compression else missing)
            except UNPACKING_ERRORS as err:
                self.damage.append(self._damage(err))
                break
            if not piece:
                break
            pieces.append(piece)
            missing -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def head(self) -> bytes:
        """The first unpacked bytes, at most HEAD_BYTES: what formats are recognised by.

        Raises ParseError when a packed file gives none.
        """
        head = next(self.chunks(chunk_bytes=HEAD_BYTES), b"")
        if not head and self.damage:
            raise ParseError(f"the {self.compression} data is damaged", path=self.path)
        return head

    @contextmanager
    def view(self) -> Iterator[memoryview]:
        """All unpacked bytes as one read-only view, for formats that need random access."""
        if self.compression is None:
            with self._raw() as raw, _mapped(raw) as view:
                yield view
            return
        with tempfile.TemporaryFile(prefix="traceview-") as spool:
            for chunk in self.chunks():
                spool.write(chunk)
            spool.flush()
            with _mapped(cast("BinaryIO", spool)) as view:
                yield view

    def is_folder(self) -> bool:
        """Whether it is a directory: it then has no bytes of its own, but files."""
        return isinstance(self.file, Path) and self.file.is_dir()

    def files(self, pattern: str) -> list[Path]:
        """The regular files of a directory that match *pattern*, in order of their names."""
        root = cast("Path", self.file)
        return sorted(file for file in root.glob(pattern) if file.is_file())

    def sha256(self) -> str:
        """The digest of the file as it lies on disk, packed or not.

        Of a directory: that of the digests and names of its ring buffers and what describes them,
        as sha256sum(1) would list them.
        """
        if self.is_folder():
            listed = hashlib.sha256()
            for file in (file for pattern in FOLDER_FILES for file in self.files(pattern)):
                name = file.relative_to(cast("Path", self.file)).as_posix()
                listed.update(f"{Source(name, file, 0).sha256()}  {name}\n".encode())
            return listed.hexdigest()
        with self._raw() as raw:
            return hashlib.file_digest(cast("io.BufferedReader", raw), "sha256").hexdigest()

    @contextmanager
    def _raw(self) -> Iterator[BinaryIO]:
        if isinstance(self.file, Path):
            with self.file.open("rb") as raw:
                yield raw
        else:
            self.file.seek(0)
            yield self.file

    def _damage(self, err: Exception) -> Diagnostic:
        return Diagnostic(
            "damaged-compression", "warning",
            f"the {self.compression} data of {self.path} is damaged or ends early ({err});"
            " only what comes before is read",
        )  # fmt: skip


def open_source(path: str | os.PathLike[str]) -> Source:
    """The bytes of *path* ("-": standard input).

    Raises ParseError when it cannot be read or is empty, no regular file, a directory without
    ring buffers, or a zip archive that does not hold exactly one file.
    """
    name = os.fspath(path)
    if name != "-" and os.path.isdir(name):  # noqa: PTH112 - a name with a NUL is no directory
        return _folder(name)
    file, size = _spooled_stdin() if name == "-" else _regular(name)
    source = Source("<stdin>" if name == "-" else name, file, size)
    if not isinstance(file, Path):
        weakref.finalize(source, file.close)
    if size == 0:
        raise _without_size(source.path, file)
    with source._raw() as raw:  # noqa: SLF001 - the constructor of Source, in all but name
        magic = raw.read(6)
    source.compression = next((kind for start, kind in MAGICS if magic.startswith(start)), None)
    return source


def _folder(name: str) -> Source:
    source = Source(name, Path(name), 0)
    _refuse_tracefs(name)
    _refuse_perf_folder(name)
    # Only such a directory may be looked through: any other may be too large.
    if not any(source.files(pattern) for pattern in FOLDER_FILES[:2]):
        raise ParseError(
            "a directory is no trace file, and this one holds no per_cpu/cpuN/trace_pipe_raw,"
            " as a copy of tracefs would",
            path=name,
        )
    return source


def _refuse_tracefs(name: str) -> None:
    """Reading would empty the rings. No file of tracefs has a size, and this one is never empty."""
    if _is_file(Path(name, "tracing_on"), most_bytes=0):
        raise ParseError(
            "this is tracefs itself, or a copy whose files are empty, as tar makes them: copy with"
            ' cat and dd, as docs/formats.md says under "Raw dumps"',
            path=name,
        )


def _refuse_perf_folder(name: str) -> None:
    """A directory of perf record holds `data`, beside `data.N` or `kcore_dir` (util/data.c)."""
    data = Path(name, "data")
    if _is_file(data) and _first_bytes(data, len(PERF_MAGIC)) == PERF_MAGIC:
        raise UnsupportedError(
            "a directory that perf record --threads or --kcore wrote is not read: record without"
            " them, into one file",
            path=name,
        )


def _is_file(path: Path, most_bytes: int | None = None) -> bool:
    try:
        status = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and most_bytes in (None, status.st_size)


def _without_size(path: str, file: Path | BinaryIO) -> ParseError:
    """A file is empty, or of a file system whose files have no size."""
    if not isinstance(file, Path) or not _has_content(file):
        return ParseError("the file is empty", path=path)
    how = f"cat {path} | traceview analyze -"
    if file.name == "trace_pipe_raw":
        how = 'docs/formats.md says under "Raw dumps" how to copy it'
    return ParseError(f"a file of tracefs or proc has no size: {how}", path=path)


def _has_content(file: Path) -> bool:
    if file.name.startswith(CONSUMED):
        return os.statvfs(file).f_blocks == 0  # as file systems have that lie nowhere
    return bool(_first_bytes(file, 1))


def _first_bytes(file: Path, size: int) -> bytes:
    """Nothing where it cannot be read."""
    try:
        with file.open("rb") as raw:
            return raw.read(size)
    except OSError:
        return b""


def _spooled_stdin() -> tuple[BinaryIO, int]:
    if sys.stdin is None:  # closed before the program began
        raise ParseError("standard input is closed", path="<stdin>")
    spool = cast("BinaryIO", tempfile.TemporaryFile(prefix="traceview-"))  # noqa: SIM115
    shutil.copyfileobj(sys.stdin.buffer, spool)
    return spool, spool.tell()


def _regular(name: str) -> tuple[Path, int]:
    try:
        status = Path(name).stat()
        if not stat.S_ISREG(status.st_mode):
            raise ParseError("not a regular file (use - to read a pipe)", path=name)
        with Path(name).open("rb"):
            return Path(name), status.st_size
    except (OSError, ValueError) as err:
        reason = getattr(err, "strerror", None) or str(err)
        if isinstance(err, FileNotFoundError) and set("*?") & set(name):
            reason += " (no file matches the pattern)"
        raise ParseError(f"cannot be opened: {reason}", path=name) from err


def mapped_file(path: Path) -> memoryview:
    """All bytes of a file as one read-only view."""
    with path.open("rb") as raw, _mapped(raw) as view:
        return view


@contextmanager
def _mapped(raw: BinaryIO) -> Iterator[memoryview]:
    size = os.fstat(raw.fileno()).st_size
    if size == 0:
        yield memoryview(b"")
        return
    # The map is closed by the collector: arrays made from the view may outlive this block.
    yield memoryview(mmap.mmap(raw.fileno(), size, access=mmap.ACCESS_READ))


class _Lent:
    """A file that whoever borrows it cannot close: Arrow closes what lies below its readers."""

    closed = False

    def __init__(self, raw: BinaryIO) -> None:
        self.read = raw.read
        self.tell = raw.tell
        self.seek = raw.seek

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        pass


@contextmanager
def _unpacked(raw: BinaryIO, source: Source) -> Iterator[IO[bytes]]:
    if source.compression == "gzip":
        with gzip.GzipFile(fileobj=raw) as stream:
            yield cast("IO[bytes]", stream)
    elif source.compression == "zstd":
        # Arrow's reader says when a frame ends early; it refuses windows over 128 MiB, as zstd(1)
        # does without --long.
        with pa.CompressedInputStream(pa.PythonFile(_Lent(raw), "r"), "zstd") as stream:
            yield cast("IO[bytes]", stream)
    elif source.compression == "xz":
        with lzma.LZMAFile(raw) as stream:
            yield stream
    elif source.compression == "zip":
        with _zip_member(raw, source.path) as stream:
            yield stream
    else:
        yield raw


@contextmanager
def _zip_member(raw: BinaryIO, path: str) -> Iterator[IO[bytes]]:
    try:
        archive = zipfile.ZipFile(raw)
        members = [info for info in archive.infolist() if not info.is_dir()]
        if len(members) != 1:
            names = ", ".join(info.filename for info in members[:5]) or "nothing"
            raise UnsupportedError(
                f"a zip archive must hold exactly one trace, this one holds {names}", path=path
            )
        with archive.open(members[0]) as stream:
            yield stream
    except (zipfile.BadZipFile, NotImplementedError) as err:
        raise ParseError(f"the zip archive cannot be read: {err}", path=path) from err


def drop_pages(view: memoryview) -> None:
    """Let the kernel take back the pages of a mapped file that were read, where it can be asked."""
    if isinstance(view.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        view.obj.madvise(mmap.MADV_DONTNEED)
