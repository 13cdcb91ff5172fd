"""A perf.data whose header, attrs or features lie: an error in words, or what is sound is read."""

from __future__ import annotations

import pytest

from tests.perf_data_reading import read
from tests.perf_data_recordings import CYCLES, KPROBE, PROBE, data_of, file
from tests.writers import perf_data as w
from tests.writers import records
from traceview.errors import ParseError
from traceview.parsers import perf_session


def header(content: bytes, **fields: int) -> bytes:
    """*content* with other fields in its header."""
    places = {
        "attr_size": 16, "attrs": 24, "attrs_size": 32, "data": 40, "data_size": 48, "bits": 72,
    }  # fmt: skip
    found = bytearray(content)
    for name, value in fields.items():
        found[places[name] : places[name] + 8] = w.u64(value)
    return bytes(found)


@pytest.mark.parametrize(
    "fields",
    [
        {"attr_size": 0}, {"attr_size": 79}, {"attrs": 1 << 60}, {"attrs_size": 1 << 60},
        {"data": 0}, {"data": 1 << 60},
    ],
)  # fmt: skip
def test_a_header_that_lies_is_an_error(fields: dict[str, int]) -> None:
    with pytest.raises(ParseError):
        read(header(file(), **fields))


@pytest.mark.parametrize("fields", [{"data_size": 1 << 60}, {"data_size": 0}, {"bits": 1 << 63}])
def test_a_header_that_lies_about_the_end_costs_what_follows(fields: dict[str, int]) -> None:
    found = read(header(file(), **fields))
    assert len(found.events) == 18
    assert {"truncated", "recording-not-ended", "no-tracing-data"} & found.diagnostics.keys()


def test_attrs_may_lie_on_top_of_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A section of many events that all share one large section of ids."""
    monkeypatch.setattr(perf_session, "MAX_IDS", 1000)
    ids = w.u64(*range(900))
    attrs = (CYCLES.attr() + w.u64(104, len(ids))) * 40
    content = b"PERFILE2" + w.u64(104, 160, 104 + len(ids), len(attrs), 104 + len(ids) + len(attrs))
    content += w.u64(8, 0, 0) + bytes(32) + ids + attrs + w.record(68)
    found = read(content)
    assert "damaged-header" in found.diagnostics


def test_features_may_be_the_file_itself() -> None:
    content = bytearray(file())
    for n in range(8):
        place = data_of(file())[1] + 16 * n
        content[place : place + 16] = w.u64(0, len(content))
    found = read(bytes(content))
    assert len(found.events) == 18
    assert "damaged-header" in found.diagnostics


@pytest.mark.parametrize("cut", range(0, 700, 23))
def test_tracing_data_that_are_cut_give_the_formats_before_the_cut(cut: int) -> None:
    other = records.Event(99, "zz", ("u64 x",), "zz")
    content = w.tracing_data([KPROBE, other], cmdlines="7 qemu\n")
    whole = w.Recording(
        [PROBE], w.Sample(PROBE, 5, raw=KPROBE.record()).record(), {1: content[: -cut or None]}
    )
    found = read(whole.file())
    assert len(found.events) == 1
    assert cut == 0 or "damaged-header" in found.diagnostics
    if content.find(b"zz\0") < len(content) - cut:
        assert found.column("evidence") == ["kprobe"]


def test_a_format_that_is_none_is_counted_and_its_events_are_not_guessed() -> None:
    content = w.tracing_data([KPROBE]).replace(b"field:", b"fjeld:")
    found = read(
        w.Recording([PROBE], w.Sample(PROBE, 5, raw=KPROBE.record()).record(), {1: content}).file()
    )
    assert found.column("evidence") == ["tracepoint"]
    assert found.diagnostics["unreadable-formats"].count == 1


def test_no_events_at_all_is_an_error_in_words() -> None:
    found = read(w.Recording([], w.Sample(CYCLES).record()).file())
    assert found.events.is_empty()
    assert found.diagnostics["no-events"].severity == "error"
    assert found.diagnostics["unknown-event-ids"].count == 1
