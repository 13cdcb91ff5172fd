"""A page in a real browser that may reach nothing: Debian's chromium, driven by playwright.

Everything that a page should not do is noted: requests, messages on the console, errors, dialogs.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

EXECUTABLE = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(
    EXECUTABLE is None,
    reason="chromium is not installed (apt install chromium): the dashboard is not driven",
)
DRAWN = "html[data-drawn]"
PATIENCE_MS = 60_000


@dataclass
class Visit:
    """A page that was opened; `wrong` is what it did that it should not have done."""

    page: Page
    wrong: list[str] = field(default_factory=list)

    def says(self, script: str) -> Any:
        return self.page.evaluate(script)

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        found = self.says(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return int(found)


@contextmanager
def browser() -> Iterator[Browser]:
    """One browser; running as root (in a container) it has no sandbox of its own."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - slow

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=EXECUTABLE, args=arguments)
        yield started
        started.close()


@contextmanager
def visit(
    of: Browser,
    path: Path,
    *,
    width: int = 1280,
    scheme: Any = "light",
    scripts: bool = True,
    scale: float = 1,
) -> Iterator[Visit]:
    """*path* opened as a file, without a network, and drawn."""
    context = of.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True,
        java_script_enabled=scripts, reduced_motion="reduce",
        device_scale_factor=scale,
    )  # fmt: skip
    found = Visit(context.new_page())
    page, wrong = found.page, found.wrong
    own = path.as_uri()
    page.on(
        "request", lambda it: None if it.url == own else wrong.append(f"request: {it.url[:200]}")
    )
    page.on("console", lambda it: wrong.append(f"console: {it.type}: {it.text[:500]}"))
    page.on("pageerror", lambda it: wrong.append(f"error: {it}"))

    def dismiss(it: Any) -> None:
        wrong.append(f"dialog: {it.message}")
        it.dismiss()

    page.on("dialog", dismiss)
    page.goto(own)
    if scripts:
        page.wait_for_selector(DRAWN, state="attached", timeout=PATIENCE_MS)
    yield found
    context.close()
