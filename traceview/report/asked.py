"""What a command line asks for, against what a manifest says was done.

A report repeats its command, and its reader judges it by that: nothing may have been done that the
command does not ask for, and nothing that it asks for may have been left out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from traceview.queries.filters import Filters
from traceview.queries.steps import STEP_PATTERN
from traceview.report.verification import Check, check, shortened
from traceview.report.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from traceview.queries.analysis import Analysis
    from traceview.report.manifest import Input, Manifest

STDIN: Final = {"-": "<stdin>"}  # parsers/source.py


@dataclass(frozen=True, slots=True)
class AskedInput:
    """A trace of the command line.

    `stated`: what options say of it, None where none does. `kallsyms`: what names its addresses.
    """

    path: str
    stated: Mapping[str, Any] = field(default_factory=dict)
    kallsyms: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """`vocabularies`: names of files. `has_steps`: whether a file says what a step is."""

    form: str
    inputs: Mapping[str, Sequence[AskedInput]]
    filters: Filters = field(default_factory=Filters)
    claims: tuple[str, ...] = ()
    vocabularies: tuple[str, ...] = ()
    has_steps: bool = False
    step_pattern: str = STEP_PATTERN
    strict: bool = False


def asked_for(asked: Asked, manifest: Manifest, parts: Mapping[str, Analysis]) -> Check:
    """Whether the manifest says what the command says; *parts*: the tables, where there are any."""
    said = [
        f"{what}: {_shown(wanted)} is asked for by the command, and {_shown(done)} is in the"
        " manifest"
        for what, wanted, done in _pairs(asked, manifest)
        if wanted != done
    ]
    if asked.strict:
        said += [
            f"--strict refuses {part}: {shortened(what.message)} [{what.code}]"
            for part, of in parts.items()
            for _, what in of.diagnostics
            if what.severity != "info"
        ]
    return check("arguments", "what the command asks for, against what was done", said)


def _pairs(asked: Asked, manifest: Manifest) -> Iterator[tuple[str, object, object]]:
    """What is compared: how it is called, what is asked for, what the manifest says."""
    recipe = manifest.recipe
    yield "form", asked.form, recipe.form
    yield "filters", asked.filters, recipe.filters
    yield "--claim", asked.claims, recipe.claims
    names = tuple(name for name, _ in recipe.vocabularies)
    if recipe.scrubbed:  # and what a path becomes depends on how it was written
        yield "--vocabulary", _files(len(asked.vocabularies)), _files(len(names))
    else:
        yield "--vocabulary", asked.vocabularies, names
    yield "--steps", _files(asked.has_steps), _files(recipe.steps is not None)
    yield "--step-pattern", asked.step_pattern, recipe.step_pattern
    yield "traces of", sorted(asked.inputs), sorted(manifest.inputs)
    for part, done in manifest.inputs.items():
        if part in asked.inputs:
            yield from _inputs(part, asked.inputs[part], done)


def _inputs(
    part: str, wanted: Sequence[AskedInput], done: Sequence[Input]
) -> Iterator[tuple[str, object, object]]:
    yield f"{part}, files", len(wanted), len(done)
    for number, (one, other) in enumerate(zip(wanted, done, strict=False)):
        where = f"{part}, source {number}"
        yield f"{where}, path", _path(one.path), _path(other.path)
        for name, value in one.stated.items():
            if value is not None:
                yield f"{where}, --{name}", value, other.stated.get(name)
        if one.kallsyms and other.kallsyms is None:
            yield f"{where}, --kallsyms", one.kallsyms, "none"


def _path(path: str) -> str:
    """A folder may be named with a slash at its end."""
    return STDIN.get(path) or os.path.normpath(path)


def _files(count: int) -> str:
    return plural(int(count), "file") if count else "none"


def _shown(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
    return shortened(text or "none")
