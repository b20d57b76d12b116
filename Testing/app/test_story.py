"""The whole story in a browser: open, place, drag, size, preview, texture, make, again, compare, save, reload."""

import json

import numpy as np
import pytest

import LeFusionLib as lf

pytestmark = pytest.mark.browser


@pytest.fixture
def place(desk, server):
    """A fresh scan with one lesion, placed by a click."""
    person = desk(server)
    person.place(0.45, 0.5)
    return person


def by_command_line(server, data, out, desk, model, name="scan.nrrd"):
    """The same lesions through `lefusion synthesize`."""
    from LeFusionLib.cli import main

    words = ["synthesize", data / name, "--texture", "solid", "--seed", 7, "--model", model, "-o", out, "--quiet"]
    words += ["--mask-model", "handcrafted", "--device", "cpu", "--sampler", "ddim", "--steps", 3]
    for center, diameter in zip(desk.centers(), (9, 7.5), strict=True):
        words += ["--center", *map(repr, center), "--diameter", diameter]
    assert main([str(word) for word in words]) == 0


def test_the_whole_story(desk, server, data, tiny_folder, tmp_path):
    person = desk(server)
    page = person.page
    assert page.is_disabled("#make") and "Click into a slice" in person.text("#reason")
    x, y = person.place(0.45, 0.5)
    first = person.centers()[0]

    # Dragged by its inside, not only by its middle; the hand holds it where it took it.
    page.mouse.move(x + 3, y + 3)
    page.mouse.down()
    page.mouse.move(x + 20, y + 3, steps=4)
    page.mouse.move(x + 43, y + 3, steps=4)
    page.mouse.up()
    person.wait(lambda: first[0] - person.centers()[0][0] > 40 * 0.05, "the drag moves the sphere")
    page.wait_for_timeout(500)  # the last of the way
    scale = abs(person.centers()[0][0] - first[0]) / 40  # mm per pixel; in the radiologist's view right is left
    person.wait(lambda: np.isclose(person.centers()[0][1], first[1], atol=1.0), "it moved sideways only")
    assert person.centers()[0][0] < first[0] and 0.05 < scale < 1  # the view shows 58 mm in some 360 pixels

    # The wheel with Ctrl sizes; without it the slices go by.
    page.mouse.move(x + 40, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -120)
    page.keyboard.up("Control")
    person.wait(lambda: "10.5 mm" in person.row(), "the wheel makes it larger")

    # A voxel to the patient's left by the arrow key, one slice up by Page Up.
    before = np.array(person.centers()[0])
    page.keyboard.press("ArrowRight")
    page.keyboard.press("PageUp")
    person.wait(lambda: abs(person.centers()[0][2] - before[2]) > 1, "the keys nudge it")
    step = np.array(person.centers()[0]) - before
    assert np.allclose(step, [-1.8, -0.2, 2.0], atol=1e-6)

    page.focus("#diameter")
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    person.wait(lambda: "9 mm" in person.row(), "the slider sizes it")
    person.set_number("#seed", 7)
    page.click("[data-preset=solid]")
    person.wait(lambda: "9 mm nodule, solid" in person.row(), "texture and size stand in the list")

    page.click("#preview")
    said = person.wait_message("The shape is")
    page.click("#another-shape")
    person.wait(lambda: person.message() not in ("", said) and "The shape is" in person.message(), "another shape")
    person.set_number("#seed", 8)
    person.set_number("#seed", 7)  # with a seed comes its first shape
    person.wait(lambda: "no. 2" not in person.text("aside"), "the first shape again")

    person.make()
    person.wait_message("Done: 1 lesion")
    assert "0 of" in person.text("#certificate") and "seed 7" in person.text("#result")
    assert "made" in page.text_content("[data-lesion='1']")

    page.click("#next")
    person.place(0.6, 0.62)
    page.click("[data-lesion='2']")
    page.focus("#diameter")
    page.eval_on_selector("#diameter", "one => { one.value = 7.5; one.dispatchEvent(new Event('input')) }")
    person.wait(lambda: "7.5 mm" in person.row(2), "the slider sizes it")  # else its answer undoes typing
    person.set_number("#seed", 7)
    person.wait(lambda: "7.5 mm nodule, solid" in person.row(2), "the second lesion is like the first, smaller")
    person.make()
    person.wait_message("Done: 2 lesions")

    synthetic = person.picture()
    page.focus("#blend")
    page.keyboard.press("Home")
    person.wait(lambda: "0 % synthetic" in person.text("#result"), "the slider shows the scan")
    page.check("#difference")
    person.wait(lambda: person.picture() != synthetic, "the picture changes")
    page.uncheck("#difference")

    page.click("#save-files")
    person.wait(lambda: page.query_selector("#saved") is not None, "saved")
    names = [name.strip() for name in person.text("#saved").removeprefix("Saved:").split(",")]
    assert [name.partition(".")[2] for name in names] == ["nrrd", "seg.nrrd", "json"]
    by_command_line(server, data, tmp_path, person, tiny_folder)
    for name, expected in zip(names, ("scan.nrrd", "scan.seg.nrrd"), strict=False):
        assert (server.output / name).read_bytes() == (tmp_path / expected).read_bytes()
    ours, theirs = (json.loads(path.read_text()) for path in (server.output / names[2], tmp_path / "scan.json"))
    for key in ours.keys() - {"created", "seconds"}:
        assert ours[key] == theirs[key], key

    page.reload()
    page.wait_for_selector("#result", state="attached")
    assert len(person.centers()) == 2 and "0 of" in page.text_content("#certificate")


def test_a_lesion_is_remade_undone_and_removed_without_touching_the_other(place, server):
    page = place.page
    page.click("[data-preset=solid]")
    place.make()
    place.tab("lesions")
    page.click("#add")
    place.place(0.65, 0.65)
    place.make()
    place.wait_message("Done: 2 lesions")

    def hashes():
        return page.eval_on_selector_all("#certificate dd[title]", "all => all.map(d => d.title)")

    both = hashes()
    place.tab("lesions")
    page.click("[data-lesion='2']")
    page.click("#remake")
    place.wait(lambda: hashes()[1] != both[1], "another seed makes another result")
    place.wait(lambda: page.query_selector("#make") is not None, "it is done")
    assert "seed 1" in page.text_content(".delivered >> nth=0") and "seed 3" in page.text_content(".delivered >> nth=1")
    place.tab("lesions")
    page.click("[data-lesion='2']")
    place.set_number("#seed", 2)
    place.make()
    place.wait(lambda: hashes() == both, "with the seed of before the same bytes as before")
    place.tab("lesions")
    page.click(".take-back >> nth=1")
    place.wait(lambda: "new" in page.text_content("[data-lesion='2']"), "the second lesion is undone")
    place.wait(lambda: page.locator(".delivered").count() == 1, "its sphere stays, its tissue goes")
    page.click("[data-lesion='1']")
    page.keyboard.press("Delete")
    place.wait(lambda: page.query_selector("#result") is None, "with the last one the result goes")
    assert len(place.centers()) == 1


def test_the_dial_is_reshaped_by_mouse_and_keyboard_and_stays_a_histogram(place, server):
    page = place.page
    page.click("[data-preset=solid]")
    before = page.text_content("#range")
    box = page.locator("#dial").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 4, steps=4)
    page.mouse.up()
    place.wait(lambda: page.text_content("#range") != before, "the grey values to expect follow the bars")
    place.wait(lambda: "custom" in place.row(), "it is a texture of one's own")
    after = page.text_content("#range")
    page.focus("#dial span >> nth=8")
    for _ in range(5):
        page.keyboard.press("ArrowUp")
    place.wait(lambda: page.text_content("#range") != after, "by the keyboard, too")
    place.make()
    place.wait_message("Done")
    assert "custom" in place.text("#result")


def test_the_texture_of_what_is_in_the_sphere(place):
    page = place.page
    page.click("#exemplar")
    place.wait_message("voxels inside the sphere")
    place.wait(lambda: "custom" in place.row(), "it is a texture of its own")
    low, high = (float(word) for word in page.text_content("#range").split()[1:4:2])
    assert -1000 <= low < high < -700  # the scan is lung of -850 HU, seen in bins of 87.5 HU


def test_files_and_a_scene_come_as_downloads_that_open_again(place, server, tmp_path):
    page = place.page
    place.make()
    place.wait_message("Done")
    page.click("#download-files")
    place.wait(lambda: page.locator(".downloads a").count() == 3, "three files")
    page.click("#download-scene")
    place.wait(lambda: page.locator(".downloads a").count() == 4, "and a scene")
    for number in range(4):
        with page.expect_download() as download:
            page.click(f".downloads a >> nth={number}")
        download.value.save_as(tmp_path / download.value.suggested_filename)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scan.json", "scan.mrb", "scan.nrrd", "scan.seg.nrrd"]
    assert lf.read_volume(tmp_path / "scan.nrrd").array.shape == (24, 32, 36)

    from LeFusionLib.scene import Host, report_of
    from LeFusionLib.scene.housekeeping import nodes_of

    host = Host.headless(str(tmp_path))
    assert host.scene.ReadFromMRB(str(tmp_path / "scan.mrb"))
    reports = list(filter(None, map(report_of, nodes_of(host.scene, "vtkMRMLScalarVolumeNode"))))
    assert [report["synthetic"] for report in reports] == [True]
    host.close()


def test_nothing_is_fetched_from_elsewhere(chromium, server):
    page = chromium.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.url)
    page.wait_for_selector("#tab-lesions", timeout=60_000)
    page.close()
    assert asked and all(url.startswith((server.base, "data:", "blob:")) for url in asked)
