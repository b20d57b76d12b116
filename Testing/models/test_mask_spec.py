"""What a mask model is shown: the sphere in the middle of its patch, its size, ratings that may be left out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LeFusionLib.errors import LeFusionError
from LeFusionLib.geometry import ControlSphere, ras_from_kji
from LeFusionLib.models.mask_spec import MaskSpec

SCALED = MaskSpec(sphere_voxels=12.0, ratings=("sphericity", "spiculation"))


@given(
    center=st.tuples(*[st.floats(-200, 200)] * 3),
    diameter_mm=st.floats(3, 40),
    shape=st.tuples(*[st.integers(14, 24)] * 3),
)
def test_the_sphere_sits_in_the_middle_and_spans_its_voxels_whatever_its_size(center, diameter_mm, shape):
    sphere = ControlSphere(center, diameter_mm)
    frame = SCALED.frame(sphere, shape, None)
    assert frame.spacing_mm == pytest.approx((diameter_mm / 12,) * 3)
    corners = ras_from_kji(frame.ijk_to_ras, [(0, 0, 0), np.array(shape) - 1])
    assert corners.mean(axis=0) == pytest.approx(center, abs=1e-9)
    channel = SCALED.channel(sphere, frame)
    assert set(np.unique(channel)) == {-1.0, 1.0}
    assert (channel > 0).sum() == pytest.approx(np.pi / 6 * 12**3, rel=0.06)
    assert np.array_equal(channel, channel[::-1, ::-1, ::-1])


def test_without_a_size_in_voxels_the_models_spacing_holds():
    sphere = ControlSphere((10, 20, 30), 8.0)
    frame = MaskSpec().frame(sphere, (8, 16, 16), (2.0, 1.0, 1.0))
    assert frame.spacing_mm == (2.0, 1.0, 1.0)
    assert (MaskSpec().channel(sphere, frame) > 0).any(axis=(1, 2)).sum() == 4  # 8 mm in slices of 2 mm, between two
    with pytest.raises(LeFusionError, match="neither a spacing"):
        MaskSpec().frame(sphere, (8, 16, 16), None)


def test_the_published_model_sees_a_ball_of_whole_voxels_about_a_voxel_1_inside_and_255_outside():
    published = MaskSpec(sphere_values=(255.0, 1.0), published=True)
    sphere = ControlSphere((5, 5, 5), 7.8)
    frame = published.frame(sphere, (32, 64, 64), (1.0, 1.0, 1.0))
    assert ras_from_kji(frame.ijk_to_ras, (16, 32, 32))[0] == pytest.approx((5, 5, 5))
    channel = published.channel(sphere, frame)
    assert (channel == 1).sum() == 123 and (channel == 255).sum() == channel.size - 123  # lattice points within 3
    assert published.traits_size == 0 and published.traits(sphere, {}).shape == (0,)


def test_size_and_ratings_in_a_row_and_what_is_not_given_is_two_zeros():
    row = SCALED.traits(ControlSphere((0, 0, 0), 20.0), {"spiculation": 5})
    assert row.tolist() == [1.0, 0.0, 0.0, 1.0, 1.0]
    row = SCALED.traits(ControlSphere((0, 0, 0), 5.0), {"sphericity": 3, "spiculation": 1})
    assert row.tolist() == [-1.0, 0.0, 1.0, -1.0, 1.0]
    assert len(row) == SCALED.traits_size


@pytest.mark.parametrize(
    "ratings, words",
    [({"spherical": 3}, "Did you mean 'sphericity'"), ({"sphericity": 0}, "from 1 to 5; got sphericity=0")],
)
def test_ratings_that_cannot_be_are_refused(ratings, words):
    with pytest.raises(LeFusionError, match=words):
        SCALED.traits(ControlSphere((0, 0, 0), 5.0), ratings)


@pytest.mark.parametrize(
    "settings, words",
    [({"sphere_voxels": 0}, "more than 0"), ({"diameter_tolerance": 1.5}, "between 0 and 1")],
)
def test_what_cannot_be_is_refused_when_written_down(settings, words):
    with pytest.raises(LeFusionError, match=words):
        MaskSpec(**settings)


def test_an_unknown_setting_names_its_neighbour():
    with pytest.raises(LeFusionError, match="Did you mean 'sphere_voxels'"):
        MaskSpec.from_dict({"sphere_voxel": 3})


def test_a_sphere_beyond_what_was_learned_or_larger_than_the_patch_is_refused(tiny_spec):
    learned = tiny_spec(kind="mask", mask=MaskSpec(sphere_voxels=12.0, diameter_range_mm=(3.0, 30.0)))
    learned.check_diameter(30.0, (1, 1, 1))
    with pytest.raises(LeFusionError, match="lesions of 3 to 30 mm; got 31 mm"):
        learned.check_diameter(31.0, (1, 1, 1))
    with pytest.raises(LeFusionError, match="largest possible diameter is 15 mm"):
        tiny_spec(kind="mask", mask=MaskSpec()).check_diameter(16.0, (1, 1, 1))
