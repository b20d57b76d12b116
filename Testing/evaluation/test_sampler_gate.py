"""The gate lets pass what the slow sampler itself might have made, and nothing that is off in one measure."""

from dataclasses import replace

import numpy as np
import pytest

from LeFusionLib import LeFusionError, LesionMask, SamplerSpec, Volume, write_volume
from LeFusionLib.evaluation.lesion_features import (
    crop_around,
    filter_bank,
    kernel_distance,
    neighbourhoods,
    seam_contrast,
    sliced_wasserstein,
)
from LeFusionLib.evaluation.sampler_gate import MEASURES, Look, Scene, as_markdown, judged, sampler_gate
from LeFusionLib.models.checkpoint import save_model

SCENES = 16


def looks(rng, off=None, by=4.0):
    """A set of made lesions: the scene decides a part, chance the rest; `off` shifts one measure by `by` spreads."""
    made = []
    for scene in range(SCENES):
        base = np.random.default_rng(scene)
        values = {
            "texture": 50 + 20 * base.standard_normal() + 5 * rng.standard_normal(),
            "seam": 200 + 20 * base.standard_normal() + 5 * rng.standard_normal(),
            "points": 100 * base.standard_normal((8, 27)) + 30 * rng.standard_normal((8, 27)),
            "features": base.standard_normal(18) + rng.standard_normal(18),
        }
        if off is not None:
            values[off] = values[off] + by * (1 if off == "features" else 30 if off == "points" else 5)
        made.append(Look(**values, seconds=1.0))
    return made


@pytest.mark.parametrize(
    "off, measure", [("texture", "texture"), ("seam", "seam"), ("points", "swd"), ("features", "kid")]
)
def test_a_setting_that_is_off_in_one_measure_is_held_back_and_by_that_measure(off, measure):
    rng = np.random.default_rng(0)
    made = {"slow": [looks(rng) for _ in range(3)], "other": [looks(rng, off)]}
    slow, other = judged(made, "slow", {"slow": 100, "other": 5})
    assert slow.passes and not other.passes
    over = {m: getattr(other, f"{m}_difference") / getattr(other, f"{m}_allowed") for m in MEASURES}
    assert max(over, key=lambda m: over[m]) == measure and over[measure] > 1


def test_what_the_slow_sampler_might_have_made_itself_mostly_passes():
    passed = []
    for trial in range(6):
        rng = np.random.default_rng(trial)
        made = {"slow": [looks(rng) for _ in range(2)], "same": [looks(rng)]}
        passed.append(judged(made, "slow", {"slow": 100, "same": 100}, trial)[1].passes)
    assert sum(passed) >= 4


def test_the_seam_is_the_step_at_the_rim():
    image, mask = np.zeros((7, 7, 7), np.float32), np.zeros((7, 7, 7), bool)
    mask[2:5, 2:5, 2:5] = True
    image[mask] = 40
    assert seam_contrast(image, mask) == 40
    assert seam_contrast(image + 3, mask) == 40


def test_features_see_grey_values_and_roughness_and_not_the_place():
    rng = np.random.default_rng(0)
    image, mask = np.zeros((20, 20, 20)), np.zeros((20, 20, 20), bool)
    mask[8:13, 7:12, 8:12] = True
    rough = image + rng.standard_normal(image.shape) * mask
    flat, uneven = (filter_bank(*crop_around(array, mask)) for array in (image + 5, rough))
    assert flat.shape == (18,) and flat[0] == flat[2] == flat[4] == 5 and np.abs(flat[5:]).max() < 2e-3
    assert uneven[1] > 0.8 and (uneven[[6, 7, 15, 16, 17]] > 0.1).all()
    moved = [np.roll(array, (2, 3, -2), (0, 1, 2)) for array in (rough, mask)]
    assert np.allclose(filter_bank(*crop_around(*moved)), uneven)


def test_distances_by_hand():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((50, 3))
    axes = np.eye(3)
    assert sliced_wasserstein(points, points[::-1], axes) == 0
    assert sliced_wasserstein(points, points + [3.0, 0.0, 0.0], axes) == pytest.approx(1.0)
    same = [kernel_distance(*rng.standard_normal((2, 40, 18))) for _ in range(50)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 50**0.5
    assert kernel_distance(rng.standard_normal((40, 18)), rng.standard_normal((40, 18)) + 1) > 5 * np.std(same)
    picked = neighbourhoods(np.arange(125.0).reshape(5, 5, 5), np.arange(125).reshape(5, 5, 5) == 62, 3, rng)
    assert picked.shape == (3, 27) and (picked[:, 13] == 62).all() and picked[0, 0] == 62 - 31


def test_a_model_goes_through_the_gate(tiny_model):
    rng = np.random.default_rng(1)
    array = rng.normal(-800, 50, (16, 32, 32)).astype(np.float32)
    mask = np.zeros((1, 16, 32, 32), bool)
    mask[0, 6:10, 12:20, 12:20] = True
    volume = Volume(array, np.eye(4))
    scenes = [Scene(f"s{n}", volume, LesionMask(mask, np.eye(4), ("nodule",)), "solid") for n in range(3)]
    model, slow = tiny_model(), SamplerSpec("ddim", 3, 1, 1, 1.0)
    settings = [("one", tiny_model(name="student"), SamplerSpec("ddim", 1, 1, 1, 1.0)), ("same", model, slow)]
    rows = sampler_gate(scenes, ("slow", model, slow), settings)
    assert [(row.setting, row.evaluations) for row in rows] == [("slow", 3), ("one", 1), ("same", 3)]
    assert all(row.texture > 0 and row.seam > 0 and row.seconds >= 0 for row in rows)
    assert as_markdown(rows, "about").count("\n") == 7


@pytest.mark.parametrize("text", ["ddim:", "ddim:x", "ddim:5:1", "ddim:5:1:1:1", "ddim:-3", ""])
def test_a_setting_that_cannot_be_read_is_refused(text):
    with pytest.raises(LeFusionError):
        SamplerSpec.parse(text)


def test_settings_are_read():
    assert SamplerSpec.parse("draft") == SamplerSpec("draft")
    assert SamplerSpec.parse("ddim:10") == SamplerSpec("ddim", 10)
    assert SamplerSpec.parse("ddpm:50:1:2") == SamplerSpec("ddpm", 50, 1, 2)


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    """Three patients with a lesion in a dark lung."""
    folder, matrix = tmp_path_factory.mktemp("patients"), np.diag([-1.0, -1.0, 1.0, 1.0])
    mask = np.zeros((8, 16, 16), np.uint8)
    mask[2:6, 5:11, 5:11] = 1
    for number in range(3):
        image = np.where(mask, 100 * number - 500, -850) + np.random.default_rng(number).normal(0, 30, mask.shape)
        write_volume(Volume(image.astype(np.int16), matrix), folder / f"p{number}_image.nii.gz")
        write_volume(Volume(mask, matrix), folder / f"p{number}_mask.nii.gz")
    return folder


def test_the_command_compares_settings_and_students(tiny_model, patients, tmp_path, capsys):
    from LeFusionLib.cli import main
    from LeFusionLib.training.train import patient_hash

    def saved(name, **spec):
        model = tiny_model(name=name, **spec)
        held_out = {"held_out_patients_sha256": [patient_hash(f"p{n}") for n in range(3)]}
        return save_model(tmp_path / name, model.denoiser, replace(model.card, training=held_out))

    def run(student):
        words = ["evaluate", "sampler", "--data", patients, "--model", saved("teacher"), "--sampler", "ddim"]
        words += ["--steps", 3, "--settings", "ddim:1", "--students", student, "--device", "cpu", "-o", tmp_path / "t"]
        return main([str(word) for word in words])

    assert run(saved("teacher-live")) == 0
    rows = (tmp_path / "t.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows[1:]] == ["slow (ddim)", "ddim:1", "teacher-live dpm++:2"]
    (tmp_path / "t.csv").unlink()
    (tmp_path / "t.json").unlink()
    (tmp_path / "t.md").unlink()
    assert run(saved("other", classes=("infarct",))) == 2
    assert "'other' cannot stand in for 'teacher'" in capsys.readouterr().err and not (tmp_path / "t.csv").exists()
