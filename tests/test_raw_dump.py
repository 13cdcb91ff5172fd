"""A directory with copies of tracefs' ring buffers is a trace."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

import pytest

from tests.test_trace_dat import KALLSYMS, T
from tests.writers.points import POINT, points
from tests.writers.records import PRINT, TLBI_IPA
from tests.writers.ring_buffer import Writer, data, header_page, page
from traceview.cli.app import run
from traceview.errors import ParseError, UnsupportedError
from traceview.parsers import open_trace
from traceview.parsers.source import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from traceview.trace import Tables

STATS = "entries: 1\noverrun: {0}\ncommit overrun: 0\ndropped events: {1}\nread events: 0\n"


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """A dump of two CPUs."""
    folder = tmp_path / "dump"
    write(folder, "events/header_page", header_page(4096))
    write(folder, "events/header_event", "# compressed entry header\n")
    write(folder, "events/test/point/format", POINT.format())
    write(folder, "events/ftrace/print/format", PRINT.format())
    write(folder, "per_cpu/cpu0/trace_pipe_raw", *points(T, T + 20))
    write(folder, "per_cpu/cpu1/trace_pipe_raw", *points(T + 10, first=2))
    return folder


def write(folder: Path, name: str, *content: bytes | str) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    pieces = (one.encode() if isinstance(one, str) else one for one in content)
    file.write_bytes(b"".join(pieces))


def tables(folder: Path) -> Tables:
    return open_trace(folder).tables()


def codes(found: Tables) -> set[str]:
    return {one.code for one in found.diagnostics}


def rows(found: Tables, *columns: str) -> list[Any]:
    return found.events.select(columns).rows()


def test_events_of_all_cpus_come_in_time_order(dump: Path) -> None:
    found = tables(dump)
    assert rows(found, "ts_ns", "cpu", "tid", "name") == [
        (T, 0, 100, "point"),
        (T + 10, 1, 100, "point"),
        (T + 20, 0, 100, "point"),
    ]
    assert open_trace(dump).format == "raw dump"
    assert codes(found) == {"clock-not-comparable"}  # nothing says which clock it was


def test_what_lies_beside_the_buffers_is_used(dump: Path) -> None:
    write(dump, "trace_clock", "local global [mono] boot\n")
    write(dump, "saved_cmdlines", "100 worker\n7 other name\n")
    write(dump, "saved_tgids", "100 99\n")
    write(dump, "kallsyms", KALLSYMS)
    write(dump, "current_tracer", "nop\n")
    write(dump, "buffer_size_kb", "1408 (expanded: 2048)\n")
    write(dump, "uname", "Linux (none) 6.12.95-arm64 #1 SMP Debian aarch64 GNU/Linux\n")
    found = tables(dump)
    assert rows(found, "comm", "tgid") == [("worker", 99)] * 3
    facts = found.sources.to_dicts()[0]
    expected = {
        "clock": "mono", "kernel": "6.12.95-arm64", "machine": "aarch64", "cpus": 2,
        "tracer": "nop", "buffer_size_kb": 1408, "loss_known": True, "ts_resolution_ns": 1,
    }  # fmt: skip
    assert {name: facts[name] for name in expected} == expected
    assert codes(found) == set()


def test_probes_are_named_by_their_definitions(dump: Path) -> None:
    write(dump, "events/kvmlab/tlbi_ipa/format", TLBI_IPA.format())
    write(dump, "kprobe_events", "p:kvmlab/tlbi_ipa __kvm_tlb_flush_vmid_ipa mmu=%x0:x64\n")
    content = data(TLBI_IPA.record(__probe_ip=0xFFFF800080096BD8, ipa=0x1000, level=3))
    write(dump, "per_cpu/cpu0/trace_pipe_raw", page(T, content))
    write(dump, "per_cpu/cpu1/trace_pipe_raw", b"")
    found = tables(dump)
    assert rows(found, "name", "symbol", "phase", "evidence") == [
        ("tlbi_ipa", "__kvm_tlb_flush_vmid_ipa", "entry", "kprobe")
    ]


def test_instances_are_buffers_of_their_own(dump: Path) -> None:
    write(dump, "trace_clock", "[mono]\n")
    write(dump, "instances/one/per_cpu/cpu1/trace_pipe_raw", *points(T + 5, size=16384))
    write(dump, "instances/one/events/header_page", header_page(16384))
    write(dump, "instances/two/per_cpu/cpu1/trace_pipe_raw", *points(T + 6))
    write(dump, "instances/two/trace_clock", "[boot] mono\n")
    found = tables(dump)
    assert rows(found, "buffer", "ts_ns")[1:3] == [("one", T + 5), ("two", T + 6)]
    assert codes(found) == {"clocks-differ"}


def test_counted_losses_are_told(dump: Path) -> None:
    writer = Writer()
    writer.event(T, POINT.record())
    writer.lose(3)
    writer.event(T + 9, POINT.record())
    writer.flush()
    write(dump, "per_cpu/cpu0/trace_pipe_raw", *writer.pages)
    write(dump, "per_cpu/cpu0/stats", STATS.format(5, 7))
    losses = tables(dump).losses.select("cpu", "kind", "from_ns", "to_ns", "count").rows()
    assert sorted(losses, key=str) == [
        (0, "dropped_events", None, None, 7),
        (0, "lost_events", T, T + 9, 3),
        (0, "overrun", None, None, 2),
    ]


def test_a_copy_that_was_cut_off_gives_what_it_has(dump: Path) -> None:
    file = dump / "per_cpu/cpu0/trace_pipe_raw"
    file.write_bytes(file.read_bytes()[:70])  # within the second event
    found = tables(dump)
    assert [ts for (ts,) in rows(found, "ts_ns")] == [T, T + 10]
    assert "damaged-pages" in codes(found)
    assert found.losses["kind"].to_list() == ["damaged"]


def test_empty_copies_are_told(dump: Path) -> None:
    for cpu in (0, 1):
        write(dump, f"per_cpu/cpu{cpu}/trace_pipe_raw", b"")
    assert "no-events" in codes(tables(dump))


def test_a_directory_that_is_no_dump_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "events/header_page", header_page(4096))
    with pytest.raises(ParseError, match=r"holds no per_cpu/cpuN/trace_pipe_raw"):
        open_trace(tmp_path)
    with pytest.raises(ParseError, match="directory"):
        open_trace("/")


def test_a_dump_without_the_layout_of_its_pages_is_refused(dump: Path) -> None:
    (dump / "events/header_page").unlink()
    with pytest.raises(ParseError, match="no events/header_page"):
        tables(dump)
    write(dump, "header_page", header_page(4096))  # beside the others will do
    assert len(tables(dump).events) == 3
    write(dump, "header_page", header_page(4096, long_bytes=4))
    with pytest.raises(UnsupportedError, match="longs of 4 bytes"):
        tables(dump)


def test_names_that_are_no_cpus_are_left_alone(dump: Path) -> None:
    write(dump, "per_cpu/cpu99999/trace_pipe_raw", *points(T))
    write(dump, "per_cpu/cpux/trace_pipe_raw", *points(T))
    (dump / "per_cpu/cpu7/trace_pipe_raw").mkdir(parents=True)
    assert len(tables(dump).events) == 3


def test_formats_that_cannot_be_read_are_counted(dump: Path) -> None:
    write(dump, "events/test/bad/format", b"\xff\xfe")
    assert "unreadable-formats" in codes(tables(dump))


def test_the_digest_is_that_of_a_listing_of_its_files(dump: Path) -> None:
    def digest() -> str:
        return open_source(dump).sha256()

    names = [
        "per_cpu/cpu0/trace_pipe_raw", "per_cpu/cpu1/trace_pipe_raw", "events/header_page",
        "events/ftrace/print/format", "events/test/point/format",
    ]  # fmt: skip
    listed = "".join(
        f"{hashlib.sha256((dump / name).read_bytes()).hexdigest()}  {name}\n" for name in names
    )
    before = digest()
    assert before == hashlib.sha256(listed.encode()).hexdigest()
    write(dump, "notes.txt", "not a part of it")
    assert digest() == before
    write(dump, "per_cpu/cpu1/trace_pipe_raw", *points(T + 11))
    assert digest() != before


def test_the_command_line_takes_a_directory(
    dump: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (str(dump), f"{dump}/"):
        assert run(["info", path]) == 0
        assert "raw dump" in capsys.readouterr().out
        assert run(["analyze", path]) == 0
    assert run(["analyze", str(tmp_path)]) == 2
    assert "a directory is no trace file" in capsys.readouterr().err


def test_standard_input_is_no_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"x")))
    assert not open_source("-").is_folder()
