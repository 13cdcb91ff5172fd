"""The Perfetto parser: facts about the host, and what the recording says went wrong."""

from __future__ import annotations

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as pb

from tests.perfetto_reading import read
from tests.writers import perfetto as w

EVENTS = w.events(0, w.event(1, 7, print={"buf": "x"}))


def test_facts_come_from_the_packets_about_the_host() -> None:
    system = pb.SystemInfo(
        utsname={"release": "6.12.95", "machine": "aarch64"}, num_cpus=2, page_size=4096
    )
    arm = {"implementer": 0x41, "architecture": 8, "variant": 4, "part": 0xD0C, "revision": 1}
    cpus = pb.CpuInfo(cpus=[{"arm_identifier": arm}] * 2)
    clocks = pb.ClockSnapshot(clocks=[{"clock_id": 1, "timestamp": 1_700_000_000_000_000_000}])
    config = w.ftrace_config(enable_function_graph=True, buffer_size_kb=32768)
    packets = (w.packet(1, system_info=system), w.packet(1, cpu_info=cpus))
    found = read(w.trace(EVENTS, *packets, config, w.packet(1, clock_snapshot=clocks)))
    assert found.facts == {
        "loss_known": True,
        "clock": "boot",
        "kernel": "6.12.95",
        "machine": "aarch64",
        "cpus": 2,
        "page_size_bytes": 4096,
        "midr": "0x00000000414fd0c1",
        "tracer": "function_graph",
        "traced": (),
        "buffer_size_kb": 32768,
        "recorded_at": "2023-11-14T22:13:20+00:00",
    }
    assert found.batches[0].facts


def test_the_kernels_own_buffer_size_counts() -> None:
    system = w.packet(1, system_info=pb.SystemInfo(page_size=4096))
    config = w.ftrace_config(buffer_size_kb=1)
    found = read(w.trace(EVENTS, system, config, w.stats(end=True, cpu_buffer_size_pages=100)))
    assert found.facts["buffer_size_kb"] == 400


def test_the_clock_of_the_bundles_is_stated() -> None:
    for number, name in ((2, "global"), (3, "local"), (4, "mono_raw"), (1, "unknown")):
        bundle = w.bundle(0, [w.event(1, 7, print={"buf": "x"})], ftrace_clock=number)
        found = read(w.trace(w.packet(ftrace_events=bundle)))
        assert found.facts["clock"] == name
        doubtful = name in ("local", "unknown")
        assert ("clock-not-comparable" in found.diagnostics) == doubtful


def test_what_the_kernels_counters_lost_is_a_loss_without_a_place() -> None:
    before = w.stats(
        end=False, cpu_stats=[{"cpu": 1, "overrun": 5}], kprobe_stats={"hits": 1, "misses": 2}
    )
    after = w.stats(
        end=True,
        cpu_stats=[{"cpu": 0, "dropped_events": 3}, {"cpu": 1, "overrun": 12}],
        kprobe_stats={"hits": 9, "misses": 4},
    )
    found = read(w.trace(before, EVENTS, after))
    assert found.losses.select("cpu", "kind", "count", "from_ns", "from_seq").rows() == [
        (0, "dropped_events", 3, None, None),
        (1, "overrun", 7, None, None),
        (None, "kprobe_missed", 2, None, None),
    ]
    assert found.diagnostics["overrun"].count == 7
    assert found.diagnostics["kprobe-missed"].count == 2


def test_events_that_could_not_be_enabled_are_named() -> None:
    stats = w.stats(end=True, unknown_ftrace_events=["kvm/gone"], failed_ftrace_events=["kvmlab/x"])
    found = read(w.trace(EVENTS, stats))
    message = found.diagnostics["events-not-enabled"].message
    assert "kvm/gone" in message
    assert "kvmlab/x" in message


def test_parse_errors_are_named() -> None:
    found = read(w.trace(EVENTS, w.stats(end=True, ftrace_parse_errors=[17])))
    assert "FTRACE_STATUS_INVALID_EVENT" in found.diagnostics["ftrace-parse-errors"].message


def test_a_full_and_an_overwritten_buffer_are_told_apart() -> None:
    for counter, code in (
        ("chunks_discarded", "perfetto-buffer-full"),
        ("chunks_overwritten", "perfetto-buffer-overwritten"),
    ):
        stats = w.packet(1, trace_stats=pb.TraceStats(buffer_stats=[{counter: 4}]))
        assert code in read(w.trace(EVENTS, stats)).diagnostics


def test_without_ftrace_events_the_filters_are_blamed() -> None:
    config = w.ftrace_config(
        enable_function_graph=True, function_filters=["kvm_pgtable_stage2_unmap", "no_such"]
    )
    found = read(w.trace(config))
    told = found.diagnostics["no-ftrace-events"]
    assert told.severity == "error"
    assert "function_filters" in told.message
    assert "no_such" in told.message
    assert found.events.is_empty()
    assert found.facts["tracer"] == "function_graph"


def test_without_ftrace_events_and_without_filters_other_causes_are_named() -> None:
    never = read(w.trace(w.ftrace_config(ftrace_events=["ftrace/print"])))
    assert "tracefs" in never.diagnostics["no-ftrace-events"].message
    idle = read(w.trace(w.ftrace_config(ftrace_events=["ftrace/print"]), w.stats(end=True)))
    assert "none of the events" in idle.diagnostics["no-ftrace-events"].message
    other = read(w.trace(w.packet(1, system_info=pb.SystemInfo(num_cpus=1))))
    assert "no data source linux.ftrace" in other.diagnostics["no-ftrace-events"].message


def test_metadata_that_cannot_be_read_is_counted() -> None:
    broken = w.packet(1).SerializeToString() + w.field(45, w.field(1, b"\xff\xff"))
    found = read(w.trace(broken, EVENTS))
    assert found.diagnostics["damaged-metadata"].count == 1
    assert len(found.events) == 1


def test_the_configuration_says_which_functions_were_timed() -> None:
    probes = [
        pb.FtraceConfig.KprobeEvent(probe="both_ends", type=3),
        pb.FtraceConfig.KprobeEvent(probe="entry_only", type=1),
    ]
    config = w.ftrace_config(
        enable_function_graph=True,
        function_filters=["kvm_pgtable_stage2_unmap", "kvm_*"],
        kprobe_events=probes,
    )
    found = read(w.trace(EVENTS, config))
    assert found.facts["traced"] == ("both_ends", "kvm_pgtable_stage2_unmap")
