"""From the arguments that a report repeats to what they ask for, by the parser that took them."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING, Any, Final

import typer

from traceview.cli.compare import CALIBRATED, by_side, sides_of
from traceview.cli.opening import for_each, stated_of
from traceview.cli.recipe import filters_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from traceview.report.asked import Asked, AskedInput

# The commands that write evidence.
COMMANDS: Final = ("analyze", "compare")


def asked_of(arguments: Sequence[str]) -> Asked:
    """What stood behind `traceview`; raises SettingError where no command line is like it."""
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help
    from traceview.queries.steps import STEP_PATTERN  # noqa: PLC0415
    from traceview.report.asked import Asked  # noqa: PLC0415

    of = _parsed(arguments)
    is_analysis = arguments[0] == "analyze"
    if is_analysis:
        sides, form = {"traces": list(of["traces"])}, "analysis"
    else:
        sides = sides_of(
            list(of["traces"] or ()), list(of["base"] or ()), list(of["with_"] or ()),
            of["group"], one_side=of["aa"],
        )  # fmt: skip
        form = "runs" if of["aa"] else "strategies" if of["group"] else "comparison"
    inputs = _inputs(of, sides) | _calibrations(of, sides)
    if form == "runs" and of["claim"]:
        raise SettingError("--claim speaks of two sides, and --aa has one")
    return Asked(
        form, inputs,
        filters_of(of["step"], of["trigger"], of["cpu"], of["tid"], of["from_"], of["to"]),
        tuple(dict.fromkeys(of.get("claim") or ())),
        tuple(str(path) for path in of["vocabulary"] or ()), of["steps"] is not None,
        STEP_PATTERN if of["step_pattern"] is None else of["step_pattern"], of["strict"],
    )  # fmt: skip


def _parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """The values of the options, by the names of the command's parameters."""
    from traceview.cli.app import app  # noqa: PLC0415 - the app has this command too
    from traceview.errors import SettingError  # noqa: PLC0415 - not needed by --help

    name, *rest = arguments or [""]
    if name not in COMMANDS:
        raise SettingError(f"no command that writes evidence: {name!r}")
    group: Any = typer.main.get_command(app)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # --help would print
            params: dict[str, Any] = group.commands[name].make_context(name, rest).params
    except Exception as err:
        said = " ".join(str(err).split()) or type(err).__name__
        raise SettingError(f"no command line of traceview {name}: {said}") from err
    return params


def _inputs(of: Mapping[str, Any], sides: dict[str, list[str]]) -> dict[str, list[AskedInput]]:
    """The traces of each side, with what options state about each."""
    from traceview.report.asked import AskedInput  # noqa: PLC0415 - not needed by --help

    paths = [path for several in sides.values() for path in several]
    options = {name: of[name] for name in ("origin", "label", "run", "order") if of.get(name)}
    for name in {"origin", "label"} & set(options):
        options[name] = by_side(options[name], sides)
    stated = stated_of(options, paths)
    tables = for_each("--kallsyms", by_side(of["kallsyms"] or None, sides), paths)
    each = iter([AskedInput(path, facts, None if table is None else str(table))
                 for path, facts, table in zip(paths, stated, tables, strict=True)])  # fmt: skip
    return {name: [next(each) for _ in several] for name, several in sides.items()}


def _calibrations(
    of: Mapping[str, Any], sides: dict[str, list[str]]
) -> dict[str, list[AskedInput]]:
    """The captures that say what tracing cost, by part."""
    from traceview.report.asked import AskedInput  # noqa: PLC0415 - not needed by --help

    found: dict[str, list[AskedInput]] = {}
    for name in sides:
        if name == "traces":
            part, paths = "calibration", of["calibration"]
        else:
            option = "with_calibration" if name == "with" else "base_calibration"
            part, paths = CALIBRATED[name], of[option]
        if paths:
            found[part] = [AskedInput(path) for path in paths]
    return found
