"""What an audit found, for a person and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import polars as pl
from rich.text import Text

from traceview.queries.audit_flushes import BY_FORMULA
from traceview.queries.filters import undecided
from traceview.report.absent import why_no_unmap
from traceview.report.caveats import caveats, left_out
from traceview.report.json_document import diagnostics as diagnostics_json
from traceview.report.json_document import document, header, rows, source_counts
from traceview.report.layout import Column, bullets, heading, led, table, wrapped
from traceview.report.sources import sources
from traceview.report.terminal import diagnostics
from traceview.report.wording import UNKNOWN, bytes_size, clean, count, duration, plural, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from traceview.queries.audit_results import Assumed, Audit, Check

SHOWN: Final = 10
IN_ORDER: Final = (
    "whether a DSB stands before the first TLBI of a flush, behind its stage-2 TLBIs and at its"
    " end: then what is released after its return is released after its DSB"
)
STORE_FIRST: Final = (
    "whether a TLBI that covers it, and a DSB that waits for that, follow the store that clears an"
    " entry, before its unmap returns and before the page-table page it led to is released"
)
# Of each check: its name in tables, and what it asks.
CHECKS: Final = {
    "flushed-before-return": (
        "leaf flushed before return",
        "whether every entry that was cleared was invalidated before its unmap returned",
    ),
    "table-before-release": (
        "table flushed before release",
        "whether every page-table page was invalidated before it was released (f62d4c3eb687)",
    ),
    "range-covered": (
        "unmapped range covered",
        "whether what was invalidated covers what was unmapped",
    ),
    "range-operations": (
        "range operations complete",
        "whether the operations of a range flush cover what it was asked for (e3ba51ab24fd)",
    ),
    "instruction-order": (
        "TLBI, DSB, return in order",
        IN_ORDER,
    ),
    "operands": (
        "executed operands right",
        "whether every TLBI names what its call was asked to invalidate",
    ),
    "entries-invalidated": (
        "store, TLBI, DSB, release",
        STORE_FIRST,
    ),
}
PLURALS: Final = {"unmap": "unmaps", "flush": "flushes", "range flush": "range flushes"}
NO_STORE: Final = (
    "a window begins with the last call seen before the store that clears the entry, so it is at"
    " most so long"
)
TRACED_TOO: Final = ", and it contains what tracing cost"
NOTHING_CHECKED: Final = (
    "NOTHING WAS CHECKED: that nothing was found is no pass (--complete exits with 1)"
)
LEAVES_UNKNOWN: Final = (
    "whether anything was mapped is not known (kvm_s2_put_page was not traced or never hit): one"
    " that cleared nothing leaves nothing stale, and has a window here"
)
NO_UNMAP: Final = "no unmap was recorded: flushes of ranges are all that was checked"
WINDOW_COLUMNS: Final = (
    "at most; leaves: how many wait in one window (median, most); unknown: unmaps without a window,"
    " as times are missing"
)
MAY_BE_LOST: Final = (
    "this format does not say whether events were lost: a lost event looks like an invalidation"
    " that was not made"
)
UNPLACED_LOSS: Final = (
    "events were lost, and where is not known: a lost event looks like an invalidation that was not"
    " made"
)
PREDICTED: Final = (
    "predicted: the arguments were recorded, the operand was not; what it covers is computed by the"
    " formula of the kernel's release"
)
# Caveats of an analysis that concern order and counts, not times alone.
CONCERNED: Final = ("origin-", "loss-", "times-are-instructions", "left-out-by-filter")


def audit_report(found: Audit, width: int) -> list[Text]:
    """The whole report."""
    lines = sources(found.whole, width)
    if found.outcome == "nothing_checked":
        lines = wrapped(Text(NOTHING_CHECKED, style="bold yellow"), width) + lines
    if found.filters:
        kept = f"{len(found.kept.unmaps):,} of {plural(len(found.whole.unmaps), 'unmap')}"
        lines += heading(f"Only {clean(found.filters)} (kept: {kept})", width)
    lines += _verdict(found, width)
    lines += _findings(found, width)
    lines += _checks(found, width)
    lines += _windows(found, width)
    lines += _assumptions(found, width)
    lines += heading("Caveats", width) + bullets(_caveats(found), width)
    return lines + diagnostics(found.whole, width)


def _verdict(found: Audit, width: int) -> list[Text]:
    idle = any(check.idle for check in found.checks) and not any(
        check.unchecked for check in found.checks
    )
    said, style = {
        "findings": (plural(len(found.findings), "finding"), "bold red"),
        "nothing_checked": (f"Nothing {'to be' if idle else 'could be'} checked", "bold yellow"),
        "incomplete": ("No finding in what could be checked; not everything could", "bold"),
        "clean": ("No finding", "bold green"),
    }[found.outcome]
    lines = [Text(), *wrapped(Text(said, style=style), width)]
    if not found.whole.unmaps.is_empty():
        return lines
    return lines + bullets([NO_UNMAP] if found.checked else why_no_unmap(found.whole), width)


def _findings(found: Audit, width: int) -> list[Text]:
    lines: list[Text] = []
    several = len(found.whole.sources) > 1
    for code in found.findings["check"].unique(maintain_order=True):
        mine = found.findings.filter(found.findings["check"] == code)
        lines += heading(f"{CHECKS[code][0]}: {plural(len(mine), 'finding')}", width)
        for row in mine.head(SHOWN).iter_rows(named=True):
            lead = Text("! ", "red" if row["severity"] == "finding" else "yellow")
            path = found.whole.sources["path"][row["source_id"]] if several else None
            lines += led(lead, _finding(row, path), width, indent=2)
        if len(mine) > SHOWN:
            lines += bullets([f"and {plural(len(mine) - SHOWN, 'more')} (--json has all)"], width)
    if "predicted" in found.findings["severity"]:
        lines += bullets([PREDICTED], width)
    return lines + bullets(_lost(found), width)


def _lost(found: Audit) -> Iterator[str]:
    """That a finding may be an event that was lost, where that can be."""
    mine = found.findings["source_id"].unique()
    if not found.whole.sources["loss_known"].gather(mine.cast(pl.Int64)).all():
        yield MAY_BE_LOST
    losses = found.whole.losses.filter(pl.col("source_id").is_in(mine.implode()))
    if losses.filter(pl.col("from_seq").is_null() & pl.col("to_seq").is_null()).height:
        yield UNPLACED_LOSS


def _finding(row: dict[str, Any], path: str | None) -> str:
    place = [
        None if path is None else clean(path),
        "range flush" if row["unmap_id"] is None else "unmap",
        None if row["step"] is None else f"of step {clean(row['step'])}",
        None if row["start_ns"] is None else f"at {seconds(row['start_ns'])}",
        None if row["cpu"] is None else f"on CPU {row['cpu']}",
        None if row["tid"] is None else f"(tid {row['tid']})",
    ]
    predicted = "predicted: " if row["severity"] == "predicted" else ""
    return f"{' '.join(part for part in place if part)}: {predicted}{clean(row['text'])}"


def _checks(found: Audit, width: int) -> list[Text]:
    columns = (
        Column("check"), Column("of"), Column("checked", right=True),
        Column("findings", right=True), Column("nothing to check", right=True, drop=1),
        Column("could not check", right=True),
    )  # fmt: skip
    by_code = {code: [c for c in found.checks if c.code == code] for code in CHECKS}
    values = [
        [
            CHECKS[code][0], PLURALS[of[0].unit],
            count(sum(c.checked for c in of)), count(sum(c.found for c in of)),
            count(sum(c.idle for c in of)), count(sum(sum(c.unchecked.values()) for c in of)),
        ]
        for code, of in by_code.items() if of
    ]  # fmt: skip
    lines = heading("Once called, TLBs and page tables are synchronised", width)
    lines += table(columns, values, width)
    asked = [(CHECKS[code][0], CHECKS[code][1], of) for code, of in by_code.items() if of]
    lines += [Text(), *bullets((f"{name}: {what}{_by(of)}" for name, what, of in asked), width)]
    unchecked = [
        f"{name}: {count(number)} {of[0].unit if number == 1 else PLURALS[of[0].unit]}: {why}"
        for name, _, of in asked
        for why, number in _why(of)
    ]
    if unchecked:
        lines += heading("Could not check", width) + bullets(unchecked, width)
    return lines


def _by(checks: Sequence[Check]) -> str:
    total: dict[str, int] = {}
    for check in checks:
        for by, number in check.by.items():
            total[by] = total.get(by, 0) + number
    said = [f"{by} ({count(number)})" for by, number in total.items()]
    return f"; decided by {', '.join(said)}" if said else ""


def _why(checks: Sequence[Check]) -> list[tuple[str, int]]:
    total: dict[str, int] = {}
    for check in checks:
        for why, number in check.unchecked.items():
            total[why] = total.get(why, 0) + number
    return sorted(((clean(why), number) for why, number in total.items()), key=lambda w: -w[1])


def _windows(found: Audit, width: int) -> list[Text]:
    if found.windows.is_empty():
        return []
    columns = (
        Column("strategy"), Column("evidence"), Column("origin"), Column("unmaps", right=True),
        Column("windows", right=True), Column("median", right=True), Column("p95", right=True),
        Column("max", right=True), Column("leaves", right=True, drop=1),
        Column("most", right=True, drop=2), Column("unknown", right=True, drop=3),
    )  # fmt: skip
    lines = heading("Stale windows: how long cleared entries wait for their invalidation", width)
    labels = found.windows["label"].unique(maintain_order=True)
    for label in labels:
        lines += (
            wrapped(Text(clean(label), style="bold"), width, indent=2) if len(labels) > 1 else []
        )
        values = [
            [
                *(clean(row[name]) for name in ("strategy", "evidence", "origin")),
                count(row["unmaps"]),
                count(row["windows"]), duration(row["median_ns"]), duration(row["p95_ns"]),
                duration(row["max_ns"]), count(row["leaves_median"]), count(row["leaves_max"]),
                count(row["unknown"]) if row["unknown"] else UNKNOWN,
            ]
            for row in found.windows.filter(found.windows["label"] == label).iter_rows(named=True)
        ]  # fmt: skip
        lines += table(columns, values, width)
    return [*lines, *bullets([WINDOW_COLUMNS, *_unsure(found), *_faults(found)], width)]


def _unsure(found: Audit) -> Iterator[str]:
    """That a window may be of an unmap that cleared nothing."""
    if number := int(found.windows["leaves_unknown"].sum()):
        yield f"of {plural(number, 'unmap')} {LEAVES_UNKNOWN}"


def _faults(found: Audit) -> Iterator[str]:
    recorded = sum(one.recorded for one in found.bystanders)
    if not recorded:
        yield "guest faults inside windows: not recorded (kvm:kvm_guest_fault)"
        return
    inside = sum(one.inside for one in found.bystanders)
    unmaps = sum(one.unmaps for one in found.bystanders)
    more = "" if not inside else f", during {plural(unmaps, 'unmap')}"
    yield (
        f"guest faults of other tasks on addresses that were being unmapped: {count(inside)} of"
        f" {count(recorded)} recorded{more} (information, not a finding; of any VM: guest addresses"
        " do not tell VMs apart)"
    )


def _assumptions(found: Audit, width: int) -> list[Text]:
    """By what the operations of ranges were computed; one line per distinct set."""
    used = {check.source_id for check in found.checks if BY_FORMULA in check.by}
    texts = dict.fromkeys(_assumption(one) for one in found.assumed if one.source_id in used)
    return (
        heading("Range operations were computed with", width) + bullets(texts, width)
        if texts
        else []
    )


def _assumption(one: Assumed) -> str:
    kernel = "a kernel of unknown release" if one.kernel is None else f"kernel {clean(one.kernel)}"
    formulas = "; or ".join(one.formulas)
    page = f"{bytes_size(one.page_size_bytes)} pages{'' if one.page_known else ' (assumed)'}"
    lpa2 = {None: "LPA2 not stated", True: "LPA2", False: "no LPA2"}[one.lpa2]
    return f"{kernel}: {formulas}; {page}; {lpa2}"


def _caveats(found: Audit) -> list[str]:
    said = [*left_out(undecided(found.filters, found.whole)), *caveats(found.kept)]
    texts = [clean(one.text) for one in said if one.code.startswith(CONCERNED)]
    if found.windows.is_empty():
        return texts
    traced = (found.windows["evidence"] != "insn").any()
    return [*texts, NO_STORE + (TRACED_TOO if traced else "")]


def audit_json(found: Audit) -> Iterator[str]:
    """The document of `traceview audit --json`, in pieces."""
    said = [*left_out(undecided(found.filters, found.whole)), *caveats(found.kept)]
    yield from document(
        {
            **header("audit"),
            "filters": str(found.filters),
            "outcome": found.outcome,
            "complete": found.is_complete,
            "caveats": [
                {"code": one.code, "severity": one.severity, "text": one.text}
                for one in said
                if one.code.startswith(CONCERNED)
            ],
            "diagnostics": diagnostics_json(found.whole),
            "sources": rows(source_counts(found.whole)),
            "checks": [
                {
                    "source_id": check.source_id, "check": check.code,
                    "question": CHECKS[check.code][1], "unit": check.unit,
                    "checked": check.checked, "findings": check.found, "idle": check.idle,
                    "by": dict(check.by), "unchecked": dict(check.unchecked),
                }
                for check in found.checks
            ],
            "findings": rows(found.findings),
            "windows": rows(found.windows),
            "guest_faults": [asdict(one) for one in found.bystanders],
            "assumed": [asdict(one) for one in found.assumed],
        }
    )  # fmt: skip
