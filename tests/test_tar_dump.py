"""A raw dump in a tar archive is a trace, and a hostile archive harms nobody."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import random
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from tests.test_trace_dat import T
from tests.writers import tar
from tests.writers.points import POINT, points
from tests.writers.records import PRINT
from tests.writers.ring_buffer import header_page
from traceview.cli.app import run
from traceview.errors import ParseError, SettingError, TraceviewError, UnsupportedError
from traceview.host import read_settings
from traceview.parsers import open_trace
from traceview.parsers import tar_archive as under_test

if TYPE_CHECKING:
    from pathlib import Path

    from traceview.trace import Tables

RING = b"".join(points(T, T + 20))
FILES = {
    "events/header_page": header_page(4096).encode(),
    "events/test/point/format": POINT.format().encode(),
    "events/ftrace/print/format": PRINT.format().encode(),
    "per_cpu/cpu0/trace_pipe_raw": RING,
    "per_cpu/cpu1/trace_pipe_raw": b"".join(points(T + 10, first=2)),
    "trace_clock": b"[mono]\n",
}
DUMP = b"".join(tar.member(f"run1/trace/{name}", content) for name, content in FILES.items())
TIMES = [T, T + 10, T + 20]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run1.tar"


def made(path: Path, *members: bytes) -> Path:
    path.write_bytes(tar.archive(*members))
    return path


def times(found: Tables) -> list[Any]:
    return found.events["ts_ns"].to_list()


def codes(found: Tables) -> list[str]:
    return sorted(one.code for one in found.diagnostics)


def sidecar(**document: object) -> bytes:
    return tar.member("run1/trace.host.json", json.dumps(document).encode())


def test_the_events_of_all_cpus_come_in_time_order(path: Path) -> None:
    trace = open_trace(made(path, DUMP))
    found = trace.tables()
    assert trace.format == "tar of a raw dump"
    assert (times(found), codes(found)) == (TIMES, [])
    assert times(trace.tables()) == TIMES  # a second reading too


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_common_form_of_tar_is_read(form: int, path: Path, tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 60) / ("b" * 60)  # names of more than 100 bytes
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with tarfile.open(path, "w", format=form) as archive:
        archive.add(tmp_path / ("a" * 60), arcname="./" + "a" * 60)
    found = open_trace(path).tables()
    assert (times(found), codes(found)) == (TIMES, [])


@pytest.mark.parametrize(
    "pack", [gzip.compress, lzma.compress, zstandard.ZstdCompressor().compress]
)
def test_a_packed_archive_is_read(pack: Any, path: Path) -> None:
    path.write_bytes(pack(tar.archive(sidecar(label="packed"), DUMP)))
    found = open_trace(path).tables()
    assert times(found) == TIMES
    assert found.sources["label"].to_list() == ["packed"]


def test_a_dump_at_the_top_of_the_archive_is_found(path: Path) -> None:
    flat = b"".join(tar.member(f"./{name}", content) for name, content in FILES.items())
    beside = tar.member("host.json", b'{"label": "top"}')
    found = open_trace(made(path, tar.member("./", b"", b"5"), flat, beside)).tables()
    assert times(found) == TIMES
    assert found.sources["label"].to_list() == ["top"]


def test_instances_are_buffers_of_their_own(path: Path) -> None:
    own = tar.member("run1/trace/instances/one/per_cpu/cpu0/trace_pipe_raw", b"".join(points(T)))
    found = open_trace(made(path, DUMP, own)).tables()
    assert found.events["buffer"].to_list().count("one") == 1
    assert found.sources["cpus"].to_list() == [2]


def test_the_sidecar_inside_says_what_the_one_beside_leaves_open(path: Path) -> None:
    inside = sidecar(
        label="inside", run="boot-1", origin="emulated", traced=["stage2_put_pte"],
        kprobe_events="p:kvmlab/walker stage2_unmap_walker", host={"fwb": True},
    )  # fmt: skip
    made(path, inside, DUMP)
    settings = open_trace(path).settings
    assert settings.facts == {
        "label": "inside", "run": "boot-1", "origin": "emulated", "fwb": True,
    }  # fmt: skip
    assert settings.traced == frozenset({"stage2_put_pte"})
    assert "kvmlab:walker" in settings.symbols.probes
    path.with_name("run1.tar.host.json").write_text('{"label": "beside", "traced": []}')
    settings = open_trace(path).settings
    assert (settings.facts["label"], settings.facts["run"]) == ("beside", "boot-1")
    assert settings.traced == frozenset()
    stated = read_settings(path, stated={"run": "stated"})
    assert open_trace(path, settings=stated).settings.facts["run"] == "stated"


def test_no_option_makes_hardware_of_what_says_that_it_is_none(path: Path) -> None:
    made(path, sidecar(origin="emulated"), DUMP)
    stated = read_settings(path, stated={"origin": "hardware"})
    with pytest.raises(SettingError, match="whose own sidecar says emulated"):
        open_trace(path, settings=stated)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff", "is not JSON"),
        (b'{"lable": "x"}', "did you mean 'label'"),
        (b'{"kallsyms": "/etc/passwd"}', "cannot name another file"),
    ],
)
def test_a_sidecar_inside_that_cannot_be_used_is_refused(
    content: bytes, reason: str, path: Path
) -> None:
    made(path, tar.member("run1/trace.host.json", content), DUMP)
    with pytest.raises(SettingError, match=reason) as caught:
        open_trace(path)
    assert "run1.tar: run1/trace.host.json" in str(caught.value)


def test_what_is_no_dump_is_to_be_unpacked_first(path: Path) -> None:
    with pytest.raises(ParseError, match=r"must hold a raw dump.*\nthis one holds: trace\.dat"):
        open_trace(made(path, tar.member("trace.dat", b"x")))
    with pytest.raises(ParseError, match="this one holds: nothing"):
        open_trace(made(path, tar.member("folder/", b"", b"5")))


def test_an_archive_of_two_dumps_is_refused(path: Path) -> None:
    other = tar.member("run2/trace/per_cpu/cpu0/trace_pipe_raw", RING)
    with pytest.raises(UnsupportedError, match=r"2 dumps is not read.*\n.*run1/trace, run2/trace"):
        open_trace(made(path, DUMP, other))


def test_a_cut_archive_gives_what_it_has_and_says_so(path: Path) -> None:
    whole = tar.archive(sidecar(), DUMP)
    for size in range(0, len(whole) - len(tar.END), 997):
        path.write_bytes(whole[:size])
        try:
            found = open_trace(path).tables()
        except TraceviewError:
            continue  # too little is left of it
        assert "damaged-archive" in codes(found)
        assert set(times(found)) <= set(TIMES)
    path.write_bytes(whole[: -len(tar.END)])  # members whole, but are these all?
    assert codes(open_trace(path).tables()) == ["damaged-archive"]


def test_a_damaged_header_ends_the_reading(path: Path) -> None:
    last = tar.header(b"run1/trace/per_cpu/cpu2/trace_pipe_raw", 4096)
    made(path, DUMP, last.replace(b"cpu2", b"cpu3"), RING)
    found = open_trace(path).tables()
    assert (times(found), codes(found)) == (TIMES, ["damaged-archive"])


@pytest.mark.parametrize("name", ["/etc/passwd", "../../x", "run1/../../x", "a/../b", "."])
def test_names_that_lead_out_of_the_archive_are_not_read(name: str, path: Path) -> None:
    found = open_trace(made(path, tar.member(name, b"x"), DUMP)).tables()
    assert (times(found), codes(found)) == (TIMES, ["archive-members-not-read"])
    assert repr(name) in found.diagnostics[0].message


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"6", b"Z"])
def test_links_and_devices_are_counted_and_not_read(kind: bytes, path: Path) -> None:
    odd = tar.header(b"run1/trace/kallsyms", 1 << 30, kind)  # links may state a size
    odd = odd if kind != b"Z" else tar.member("run1/trace/kallsyms", b"x", kind)
    found = open_trace(made(path, odd, DUMP)).tables()
    assert (times(found), codes(found)) == (TIMES, ["archive-members-not-read"])


def test_what_only_describes_the_archive_is_passed_over(path: Path) -> None:
    about = tar.member("label", b"", b"V") + tar.member("x", b"11 a=b12345\n", b"g")
    linked = tar.member("././@LongLink", b"x" * 200, b"K")
    assert codes(open_trace(made(path, about, linked, DUMP)).tables()) == []


def test_sparse_members_are_refused(path: Path) -> None:
    for odd in (
        tar.member("run1/trace/per_cpu/cpu2/trace_pipe_raw", b"x", b"S"),
        tar.pax(GNU__sparse__major="1") + tar.member("run1/GNUSparseFile.0/raw", b"x"),
    ):
        with pytest.raises(UnsupportedError, match="pack without --sparse"):
            open_trace(made(path, odd, DUMP))


def test_the_last_of_several_members_of_one_name_is_read(path: Path) -> None:
    again = tar.member("./run1/trace/per_cpu/cpu0/trace_pipe_raw", b"".join(points(T + 5)))
    found = open_trace(made(path, DUMP, again)).tables()
    assert (times(found), codes(found)) == ([T + 5, T + 10], ["archive-members-repeated"])


@pytest.mark.parametrize(
    "size",
    [b"7" * 11 + b"\0", b"\x80" + b"\x7f" * 11, b"\x80" + bytes(7) + b"\xff" * 4, b"-0000000001\0",
     b"99999999999\0"],
)  # fmt: skip
def test_a_size_beyond_the_archive_is_damage(size: bytes, path: Path) -> None:
    odd = tar.header(b"run1/trace/kallsyms", 0, size_field=size)
    found = open_trace(made(path, DUMP, odd)).tables()
    assert (times(found), codes(found)) == (TIMES, ["damaged-archive"])


def test_a_size_in_base_256_is_read(path: Path) -> None:
    odd = tar.header(b"run1/note", 0, size_field=b"\x80" + (1024).to_bytes(11, "big"))
    assert codes(open_trace(made(path, odd, bytes(1024), DUMP)).tables()) == []


@pytest.mark.parametrize("value", ["-1", "9" * 30, "x", "1e3"])
def test_a_pax_size_that_is_none_is_damage(value: str, path: Path) -> None:
    odd = tar.pax(size=value) + tar.member("run1/note", b"x")
    assert codes(open_trace(made(path, DUMP, odd)).tables()) == ["damaged-archive"]


def test_long_names_that_are_longer_than_is_plausible_are_damage(path: Path) -> None:
    odd = tar.header(b"././@LongLink", 1 << 22, b"L") + bytes(1 << 22)
    assert codes(open_trace(made(path, DUMP, odd)).tables()) == ["damaged-archive"]


def test_more_members_than_are_plausible_are_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "MAX_MEMBERS", 50)
    with pytest.raises(ParseError, match="more than 50 members"):
        open_trace(made(path, DUMP, tar.member("x") * 50))


def test_bytes_changed_at_random_give_errors_or_diagnostics(path: Path) -> None:
    whole = tar.archive(tar.pax(path="run1/note"), tar.member("n", b"x"), sidecar(label="x"), DUMP)
    chance = random.Random(6)
    for _ in range(150):
        odd = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            odd[chance.randrange(len(odd))] = chance.randrange(256)
        path.write_bytes(odd)
        try:
            open_trace(path).tables()
        except TraceviewError:
            continue


def test_the_command_line_reads_and_verifies_an_archive(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made(path, sidecar(label="inside", origin="emulated"), DUMP)
    assert run(["info", str(path)]) == 0
    said = capsys.readouterr().out
    assert "tar of a raw dump" in said
    assert "emulated" in said
    folder = str(tmp_path / "evidence")
    assert run(["analyze", str(path), "--evidence", folder]) == 0
    assert run(["verify", folder, str(path)]) == 0
    capsys.readouterr()


def test_an_archive_from_standard_input_is_read(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = made(path, sidecar(label="piped"), DUMP).read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert run(["info", "-"]) == 0
    assert "piped" in capsys.readouterr().out
