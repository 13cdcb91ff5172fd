"""How a simulated trace says of itself what it is, so that it cannot lose it with its sidecar.

The kernel release that it states ends in RELEASE_SUFFIX, and its first marker is the NOTICE.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from traceview.errors import SettingError

if TYPE_CHECKING:
    from traceview.trace import Batch

NOTICE: Final = "SYNTHETIC: written by traceview simulate, nothing here is evidence"
RELEASE_SUFFIX: Final = "-synthetic"
ORIGIN: Final = "synthetic"


def with_origin(batch: Batch, *, stated: str | None) -> Batch:
    """*batch*, with the fact `origin` where it says that its trace is synthetic.

    Raises SettingError when another origin is *stated* of such a trace.
    """
    if not _says_so(batch):
        return batch
    if stated not in (None, ORIGIN):
        raise SettingError(
            f"origin {stated} is stated of a trace that says of itself that it is synthetic:"
            " it was written by traceview simulate"
        )
    return replace(batch, facts={**batch.facts, "origin": ORIGIN})


def _says_so(batch: Batch) -> bool:
    if str(batch.facts.get("kernel", "")).endswith(RELEASE_SUFFIX):
        return True
    texts = batch.args["text"]
    return texts.null_count() < len(texts) and bool(texts.str.starts_with(NOTICE).any())
