"""The pictures of docs/app.md: the app with its bundled models and the made-up chest CT, by a real browser.

make app-screenshots

That of a heart needs a real one, which is no part of the repository; it is drawn alone where one is named:
python Testing/app/screenshots.py HEART.nii.gz LABELS.nii.gz:2
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

HEART_AT = (0.47, 0.40)  # shares of the axial view: the upper muscle of the heart in the documentation
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
    words = ["-o", tempfile.mkdtemp(), "--device", "cpu"]
    if len(sys.argv) > 1:
        heart, labels = sys.argv[1:]
        words += [heart, "--boundary", labels, "--model", "cardiac-mi-pmo"]
    server = Server(words)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            person = Desk(page, server)
            page.set_default_timeout(300_000)
            (draw if len(sys.argv) == 1 else draw_heart)(person, page)
            browser.close()
    finally:
        server.stop()


def shoot(page, name, pause=1500):
    page.wait_for_timeout(pause)
    picture = small(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    picture.save(IMAGES / f"app-{name}.png", optimize=True)


def draw_heart(person, page):
    person.wait(lambda: page.input_value("#inside") == "given", "the muscle is chosen")
    page.click("#window-middle")
    person.place(*HEART_AT)
    page.check("[data-class=no_reflow]")
    page.eval_on_selector("#diameter", "one => { one.value = 60; one.dispatchEvent(new Event('input')) }")
    for name in ("infarct", "no_reflow"):
        page.click(f"[data-dial={name}]")
        page.wait_for_selector(f"[data-dial={name}].on")
        page.click("[data-preset=typical]")
    person.wait(lambda: "typical + typical" in person.row(), "both textures are chosen")
    page.click("#hint button >> nth=1")
    page.click("#view-Axial .corner button >> nth=1")
    page.click("#preview")
    person.wait_message("The shape is", 300)
    shoot(page, "heart")


def draw(person, page):
    person.open("")
    shoot(page, "begin")
    person.place(0.28, 0.56)
    page.eval_on_selector("#diameter", "one => { one.value = 16; one.dispatchEvent(new Event('input')) }")
    page.click("[data-preset=part-solid]")
    page.check("#live")
    page.click("#view-Axial .corner button >> nth=1")
    person.wait(lambda: "sketched in" in person.text("#live-text"), "a sketch", 300)
    shoot(page, "live")
    page.uncheck("#live")
    page.click("#view-Axial .corner button >> nth=1")
    person.page.mouse.move(700, 300)
    page.click("#preview")
    person.wait_message("The shape is")
    shoot(page, "preview")
    page.click("#make")
    person.wait(lambda: "left" in person.text("aside"), "it runs")
    shoot(page, "working", 0)
    person.wait_message("Done", 300)
    page.click("#next")
    person.place(0.68, 0.6)
    page.eval_on_selector("#diameter", "one => { one.value = 22; one.dispatchEvent(new Event('input')) }")
    page.click("[data-preset=solid]")
    person.make()
    person.wait_message("Done: 2", 300)
    page.click("#save-files")
    person.wait(lambda: page.query_selector("#saved") is not None, "saved")
    shoot(page, "result")
    page.click("#view-Axial .corner button >> nth=1")
    page.check("#difference")
    shoot(page, "difference")
    page.uncheck("#difference")
    page.click("#view-Axial .corner button >> nth=1")
    page.click("#next")
    page.wait_for_timeout(1500)  # the views take their places again
    person.place(0.055, 0.12)
    person.wait(lambda: "lies in air" in person.text("aside"), "the air is told")
    shoot(page, "air")


if __name__ == "__main__":
    main()
