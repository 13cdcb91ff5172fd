"""A comparison for a person: effect first, then by what, then what it stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.text import Text

from traceview.report.bystanders import bystanders
from traceview.report.compare_basis import ledger, noise, tracing
from traceview.report.compare_deciles import shift
from traceview.report.compare_effect import effect
from traceview.report.compare_sizes import counts, lines_through, sizes
from traceview.report.compare_split import split
from traceview.report.compare_verdict import hypotheses
from traceview.report.compared import SIDES, joined, label_of
from traceview.report.contents import contents
from traceview.report.layout import bullets, facts, heading
from traceview.report.terminal import SAID_AS_CAVEATS, diagnostics
from traceview.report.wording import clean, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.queries.comparison import Comparison
    from traceview.report.compared import Compared

FACTS: Final = {
    "kernel": "kernel", "machine": "machine", "cpus": "CPUs", "midr": "MIDR", "fwb": "FWB",
    "tlbirange": "TLBIRANGE", "lpa2": "LPA2", "page_size_bytes": "page size", "errata": "errata",
    "origin": "origin", "clock": "trace clock", "tracer": "tracer",
    "buffer_size_kb": "buffer size (kB)",
}  # fmt: skip
# Said where they matter: the effect, what it stands on, what tracing cost.
SAID: Final = frozenset({
    "origin-emulated", "origin-synthetic", "origin-unknown", "times-are-instructions",
    "excluded-censored", "excluded-contaminated", "entries-only", "one-run", "runs-unknown",
    "several-labels",
})  # fmt: skip


def compare_report(found: Compared, width: int) -> list[Text]:
    """Everything about two sides."""
    lines = sides(found, width)
    for section in (
        effect,
        sizes,
        counts,
        split,
        hypotheses,
        lines_through,
        shift,
        noise,
        cost_to_others,
        ledger,
        tracing,
    ):
        lines += section(found, width)
    lines += _caveats(found, width)
    return lines + diagnostics(joined(found), width, besides=SAID_AS_CAVEATS)


def cost_to_others(found: Compared, width: int) -> list[Text]:
    """What the unmaps of either side cost other vCPUs, where that was recorded."""
    lines: list[Text] = []
    for at, side in enumerate((found.comparison.base, found.comparison.with_)):
        if len(side.bystanders) and (said := bystanders(contents(side), width)):
            lines += [*said[:2], Text(f"  {SIDES[at]} ({label_of(side)})", style="bold")]
            lines += said[2:]
    return lines


def sides(found: Compared, width: int) -> list[Text]:
    """What is compared with what, and how it was matched."""
    comparison = found.comparison
    pairs = [(name, side_text(found, at)) for at, name in enumerate(SIDES)]
    differ, same, unknown = _facts(comparison)
    pairs += [("differ", differ)] if differ else []
    pairs += [("alike", same)] if same else []
    pairs += [("not stated", f"{unknown}: whether the sides differ in these is not known")] if (
        unknown
    ) else []  # fmt: skip
    pairs.append(("matched", matched_text(comparison)))
    pairs += [("only", clean(str(found.filters)))] if found.filters else []
    return facts(pairs, width)


def side_text(found: Compared, at: int) -> str:
    """What a side is of: its label, its runs, its captures."""
    comparison = found.comparison
    side, runs = (
        (comparison.base, comparison.base_runs), (comparison.with_, comparison.with_runs)
    )[at]  # fmt: skip
    said = plural(len(runs), "run")
    if side.sources["run"].null_count():
        said = "runs not stated, taken as one" if len(runs) == 1 else f"{said}, some not stated"
    what = label_of(side)
    if found.one_set:
        what = f"{('per_pte', 'deferred_range')[at]} of {what or 'one set'}"
    return f"{what}: {said}, {plural(len(side.sources), 'capture')}"


def _facts(comparison: Comparison) -> tuple[str, str, str]:
    """What differs, what is alike, and what is not known of both."""
    differ, same, unknown = [], [], []
    for fact, name in FACTS.items():
        ours, theirs = comparison.facts[fact]
        if not ours or not theirs:
            unknown.append(name)
        elif set(ours) == set(theirs):
            same.append(f"{name} {_values(ours)}")
        else:
            differ.append(f"{name} {_values(ours)} -> {_values(theirs)}")
    return ", ".join(differ), ", ".join(same), ", ".join(unknown)


def _values(values: tuple[str, ...]) -> str:
    words = {"true": "yes", "false": "no"}
    return "+".join(words.get(value, clean(value)) for value in values)


def matched_text(comparison: Comparison) -> str:
    """How unmaps of both sides were matched."""
    matched = comparison.matched
    by = "by leaf level, trigger and number of leaves"
    if matched.mode == "step":
        steps = matched.base["step"].is_not_null().any()
        by = "by step and order within it" if steps else "by order in the capture (no steps)"
    elif matched.base["length_bytes"].is_not_null().all():
        by += ", and length of the range"
    if not matched.alone:
        return f"{by}; all from detailed captures"
    if matched.base_detailed.is_empty() or matched.with_detailed.is_empty():
        return (
            f"{by}; times of captures of kvm_pgtable_stage2_unmap alone, without detailed ones on"
            " both sides that see leaves and parts"
        )
    return (
        f"{by}; times of captures of kvm_pgtable_stage2_unmap alone, leaves and split of the"
        " detailed capture of the same run"
    )


def _caveats(found: Compared, width: int) -> list[Text]:
    shown = [Text(text, "bold" if strong else "") for text, strong in caveat_texts(found)]
    return heading("Before quoting this", width) + bullets(shown, width) if shown else []


def caveat_texts(found: Compared) -> Iterator[tuple[str, bool]]:
    """What is not said elsewhere, and whether it must not be overlooked."""
    for one in found.caveats:
        if one.caveat.code in SAID or one.caveat.code.startswith("overhead"):
            continue
        side = "" if one.side is None else f"{one.side}: "
        if one.side is None and one.caveat.counts:
            side = "of each side: "
        yield side + one.caveat.text, one.caveat.severity == "strong"
