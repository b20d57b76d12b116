"""Hearts from the command line: several classes, label numbers, the organ, and scans of another kind; tiny models."""

import json
from dataclasses import replace

import numpy as np
import pytest

import LeFusionLib as lf
from LeFusionLib.cli import main
from LeFusionLib.models.checkpoint import ModelCard, save_model
from LeFusionLib.models.denoiser import Denoiser
from LeFusionLib.models.mask_spec import MaskSpec
from LeFusionLib.models.sampler_spec import SamplerSpec
from LeFusionLib.models.spec import ModelSpec
from LeFusionLib.texture import published_textures

CLASSES = ("infarct", "no_reflow")
GRID = np.diag([-1.5, -1.5, 10.0, 1.0])
SAMPLER = SamplerSpec("ddim", 2, 1, 1, 1.0)


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of a model that makes both tissues and of one that draws both, with random weights."""
    import torch

    torch.manual_seed(0)
    tissue = ModelSpec(
        name="tiny-heart", classes=CLASSES, patch_shapes=((6, 24, 24), (8, 40, 40)), spacing_mm=None,
        intensity={"kind": "range"}, dim=8, dim_mults=(1, 2), heads=2, head_dim=8, context="clean", modality="MR",
    )  # fmt: skip
    mask = MaskSpec(boundary_channel=True, organ="the heart's muscle", nested=True, optional=("no_reflow",))
    shapes = replace(tissue, name="tiny-shapes", kind="mask", modality=None, intensity={}, mask=mask)
    folder = tmp_path_factory.mktemp("models")
    for spec, textures in ((tissue, published_textures("emidec")), (shapes, {})):
        save_model(folder / spec.name, Denoiser(spec), ModelCard(spec, SAMPLER, textures, "research only"))
    return folder


def labels():
    """(6, 40, 40): a ring of muscle (2) round the cavity (1), a quarter of it infarct (3), its core no-reflow (4)."""
    j, i = np.indices((40, 40)) - 20
    radius = np.hypot(j, i)
    flat = np.select([radius <= 6, radius <= 11], [1, 2], 0)
    flat[(flat == 2) & (j > abs(i))] = 3
    flat[(flat == 3) & (abs(i) < 4) & (radius < 10)] = 4
    return np.repeat(flat[None], 6, axis=0).astype(np.uint8)


@pytest.fixture
def heart(tmp_path):
    """A folder with `lge.nii.gz`, `labels.nii.gz` (0 to 4), `lesions.nii.gz` (1, 2) and `ct.nii.gz`."""
    label = labels()
    image = np.choose(label, [300, 700, 400, 800, 500]).astype(np.int16)
    image += np.random.default_rng(0).integers(0, 40, image.shape).astype(np.int16)
    for name, array in (
        ("lge", image),
        ("labels", label),
        ("lesions", np.clip(label, 2, 4) - 2),
        ("ct", (image - 1200).astype(np.int16)),
    ):
        lf.write_volume(lf.Volume(array, GRID), tmp_path / f"{name}.nii.gz")
    return tmp_path


def made(folder, name="lge"):
    """The report and {segment: voxels} of a result."""
    found, _, names = lf.read_labels(folder / "out" / f"{name}.seg.nrrd")
    report = json.loads((folder / "out" / f"{name}.json").read_text())
    return report, {segment: int((found == label).sum()) for segment, label in names.items()}


def test_both_tissues_are_made_each_in_its_own_mask_and_texture(heart, models, capsys):
    words = ["--mask", heart / "labels.nii.gz", "--labels", "infarct=3", "no_reflow=4"]
    textures = ["--texture", "infarct=0", "no_reflow=random"]
    command = ["synthesize", heart / "lge.nii.gz", *words, *textures, "--model", models / "tiny-heart"]
    assert run(*command, "-o", heart / "out") == 0
    report, voxels = made(heart)
    assert voxels == {"infarct": int((labels() == 3).sum()), "no_reflow": int((labels() == 4).sum())}
    assert report["background"]["changed_voxels_outside_mask"] == 0
    assert {row["class"]: row["slices"] for row in report["lesions"]} == {"infarct": 6, "no_reflow": 6}
    assert report["model"]["licence"] == "research only"
    assert "in 6 slices" in capsys.readouterr().out
    before, after = lf.read_volume(heart / "lge.nii.gz"), lf.read_volume(heart / "out" / "lge.nii.gz")
    assert ((before.array != after.array) <= (labels() >= 3)).all()


def test_a_class_switched_off_is_not_made(heart, models):
    words = ["--mask", heart / "lesions.nii.gz", "--classes", "infarct", "--model", models / "tiny-heart"]
    assert run("synthesize", heart / "lge.nii.gz", *words, "-o", heart / "out") == 0
    report, voxels = made(heart)
    assert [row["class"] for row in report["lesions"]] == ["infarct"] and voxels["no_reflow"] == 0
    before, after = lf.read_volume(heart / "lge.nii.gz"), lf.read_volume(heart / "out" / "lge.nii.gz")
    assert (before.array == after.array)[labels() == 4].all()


def test_segments_are_known_by_their_names(heart, models):
    from LeFusionLib.io import write_segmentation

    swapped = np.array([0, 0, 0, 2, 1], np.uint8)[labels()]
    segments = [{"name": name, "label": n, "color": (1, 0, 0)} for n, name in ((1, "no_reflow"), (2, "infarct"))]
    write_segmentation(swapped, GRID, heart / "lesions.seg.nrrd", segments)
    words = ["--mask", heart / "lesions.seg.nrrd", "--model", models / "tiny-heart"]
    assert run("synthesize", heart / "lge.nii.gz", *words, "-o", heart / "out") == 0
    assert made(heart)[1]["infarct"] == int((labels() == 3).sum())


def test_a_boundary_of_several_labels_keeps_a_lesion_in(heart, models):
    sphere = ["--center", "-30", "-45", "25", "--diameter", "30", "--mask-model", "handcrafted"]
    words = [*sphere, "--boundary", f"{heart / 'labels.nii.gz'}:2,3,4", "--model", models / "tiny-heart"]
    assert run("synthesize", heart / "lge.nii.gz", *words, "-o", heart / "out") == 0
    found, _, _ = lf.read_labels(heart / "out" / "lge.seg.nrrd")
    assert found.any() and not found[labels() < 2].any()


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
