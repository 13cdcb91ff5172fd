"""What a manifest states about a recording, against the sidecar that lies beside the recording.

No recording proves what is stated of it; but where its own sidecar says something else, one of
them is wrong. Options win over a sidecar, so what the command states itself is left alone: but for
`origin`, which no option makes hardware against a sidecar (traceview/host.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from traceview.host import NOT_HARDWARE
from traceview.report.manifest import digest_of
from traceview.report.verification import Check, check, shortened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from traceview.report.asked import AskedInput
    from traceview.report.manifest import Input
    from traceview.trace import Settings

NOTHING = "nothing"


def restated(where: str, one: Input, own: Settings, asked: AskedInput | None) -> Check:
    """Compare *one* with *own*, the sidecar's; *asked*: what the command says of it."""
    said = [
        f"{where}: {name}: {_shown(stated)} is stated, {_shown(found)} in the sidecar"
        for name, stated, found in _pairs(one, own)
        if stated != found and not _is_asked(name, stated, found, asked)
    ]
    return check("sidecar", f"{where}: what is stated of it, against the sidecar beside it", said)


def _pairs(one: Input, own: Settings) -> Iterator[tuple[str, Any, Any]]:
    facts = {name: value for name, value in own.facts.items() if value is not None}
    names = (one.stated.keys() | facts.keys()) - {"sha256"}
    for name in sorted(names, key=lambda name: (name != "origin", name)):  # the gravest first
        yield name, one.stated.get(name), facts.get(name)
    traced = None if own.traced is None else tuple(sorted(own.traced))
    yield "traced", one.traced, traced
    probes = dict(own.symbols.probes)
    for name in sorted(one.probes.keys() | probes.keys()):
        yield f"the probe {name}", one.probes.get(name), probes.get(name)
    table = digest_of(own.symbols.kallsyms) or own.symbols.names_sha256
    yield "kallsyms", one.kallsyms, table


def _is_asked(name: str, stated: Any, found: Any, asked: AskedInput | None) -> bool:
    if asked is None or (name == "origin" and stated == "hardware" and found in NOT_HARDWARE):
        return False
    return asked.kallsyms is not None if name == "kallsyms" else asked.stated.get(name) is not None


def _shown(value: Any) -> str:
    return NOTHING if value is None else shortened(str(value))
