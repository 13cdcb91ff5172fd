"""Simulated recordings as Perfetto traces: they read back, here and with Perfetto's own classes."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto
from hypothesis import given, settings
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from tests.simulated_reading import (
    args_of,
    events_of,
    expected,
    expected_args,
    losses_of,
    tables,
)
from tests.writers.recorded import ADDRESSES, PROBES, as_recorded, long_recording, recordings
from tests.writers.recorded import Recording as Made
from traceview.simulate.perfetto import write_perfetto
from traceview.simulate.probe_events import kprobe_definitions

if TYPE_CHECKING:
    from pathlib import Path

    from traceview.simulate.recording import Recorded

NOT_OURS = ("__probe_ret_ip", "overrun", "ip")


EXAMPLES = 25


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("simulated")


def expected_losses(recorded: Recorded, rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Holes have a place and no number; the numbers of a CPU have no place."""
    placed = [(cpu, None, *place) for cpu, _, *place in losses_of(rows)]
    lost: Counter[int] = Counter()
    for row in rows:
        lost[row["cpu"]] += row["lost_before"]
    counted = [*lost.items(), *recorded.lost_at_end.items()]
    counts = [(cpu, count, None, None) for cpu, count in counted if count]
    return sorted([*placed, *counts], key=repr)


def assert_reads_back(recorded: Recorded, path: Path) -> list[dict[str, Any]]:
    batches = list(recorded.batches)
    rows = [row for batch in batches for row in batch.iter_rows(named=True)]
    with path.open("wb") as file:
        write_perfetto(replace(recorded, batches=iter(batches)), file)
    sidecar = {"kprobe_events": kprobe_definitions(recorded)} if recorded.probes else {}
    path.with_name(f"{path.name}.host.json").write_text(json.dumps(sidecar), encoding="utf-8")
    found = tables(path)
    assert events_of(found) == events_of(expected(recorded, rows))
    assert losses_of(found) == expected_losses(recorded, rows)
    assert args_of(found, NOT_OURS) == expected_args(rows)
    facts = found.sources.row(0, named=True)
    assert (facts["kernel"], facts["cpus"]) == (recorded.kernel, recorded.cpus)
    assert (facts["page_size_bytes"], facts["machine"]) == (4096, "aarch64")
    codes = {one.code for one in found.diagnostics if one.severity != "info"}
    lost = {"overrun"} if any(row["lost_before"] for row in rows) else set()
    lost |= {"dropped-events"} if recorded.lost_at_end else set()
    assert codes == lost | (set() if rows else {"no-ftrace-events"})
    return rows


@settings(max_examples=EXAMPLES)
@given(recordings())
def test_a_perfetto_trace_reads_back(folder: Path, recorded: Recorded) -> None:
    assert_reads_back(recorded, folder / "trace.pftrace")


def test_a_recording_of_many_bundles_reads_back(folder: Path) -> None:
    rows = assert_reads_back(long_recording(2, 700), folder / "long.pftrace")
    assert len(rows) > 5000


@settings(max_examples=EXAMPLES)
@given(recordings())
def test_perfettos_own_classes_read_the_same(recorded: Recorded) -> None:
    batches = list(recorded.batches)
    out = io.BytesIO()
    write_perfetto(replace(recorded, batches=iter(batches)), out)
    rows = [row for batch in batches for row in batch.iter_rows(named=True)]
    of_cpus: dict[int, list[Any]] = {}
    names: dict[int, str] = {}
    kinds: dict[int, tuple[str, list[str]]] = {}
    for packet in pb.Trace.FromString(out.getvalue()).packet:
        names |= {one.iid: one.str.decode() for one in packet.interned_data.kernel_symbols}
        bundle = packet.ftrace_events
        for one in bundle.generic_event_descriptors:
            message = DescriptorProto.FromString(one.event_descriptor)
            kinds[one.field_id] = (message.name, [part.name for part in message.field])
        assert len(bundle.event) <= 1024
        for n, event in enumerate(bundle.event):
            of_cpus.setdefault(bundle.cpu, []).append((event, bundle.lost_events and n == 0))
    for cpu in range(recorded.cpus):
        mine = [row for row in rows if row["cpu"] == cpu]
        assert len(mine) == len(of_cpus.get(cpu, []))
        for row, (event, lost) in zip(mine, of_cpus.get(cpu, []), strict=True):
            assert (event.timestamp, event.pid) == (row["ts_ns"], row["tid"])
            assert lost == bool(row["lost_before"])
            assert_event_is(event, row, names, kinds)


def assert_event_is(
    event: Any, row: dict[str, Any], names: dict[int, str], kinds: dict[int, tuple[str, list[str]]]
) -> None:
    kind = event.WhichOneof("event")
    if row["kind"] == "print":
        assert (kind, event.print.buf) == ("print", row["text"] + "\n")
    elif row["kind"] in ("funcgraph_entry", "funcgraph_exit"):
        said = getattr(event, row["kind"])
        assert kind == row["kind"]
        assert (names[said.func], said.depth) == (row["symbol"], row["depth"])
        if kind == "funcgraph_exit":
            assert (said.calltime, said.rettime) == (row["calltime_ns"], row["rettime_ns"])
    else:
        assert kind is None
        content = event.SerializeToString()
        fields = [f for f in kinds if kinds[f][0] == _event_name(row)]
        assert len(fields) == 1
        arguments = [one.name for one in PROBES[row["symbol"]]]
        places = ["__probe_func", "__probe_ret_ip"] if row["kind"] == "kretprobe" else []
        shown = places or ["__probe_ip", *arguments]
        assert kinds[fields[0]][1] == shown
        assert _varint(fields[0] << 3 | 2) in content
        assert _varint(ADDRESSES[row["symbol"]]) in content


def _event_name(row: dict[str, Any]) -> str:
    return str(row["symbol"]) + ("_ret" if row["kind"] == "kretprobe" else "")


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


@pytest.mark.parametrize(
    ("clock", "shown"),
    [("boot", "boot"), ("mono", "boot"), ("local", "local"), ("global", "global")],
)
def test_the_clock_is_stated_where_perfetto_knows_it(folder: Path, clock: str, shown: str) -> None:
    made = Made(1, running={0: 301})
    made.add(0, "print", None, text="words")
    path = folder / f"{clock}.pftrace"
    with path.open("wb") as file:
        write_perfetto(replace(as_recorded(made, [1]), clock=clock), file)
    assert tables(path).sources["clock"].to_list() == [shown]
