"""`--scrub`: what a command was given, without names of hosts, tasks and files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from traceview.cli.screen import progress

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from traceview.queries.steps import StepIntervals
    from traceview.report.recipe import Recipe
    from traceview.scrub import Scrubber
    from traceview.trace import Trace


def scrub_traces(
    opened: Sequence[Sequence[Trace]], named: Mapping[str, Any], *, quiet: bool
) -> tuple[Scrubber, list[list[Trace]]]:
    """What replaces names, and *opened* with names replaced: the same ones in all of its lists.

    *opened*: the traces of a side, its calibrations, ...; *named*: what says what a step is
    (cli/recipe.py: steps_of). Reads every trace once.
    """
    from traceview.queries.steps import STEP_PATTERN  # noqa: PLC0415 - not needed by --help
    from traceview.scrub import Scrubber, scrubbed  # noqa: PLC0415

    pattern = named.get("step_pattern", STEP_PATTERN)
    with progress("looking for names to replace", quiet=quiet) as hear:
        scrubber = Scrubber(
            [trace for of in opened for trace in of], step_pattern=pattern, progress=hear
        )
    return scrubber, [[scrubbed(trace, scrubber) for trace in of] for of in opened]


def scrub_steps(named: Mapping[str, Any], scrubber: Scrubber) -> dict[str, Any]:
    """*named*, for traces that were scrubbed: the tasks of --steps have other numbers."""
    if "steps" not in named:
        return dict(named)
    return {**named, "steps": _steps(named["steps"], scrubber)}


def scrub_recipe(recipe: Recipe, scrubber: Scrubber) -> Recipe:
    """*recipe*, for traces that were scrubbed: filters by what they were asked for then."""
    filters = replace(
        recipe.filters,
        steps=tuple(scrubber.step_id(name) for name in recipe.filters.steps),
        tids=tuple(scrubber.tid(number) for number in recipe.filters.tids),
    )
    return replace(
        recipe,
        arguments=scrubber.words(recipe.arguments),
        filters=filters,
        vocabularies=tuple(
            (scrubber.file(name), scrubber.vocabulary(text)) for name, text in recipe.vocabularies
        ),
        steps=None if recipe.steps is None else _steps(recipe.steps, scrubber),
    )


def _steps(steps: StepIntervals, scrubber: Scrubber) -> StepIntervals:
    return replace(
        steps,
        ids=tuple(scrubber.step_id(name) for name in steps.ids),
        tids=tuple(None if tid is None else scrubber.tid(tid) for tid in steps.tids),
    )
