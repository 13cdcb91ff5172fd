"""What came of a verification, for a person and as JSON."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from rich.text import Text

import traceview
from traceview.report.json_document import document, header
from traceview.report.layout import facts, heading, led, wrapped
from traceview.report.verification import DIFFERS, MATCHES, UNCHECKED
from traceview.report.wording import clean, plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.report.manifest import Manifest
    from traceview.report.verification import Verification

STYLES: Final = {MATCHES: "green", DIFFERS: "bold red", UNCHECKED: "yellow"}
MARK_WIDTH: Final = max(map(len, STYLES)) + 2
MOST_NAMED: Final = 5
FORGED: Final = (
    "tables, report and manifest that were all made up to fit each other: only the recordings can"
    " tell, so ask for them (their SHA-256 is in the manifest) and give them to this command"
)
NOT_FROM_CALLS: Final = (
    "where unmaps lie in time and steps, who asked for them, bystanders, samples, losses, own_times"
    " and event_counts are as the folder states them: they come from events that are not in it"
)
OF_THE_HOST: Final = (
    "what was stated about the recordings (origin, host, label, run, which functions were traced):"
    " sidecars and options say so, no recording proves it"
)
NO_DIGEST: Final = (
    "which recordings were read from standard input: no digest names them, and none can be given"
)
OWN_WORDS: Final = (
    "that functions mean what the own vocabulary says: it decides which calls are CMO, TLBI or"
    " anything else, here as in the report; its text is in the manifest"
)
OWN_PROBES: Final = (
    "that probes are on the functions that sidecars say: that decides what their events count as"
)
OWN_SYMBOLS: Final = "that the symbol table which named addresses is of the traced kernel and boot"
OWN_STEPS: Final = "that steps were when the file of --steps says; it is in the manifest"
OF_THE_FILES: Final = "that the recordings are what somebody says they are, of that host and kernel"


def verify_report(of: Verification, folder: str, width: int) -> list[Text]:
    """The steps and what each says; then what they cannot show."""
    recipe = of.manifest.recipe
    pairs = [
        ("evidence", clean(folder)), ("of", clean(recipe.provenance.command)),
        ("written by", f"traceview {clean(recipe.version)}"),
        ("recordings", plural(sum(map(len, of.manifest.inputs.values())), "file")),
        *(("own vocabulary", f"{clean(one['name'])} ({one['sha256']})")
          for one in vocabularies(of.manifest)),
    ]  # fmt: skip
    lines = facts(pairs, width) + heading("Checked", width)
    for check in of.checks:
        lead = Text(check.outcome.ljust(MARK_WIDTH), style=STYLES[check.outcome])
        lines += led(lead, check.text, width, indent=2)
        for detail in check.details:
            lines += wrapped(detail, width, indent=2 + MARK_WIDTH, hang=2)
    lines += heading("Not shown by this", width)
    for text in limits(of):
        lines += led(Text("- "), text, width, indent=2)
    lines += [Text(), *wrapped(Text(conclusion(of), style="bold"), width)]
    return lines


def limits(of: Verification) -> Iterator[str]:
    """What the steps cannot show, in sentences."""
    if of.not_read:
        yield FORGED
        yield NOT_FROM_CALLS
    yield OF_THE_HOST
    yield from _meanings(of)
    if not of.not_read:
        yield OF_THE_FILES
    if of.manifest.recipe.version != traceview.__version__:
        yield (
            f"whether a difference is of the folder or of the program: traceview"
            f" {clean(of.manifest.recipe.version)} wrote it, this is {traceview.__version__}"
        )
    if of.unlisted:
        named = ", ".join(clean(name) for name in of.unlisted[:MOST_NAMED])
        more = len(of.unlisted) - MOST_NAMED
        yield f"anything about what else lies there: {named}" + (
            f" and {more:,} more" if more > 0 else ""
        )


def vocabularies(of: Manifest) -> list[dict[str, str]]:
    """Name and digest of each file that says what functions are."""
    return [
        {
            "name": name,
            "sha256": hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest(),
        }
        for name, text in of.recipe.vocabularies
    ]


def _meanings(of: Verification) -> Iterator[str]:
    """What decides what is counted as what, and came from whoever made the report."""
    several = [one for inputs in of.manifest.inputs.values() for one in inputs]
    if of.manifest.recipe.vocabularies:
        yield OWN_WORDS
    if any(one.sha256 is None for one in several):
        yield NO_DIGEST
    if any(one.probes for one in several):
        yield OWN_PROBES
    if any(one.kallsyms for one in several):
        yield OWN_SYMBOLS
    if of.manifest.recipe.steps is not None:
        yield OWN_STEPS


def conclusion(of: Verification) -> str:
    """The one sentence to quote."""
    if not of.matches:
        wrong = sum(one.outcome == DIFFERS for one in of.checks)
        return f"does not match: {plural(wrong, 'check')} of {len(of.checks)} found a difference"
    inputs = sum(map(len, of.manifest.inputs.values()))
    read = inputs - len(of.not_read)
    if not read:
        return "no recording was read; matches: the report follows from the tables"
    if of.not_read:
        return (
            f"{len(of.not_read):,} of {plural(inputs, 'recording')} were not read; matches: the"
            f" report follows from the tables, and {plural(read, 'recording')}, read again, made"
            " the same rows"
        )
    return (
        f"matches: the report follows from the tables, and these from the"
        f" {plural(inputs, 'recording')}, read again"
    )


def verify_json(of: Verification, folder: str) -> Iterator[str]:
    """The document of `traceview verify --json`, in pieces."""
    yield from document(
        {
            **header("verification"),
            "folder": folder,
            "command": of.manifest.recipe.provenance.command,
            "written_by": of.manifest.recipe.version,
            "matches": of.matches,
            "conclusion": conclusion(of),
            "vocabularies": vocabularies(of.manifest),
            "checks": [
                {
                    "code": one.code, "outcome": one.outcome, "text": one.text,
                    "details": list(one.details),
                }
                for one in of.checks
            ],
            "limits": list(limits(of)),
            "unlisted": list(of.unlisted),
            "recordings": [
                {
                    "part": part, "source_id": number, "path": one.path, "sha256": one.sha256,
                    "read": one not in of.not_read,
                }
                for part, several in of.manifest.inputs.items()
                for number, one in enumerate(several)
            ],
        }
    )  # fmt: skip
