"""One caveat: what a reader must know before quoting a number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caveat:
    """`code` is a stable name; `sources` the source_ids that it is about, none if about all.

    `severity` is `strong` where the numbers are not what they look like, else `plain`.
    `counts`: the text says how many unmaps it is about.
    """

    code: str
    text: str
    sources: tuple[int, ...] = ()
    severity: str = "plain"
    counts: bool = False
