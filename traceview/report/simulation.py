"""What `traceview simulate` wrote, and what a profile is made of, for a person and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from traceview.report.json_document import document, header
from traceview.report.layout import Column, bullets, facts, heading, led, table, wrapped
from traceview.report.wording import clean, count, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SYNTHETIC = (
    "synthetic: counts and order follow the kernel's rules as the profile states them, times follow"
    " its costs; nothing here is evidence about a host"
)


@dataclass(frozen=True, slots=True)
class ProfileNumber:
    """A number of a profile: `source` is measured or assumed, `where` says more."""

    key: str
    value: float
    source: str
    where: str


@dataclass(frozen=True, slots=True)
class ProfileShown:
    """A profile. `facts`: what are no numbers."""

    name: str
    title: str
    what: str
    facts: Mapping[str, str]
    numbers: Sequence[ProfileNumber]

    @property
    def measured(self) -> int:
        """How many of its numbers are measured."""
        return sum(one.source == "measured" for one in self.numbers)


@dataclass(frozen=True, slots=True)
class SimulatedFile:
    """A trace that was written. `statuses`: how many unmaps of each; None if none is recorded."""

    path: str
    run: str
    label: str | None
    unmaps: int
    records: int
    lost: int
    statuses: Mapping[str, int] | None


def simulated_report(
    profile: ProfileShown, files: Sequence[SimulatedFile], commands: Sequence[str], width: int
) -> list[Text]:
    """What was written, of what, and what to do with it."""
    lines = wrapped(f"simulated: {clean(profile.title)} (profile {clean(profile.name)})", width)
    lines += bullets([SYNTHETIC, _sources(profile)], width)
    lines += heading("Written", width)
    columns = (
        Column("trace"), Column("label", drop=2), Column("run", drop=3),
        Column("unmaps", right=True), Column("records", right=True),
        Column("lost", right=True), Column("complete", right=True, drop=1),
    )  # fmt: skip
    lines += table(
        columns,
        [
            [
                clean(one.path), clean(one.label or "-"), clean(one.run), count(one.unmaps),
                count(one.records), count(one.lost),
                "-" if one.statuses is None else count(one.statuses.get("complete", 0)),
            ]
            for one in files
        ],
        width,
    )  # fmt: skip
    beside = "beside each: .truth.jsonl, the truth of every unmap; .host.json, the sidecar"
    lines += wrapped(beside, width, indent=2, hang=2)
    if commands:
        lines += heading("Next", width)
        lines += [line for one in commands for line in wrapped(one, width, indent=2, hang=2)]
    return lines


def simulated_json(profile: ProfileShown, files: Sequence[SimulatedFile]) -> Iterator[str]:
    """The document of `traceview simulate --json`."""
    yield from document(
        {
            **header("simulation"),
            "origin": "synthetic",
            "profile": _profile(profile),
            "files": [
                {
                    "path": one.path, "run": one.run, "label": one.label, "unmaps": one.unmaps,
                    "records": one.records, "lost": one.lost,
                    "statuses": None if one.statuses is None else dict(one.statuses),
                }
                for one in files
            ],
        }
    )  # fmt: skip


def profiles_report(profiles: Sequence[ProfileShown], width: int) -> list[Text]:
    """The profiles that there are."""
    lines: list[Text] = []
    for one in profiles:
        lines += wrapped(Text(clean(one.name), style="bold"), width)
        lines += wrapped(clean(one.title), width, indent=2)
        lines += wrapped(_sources(one), width, indent=2)
    more = "traceview simulate PROFILE --list shows every number of one, and where it is from"
    return [*lines, Text(), *wrapped(more, width)]


def profile_report(profile: ProfileShown, width: int) -> list[Text]:
    """Everything about one profile."""
    lines = wrapped(f"{clean(profile.name)}: {clean(profile.title)}", width)
    lines += wrapped(clean(" ".join(profile.what.split())), width, indent=2)
    lines += bullets([_sources(profile)], width)
    lines += facts([(clean(key), clean(value)) for key, value in profile.facts.items()], width)
    lines += heading("Numbers", width)
    # What several numbers say is said once, by number.
    said = list(dict.fromkeys(one.where for one in profile.numbers if one.where))
    columns = (Column("key"), Column("value", right=True), Column("source"), Column("from", drop=1))
    rows = [
        [
            clean(one.key), f"{one.value:,.10g}", one.source,
            f"({said.index(one.where) + 1})" if one.where else "-",
        ]
        for one in profile.numbers
    ]  # fmt: skip
    lines += table(columns, rows, width)
    for number, where in enumerate(said, 1):
        lines += led(Text(f"({number}) "), clean(where), width, indent=2)
    return lines


def profiles_json(profiles: Sequence[ProfileShown]) -> Iterator[str]:
    """The document of `traceview simulate --list --json`."""
    yield from document(
        {**header("profiles"), "profiles": [_profile(profile) for profile in profiles]}
    )


def _sources(profile: ProfileShown) -> str:
    numbers = len(profile.numbers)
    return (
        f"of {plural(numbers, 'number')} of the profile {profile.measured} measured,"
        f" {numbers - profile.measured} assumed"
    )


def _profile(profile: ProfileShown) -> dict[str, Any]:
    return {
        "name": profile.name, "title": profile.title, "facts": dict(profile.facts),
        "numbers": [
            {"key": one.key, "value": one.value, "source": one.source, "where": one.where}
            for one in profile.numbers
        ],
    }  # fmt: skip
