"""What the reader of a perf.data must know: damage, what was not read, what perf itself dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.parsers.perf_attr import FREQ
from traceview.parsers.perf_probe_names import listed
from traceview.parsers.perf_records import NAMES, NUMBERS, SAMPLE
from traceview.trace import Diagnostic

if TYPE_CHECKING:
    from traceview.parsers.merge import Merge
    from traceview.parsers.perf_attr import Attr, Event
    from traceview.parsers.perf_index import Index
    from traceview.parsers.perf_records import Damage
    from traceview.parsers.perf_samples import SampleDecoder

# Records that are read, and those that say nothing of the recording.
READ: Final = frozenset(
    NUMBERS[name]
    for name in (
        "SAMPLE", "LOST", "LOST_SAMPLES", "COMM", "FORK", "EXIT", "THROTTLE", "UNTHROTTLE",
        "SWITCH", "SWITCH_CPU_WIDE", "HEADER_ATTR", "HEADER_TRACING_DATA", "HEADER_FEATURE",
        "EVENT_UPDATE", "COMPRESSED", "COMPRESSED2", "FINISHED_ROUND", "FINISHED_INIT",
        "ID_INDEX", "THREAD_MAP", "CPU_MAP", "TIME_CONV",
    )
)  # fmt: skip
AUX: Final = frozenset(
    NUMBERS[name]
    for name in (
        "AUX", "ITRACE_START", "AUX_OUTPUT_HW_ID", "AUXTRACE_INFO", "AUXTRACE", "AUXTRACE_ERROR",
    )
)  # fmt: skip
THROTTLE: Final = NUMBERS["THROTTLE"]


def at_first(index: Index) -> list[Diagnostic]:
    """What the first pass found."""
    session, layouts = index.session, index.layouts
    found = [*session.diagnostics(), *_sampled(session.sampled), *index.losses.diagnostics()]
    for damage, where in zip(index.damages, ("", " of the packed records"), strict=False):
        found += _damage(damage, where)
    found += _unread(index)
    if index.packed_twice:
        message = (
            f"packed records inside packed ones, which perf never writes: {index.packed_twice}"
        )
        found.append(Diagnostic("packed-twice", "warning", message, index.packed_twice))
    throttled = index.counts[THROTTLE]
    if throttled:
        message = (
            f"the kernel throttled sampling {throttled} times (kernel.perf_event_max_sample_rate):"
            " until it went on, samples are missing"
        )
        found.append(Diagnostic("throttled", "warning", message, throttled))
    if not session.events:
        message = "the file describes no events, so its samples cannot be read"
        found.append(Diagnostic("no-events", "error", message))
    if not layouts.have_time:
        message = (
            "events were recorded without times (PERF_SAMPLE_TIME): they are in the order of the"
            " file, which across CPUs is not that in which they occurred"
        )
        found.append(Diagnostic("no-times", "warning", message))
    if not layouts.told_apart:
        message = "samples do not say of which event they are; sampling events count as the first"
        found.append(Diagnostic("events-not-told-apart", "warning", message))
    return found


def at_last(index: Index, decoder: SampleDecoder, merge: Merge) -> list[Diagnostic]:
    """What only the second pass can tell."""
    found = decoder.diagnostics()
    if decoder.guest:
        samples = index.counts[SAMPLE]
        message = (
            f"{decoder.guest} of {samples} records were made with a vCPU loaded (cpumode guest):"
            " on arm64 that includes the host's own code, so they are kept; perf script hides them"
        )
        found.append(Diagnostic("guest-cpumode", "info", message, decoder.guest))
    for code, count, what in (
        ("damaged-samples", decoder.damaged, "samples that do not fit into their records"),
        ("unknown-event-ids", decoder.unknown_ids, "samples of events that are not described"),
    ):
        if count:
            found.append(Diagnostic(code, "warning", f"{what}: {count}", count))
    return found + merge.diagnostics()


def _sampled(events: list[Event]) -> list[Diagnostic]:
    """The tracepoints and probes that were sampled, by how often."""
    by_rate: dict[str, list[str]] = {}
    for event in events:
        by_rate.setdefault(_rate(event.attr), []).append(event.label)
    if not by_rate:
        return []
    said = "; ".join(f"{listed(names)} {rate}" for rate, names in by_rate.items())
    message = (
        f"not every hit of these was recorded, so counts and pairs of them are incomplete: {said};"
        " perf record without -F and -c records every hit"
    )
    return [Diagnostic("sampled-events", "warning", message, len(events))]


def _rate(attr: Attr) -> str:
    """How often an event was sampled."""
    number = attr.sample_period  # or the frequency, in the same place
    if attr.flags & FREQ:
        return f"at {number} Hz"
    teen = number // 10 % 10 == 1
    ending = "th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"every {number}{ending}"


def _damage(damage: Damage, where: str) -> list[Diagnostic]:
    found = []
    if damage.truncated_at is not None:
        message = (
            f"the records end in the middle of one, at byte {damage.truncated_at:#x}{where}:"
            " the last is not read"
        )
        found.append(Diagnostic("truncated", "warning", message))
    if damage.places:
        more = f" and in {len(damage.places) - 1} places behind" if len(damage.places) > 1 else ""
        message = (
            f"damaged records at byte {damage.places[0]:#x}{where}{more}: {damage.lost_bytes} bytes"
            " are not read"
        )
        found.append(Diagnostic("damaged-records", "warning", message, len(damage.places)))
    if damage.gave_up_at is not None:
        message = (
            f"nothing is read from byte {damage.gave_up_at:#x}{where} on: {len(damage.places)}"
            " places before it are damaged"
        )
        found.append(Diagnostic("too-much-damage", "error", message))
    return found


def _unread(index: Index) -> list[Diagnostic]:
    """The records that are not used, by type."""
    found = []
    if index.auxtrace_bytes or any(index.counts[kind] for kind in AUX):
        message = (
            f"{index.auxtrace_bytes} bytes of hardware traces (AUX) are not read:"
            f" {_by_type(index, AUX)}"
        )
        found.append(Diagnostic("aux-not-read", "warning", message, index.auxtrace_bytes))
    known = frozenset(NAMES) - READ - AUX
    if any(index.counts[kind] for kind in known):
        total = sum(index.counts[kind] for kind in known)
        message = f"records that are not used, by type: {_by_type(index, known)}"
        found.append(Diagnostic("records-not-used", "info", message, total))
    unknown = frozenset(index.counts) - frozenset(NAMES)
    if unknown:
        total = sum(index.counts[kind] for kind in unknown)
        message = f"records of unknown types, by type: {_by_type(index, unknown)}"
        found.append(Diagnostic("unknown-records", "warning", message, total))
    return found


def _by_type(index: Index, kinds: frozenset[int]) -> str:
    present = [kind for kind in sorted(kinds) if index.counts[kind]]
    return ", ".join(f"{NAMES.get(kind, kind)} {index.counts[kind]}" for kind in present)
