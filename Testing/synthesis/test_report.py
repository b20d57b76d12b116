"""The report tells what was asked and what came out; it is measured on the result, and names no place and nobody."""

import json
import re

import numpy as np
import pytest

import LeFusionLib
from LeFusionLib.errors import LeFusionError
from LeFusionLib.geometry import ControlSphere
from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.synthesis.report import changed_outside, make_report
from LeFusionLib.synthesis.synthesize import synthesize
from LeFusionLib.volume import Volume

A, B = ((5, 10, 10), (3, 4, 4)), ((12, 30, 28), (2, 3, 5))


@pytest.fixture(scope="module")
def result(scan, box, tiny_model):
    volume = scan()
    sphere = ControlSphere((-11.5, -11.5, 6), 5.0)
    asked = LesionMask(box(volume, A).array, volume.ijk_to_ras, ("nodule",), sphere, "handcrafted")
    return synthesize(volume, [asked, box(volume, B)], tiny_model(), ["solid", "random"], seed=7)


def test_it_has_every_field_of_the_contract_and_is_json(result):
    report = json.loads(json.dumps(result.report))
    assert (report["software"], report["version"]) == ("LeFusion", LeFusionLib.__version__)
    assert report["synthetic"] is True and report["seed"] == 7 and report["device"] == "cpu"
    assert (report["precision"], report["engine"]) == ("float32", "eager")
    assert report["model"] == {"name": "tiny", "kind": "texture", "sha256": "0" * 64, "licence": "CC0-1.0"}
    assert report["sampler"] == {
        "method": "dpm++", "num_steps": 2, "jump_length": 1, "jump_n_sample": 1, "guidance_scale": 1.0,
        "network_evaluations": 4,
    }  # fmt: skip
    assert report["input"]["sha256"] == result.original.sha256()
    assert report["output"]["sha256"] == result.volume.sha256()
    assert (report["input"]["name"], report["input"]["shape"]) == ("scan", [20, 44, 44])
    assert report["input"]["spacing_mm"] == [1, 1, 1]
    voxels = 3 * 4 * 4 + 2 * 3 * 5
    assert report["background"] == {"changed_voxels_outside_mask": 0, "voxels_outside_mask": 20 * 44 * 44 - voxels}
    assert set(report["seconds"]) == {"model", "prepare", "network", "paint"}
    assert all(seconds >= 0 for seconds in report["seconds"].values())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", report["created"])


def test_each_lesion_says_what_was_asked_and_what_was_delivered(result):
    first, second = result.report["lesions"]
    assert first["class"] == "nodule" and first["voxels"] == 48 and first["volume_mm3"] == 48
    assert first["center_ras"] == [-11.5, -11.5, 6.0]
    half_diagonal = (1**2 + 1.5**2 + 1.5**2) ** 0.5
    assert first["diameter_mm"] == {"asked": 5.0, "delivered": pytest.approx(2 * half_diagonal + 1, abs=1e-3)}
    assert first["drawn_by"] == "handcrafted"
    assert second["diameter_mm"]["asked"] is None and second["drawn_by"] is None
    values = result.volume.array[5:8, 10:14, 10:14]
    assert first["mean"] == {"value": pytest.approx(values.mean(), abs=1e-3), "unit": "HU"}


def test_textures_are_measured_on_the_painted_voxels(result):
    for row in result.report["lesions"]:
        texture = row["texture"]
        assert len(texture["asked"]) == len(texture["delivered"]) == 16
        assert sum(texture["delivered"]) == pytest.approx(1, abs=1e-4)
        difference = np.array(texture["asked"]) - texture["delivered"]
        assert texture["total_variation"] == pytest.approx(np.abs(difference).sum() / 2, abs=1e-3)
        assert texture["wasserstein"] == pytest.approx(np.abs(np.cumsum(difference)[:-1]).sum() * 1400 / 16, abs=0.1)
        assert (texture["unit"], texture["window"]) == ("HU", [-1000, 400])
    assert result.report["lesions"][0]["texture"]["name"] == "solid"
    values = np.clip(result.volume.array[5:8, 10:14, 10:14], -1000, 400)
    counted = np.histogram(values, bins=16, range=(-1000, 400))[0] / values.size
    assert result.report["lesions"][0]["texture"]["delivered"] == pytest.approx(counted.tolist(), abs=1e-5)


def test_no_path_and_nobody_is_in_it(scan, box, tiny_model, tmp_path, monkeypatch):
    from LeFusionLib import read_volume, write_volume

    home = tmp_path / "Patient Doe"
    home.mkdir()
    volume = scan()
    write_volume(volume, home / "ct.nii.gz")
    result = synthesize(read_volume(home / "ct.nii.gz"), box(volume, A), tiny_model(), "solid")
    text = json.dumps(result.report)
    assert result.report["input"]["name"] == "ct"
    assert "Doe" not in text and "/" not in text.replace("lesion/", "")


def test_each_class_has_a_row_of_its_own(scan, box, tiny_model):
    volume = scan()
    mask = box(volume, A, ((8, 10, 10), (1, 4, 4)), classes=("infarct", "no_reflow"))
    result = synthesize(volume, mask, tiny_model(classes=("infarct", "no_reflow")), "random")
    assert [(row["class"], row["voxels"]) for row in result.report["lesions"]] == [("infarct", 48), ("no_reflow", 16)]


def test_a_seed_per_mask_is_listed(scan, box, tiny_model):
    volume = scan()
    masks = [box(volume, A), box(volume, B)]
    report = synthesize(volume, masks, tiny_model(), "solid", seed=(3, np.int64(5))).report
    assert report["seed"] == [3, 5] and json.dumps(report)
    assert json.dumps(synthesize(volume, masks, tiny_model(), "solid", seed=np.int64(5)).report["seed"]) == "5"


def mask_of_one(volume):
    array = np.zeros(volume.shape, bool)
    array[1, 1, 1] = True
    return LesionMask(array, volume.ijk_to_ras)


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int16", "int32", "float32", "float64", ">i2"])
def test_one_bit_outside_the_mask_is_seen_and_any_inside_is_not(dtype):
    volume = Volume(np.zeros((3, 3, 3), dtype), np.eye(4))
    lesion = mask_of_one(volume)
    assert changed_outside(volume, volume, lesion) == 0
    inside, outside = volume.array.copy(), volume.array.copy()
    inside[1, 1, 1] = 9
    outside[0, 0, 0] = outside[2, 2, 2] = 1
    assert changed_outside(volume, volume.with_array(inside), lesion) == 0
    assert changed_outside(volume, volume.with_array(outside), lesion) == 2


def test_minus_zero_another_type_and_another_grid_are_changes():
    volume = Volume(np.zeros((3, 3, 3), "float32"), np.eye(4))
    lesion = mask_of_one(volume)
    minus = volume.array.copy()
    minus[0, 0, 0] = -0.0
    assert changed_outside(volume, volume.with_array(minus), lesion) == 1
    assert changed_outside(volume, volume.with_array(volume.array.astype("float64")), lesion) == 27
    assert changed_outside(volume, Volume(volume.array, np.diag([1, 1, 1.0001, 1])), lesion) == 27


def test_a_result_that_changed_elsewhere_is_refused(scan, box, tiny_model, result):
    from LeFusionLib.intensity import IntensityWindow
    from LeFusionLib.models.sampler_spec import SamplerSpec

    tampered = result.volume.array.copy()
    tampered[0, 0, 0] += 1
    with pytest.raises(LeFusionError, match="1 voxels outside the lesion changed"):
        make_report(
            result.original, result.volume.with_array(tampered), result.lesion_mask, [], IntensityWindow(),
            tiny_model(), SamplerSpec(), 1, 0, {},
        )  # fmt: skip
