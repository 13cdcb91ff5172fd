"""What README.md shows, rendered from the program: `make golden` writes it, a test compares it.

A block of README.md between `<!-- shown: NAME -->` and `<!-- end -->` holds the output of the
command NAME. Nothing is rewritten under CI.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAIR = "sample_traces/switch-6.12"
COMPARE_ENDS_BEFORE = "Operations per unmap"
BLOCK = re.compile(r"(?<=<!-- shown: )(?P<name>[^>]+?) -->\n```text\n(?P<text>.*?)```\n", re.DOTALL)


def make_demo() -> str:
    """What `make demo` prints, run with this interpreter's traceview into a temporary folder."""
    environment = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    with tempfile.TemporaryDirectory() as out:
        done = subprocess.run(
            [
                "make", "--no-print-directory", "--old-file=.venv/installed-stamp", "demo",
                f"BIN={Path(sys.executable).parent}", f"OUT={out}",
            ],
            cwd=ROOT, env=environment, check=True, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.stdout.replace(out, "traceview-out")


def compare() -> str:
    """What `traceview compare` prints of the two bundled sides, up to the counts."""
    environment = {name: text for name, text in os.environ.items() if name != "COLUMNS"}
    folder = ROOT / PAIR
    sides = {
        side: sorted(path.name for path in folder.glob(f"{side}-*.xz"))
        for side in ("per-leaf", "deferred")
    }
    done = subprocess.run(
        [
            Path(sys.executable).parent / "traceview", "compare", "--base",
            *sides["per-leaf"], "--with", *sides["deferred"],
        ],
        cwd=folder, env=environment, check=True, text=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    return done.stdout.partition(COMPARE_ENDS_BEFORE)[0].rstrip() + "\n"


COMMANDS = {"make demo": make_demo, "compare": compare}


def shown() -> dict[str, str]:
    """The blocks of README.md by name."""
    return {m["name"]: m["text"] for m in BLOCK.finditer(README.read_text(encoding="utf-8"))}


def main() -> None:
    """Rewrite README.md."""
    if os.environ.get("CI"):
        raise SystemExit("not under CI: run `make golden` by hand and look at the difference")
    text = README.read_text(encoding="utf-8")
    text = BLOCK.sub(lambda m: f"{m['name']} -->\n```text\n{COMMANDS[m['name']]()}```\n", text)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
