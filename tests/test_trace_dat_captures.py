"""Real trace.dat files agree with what trace-cmd printed of them, and with the slow reference."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import polars as pl
import pytest

from tests.trace_dat_reading import Read, read, records
from tests.trace_dat_reference import lost_before, read_cpus, read_page
from tests.trace_dat_report import agrees, report_rows
from tests.truth import TRACES
from traceview.parsers.source import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.captures,
    pytest.mark.skipif(not TRACES.is_dir(), reason="no captures: ../shared/traces is not there"),
]
SAID_IN_ANOTHER_WAY = {"prev_state": "a number; ours is the letter that the kernel prints"}
REFERENCE_RECORDS = 3000  # of each CPU


def files() -> list[str]:
    found = sorted([*TRACES.glob("*/*tc*.dat"), *TRACES.glob("*/*tc*.dat.zst")])
    return [str(file.relative_to(TRACES)) for file in found]


def reports() -> Iterator[tuple[str, str]]:
    """Each capture with each report of it; failed ones are empty or a line long."""
    for name in files():
        stem = TRACES / re.sub(r"\.dat(\.zst)?$", "", name)
        for report in sorted(stem.parent.glob(f"{stem.name}.report*")):
            if report.stat().st_size > 500:
                yield name, str(report.relative_to(TRACES))


@cache
def content(name: str) -> bytes:
    return b"".join(open_source(TRACES / name).chunks())


@cache
def whole(name: str) -> Read:
    return read(content(name))


@pytest.mark.parametrize("name", files())
def test_every_capture_opens_without_a_complaint(name: str) -> None:
    found = whole(name)
    assert len(found.events) > 0
    assert found.diagnostics.keys() <= {"clock-not-comparable"}
    assert {"kernel", "machine", "cpus", "clock"} <= found.facts.keys()
    assert not found.events["seq"].is_duplicated().any()
    assert found.events["ts_ns"].is_sorted()


@pytest.mark.parametrize(("name", "report"), list(reports()))
def test_events_of_each_cpu_are_those_that_trace_cmd_printed(name: str, report: str) -> None:
    text = b"".join(open_source(TRACES / report).chunks()).decode()
    agrees(whole(name).events, text, raw="-raw" in report)


@pytest.mark.parametrize("name", [one for one, report in reports() if "-raw" in report])
def test_arguments_are_those_of_the_raw_report(name: str) -> None:
    text = (TRACES / re.sub(r"\.dat(\.zst)?$", ".report-raw.txt", name)).read_text()
    printed, found = report_rows(text), whole(name)
    args: dict[int, dict[str, int | str]] = {}
    for seq, arg, value, word in found.args.select("seq", "name", "value", "text").iter_rows():
        args.setdefault(seq, {})[arg] = value if word is None else word
    for (cpu,), mine in found.events.group_by("cpu"):
        events = mine.sort("seq").select("seq", "name", "probe_ip").iter_rows()
        theirs = printed.filter(pl.col("cpu") == cpu)["rest"].to_list()
        for (seq, event, probe_ip), rest in zip(events, theirs, strict=True):
            said = fields(event, rest.strip())
            expected = {"__probe_ip": probe_ip, "__probe_func": probe_ip, **args.get(seq, {})}
            for field in said.keys() - SAID_IN_ANOTHER_WAY.keys():
                assert same(expected[field], said[field]), (event, field)


def fields(event: str, rest: str) -> dict[str, str]:
    """The fields of an event as `report -R` prints them."""
    if event == "print":
        return {"buf": rest.partition(" buf=")[2]}
    return dict(re.findall(r"(\S+?)=(.*?)(?=\s+\S+=|$)", rest))


def same(value: int | str, said: str) -> bool:
    if isinstance(value, str):
        return value == said
    base = 16 if re.fullmatch("(0x)?[0-9a-f]{16}|0x[0-9a-f]+", said) else 10
    return value % (1 << 64) == int(said, base) % (1 << 64)


@pytest.mark.parametrize("name", files())
def test_the_reference_agrees_on_every_capture(name: str) -> None:
    found = records(content(name), REFERENCE_RECORDS)
    for one in read_cpus(content(name)):
        expected: list[tuple[int, bytes]] = []
        for at in range(0, len(one.pages), one.page_bytes):
            expected += read_page(one.pages[at : at + one.page_bytes]).records
            if len(expected) >= REFERENCE_RECORDS:
                break
        got = found.get((one.buffer or None, one.cpu), [])
        assert got[:REFERENCE_RECORDS] == expected[:REFERENCE_RECORDS]


@pytest.mark.parametrize("name", files())
def test_losses_are_those_that_the_pages_say(name: str) -> None:
    expected = [
        lost if lost > 0 else None
        for one in read_cpus(content(name))
        for at in range(0, len(one.pages), one.page_bytes)
        if (lost := lost_before(one.pages[at : at + one.page_bytes])) is not None
    ]
    holes = [row for row in whole(name).holes() if row[3] is not None or row[4] is not None]
    assert sorted(map(str, (hole[5] for hole in holes))) == sorted(map(str, expected))


@pytest.mark.parametrize(("name", "report"), list(reports()))
def test_losses_are_those_that_trace_cmd_printed(name: str, report: str) -> None:
    text = b"".join(open_source(TRACES / report).chunks()).decode()
    printed = re.findall(r"^CPU:(\d+) \[(?:(\d+) )?EVENTS DROPPED\]$", text, re.MULTILINE)
    holes = [row for row in whole(name).holes() if row[2] == "lost_events"]
    holes.sort(key=lambda hole: hole[4])
    expected = [(int(cpu), int(count) if count else None) for cpu, count in printed]
    assert [(hole[1], hole[5]) for hole in holes] == expected
