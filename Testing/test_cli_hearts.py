"""Hearts from the command line: several classes, label numbers, the organ, and scans of another kind; tiny models."""

import json

import numpy as np
import pytest

import LeFusionLib as lf
from LeFusionLib.cli import main


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture
def models(tiny_hearts):
    return tiny_hearts


@pytest.fixture
def labels(heart_arrays):
    return heart_arrays[1]


@pytest.fixture
def heart(tmp_path, heart_arrays):
    """A folder with `lge.nii.gz`, `labels.nii.gz` (0 to 4), `lesions.nii.gz` (1, 2) and `ct.nii.gz`."""
    image, label, grid = heart_arrays
    for name, array in (
        ("lge", image),
        ("labels", label),
        ("lesions", np.clip(label, 2, 4) - 2),
        ("ct", (image - 1200).astype(np.int16)),
    ):
        lf.write_volume(lf.Volume(array, grid), tmp_path / f"{name}.nii.gz")
    return tmp_path


def made(folder, name="lge"):
    """The report and {segment: voxels} of a result."""
    found, _, names = lf.read_labels(folder / "out" / f"{name}.seg.nrrd")
    report = json.loads((folder / "out" / f"{name}.json").read_text())
    return report, {segment: int((found == label).sum()) for segment, label in names.items()}


def test_both_tissues_are_made_each_in_its_own_mask_and_texture(heart, models, labels, capsys):
    words = ["--mask", heart / "labels.nii.gz", "--labels", "infarct=3", "no_reflow=4"]
    textures = ["--texture", "infarct=0", "no_reflow=random"]
    command = ["synthesize", heart / "lge.nii.gz", *words, *textures, "--model", models / "tiny-heart"]
    assert run(*command, "-o", heart / "out") == 0
    report, voxels = made(heart)
    assert voxels == {"infarct": int((labels == 3).sum()), "no_reflow": int((labels == 4).sum())}
    assert report["background"]["changed_voxels_outside_mask"] == 0
    assert {row["class"]: row["slices"] for row in report["lesions"]} == {"infarct": 6, "no_reflow": 6}
    assert report["model"]["licence"] == "research only"
    assert "in 6 slices" in capsys.readouterr().out
    before, after = lf.read_volume(heart / "lge.nii.gz"), lf.read_volume(heart / "out" / "lge.nii.gz")
    assert ((before.array != after.array) <= (labels >= 3)).all()


def test_a_class_switched_off_is_not_made(heart, models, labels):
    words = ["--mask", heart / "lesions.nii.gz", "--classes", "infarct", "--model", models / "tiny-heart"]
    assert run("synthesize", heart / "lge.nii.gz", *words, "-o", heart / "out") == 0
    report, voxels = made(heart)
    assert [row["class"] for row in report["lesions"]] == ["infarct"] and voxels["no_reflow"] == 0
    before, after = lf.read_volume(heart / "lge.nii.gz"), lf.read_volume(heart / "out" / "lge.nii.gz")
    assert (before.array == after.array)[labels == 4].all()


def test_segments_are_known_by_their_names(heart, models, labels, heart_arrays):
    from LeFusionLib.io import write_segmentation

    swapped = np.array([0, 0, 0, 2, 1], np.uint8)[labels]
    segments = [{"name": name, "label": n, "color": (1, 0, 0)} for n, name in ((1, "no_reflow"), (2, "infarct"))]
    write_segmentation(swapped, heart_arrays[2], heart / "lesions.seg.nrrd", segments)
    words = ["--mask", heart / "lesions.seg.nrrd", "--model", models / "tiny-heart"]
    assert run("synthesize", heart / "lge.nii.gz", *words, "-o", heart / "out") == 0
    assert made(heart)[1]["infarct"] == int((labels == 3).sum())


def test_a_boundary_of_several_labels_keeps_a_lesion_in(heart, models, labels):
    sphere = ["--center", "-30", "-45", "25", "--diameter", "30", "--mask-model", "handcrafted"]
    words = [*sphere, "--boundary", f"{heart / 'labels.nii.gz'}:2,3,4", "--model", models / "tiny-heart"]
    assert run("synthesize", heart / "lge.nii.gz", *words, "-o", heart / "out") == 0
    found, _, _ = lf.read_labels(heart / "out" / "lge.seg.nrrd")
    assert found.any() and not found[labels < 2].any()


def test_a_scan_of_another_kind_is_refused_unless_told(heart, models, capsys):
    words = ["--mask", heart / "lesions.nii.gz", "--model", models / "tiny-heart", "-o", heart / "out"]
    assert run("synthesize", heart / "ct.nii.gz", *words) == 2
    assert "was made for MRI" in capsys.readouterr().err
    assert not (heart / "out").exists()
    assert run("synthesize", heart / "ct.nii.gz", *words, "--any-modality") == 0


SPHERE = ["--center", "-30", "-30", "25", "--diameter", "40"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--mask", "labels.nii.gz"], "numbers 1, 2, 3, 4; the classes of model 'tiny-heart' are infarct, no_reflow"),
        (["--mask", "labels.nii.gz", "--labels", "infarkt=3"], "Did you mean 'infarct'"),
        (["--mask", "labels.nii.gz", "--labels", "infarct"], "CLASS=NUMBER"),
        (["--mask", "labels.nii.gz", "--labels", "infarct=9"], "No voxel has the label 9 (infarct)"),
        (["--mask", "lesions.nii.gz", "--classes", "no-reflow"], "Did you mean 'no_reflow'"),
        (["--mask", "lesions.nii.gz", "--texture", "infarct=0"], "No texture was given for no_reflow"),
        ([*SPHERE, "--classes", "infarkt"], "Did you mean 'infarct'"),
        ([*SPHERE, "--classes", "infarct,no_reflow", "--mask-model", "handcrafted"], "of one class"),
        ([*SPHERE, "--mask-model", "tiny-shapes"], "the heart's muscle, and needs it as the boundary"),
        ([*SPHERE[:-1], "200", "--mask-model", "handcrafted"], "spans 20 slices, and the volume has 6"),
        ([*SPHERE, "--boundary", "labels.nii.gz:2,9"], "no segment '9'"),
    ],
)
def test_a_mistake_is_one_clear_line(heart, models, capsys, words, says):
    def placed(word):
        word = f"{heart / word}" if word.startswith(("labels", "lesions")) else word
        return f"{models / word}" if word == "tiny-shapes" else word

    command = ["synthesize", heart / "lge.nii.gz", *map(placed, words), "--model", models / "tiny-heart"]
    assert run(*command, "-o", heart / "out") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and says in error and "Traceback" not in error
    assert not (heart / "out").exists()


@pytest.fixture
def evaluated(tmp_path, heart_arrays, tiny_model):
    """A folder of pairs, one patient of whom was held out of "both", "first" and "second" beside it."""
    from dataclasses import replace

    from LeFusionLib.models.checkpoint import save_model
    from LeFusionLib.training.train import patient_hash

    image, label, grid = heart_arrays
    for patient in ("P008", "P001"):
        for kind, array in (("image", image), ("label", label)):
            (tmp_path / "pairs").mkdir(exist_ok=True)
            lf.write_volume(lf.Volume(array, grid), tmp_path / "pairs" / f"{patient}_{kind}.nii.gz")
    heart = {"spacing_mm": None, "intensity": {"kind": "range"}, "patch_shapes": ((6, 24, 24), (8, 40, 40))}
    classes = ("infarct", "no_reflow")
    training = {"held_out_patients_sha256": [patient_hash("Case_P008")]}
    for name, own in (("both", classes), ("first", classes[:1]), ("second", classes[1:])):
        model = tiny_model(name=name, classes=own, **heart)
        save_model(tmp_path / name, model.denoiser, replace(model.card, training=training))
    return tmp_path


def test_held_out_lesions_are_made_again_by_one_model_or_by_one_after_the_other(evaluated):
    def remade(name, *words):
        command = ["evaluate", "remade", "--data", evaluated / "pairs", "--quiet", "-o", evaluated / name]
        assert run(*command, *words) == 0
        return json.loads((evaluated / f"{name}.json").read_text())

    joint = remade("joint", "--model", evaluated / "both")
    chained = remade("chained", "--model", evaluated / "first", "--then", evaluated / "second")
    alone = remade("alone", "--model", evaluated / "both", "--classes", "no_reflow", "--variety")
    assert list(joint["classes"]) == list(chained["classes"]) == ["infarct", "no_reflow"]
    assert list(alone["classes"]) == ["no_reflow"] and [one["model"] for one in chained["models"]] == [
        "first",
        "second",
    ]
    assert {summary["changed_outside"] for summary in (joint, chained, alone)} == {0} and alone["lesions"] == 1
    assert {"seam_made", "swd", "kid"} <= set(alone["classes"]["no_reflow"])
    assert alone["classes"]["no_reflow"]["variety"] > 0 and "variety" not in joint["classes"]["no_reflow"]
    # The infarct around it stayed real, so that its box is nearer to the real one.
    assert alone["classes"]["no_reflow"]["psnr"] > joint["classes"]["no_reflow"]["psnr"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["remade", "--model", "both", "--classes", "scar"],
            "There is no lesion class 'scar'. Possible: infarct, no_reflow",
        ),
        (["remade", "--model", "both", "--then", "second", "--classes", "no-reflow"], "Did you mean 'no_reflow'"),
        (["sampler", "--model", "tiny-shapes"], "draws inside the heart's muscle"),
    ],
)
def test_what_cannot_be_evaluated_is_one_clear_line(evaluated, models, capsys, words, says):
    folders = {name: evaluated / name for name in ("both", "second")} | {"tiny-shapes": models / "tiny-shapes"}
    words = [folders.get(word, word) for word in words]
    assert run("evaluate", *words, "--data", evaluated / "pairs", "-o", evaluated / "table") == 2
    error = capsys.readouterr().err
    assert says in error and "Traceback" not in error
    assert not list(evaluated.glob("table*"))
