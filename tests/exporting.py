"""What tests of the export share: a trace exported, read back, and taken apart."""

from __future__ import annotations

import io
import lzma
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zstandard

from traceview.host import read_settings
from traceview.parsers import open_trace
from traceview.queries import analyze
from traceview.queries.audit import audit
from traceview.report.caveats import caveats
from traceview.report.perfetto.export import Export
from traceview.report.perfetto.sequence import Taken

if TYPE_CHECKING:
    import polars as pl

    from tests.writers.events import Recorder
    from traceview.queries.analysis import Analysis
    from traceview.trace import Trace

SAMPLES = Path(__file__).parent.parent / "sample_traces"
UNMAP = "kvm_pgtable_stage2_unmap"
FLUSH = "__kvm_tlb_flush_vmid_ipa"
# The file has no place for these; ids are positions among events, and those of halves differ.
NOT_CARRIED = ("source_id", "unmap_id", "trigger_id", "comm")
# Of the first calls that end before the last begins: of a few calls that makes a difference.
ESTIMATES = ("probe_ns", "probe_low_ns", "probe_high_ns")


def exported(trace: Trace, **how: Any) -> bytes:
    """What the export of *trace* writes, events anew."""
    found = audit([trace])
    said = tuple(caveats(found.whole, trace.vocabulary))
    out = io.BytesIO()
    Export(trace, found, said, None, Taken(), {}, **how).write(out.write, lambda _: None)
    return out.getvalue()


def read_back(content: bytes, like: Trace, folder: Path) -> Analysis:
    """The analysis of an exported file, of which is stated what was stated of the trace."""
    path = folder / "back.pftrace"
    path.write_bytes(content)
    return analyze(open_trace(path, settings=like.settings), all_events=True)


def same(one: pl.DataFrame, other: pl.DataFrame, *but: str) -> None:
    columns = [name for name in one.columns if name not in (*NOT_CARRIED, *but)]
    assert one.select(columns).rows() == other.select(columns).rows()


def opened(name: str) -> Trace:
    path = SAMPLES / name
    return open_trace(path, settings=read_settings(path))


def unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    if path.suffix == ".xz":
        return lzma.decompress(content)
    if path.suffix == ".zst":
        return zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content)).read()
    return content


def unmap(made: Recorder, pages: int = 2) -> None:
    """An unmap of a few pages, with a request around it."""
    made.enter("kvm_unmap_gfn_range")
    made.enter(UNMAP, addr=0x8000_0000, size=pages << 12, pgt=-1)
    for page in range(pages):
        made.enter(FLUSH, mmu=7, ipa=0x8000_0000 + (page << 12), level=3)
        made.leave(FLUSH)
        made.call("kvm_s2_put_page")
    made.leave(UNMAP)
    made.leave("kvm_unmap_gfn_range")


def pieces(content: bytes) -> list[bytes]:
    """The packets of a trace as bytes."""
    found, at = [], 0
    while at < len(content):
        assert content[at] == 0x0A
        size = shift = 0
        at += 1
        while True:
            byte = content[at]
            size |= (byte & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if byte < 0x80:
                break
        found.append(content[at : at + size])
        at += size
    return found
