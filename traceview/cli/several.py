"""Options that take several values after one name: `--base A B C`, as shells expand globs.

The parser takes one value for one option, so the arguments are written out before it sees them:
`--base A --base B --base C`. The values of an option end at the next argument that begins with a
dash (`-` alone is a value: standard input).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from typer import BadParameter
from typer.core import TyperCommand

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

MANY: Final = "..."  # ends the metavar of an option that takes several values
USAGE: Final = (
    "--base TRACE... --with TRACE... [OPTIONS]",
    "--group strategy TRACE... [OPTIONS]",
    "--aa TRACE... [OPTIONS]",
)


class SeveralCommand(TyperCommand):
    """A command of which some options take several values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write the values out before the parser reads them."""
        several = {
            name
            for param in self.params
            for name in param.opts
            if name.startswith("--") and str(param.metavar or "").endswith(MANY)
        }
        return super().parse_args(ctx, written_out(args, several))


class CompareCommand(SeveralCommand):
    """The same, with a line of usage for each of its forms."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """One line per form."""
        formatter.write(
            "".join(
                f"{'Usage: ' if not at else '       '}{ctx.command_path} {form}\n"
                for at, form in enumerate(USAGE)
            )
        )


def written_out(arguments: Sequence[str], several: Collection[str]) -> list[str]:
    """*arguments* with the name of each of the options *several* before each of its values.

    Raises BadParameter for one of them that has none.
    """
    found: list[str] = []
    option, waits = None, False
    for at, argument in enumerate([*arguments, "--"]):
        if argument == "-" or not argument.startswith("-"):
            found += [argument] if option is None else [option, argument]
            waits = False
            continue
        if option is not None and waits:
            raise BadParameter("it takes one or more files", param_hint=option)
        if argument == "--":
            return [*found, *arguments[at:]]
        name, given, _ = argument.partition("=")
        option, waits = (name, not given) if name in several else (None, False)
        found += [] if waits else [argument]
    return found
