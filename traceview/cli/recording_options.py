"""Which options of `traceview record` go together: what would be ignored is refused instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Collection

    import typer

EVERYWHERE: Final = frozenset({"quiet", "host_root"})
# Options of the script as well: it takes them when it runs.
OF_THE_SCRIPT: Final = frozenset({
    "command", "output", "duration", "origin", "label", "run", "order", "buffer_kb", "operand",
    "top_level", "hypervisor", "dry_run", "restore",
})  # fmt: skip


def alone(context: typer.Context, mode: str) -> None:
    """Raise SettingError where anything is said that --restore or --next would not heed."""
    others = _said(context, {mode, "state_dir"})
    if others:
        own = _names(context, [mode])
        raise SettingError(f"{_names(context, others)}: not with {own}\nvalid: {own} alone")


def of_a_script(context: typer.Context) -> None:
    """Raise SettingError where anything is said that the script asks for itself, or cannot do."""
    others = _said(context, {"script", "preset"})
    later = [one for one in others if one in OF_THE_SCRIPT]
    never = [one for one in others if one not in OF_THE_SCRIPT]
    why = []
    if later:
        why.append(f"{_names(context, later)}: say it to the script when it runs (--help)")
    if never:
        why.append(f"{_names(context, never)}: the script, which records from tracefs, has no such")
    if why:
        raise SettingError("\n".join([*why, "valid: --script with --preset alone"]))


def _said(context: typer.Context, heeded: Collection[str]) -> list[str]:
    """The parameters on the command line but those that are *heeded*."""
    found = []
    for name in context.params:
        source = context.get_parameter_source(name)
        is_said = source is not None and source.name == "COMMANDLINE"
        if is_said and name not in heeded and name not in EVERYWHERE:
            found.append(name)
    return found


def _names(context: typer.Context, names: Collection[str]) -> str:
    """The parameters as the user writes them."""
    return ", ".join(
        "COMMAND" if one.name == "command" else one.opts[-1]
        for one in context.command.params
        if one.name in names
    )
