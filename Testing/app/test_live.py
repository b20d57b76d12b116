"""Live: the lesion is sketched in the views while it is set up, and steps back for everything else."""

import io

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.browser


@pytest.fixture
def live(desk, server):
    """A lesion placed, with Live on and its sketch there."""
    person = desk(server, "scan.nrrd")
    person.place(0.5, 0.5)
    person.page.uncheck("#live")  # the server remembers what the test before chose
    person.page.wait_for_timeout(1000)  # drawn at rest
    person.before = grey(person)
    person.page.check("#live")
    sketched(person)
    return person


def grey(person):
    """The axial view without what lies over its rim, in grey values."""
    return np.array(Image.open(io.BytesIO(person.picture())).convert("L")).astype(int)[80:-40]


def different(person):
    """How many of its pixels clearly differ from those before Live was on."""
    return int((np.abs(grey(person) - person.before) > 20).sum())


def sketched(person):
    person.wait(lambda: "sketched in" in person.text("#live-text"), "a sketch", 120)


def test_the_lesion_is_seen_while_it_is_moved_sized_and_dialled(live):
    page = live.page
    live.wait(lambda: different(live) > 300, "the sketch is seen")
    for change in (
        lambda: page.keyboard.press("ArrowUp"),  # the box keeps no key that moves the sphere
        lambda: page.eval_on_selector("#diameter", "e => { e.value = 14; e.dispatchEvent(new Event('input')) }"),
        lambda: page.click("[data-preset=solid]"),
        lambda: page.click("#new-seed"),
    ):
        said = page.evaluate("new Promise(r => { window.seen = []; r() })")
        assert said is None
        page.evaluate(
            "() => { const text = document.querySelector('#live-text');"
            " new MutationObserver(() => window.seen.push(text.textContent)).observe(text,"
            " { characterData: true, childList: true, subtree: true }) }"
        )
        change()
        live.wait(lambda: "sketching..." in page.evaluate("window.seen"), "it begins anew")
        sketched(live)
    assert page.is_enabled("#make") and "new" in live.row()  # nothing is made by looking


def test_make_goes_first_and_is_the_same_as_without(live, server, data, tiny_folder, tmp_path):
    from LeFusionLib.cli import main

    page = live.page
    live.set_number("#seed", 5)  # a sketch is under way, or about to be
    live.make()
    live.wait_message("Done: 1 lesion")
    page.click("#save-files")
    live.wait(lambda: page.query_selector("#saved") is not None, "saved")
    saved = server.output / live.text("#saved").removeprefix("Saved:").split(",")[0].strip()
    words = ["synthesize", data / "scan.nrrd", "--seed", 5, "--model", tiny_folder, "-o", tmp_path, "--quiet"]
    words += ["--mask-model", "handcrafted", "--device", "cpu", "--sampler", "ddim", "--steps", 3, "--diameter", 10]
    assert main([str(word) for word in [*words, "--center", *map(repr, live.centers()[0])]]) == 0
    assert saved.read_bytes() == (tmp_path / "scan.nrrd").read_bytes()
    live.tab("lesions")
    live.page.wait_for_timeout(500)
    assert live.text("#live-text") == ""  # what is made needs no sketch


def test_off_it_leaves_the_scan_as_it_was(live):
    live.wait(lambda: different(live) > 300, "the sketch is seen")
    live.page.uncheck("#live")
    live.wait(lambda: live.text("#live-text") == "", "nothing is said")
    live.wait(lambda: different(live) == 0, "the picture of before")


def test_where_nothing_can_be_made_nothing_is_sketched(live):
    page = live.page
    page.click("#add")
    live.wait(lambda: page.is_disabled("#make"), "the new lesion has no place yet")
    live.wait(lambda: live.text("#live-text") == "", "no sketch of a lesion without a place")
    live.place(0.6, 0.6)
    sketched(live)


def test_what_is_being_typed_stays_when_a_sketch_arrives(live):
    page = live.page
    page.click("#new-seed")
    live.wait(lambda: page.input_value("#seed") == "2", "the next seed")
    page.focus("#seed")
    page.keyboard.press("Control+A")
    page.keyboard.type("41")
    sketched(live)  # of the seed before; its words come from the server
    page.wait_for_timeout(300)
    assert page.input_value("#seed") == "41"
    page.keyboard.press("Enter")
    live.wait(lambda: page.evaluate("window.trame.state.get('lesion')['seed']") == 41, "the seed is heard")
    page.click("#new-seed")  # what the server says shows again
    live.wait(lambda: page.input_value("#seed") != "41", "the next seed")
