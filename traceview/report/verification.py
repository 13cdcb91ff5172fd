"""Whether a folder of evidence bears itself out, step by step; docs/evidence.md says what for.

Files against the manifest; what tracing cost, out of the tables again; each unmap, out of the calls
inside it again; the reports, out of the tables again; and with the recordings, every table again.
A step that fails does not end the others, so that a reader sees how far a change reaches.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

import polars as pl

import traceview
from traceview.errors import ParseError, TraceviewError
from traceview.queries.observer import priced
from traceview.queries.readded import Readding
from traceview.queries.same_rows import ROUNDING, Difference, first_differences
from traceview.report.evidence import reports_of
from traceview.report.recipe import FORMS, found
from traceview.report.wording import clean, plural
from traceview.vocabulary import strip_suffix

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from traceview.queries.analysis import Analysis
    from traceview.report.evidence_reading import EvidenceFolder
    from traceview.report.manifest import Input, Manifest

STDIN: Final = "<stdin>"  # parsers/source.py; it can be read once only
# What the traces of a side are called where nobody says (cli/compare.py).
SIDES: Final = {
    ("comparison", "base"): "base", ("comparison", "with"): "with", ("runs", "all"): "one side",
}  # fmt: skip
MATCHES: Final = "matches"
DIFFERS: Final = "differs"
UNCHECKED: Final = "not checked"
MOST_SAID: Final = 8
SHOWN: Final = 160
# What a line of JSON is made of: texts, which are compared as they are, and numbers.
JSON_TOKEN: Final = re.compile(
    r'"(?:[^"\\]|\\.)*"|(?P<number>-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?)'
)
PROBE: Final = ("probe_ns", "probe_low_ns", "probe_high_ns")
# What tables that contradict each other can end in.
CONTRADICTION: Final = (
    TraceviewError, pl.exceptions.PolarsError, ArithmeticError, AssertionError, AttributeError,
    LookupError, TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Check:
    """One step: its `outcome`, what was looked at in words, and where it differs."""

    code: str
    outcome: str
    text: str
    details: tuple[str, ...] = ()


@dataclass(slots=True)
class Verification:
    """The steps that were taken, the tables, and the recordings that were not given."""

    manifest: Manifest
    checks: list[Check] = field(default_factory=list)
    unlisted: tuple[str, ...] = ()
    parts: Mapping[str, Analysis] = field(default_factory=dict)
    not_read: tuple[Input, ...] = ()

    @property
    def matches(self) -> bool:
        """Whether nothing differs."""
        return all(one.outcome != DIFFERS for one in self.checks)


def verification(folder: EvidenceFolder) -> Verification:
    """What the folder says of itself; raises ParseError where its tables cannot be read."""
    states = folder.states()
    of = Verification(folder.manifest, unlisted=states.unlisted)
    of.not_read = tuple(one for several in folder.manifest.inputs.values() for one in several)
    said = [f"{name}: missing" for name in states.missing]
    said += [f"{name}: not the digest that the manifest states" for name in states.changed]
    of.checks.append(check("files", f"{plural(states.count, 'file')} by SHA-256", said))
    if states.missing:
        of.checks.append(Check("report", UNCHECKED, "nothing was recomputed: a file is missing"))
        return of
    parts = {name: folder.part(name) for name in folder.manifest.inputs}
    of.parts = parts
    of.checks.append(_inputs(folder.manifest, parts))
    of.checks.append(_pricing(folder.manifest, parts))
    of.checks.append(_unmaps(folder, parts))
    of.checks += _reports(folder, parts)
    return of


def check(code: str, text: str, said: list[str]) -> Check:
    """A step that differs where anything is *said*."""
    more = [f"and {len(said) - MOST_SAID} more"] if len(said) > MOST_SAID else []
    return Check(code, DIFFERS if said else MATCHES, text, (*said[:MOST_SAID], *more))


def words(difference: Difference, where: str = "") -> str:
    """A difference in words."""
    stated, again = (shortened(str(one)) for one in (difference.stated, difference.found))
    return f"{where}{clean(difference.where)}: {stated} is stated, {again} was found"


def shortened(text: str, at: int = 0) -> str:
    """*text* made safe to print, around the place *at* where it is long."""
    start = max(0, at - SHOWN // 2)
    piece = text[start : start + SHOWN]
    before, after = "..." if start else "", "..." if start + SHOWN < len(text) else ""
    return f"{before}{clean(piece)}{after}"


def _inputs(manifest: Manifest, parts: Mapping[str, Analysis]) -> Check:
    """Whether the tables name the recordings that the manifest names."""
    said = []
    for part, several in manifest.inputs.items():
        rows = parts[part].sources.iter_rows(named=True)
        for number, (one, row) in enumerate(zip(several, rows, strict=True)):
            said += [
                f"{part}/sources row {number}: {name} is {shortened(str(row[name]))}, and"
                f" {shortened(str(getattr(one, name)))} in the manifest"
                for name in ("path", "format", "sha256") if row[name] != getattr(one, name)
            ]  # fmt: skip
            facts = {"label": SIDES.get((manifest.recipe.form, part)), **one.stated}
            said += [
                f"{part}/sources row {number}: {name} is {shortened(str(row[name]))}, and"
                f" {shortened(str(value))} is stated in the manifest"
                for name, value in facts.items() if row[name] != value
            ]  # fmt: skip
    said += dict.fromkeys(_twins(manifest))
    inputs = sum(map(len, manifest.inputs.values()))
    return check(
        "inputs", f"{plural(inputs, 'recording')} named alike by tables and manifest", said
    )


def _twins(manifest: Manifest) -> Iterator[str]:
    """A recording that counts twice, or that nothing identifies: no command takes either."""
    sides = FORMS[manifest.recipe.form]
    sets = [list(sides), *([side, fewer] for side, fewer in sides.items())]
    for parts in sets:
        seen: dict[str | None, str] = {}
        for part in parts:
            for number, one in enumerate(manifest.inputs.get(part, ())):
                where = f"{part}, source {number}"
                if one.sha256 in seen:
                    yield f"{where}: the recording of {seen[one.sha256]} again"
                elif one.sha256 is None and one.path != STDIN:
                    yield f"{where}: no SHA-256"
                elif one.sha256 is not None:
                    seen[one.sha256] = where


def _pricing(manifest: Manifest, parts: Mapping[str, Analysis]) -> Check:
    """What tracing cost, from own_times and traced_calls again."""
    fewer = FORMS[manifest.recipe.form]
    said, sources = [], 0
    for part, stated in parts.items():
        sources += len(stated.tracing_costs)
        calibration = parts.get(fewer.get(part, ""))
        try:
            again = priced(stated, calibration)
        except CONTRADICTION as err:
            said.append(f"{part}: cannot be computed from these tables: {shortened(str(err))}")
            continue
        differences = first_differences("tracing_costs", stated.tracing_costs, again.tracing_costs)
        keys = ("source_id", "unmap_id", *PROBE)
        differences += first_differences(
            "unmaps", stated.unmaps.select(keys), again.unmaps.select(keys)
        )
        said += [words(one, f"{part}: ") for one in differences]
    text = (
        f"what tracing cost, of {plural(sources, 'source')} and each unmap, computed again from"
        " own_times, traced_calls and unmaps"
    )
    return check("tracing-costs", text, said)


def _unmaps(folder: EvidenceFolder, parts: Mapping[str, Analysis]) -> Check:
    """Each unmap, from its calls again."""
    said: list[str] = []
    calls = unmaps = off_cpu = 0
    for part, stated in parts.items():
        try:
            found_again = list(_readded(folder, part, stated))
        except CONTRADICTION as err:
            if isinstance(err, TraceviewError):
                raise
            said.append(f"{part}: calls contradict each other: {shortened(str(err))}")
            continue
        for number, one in enumerate(found_again):
            calls, unmaps = calls + one.calls, unmaps + one.unmaps
            off_cpu += one.off_cpu
            said += [words(each, f"{part}, source {number}: ") for each in one.differences]
    text = (
        f"{plural(unmaps, 'unmap')} added up again from {plural(calls, 'call')}: duration,"
        " components, counts, leaves, strategy, status, traced calls"
    )
    if off_cpu:
        text += (
            f"; of {plural(off_cpu, 'unmap')} whose task was off the CPU, components within that"
            " time"
        )
    return check("unmaps", text, said)


def _readded(folder: EvidenceFolder, part: str, stated: Analysis) -> Iterator[Any]:
    """What comes of the unmaps of each source of *part*."""
    inputs = folder.manifest.inputs[part]
    vocabulary = folder.manifest.recipe.vocabulary()
    sums = [Readding(vocabulary, one.heard.traced, one.page_bytes) for one in inputs]
    for source_id, calls in folder.calls(part):
        sums[source_id].add(calls)
    for number, one in enumerate(sums):
        mine = {name: of_source(stated, name, number)
                for name in ("unmaps", "traced_calls", "instructions")}  # fmt: skip
        again, table_invalidation = one.against(*mine.values())
        again.differences += _of_source_row(stated, number, table_invalidation)
        again.differences += _unheard(inputs[number], of_source(stated, "event_counts", number))
        yield again


def of_source(analysis: Analysis, table: str, number: int) -> pl.DataFrame:
    """The rows of one source, without its number."""
    rows: pl.DataFrame = getattr(analysis, table)
    return rows.filter(pl.col("source_id") == number).drop("source_id")


def _of_source_row(stated: Analysis, number: int, table_invalidation: str) -> list[Difference]:
    said = stated.sources["table_invalidation"][number]
    if said == table_invalidation:
        return []
    return [Difference("table_invalidation", said, table_invalidation)]


def _unheard(of: Input, event_counts: pl.DataFrame) -> list[Difference]:
    """A function that is said to have been hit, or stated, and of which nothing is known."""
    names = event_counts.select(pl.col("symbol", "name").cast(pl.String))
    known = {strip_suffix(one) for one in names["symbol"].drop_nulls()}
    known |= {one.rpartition(":")[2] for one in names["name"].drop_nulls()}
    known |= {*(of.traced or ()), *of.configured} | {probe.symbol for probe in of.probes.values()}
    return [
        Difference(f"{name} in the manifest", "traced", "never hit")
        for name in sorted(set(of.heard.functions) - known)[:1]
    ]


def _reports(folder: EvidenceFolder, parts: Mapping[str, Analysis]) -> list[Check]:
    """Both reports, line by line."""
    manifest = folder.manifest
    try:
        reports = reports_of(found(manifest.recipe, parts), manifest.recipe)
        return [
            _report(name, folder.text(name), _as_bytes(pieces, manifest))
            for name, pieces in reports.items()
        ]
    except CONTRADICTION as err:
        if isinstance(err, ParseError):  # of a report's file
            raise
        said = [f"no report can be made of these tables: {shortened(str(err))}"]
        return [check("report", "the report, made again from the tables", said)]


def _as_bytes(pieces: Iterable[str], manifest: Manifest) -> Iterator[bytes]:
    """The lines of a report as its file has them; it names the version that wrote it."""
    ours, theirs = (f'"traceview_version": "{version}"'.encode()
                    for version in (traceview.__version__, manifest.recipe.version))  # fmt: skip
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece.encode("utf-8", "backslashreplace")).split(b"\n")
        for line in lines:
            yield (theirs + line[len(ours) :] if line.startswith(ours) else line) + b"\n"
    if rest:
        yield rest


def _report(name: str, stated: Iterable[bytes], again: Iterable[bytes]) -> Check:
    said: list[str] = []
    may_round = name.endswith(".json")  # of the text, every letter counts
    rounded = differing = lines = 0
    for number, (one, other) in enumerate(zip_longest(stated, again), start=1):
        lines += 1
        if one == other:
            continue
        if may_round and one is not None and other is not None and _rounds_to(one, other):
            rounded += 1
            continue
        differing += 1
        if differing <= 3:
            said += _lines_that_differ(number, one, other)
    if differing > 3:
        said.append(f"and {differing - 3} more lines")
    text = f"{name}, {plural(lines, 'line')}, made again from the tables"
    if rounded:
        text += f"; {plural(rounded, 'line')} with numbers that another processor rounds otherwise"
    return Check(
        f"report-{name.partition('.')[2]}", DIFFERS if said else MATCHES, text, tuple(said)
    )


def _lines_that_differ(number: int, one: bytes | None, other: bytes | None) -> list[str]:
    texts = ["" if line is None else line.decode("utf-8", "replace").rstrip("\n")
             for line in (one, other)]  # fmt: skip
    same = zip(*texts, strict=False)
    at = next((at for at, (a, b) in enumerate(same) if a != b), min(map(len, texts)))
    return [
        f"line {number} in the folder: " + ("(none)" if one is None else shortened(texts[0], at)),
        f"line {number} made again: " + ("(none)" if other is None else shortened(texts[1], at)),
    ]


def _rounds_to(one: bytes, other: bytes) -> bool:
    """Whether two lines of JSON differ in nothing but the last digits of fractions."""
    try:
        texts = [line.decode("utf-8") for line in (one, other)]
    except UnicodeDecodeError:
        return False
    found: list[list[str]] = [[], []]
    for numbers, text in zip(found, texts, strict=True):
        numbers += [match["number"] for match in JSON_TOKEN.finditer(text) if match["number"]]
    rest = [JSON_TOKEN.sub(lambda match: "0" if match["number"] else match[0], text)
            for text in texts]  # fmt: skip
    pairs = list(zip(*found, strict=False))
    return rest[0] == rest[1] and all(a == b or _is_rounding(a, b) for a, b in pairs)


def _is_rounding(stated: str, again: str) -> bool:
    """Whether two numbers, as JSON writes them, are fractions as good as equal."""
    if not all(set(".eE") & set(number) for number in (stated, again)):
        return False
    one, other = float(stated), float(again)
    near = abs(one - other) <= ROUNDING * abs(one)
    return math.isfinite(one) and math.isfinite(other) and near
