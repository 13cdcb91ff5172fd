"""From what the user typed to the recipe of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from traceview.queries.filters import Filters
    from traceview.report.recipe import Recipe


def recipe_of(
    form: str,
    arguments: Sequence[str],
    filters: Filters,
    vocabularies: Sequence[Path] | None,
    steps: dict[str, Any],
    claims: Sequence[str] | None = None,
) -> Recipe:
    """The recipe; raises SettingError for a claim that is none or a file that cannot be read."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
    from traceview.report.recipe import Recipe  # noqa: PLC0415

    wanted = tuple(dict.fromkeys(claims or ()))
    if wanted:
        from traceview.queries.claims import parse_claim  # noqa: PLC0415

        for claim in wanted:
            parse_claim(claim)
    texts = []
    for path in vocabularies or ():
        try:
            # As it is: its digest shall be that of the file.
            texts.append((str(path), path.read_bytes().decode("utf-8")))
        except (OSError, UnicodeDecodeError) as err:
            raise SettingError(f"vocabulary cannot be read: {path}: {err}") from err
    return Recipe(form, tuple(arguments), filters, wanted, tuple(texts), **steps)


def filters_of(
    steps: list[str] | None,
    triggers: list[str] | None,
    cpus: list[int] | None,
    tids: list[int] | None,
    first: str | None,
    last: str | None,
) -> Filters:
    """The filters that the options ask for."""
    from traceview.queries.filters import Filters, parse_time  # noqa: PLC0415

    return Filters(
        steps=tuple(steps or ()),
        triggers=tuple(triggers or ()),
        cpus=tuple(cpus or ()),
        tids=tuple(tids or ()),
        from_ns=None if first is None else parse_time(first),
        to_ns=None if last is None else parse_time(last),
    )


def steps_of(path: Path | None, pattern: str | None) -> dict[str, Any]:
    """The arguments of `analyze` that say what a step is."""
    from traceview.queries.steps import read_steps  # noqa: PLC0415

    found: dict[str, Any] = {} if path is None else {"steps": read_steps(path)}
    return found if pattern is None else {**found, "step_pattern": pattern}
