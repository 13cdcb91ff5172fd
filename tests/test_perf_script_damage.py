"""Damaged and odd `perf script` text gives diagnostics, never a traceback or a wrong neighbour."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest

import traceview
from tests.perf_script_reading import Table, differences, read
from tests.writers.perf_script import DEFAULT, Frame, Script, Thread
from traceview.errors import TraceviewError

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 10**9
CHAIN = (Frame(0xFFFF8000800F7AFC, "tlb_flush", 0x41C), Frame(0x404E2C, None, 0, "/bin/sh"))
PROBE = "(ffff80008009ee10) pgt=0xfff00000c644b380 addr=0x80000000 size=0x1000"


def script(*, chains: bool, fields: frozenset[str] = DEFAULT) -> Script:
    text = Script(fields, chains=chains, ns=not chains)
    for number in range(1, 9):
        text.tracepoint("kvmlab:s2_unmap", PROBE, number * SECOND, cpu=number % 2)
        text.sample("cycles", number * SECOND + 1000, Thread("CPU 0/KVM"), 1, CHAIN)
        text.tracepoint("sched:sched_switch", "a:1 [120] R ==> b:2 [120]", number * SECOND + 2000)
        text.record("PERF_RECORD_LOST lost 7", number * SECOND + 3000)
    return text


SAMPLES = {
    "chains": script(chains=True).text().encode(),
    "lines": script(chains=False).text().encode(),
    "misc": script(chains=True, fields=DEFAULT | {"pid", "misc", "tod", "flags"}).text().encode(),
    "few": script(chains=False, fields=frozenset({"time", "event", "trace"})).text().encode(),
}


def survives(data: bytes, *, all_events: bool) -> Table | None:
    try:
        chunk_bytes = 700 if len(data) % 2 and len(data) < 1 << 16 else 1 << 20
        return read(data, all_events=all_events, chunk_bytes=chunk_bytes)
    except TraceviewError:
        return None


@pytest.mark.parametrize("name", SAMPLES)
def test_truncation_anywhere_gives_what_came_before(name: str) -> None:
    data, rng = SAMPLES[name], random.Random(name)
    whole = read(data, all_events=True).events
    for at in sorted(rng.sample(range(len(data)), 15)):
        lines = data[:at].rfind(b"\n") + 1
        cut = read(data[:at], all_events=True)
        complete = read(data[:lines], all_events=True).events
        assert len(complete) <= len(cut.events) <= len(complete) + 1
        sure = max(0, len(complete) - 1)  # the last one may have lost its call chain
        assert cut.events[:sure].equals(whole[:sure])


@pytest.mark.parametrize("name", SAMPLES)
def test_flipped_bytes_break_nothing(name: str) -> None:
    rng = random.Random(name)
    whole = len(read(SAMPLES[name], all_events=True).events)
    for number in range(40):
        data = bytearray(SAMPLES[name])
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        table = survives(bytes(data), all_events=number % 2 == 0)
        if table is not None and number % 2 == 0:
            assert len(table.events) <= whole + 3


@pytest.mark.parametrize("name", SAMPLES)
def test_missing_pieces_break_nothing(name: str) -> None:
    rng = random.Random(name)
    for number in range(25):
        data = bytearray(SAMPLES[name])
        at = rng.randrange(len(data))
        del data[at : at + rng.randrange(1, 200)]
        survives(bytes(data), all_events=number % 2 == 0)


@pytest.mark.parametrize(
    "line",
    [
        b"\x00\x01\x02\n",
        b"\tffff8000800f7af\n",
        b"\tgfff8000800f7afc f\n",
        b"kvmunmap     280 [000] \n",
        b"kvmunmap     280 [000]    26.1472: kvm:x: \n",
        b"kvmunmap     280 [000]    26.147223 kvm:x: \n",
        b"kvmunmap     280 [000] 99999999999999.147223: kvm:x: \n",
        b"kvmunmap     280 [0000000000] 1.147223: kvm:x: \n",
        b"kvmunmap 99999999999999 [000] 1.147223: kvm:x: \n",
        b"kvmunmap     280 [000]     1.147223: 99999999999999999999999 cycles: \n",
        b"kvmunmap     280 [000]     1.147223: PERF_RECORD_LOST lost many\n",
        b"kvmunmap     280 [000]     1.147223: PERF_RECORD_LOST lost 99999999999999999999\n",
        b"kvmunmap     280 [000]     1.147223: 12 : \n",
        b"kvmunmap     280 [000]     1.147223: : \n",
        b"a name far too long     280 [000]     1.147223: kvm:x: \n",
        b"...280 [000]     1.147223: \xff\xfe: \n",
    ],
)
def test_a_line_that_is_not_understood_is_counted_and_shown(line: bytes) -> None:
    after = SAMPLES["lines"]
    number = after.count(b"\n") + 1
    table = read(after + line + after, all_events=True)
    clean = read(after + after, all_events=True)
    assert table.unparsed == 1
    assert table.events.drop("seq").equals(clean.events.drop("seq"))
    assert "unparsed" in table.losses["kind"].to_list()
    shown = table.diagnostics["unparsed-lines"].message
    assert f"line {number}:" in shown
    assert differences(after + line + after, all_events=True) == []


def test_an_event_that_lacks_fields_of_its_like_is_not_believed() -> None:
    # Two processes wrote to one file: the end of a line has become a line of its own.
    good = SAMPLES["lines"]
    cut = b"0]     1.147223: kvmlab:s2_unmap: (ffff80008009ee10) addr=0x1\n"
    table = read(good + cut + good)
    assert table.unparsed == 1
    assert table.column("cpu").count(None) == 0


def test_frames_below_a_line_that_is_not_understood_belong_to_nothing() -> None:
    text = Script(chains=True)
    text.sample("cycles", SECOND, frames=CHAIN)
    text.sample("cycles", 2 * SECOND, frames=CHAIN)
    text.lines[1] = text.lines[1].replace("[000]", "[0?0]")
    table = read(text.text())
    assert table.unparsed == 3
    assert table.samples["callchain"].list.len().to_list() == [2]


def test_frames_behind_a_blank_line_belong_to_nothing() -> None:
    text = Script(chains=True)
    text.sample("cycles", SECOND, frames=CHAIN)
    text.lines.append("\tffff8000800f7afc f+0x1 ([kernel.kallsyms])\n")
    table = read(text.text())
    assert table.unparsed == 1
    assert table.samples["callchain"].list.len().to_list() == [2]


def test_a_chain_of_very_many_frames_is_read() -> None:
    text = Script(chains=True)
    for second in (1, 2):
        text.sample("cycles", second * SECOND, frames=CHAIN * 400)
    table = read(text.text(), chunk_bytes=5000)
    assert table.unparsed == 0
    assert table.samples["callchain"].list.len().to_list() == [800, 800]


def test_lines_of_windows_are_read() -> None:
    data = SAMPLES["chains"].replace(b"\n", b"\r\n")
    table, plain = read(data), read(SAMPLES["chains"])
    assert table.unparsed == 0
    assert table.samples.equals(plain.samples)


def test_names_of_any_bytes_are_kept() -> None:
    text = Script()
    for comm in ("\x1b[31m", "日本語の名前", "a\tb", "a\rb", '"', "%s%n", "\u202e", "..", "[0]"):
        text.tracepoint("irq:irq_handler_entry", "irq=1", SECOND, Thread(comm))
    data = (
        text.text().encode() + b"     \xff\xfe\xfd x     280 [000]     1.000000: irq:irq_exit: \n"
    )
    table = read(data, all_events=True)
    assert table.unparsed == 0
    assert table.column("tid") == [280] * 10
    assert table.column("comm")[-1] == "\ufffd\ufffd\ufffd x"


def test_lines_without_end_take_no_time() -> None:
    for line in (
        "x" * 1_000_000,
        "1.000000: " * 300_000,
        "\t" + "f" * 1_000_000,
        "\tffff8000800f7afc " + "f(" * 1_000_000,
        "kvmunmap     280 [000]    26.147223: " + "a:" * 1_000_000,
        "kvmunmap     280 [000]    26.147223: kvm:x: " + "a=b " * 500_000,
        "kvmunmap     280 [000]    26.147223: cycles: " + "ffff8000800f7afc " * 200_000,
        " " * 1_000_000,
        "\n" * 1_000_000,
        "#" * 1_000_000,
        "PERF_RECORD_" + "A" * 1_000_000,
    ):
        survives(f"{line}\n".encode() + SAMPLES["lines"], all_events=True)


def test_an_unmap_with_a_mangled_line_inside_is_contaminated(tmp_path: Path) -> None:
    text = Script()
    for number in range(3):
        for step, (name, payload) in enumerate(
            (
                ("kvmlab:s2_unmap", PROBE),
                ("kvmlab:tlbi", "(ffff800080096bd8) ipa=0x80000000 level=3"),
                ("kvmlab:tlbi_ret", "(ffff800080096bd8 <- ffff80008009de98)"),
                ("kvmlab:s2_unmap_ret", "(ffff80008009ee10 <- ffff800080060d88) ret=0"),
            )
        ):
            text.tracepoint(name, payload, (number + 1) * SECOND + step * 1000)
    text.lines[5] = text.lines[5].replace("[000]", "[\0@@")
    file = tmp_path / "script.txt"
    file.write_text(text.text(), encoding="utf-8")
    probes = [
        "p:kvmlab/s2_unmap kvm_pgtable_stage2_unmap pgt=%x0 addr=%x1 size=%x2",
        "r:kvmlab/s2_unmap_ret kvm_pgtable_stage2_unmap ret=$retval",
        "p:kvmlab/tlbi __kvm_tlb_flush_vmid_ipa ipa=%x1 level=%x2",
        "r:kvmlab/tlbi_ret __kvm_tlb_flush_vmid_ipa",
    ]
    sidecar = tmp_path / "script.txt.host.json"
    sidecar.write_text(json.dumps({"kprobe_events": probes}), encoding="utf-8")
    found = traceview.analyze(traceview.open_trace(file))
    assert found.unmaps["status"].to_list() == ["complete", "contaminated", "complete"]
    assert found.unmaps["length_bytes"].to_list()[0] == 4096
    assert found.losses.select("kind", "count").rows() == [("unparsed", 1)]
