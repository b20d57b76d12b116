"""The pictures of docs/app.md: the app with its bundled models and the made-up chest CT, by a real browser.

make app-screenshots
"""

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from conftest import CHROMIUM  # noqa: E402
from desk import Desk, Server  # noqa: E402

IMAGES = HERE.parents[1] / "docs" / "images"


def small(picture):
    """With 256 colours: the greys of the scan, and those of the page; small enough for a repository."""
    pixels = np.asarray(picture).reshape(-1, 3)
    coloured = pixels[np.ptp(pixels, axis=1) > 3]
    if len(coloured) < 64:
        coloured = pixels
    page = Image.fromarray(coloured[None]).quantize(64, Image.Quantize.MAXCOVERAGE).getpalette()[: 3 * 64]
    greys = [int(grey) for grey in np.linspace(0, 255, 192).round() for _ in range(3)]
    palette = Image.new("P", (1, 1))
    palette.putpalette([*greys, *page])
    return picture.quantize(palette=palette, dither=Image.Dither.NONE)


def main():
    output = tempfile.mkdtemp()
    server = Server(["-o", output, "--device", "cpu", *sys.argv[1:]])
    try:
        draw(server)
    finally:
        server.stop()


def draw(server):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1366, "height": 768})

        def shoot(name, pause=1500):
            page.wait_for_timeout(pause)
            picture = small(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
            picture.save(IMAGES / f"app-{name}.png", optimize=True)

        person = Desk(page, server)
        page.set_default_timeout(300_000)
        person.open("")
        shoot("begin")
        person.place(0.28, 0.56)
        page.eval_on_selector("#diameter", "one => { one.value = 16; one.dispatchEvent(new Event('input')) }")
        page.click("[data-preset=part-solid]")
        person.page.mouse.move(700, 300)
        page.click("#preview")
        person.wait_message("The shape is")
        shoot("preview")
        page.click("#make")
        person.wait(lambda: "left" in person.text("aside"), "it runs")
        shoot("working", 0)
        person.wait_message("Done", 300)
        page.click("#next")
        person.place(0.68, 0.6)
        page.eval_on_selector("#diameter", "one => { one.value = 22; one.dispatchEvent(new Event('input')) }")
        page.click("[data-preset=solid]")
        person.make()
        person.wait_message("Done: 2", 300)
        page.click("#save-files")
        person.wait(lambda: page.query_selector("#saved") is not None, "saved")
        shoot("result")
        page.click("#view-Axial .corner button >> nth=1")
        page.check("#difference")
        shoot("difference")
        page.uncheck("#difference")
        page.click("#view-Axial .corner button >> nth=1")
        page.click("#next")
        person.place(0.055, 0.12)
        person.wait(lambda: "lies in air" in person.text("aside"), "the air is told")
        shoot("air")
        browser.close()


if __name__ == "__main__":
    main()
