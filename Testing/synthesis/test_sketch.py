"""A sketch: a part of the scan, few steps, the same seed; and it costs nothing that a whole scan would."""

import numpy as np
import pytest

import LeFusionLib as lf
from LeFusionLib import LesionRequest, SynthesisRequest, run_request
from LeFusionLib.models import card
from LeFusionLib.synthesis.sketch import sketch_of

MATRIX = np.array([[-0.9, 0.1, 0, 60], [-0.1, -0.9, 0, 70], [0, 0, 1.5, -50], [0, 0, 0, 1]])
HERE = (-10.0, 0.0, 10.0)


@pytest.fixture(scope="module")
def scan():
    voxels = np.random.default_rng(0).normal(-800, 60, (90, 160, 150))
    return lf.Volume(voxels.astype(np.int16), MATRIX, "scan")


def request(**changes):
    values = {"model": "tiny", "mask_model": "handcrafted", "device": "cpu", "seed": 3}
    return SynthesisRequest((LesionRequest(HERE, 9, "solid"),), **values | changes)


def whole(array):
    return tuple(slice(0, n) for n in array.shape)


def test_a_part_of_the_scan_gives_what_the_whole_would(scan, tiny_model):
    model = tiny_model()
    boundary = np.ones(scan.shape, dtype=bool)
    boundary[:40] = False
    sketch = sketch_of(scan, request(), boundary, model.spec)
    assert sketch.volume.array.size < scan.array.size / 4
    assert np.array_equal(sketch.volume.array, scan.array[sketch.box])
    made = run_request(sketch.volume, sketch.request, sketch.boundary, models=lambda *_: model)
    all_of_it = run_request(scan, sketch.request, boundary, models=lambda *_: model)
    mask = all_of_it.lesion_mask.array[(slice(None), *sketch.box)]
    assert mask.sum() == all_of_it.lesion_mask.array.sum()  # the lesion lies within
    assert np.array_equal(made.lesion_mask.array, mask)
    assert np.abs(made.volume.array - all_of_it.volume.array[sketch.box].astype(int)).max() <= 1  # HU, by rounding
    assert np.array_equal(made.volume.array[~mask[0]], scan.array[sketch.box][~mask[0]])


def test_at_the_edge_of_the_scan_it_ends_with_it(scan, tiny_model):
    corner = tuple(MATRIX[:3, :3] @ [4, 5, 3] + MATRIX[:3, 3])
    asked = SynthesisRequest((LesionRequest(corner, 8),), "tiny", "handcrafted")
    sketch = sketch_of(scan, asked, None, tiny_model().spec)
    assert [axis.start for axis in sketch.box] == [0, 0, 0] and sketch.boundary is None
    assert np.allclose(sketch.volume.ijk_to_ras, MATRIX)


def test_its_steps_are_those_of_a_draft_and_all_else_is_as_asked(scan, tiny_model):
    asked = request(sampler=lf.SamplerSpec("ddim", 50), mask_model="handcrafted", seed=9)
    quick = sketch_of(scan, asked, None, tiny_model().spec).request
    assert quick.sampler == lf.SamplerSpec("draft") and quick.lesions == asked.lesions
    assert (quick.mask_model, quick.seed, quick.device, quick.model) == ("handcrafted", 9, "cpu", "tiny")


def test_a_scan_of_another_kind_is_refused_by_all_of_it(scan, tiny_model):
    spec = tiny_model(modality="MR").spec
    with pytest.raises(lf.LeFusionError, match="made for MRI"):
        sketch_of(scan, request(), None, spec)
    assert sketch_of(scan, request(any_modality=True), None, spec).request.any_modality


def test_grey_values_that_depend_on_the_whole_scan_keep_the_whole_scan(scan, tiny_model):
    spec = tiny_model(intensity={"kind": "percentile", "low": 1, "high": 99}).spec
    assert sketch_of(scan, request(), None, spec).box == whole(scan.array)
    inside = sketch_of(scan, request(boundary="lung"), None, tiny_model().spec)
    assert inside.box == whole(scan.array) and inside.request.boundary == "lung"  # found in all of it


def test_a_student_that_comes_with_its_teacher_makes_it(scan, tiny_model, tiny_folder, monkeypatch):
    folders = dict.fromkeys(["tiny", "tiny-live", "shapes", "shapes-live"], tiny_folder)
    monkeypatch.setattr(card, "bundled_models", lambda kind=None: folders)
    quick = sketch_of(scan, request(mask_model="shapes"), None, tiny_model().spec).request
    assert (quick.model, quick.mask_model) == ("tiny-live", "shapes-live")
    assert sketch_of(scan, request(), None, tiny_model().spec).request.mask_model == "handcrafted"
    assert card.live_model("other") == "other"


def test_the_bundled_student_draws_nearly_its_teachers_shape_from_the_same_seed():
    volume = lf.Volume(np.zeros((40, 40, 40), np.int16), np.diag([-1.0, -1.0, 1.0, 1.0]))
    teacher, student = (lf.load_model(name, "cpu") for name in ("lung-nodule-mask", "lung-nodule-mask-live"))

    def drawn(model, diameter_mm, seed):
        return lf.draw_lesion_mask(volume, lf.ControlSphere((-20, -20, 20), diameter_mm), model, seed=seed).union

    def dice(first, second):
        return 2 * (first & second).sum() / (first.sum() + second.sum())

    taught = [drawn(teacher, diameter, 1) for diameter in (10.0, 20.0)]
    sketched = [drawn(student, diameter, 1) for diameter in (10.0, 20.0)]
    others = [drawn(student, diameter, 2) for diameter in (10.0, 20.0)]
    same = [dice(a, b) for a, b in zip(taught, sketched, strict=True)]
    assert (
        min(same) > 0.85 and np.mean(same) > np.mean([dice(a, b) for a, b in zip(taught, others, strict=True)]) + 0.05
    )
