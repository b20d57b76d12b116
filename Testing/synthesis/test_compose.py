"""Lesions made one by one and put together: the bytes of one request for all, and each can go without the others."""

import numpy as np
import pytest

import LeFusionLib as lf
from LeFusionLib import LeFusionError, LesionRequest, SynthesisRequest, run_request
from LeFusionLib.synthesis.compose import MadeLesion, put_together

HERE = LesionRequest((-12.0, -20.0, 9.0), 8, "solid", seed=3)
THERE = LesionRequest((-32.0, -20.0, 9.0), 6, "random", seed=4)


@pytest.fixture(scope="module")
def volume():
    array = np.random.default_rng(0).normal(-850, 30, (18, 40, 44)).astype(np.int16)
    return lf.Volume(array, np.diag([-1.0, -1.0, 1.0, 1.0]), name="scan")


@pytest.fixture(scope="module")
def make(volume, tiny_model):
    model = tiny_model()

    def run(*lesions):
        request = SynthesisRequest(lesions, model="tiny", mask_model="handcrafted", device="cpu")
        return run_request(volume, request, models=lambda *_: model)

    return run


def test_put_together_they_are_what_one_request_for_all_gives(volume, make):
    whole = make(HERE, THERE)
    ours = put_together(volume, [MadeLesion.of(make(HERE)), MadeLesion.of(make(THERE))])
    assert (ours.volume.array == whole.volume.array).all()
    assert (ours.lesion_mask.array == whole.lesion_mask.array).all()
    assert (ours.lesion_numbers == whole.lesion_numbers).all()
    for key in whole.report.keys() - {"seconds", "created"}:
        assert ours.report[key] == whole.report[key], key
    assert ours.report["seed"] == [3, 4] and ours.report["seconds"].keys() == whole.report["seconds"].keys()


def test_one_taken_away_leaves_the_other_and_the_scan_as_they_were(volume, make):
    first, second = (MadeLesion.of(make(lesion)) for lesion in (HERE, THERE))
    both, one = put_together(volume, [first, second]), put_together(volume, [first])
    alone = make(HERE)
    assert (one.volume.array == alone.volume.array).all() and one.report["seed"] == 3
    gone = both.lesion_numbers == 2
    assert gone.any() and (one.volume.array[gone] == volume.array[gone]).all()


def test_a_lesion_keeps_its_box_and_not_the_scan(volume, make):
    lesion = MadeLesion.of(make(HERE))
    assert lesion.values.base is None and lesion.values.size < volume.array.size / 20
    mask = lesion.mask_on(volume)
    assert mask.voxels() == lesion.mask.sum() and (mask.array == make(HERE).lesion_mask.array).all()


def test_what_does_not_belong_together_is_refused(volume, make):
    first = MadeLesion.of(make(HERE))
    near = MadeLesion.of(make(LesionRequest((-14.0, -20.0, 9.0), 8, "solid", seed=5)))
    with pytest.raises(LeFusionError, match="overlap"):
        put_together(volume, [first, near])
    with pytest.raises(LeFusionError, match="no lesion"):
        put_together(volume, [])
    for entry, value in (("device", "cuda:0"), ("precision", "bfloat16")):
        other = MadeLesion(near.box, near.values, near.mask, near.classes, near.report | {entry: value})
        with pytest.raises(LeFusionError, match=f"differ in their {entry}"):
            put_together(volume, [first, other])
