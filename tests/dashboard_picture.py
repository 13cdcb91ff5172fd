"""docs/dashboard.png taken anew by `python -m tests.dashboard_picture`: look before committing it.

Not compared by a test: another chromium or other fonts draw another picture. It is stored with a
palette of 256 colours, a third of the size that a browser writes.
"""

from __future__ import annotations

import base64
import os
import struct
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests.chromium import browser, visit
from traceview.parsers import open_trace
from traceview.queries import analyze
from traceview.queries.slow_calls import SlowCalls
from traceview.report.contents import contents
from traceview.report.dashboard.page import analysis_page
from traceview.report.new_file import write_file
from traceview.report.provenance import Provenance

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from playwright.sync_api import Page

ROOT = Path(__file__).parent.parent
TRACE = "sample_traces/kprobes-6.1-max.perfetto.xz"
PICTURE = ROOT / "docs" / "dashboard.png"
WIDTH, HEIGHT = 1280, 1700  # of the window; the picture is smaller
SCALE = 0.7
COLOURS = 256
CELL = 40
PIXELS = """async (url) => {
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  const { data } = canvas.getImageData(0, 0, image.width, image.height);
  let text = "";
  for (let at = 0; at < data.length; at += 32768) {
    text += String.fromCharCode(...data.subarray(at, at + 32768));
  }
  return [image.width, image.height, btoa(text)];
}"""


def pixels(page: Page, png: bytes) -> NDArray[np.int64]:
    """The colours of *png*, as its browser decodes it."""
    url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    width, height, text = page.evaluate(PIXELS, url)
    raw = np.frombuffer(base64.b64decode(text), np.uint8)
    return raw.reshape(height, width, 4)[:, :, :3].astype(np.int64)


def with_palette(rgb: NDArray[np.int64]) -> bytes:
    """A PNG of the colours of *rgb*, those that are nearly alike as one."""
    found, place, number = np.unique(
        rgb.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True
    )
    # Of each cell of nearly the same colours the most frequent one: rare but pure ones stay.
    order = np.argsort(-number, kind="stable")
    _, first = np.unique(found[order] // CELL, axis=0, return_index=True)
    palette = found[order[np.sort(first)[:COLOURS]]]
    nearest = np.array([np.abs(palette - colour).sum(axis=1).argmin() for colour in found])
    rows = nearest[place.reshape(-1)].astype(np.uint8).reshape(rgb.shape[:2])
    unfiltered = np.pad(rows, ((0, 0), (1, 0)))
    height, width = rgb.shape[0], rgb.shape[1]

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
            chunk(b"PLTE", palette.astype(np.uint8).tobytes()),
            chunk(b"IDAT", zlib.compress(unfiltered.tobytes(), 9)),
            chunk(b"IEND", b""),
        ]
    )


def main() -> None:
    """Take the picture."""
    os.chdir(ROOT)
    slow = SlowCalls()
    found = contents(analyze(open_trace(TRACE), hear=slow.hear))
    command = Provenance(("analyze", TRACE, "--html", "page.html"))
    with tempfile.TemporaryDirectory() as folder, browser() as started:
        path = Path(folder) / "page.html"
        write_file(path, analysis_page(found, slow.table(), command))
        with visit(started, path, width=WIDTH, scale=SCALE) as opened:
            opened.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
            png = with_palette(pixels(opened.page, opened.page.screenshot()))
    PICTURE.write_bytes(png)


if __name__ == "__main__":
    main()
