"""A request is plain data that comes through JSON unchanged, and one function does what it says."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import LeFusionLib as lf
from LeFusionLib import LeFusionError, LesionRequest, SynthesisRequest, run_request
from LeFusionLib.synthesis.request import draw_request

BY_HAND = {"mask_model": "handcrafted", "device": "cpu"}
HERE, THERE = (-12.0, -20.0, 9.0), (-32.0, -20.0, 9.0)


@pytest.fixture(scope="module")
def models(tiny_model):
    """Hands out one open model, and remembers what it was asked for."""

    def open_model(name, device, precision):
        open_model.asked.append((name, device, precision))
        return open_model.model

    open_model.model, open_model.asked = tiny_model(), []
    return open_model


def request_of(*lesions, **changes):
    return SynthesisRequest(lesions, model="tiny", **BY_HAND | changes)


textures = st.one_of(
    st.sampled_from(["solid", "random"]),
    st.integers(0, 2),
    st.lists(st.floats(0.1, 1), min_size=16, max_size=16),
    st.just({"nodule": "solid"}),
)
lesions = st.builds(
    LesionRequest,
    st.tuples(*[st.floats(-500, 500)] * 3),
    st.floats(0.1, 200),
    textures,
    st.sampled_from([None, "nodule", ("infarct", "no_reflow")]),
    st.none() | st.integers(0, 2**63 - 1),
    st.integers(0, 9),
    st.dictionaries(st.sampled_from(["sphericity", "margin"]), st.floats(1, 5)),
)


@settings(max_examples=30)
@given(st.lists(lesions, min_size=1, max_size=3), st.integers(0, 2**63 - 1), st.sampled_from([None, "lung"]))
def test_a_request_comes_through_json_unchanged(lesions, seed, boundary):
    request = SynthesisRequest(lesions, boundary=boundary, sampler=lf.SamplerSpec("ddim", 7), seed=seed)
    assert SynthesisRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request


def test_what_numpy_and_our_own_classes_hold_becomes_plain():
    histogram = lf.TextureHistogram(tuple(range(16)))
    lesion = LesionRequest(
        np.array(HERE), np.float32(8), histogram, seed=np.int64(3), ratings={"margin": np.float64(2)}
    )
    assert json.loads(json.dumps(request_of(lesion).to_dict()))["lesions"][0] == {
        "center_ras": list(HERE),
        "diameter_mm": 8.0,
        "texture": histogram.as_list(),
        "lesion_class": None,
        "seed": 3,
        "shape": 0,
        "ratings": {"margin": 2.0},
    }
    assert Path(LesionRequest(HERE, 8, Path("exemplar.json")).texture).is_absolute()  # whatever folder a worker is in


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"lesion": []}, "Did you mean 'lesions'"),
        ({"lesions": [{"center_ras": HERE, "diameter": 8}]}, "Did you mean 'diameter_mm'"),
        ({"lesions": [{"center_ras": HERE}]}, "diameter_mm"),
        ({"lesions": [{"center_ras": HERE, "diameter_mm": -1}]}, "diameter above 0 mm"),
        ({"lesions": [{"center_ras": HERE, "diameter_mm": 8, "shape": -1}]}, "shape's number"),
        ({"lesions": [{"center_ras": HERE, "diameter_mm": 8, "seed": 1.5}]}, "seed must be a whole number"),
        ({"lesions": [{"center_ras": HERE, "diameter_mm": 8, "ratings": {"margin": "high"}}]}, "Ratings are"),
        ({"lesions": [{"center_ras": HERE, "diameter_mm": 8, "texture": None}]}, "A texture is"),
        ({"lesions": [{"center_ras": HERE, "diameter_mm": 8, "texture": [1, 2]}]}, "16 numbers"),
        ({"lesions": [7]}, "as a dictionary"),
        ({"lesions": []}, "no lesion to make"),
        ({}, "incomplete"),
        ({"lesions": [{"center_ras": HERE, "diameter_mm": 8}], "sampler": {"step": 2}}, "Did you mean 'num_steps'"),
        ({"lesions": [{"center_ras": HERE, "diameter_mm": 8}], "boundary": "lungs"}, "Did you mean 'lung'"),
        ({"lesions": [{"center_ras": HERE, "diameter_mm": 8}], "seed": -1}, "seed"),
        ({"lesions": [{"center_ras": HERE, "diameter_mm": 8}], "any_modality": "yes"}, "true or false"),
        ({"lesions": [{"center_ras": HERE, "diameter_mm": 8, "lesion_class": 3}]}, "`lesion_class` is a name"),
        ({"lesions": [{"center_ras": HERE, "diameter_mm": 8}], "model": 3}, "`model` is a name"),
    ],
)
def test_what_does_not_fit_is_refused_at_the_door(values, says):
    with pytest.raises(LeFusionError, match=says):
        SynthesisRequest.from_dict(values)


def test_running_it_is_drawing_each_lesion_and_one_synthesis(scan, models):
    request = request_of(LesionRequest(HERE, 8, "solid", seed=3), LesionRequest(THERE, 6, 0), seed=4)
    result = run_request(scan(), request, models=models)
    masks = [
        lf.draw_lesion_mask(scan(), lf.ControlSphere(place, mm), "handcrafted", seed=seed)
        for place, mm, seed in ((HERE, 8, 3), (THERE, 6, 4))
    ]
    by_hand = lf.synthesize(scan(), masks, models.model, ["solid", 0], seed=[3, 4])
    assert (result.volume.array == by_hand.volume.array).all()
    assert result.report["output"] == by_hand.report["output"]
    assert result.report["lesions"] == by_hand.report["lesions"]
    assert (result.lesion_numbers == 1 * masks[0].union + 2 * masks[1].union).all()
    assert set(result.report["seconds"]) == {"model", "draw", "prepare", "network", "paint"}


def test_a_lesion_has_the_requests_seed_unless_it_has_its_own(scan, models):
    own = run_request(scan(), request_of(LesionRequest(HERE, 8, seed=3), seed=9), models=models)
    same = run_request(scan(), request_of(LesionRequest(HERE, 8), seed=3), models=models)
    assert (own.volume.array == same.volume.array).all()
    assert own.report["seed"] == same.report["seed"] == 3  # one number where there is one


def test_sixteen_lesions_with_numbered_textures_are_not_taken_for_one_histogram(scan, models):
    volume = scan((12, 60, 60))
    places = [(-8.0 - 14 * i, -8.0 - 14 * j, 6.0) for i in range(4) for j in range(4)]
    request = request_of(*[LesionRequest(place, 3, 1) for place in places], sampler=lf.SamplerSpec("ddim", 1))
    rows = run_request(volume, request, models=models).report["lesions"]
    assert [row["texture"]["name"] for row in rows] == [list(models.model.textures["nodule"])[1]] * 16


def test_the_boundary_is_a_mask_or_built_in_but_not_both(scan, models):
    volume = scan()
    left_half = np.zeros(volume.shape, bool)
    left_half[:, :, 12:] = True
    (mask,) = draw_request(volume, request_of(LesionRequest(HERE, 8)), left_half, models=models)
    assert mask.union.any() and not (mask.union & ~left_half).any()
    with pytest.raises(LeFusionError, match="Two boundaries"):
        run_request(volume, request_of(LesionRequest(HERE, 8), boundary="lung"), left_half, models=models)


def test_open_models_are_asked_for_by_name_device_and_precision(scan, models):
    models.asked.clear()
    run_request(scan(), request_of(LesionRequest(HERE, 8)), models=models)
    run_request(scan(), request_of(LesionRequest(HERE, 8), precision="float16"), models=models)
    assert set(models.asked) == {("tiny", "cpu", "float32"), ("tiny", "cpu", "float16")}


def test_networks_that_draw_shapes_are_asked_for_with_the_same_precision(scan, models):
    models.asked.clear()
    with pytest.raises(LeFusionError, match="makes tissue"):  # the only model that is handed out here
        run_request(
            scan(),
            request_of(LesionRequest(HERE, 8), mask_model="lung-nodule-mask", precision="bfloat16"),
            models=models,
        )
    assert models.asked[-1] == ("lung-nodule-mask", "cpu", "bfloat16")


def test_a_mask_model_must_draw_shapes_and_says_which_there_are(scan, models):
    with pytest.raises(LeFusionError, match="Did you mean 'handcrafted'"):
        run_request(scan(), request_of(LesionRequest(HERE, 8), mask_model="handcraft"), models=models)


def test_cancel_is_heard_between_shapes_and_progress_counts_evaluations(scan, models):
    request = request_of(LesionRequest(HERE, 8), LesionRequest(THERE, 6))
    with pytest.raises(lf.Cancelled, match="0 of 2 shapes"):
        run_request(scan(), request, cancel=lambda: True, models=models)
    steps = []
    run_request(scan(), request, progress=lambda *told: steps.append(told), models=models)
    assert [step for step, _, _ in steps] == [1, 2, 3, 4] and {total for _, total, _ in steps} == {4}
