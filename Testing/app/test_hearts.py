"""Hearts in a browser: two classes inside a muscle that a file of the data folder gives; with the bundled models."""

import numpy as np
import pytest

import LeFusionLib as lf

pytestmark = pytest.mark.browser

GRID = np.diag([-1.5, -1.5, 10.0, 1.0])
ACROSS = 0.69  # of the axial view, at half its height: where the ring's muscle is


def ring():
    """Labels (8, 64, 64) of a made-up ventricle: its cavity 1, the muscle around it 2."""
    radius = np.hypot(*(np.indices((64, 64)) - 32))
    return np.repeat(np.select([radius <= 14, radius <= 22], [1, 2], 0)[None], 8, axis=0).astype(np.uint8)


@pytest.fixture(scope="module")
def hearts(tmp_path_factory):
    """A data folder: a heart, its labels as they are, coarser, and far away; a chest CT."""
    folder = tmp_path_factory.mktemp("hearts")
    noise = np.random.default_rng(0).normal(0, 15, (8, 64, 64))
    image = (np.choose(ring(), [300, 700, 400]) + noise).astype(np.int16)
    far = GRID.copy()
    far[:3, 3] = 900
    coarse = np.diag([-3.0, -3.0, 10.0, 1.0])
    coarse[:2, 3] = -0.75  # the middle of two voxels
    for name, array, grid in (
        ("lge", image, GRID),
        ("lge_labels", ring(), GRID),
        ("lge_coarse", ring()[:, ::2, ::2], coarse),
        ("lge_far", ring(), far),
        ("ct", (image - 1200).astype(np.int16), GRID),
    ):
        lf.write_volume(lf.Volume(np.ascontiguousarray(array), grid), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture(scope="module")
def heart_server(serve, hearts):
    with serve("--data", hearts, "--mask-model", "cardiac-mi-pmo-mask", model="cardiac-mi-pmo") as started:
        yield started


@pytest.fixture
def heart(desk, heart_server):
    """The heart open, with one lesion in the muscle."""
    person = desk(heart_server, "lge.nii.gz")
    person.place(ACROSS, 0.5)
    return person


def stay_in(person, name, *parts):
    """Choose a file of labels, and of it these."""
    person.page.select_option("#inside", f"file:{name}.nii.gz")
    for part in parts:
        press_part(person, name, part)
        person.page.wait_for_selector(f"[data-part='{part}'].on")


def press_part(person, name, part):
    """Of this file: the labels of the file before may still be on the page, under the same names."""
    person.page.click(f"[data-of='file:{name}.nii.gz'] [data-part='{part}']:not(.on):enabled")


def set_diameter(person, mm):
    person.page.eval_on_selector("#diameter", f"e => {{ e.value = {mm}; e.dispatchEvent(new Event('input')) }}")
    person.wait(lambda: f"{mm} mm" in person.row(), "the slider sizes it")


def test_infarct_and_no_reflow_are_made_inside_the_muscle_and_saved_as_the_command_line_does(
    heart, heart_server, hearts, tmp_path
):
    page = heart.page
    assert page.is_disabled("#make") and "the muscle of the left ventricle" in heart.text("#inside")
    assert "boundary" in heart.text("#reason").lower()
    stay_in(heart, "lge_labels", 2)
    set_diameter(heart, 55)
    heart.wait(lambda: page.is_enabled("#make"), "nothing stands in the way")
    heart.set_number("#seed", 3)

    page.check("[data-class=no_reflow]")
    heart.wait(lambda: "55 mm infarct + no-reflow" in heart.row(), "both classes stand in the list")
    assert page.is_disabled("[data-class=nodule]")  # this model makes none
    assert page.locator("[data-dial]").count() == 2  # a dial for each
    page.click("[data-dial=infarct]")
    page.click("[data-preset=typical]")
    heart.wait(lambda: "typical + random" in heart.row(), "the texture is that of the shown class")
    infarct = heart.text("#range")
    page.click("[data-dial=no_reflow]")
    page.click("[data-preset=typical]")
    heart.wait(lambda: "typical + typical" in heart.row(), "the other class has its own")
    heart.wait(lambda: heart.text("#range") != infarct, "and its own grey values")

    page.click("#preview")
    heart.wait_message("The shape is", 120)
    heart.make()
    heart.wait_message("Done: 1 lesion", 120)
    said = heart.text("#result")
    assert "0 of" in heart.text("#certificate") and "infarct:" in said and "no-reflow:" in said
    assert page.locator("#result .delivered").count() == 2

    page.click("#save-files")
    heart.wait(lambda: page.query_selector("#saved") is not None, "saved")
    names = [name.strip() for name in heart.text("#saved").removeprefix("Saved:").split(",")]
    made = lf.read_volume(heart_server.output / names[0])
    before = lf.read_volume(hearts / "lge.nii.gz")
    assert ((made.array != before.array) <= (ring() == 2)).all()
    labels, _, classes = lf.read_labels(heart_server.output / names[1])
    assert {name for name, number in classes.items() if (labels == number).any()} == {"infarct", "no_reflow"}
    assert not ((labels > 0) & (ring() != 2)).any()

    from LeFusionLib.cli import main

    words = ["synthesize", hearts / "lge.nii.gz", "--model", "cardiac-mi-pmo", "-o", tmp_path, "--quiet", "--seed", 3]
    words += ["--boundary", f"{hearts / 'lge_labels.nii.gz'}:2", "--classes", "infarct,no_reflow", "--diameter", 55]
    words += ["--texture", "infarct=typical", "no_reflow=typical", "--device", "cpu", "--center"]
    assert main([str(word) for word in [*words, *map(repr, heart.centers()[0])]]) == 0
    for name, expected in zip(names[:2], ("lge.nii.gz", "lge.seg.nrrd"), strict=True):
        assert (heart_server.output / name).read_bytes() == (tmp_path / expected).read_bytes()

    page.reload()  # the organ is still chosen, and the result there
    page.wait_for_selector("#result", state="attached")
    assert page.input_value("#inside") == "file:lge_labels.nii.gz"


def test_what_must_be_drawn_is_fixed_and_a_class_that_is_off_is_not_made(heart):
    page = heart.page
    assert page.is_checked("[data-class=infarct]") and page.is_disabled("[data-class=infarct]")
    assert "always drawn" in page.get_attribute(".channels label:has([data-class=infarct])", "title")
    assert page.locator("[data-dial]").count() == 0  # one class, one dial
    stay_in(heart, "lge_labels", 2)
    set_diameter(heart, 55)
    heart.wait(lambda: page.is_enabled("#make"), "nothing stands in the way")
    heart.make()
    heart.wait_message("Done: 1 lesion", 120)
    assert "no-reflow" not in heart.text("#result")


def test_what_is_chosen_as_the_organ_is_met_where_it_lies_or_refused(heart):
    page = heart.page
    stay_in(heart, "lge_labels")
    heart.wait(lambda: "Choose which label of lge_labels.nii.gz" in heart.text("#reason"), "two labels: which?")
    stay_in(heart, "lge_coarse", 2)  # on another grid
    set_diameter(heart, 55)
    heart.wait(lambda: page.is_enabled("#make"), "it lies where the muscle is")
    page.evaluate("window.trame.trigger('inside_part', ['file:lge_labels.nii.gz', '2', false])")
    assert page.is_enabled("#make") and not heart.message()  # a late click at the file before changes nothing
    stay_in(heart, "lge_far")
    press_part(heart, "lge_far", 2)
    heart.wait_message("lies elsewhere")
    page.select_option("#inside", "file:ct.nii.gz")
    assert "It may be an image" in heart.wait_message("ct.nii.gz")
    heart.wait(lambda: page.input_value("#inside") == "", "nothing is chosen then")
    stay_in(heart, "lge_labels", 1)
    set_diameter(heart, 20)
    for _ in range(8):  # 12 mm away from the cavity
        page.keyboard.press("ArrowRight")
    heart.wait(lambda: page.is_disabled("#make"), "the sphere holds nothing of the cavity")
    assert "no voxel of the volume inside the boundary" in heart.text("#reason")


def test_without_anatomy_only_when_asked(heart):
    page = heart.page
    page.select_option("#inside", "none")
    set_diameter(heart, 55)
    heart.wait(lambda: page.is_enabled("#make"), "it was asked for")


def test_a_scan_of_another_kind_says_so_and_can_be_left_again(desk, heart_server, serve, hearts):
    person = desk(heart_server, "ct.nii.gz")
    person.wait(lambda: "MR" in person.text("#reason"), "the model was made for MR")
    assert person.page.is_disabled("#make") and "lung" in person.text("header")  # the windows of a CT
    person.open("lge.nii.gz")
    assert "lung" not in person.text("header")
    person.place(ACROSS, 0.5)
    stay_in(person, "lge_labels", 2)
    set_diameter(person, 55)
    person.wait(lambda: person.page.is_enabled("#make"), "nothing stands in the way")


def test_the_command_line_names_scan_and_organ(desk, serve, hearts):
    boundary = f"{hearts / 'lge_labels.nii.gz'}:2"
    options = ("--data", hearts, "--mask-model", "cardiac-mi-pmo-mask", "--boundary", boundary, hearts / "lge.nii.gz")
    with serve(*options, model="cardiac-mi-pmo") as server:
        person = desk(server, None)
        person.wait(lambda: person.page.input_value("#inside") == "given", "the organ of the command")
        person.page.wait_for_selector("[data-part='2'].on")
        person.open("lge.nii.gz")
        assert person.page.input_value("#inside") == ""  # it was meant for the first scan
