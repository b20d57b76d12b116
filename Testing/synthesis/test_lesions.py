"""What is to be made: patch, texture and chance of each lesion, whatever its company."""

import numpy as np
import pytest

from LeFusionLib.errors import LeFusionError
from LeFusionLib.geometry import kji_from_ras
from LeFusionLib.intensity import IntensityWindow, window_for
from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.synthesis.chance import check_seed
from LeFusionLib.synthesis.lesions import plan_lesions
from LeFusionLib.texture import TextureHistogram, published_textures
from LeFusionLib.volume import Volume

NODULE, HEART = published_textures("lidc"), published_textures("emidec")
HEART_CLASSES = ("infarct", "no_reflow")
A, B = ((5, 10, 10), (3, 4, 4)), ((12, 30, 28), (2, 3, 5))
FLAT = TextureHistogram((1,) * 16)


@pytest.fixture
def plan(tiny_spec):
    def run(volume, lesion, texture="solid", seed=0, presets=NODULE, **changes):
        return plan_lesions(volume, lesion, tiny_spec(**changes), presets, IntensityWindow(), texture, seed)

    return run


def test_each_connected_part_is_a_lesion_in_the_middle_of_the_smallest_patch_that_holds_it(scan, box, plan):
    volume = scan()
    both = box(volume, A, B)
    first, second = plan(volume, both)
    assert first.frame.shape == second.frame.shape == (8, 16, 16)
    assert np.array_equal(first.mask.union | second.mask.union, both.union)
    assert first.patch_mask.shape == (1, 8, 16, 16) and first.patch_mask.sum() == 3 * 4 * 4
    assert set(np.unique(first.patch_mask)) == {0, 1}
    # On an aligned grid of the model's spacing the patch is cut out as it is; voxel shape // 2 on the lesion's middle.
    cut = volume.array[6 - 4 : 6 + 4, 12 - 8 : 12 + 8, 12 - 8 : 12 + 8]
    assert np.allclose(first.background, IntensityWindow().normalize(cut))
    large = plan(volume, box(volume, ((2, 10, 10), (9, 6, 6))))
    assert large[0].frame.shape == (16, 32, 32)


def test_parts_within_three_millimetres_are_one_lesion(scan, box, plan):
    volume = scan()
    assert len(plan(volume, box(volume, ((5, 10, 10), (2, 2, 2)), ((5, 10, 14), (2, 2, 2))))) == 1
    assert len(plan(volume, box(volume, ((5, 10, 10), (2, 2, 2)), ((5, 10, 15), (2, 2, 2))))) == 2


def same(first, second):
    return (
        first.seed == second.seed
        and first.textures == second.textures
        and np.array_equal(first.background, second.background)
        and np.array_equal(first.patch_mask, second.patch_mask)
    )


def test_a_lesion_is_planned_the_same_alone_in_one_mask_and_in_a_list(scan, box, plan):
    volume = scan()
    a, b = box(volume, A), box(volume, B)
    alone = plan(volume, b, "random", seed=7)[0]
    assert same(plan(volume, box(volume, A, B), "random", seed=7)[1], alone)
    assert same(plan(volume, [a, b], "random", seed=7)[1], alone)
    assert same(plan(volume, [b, a], "random", seed=7)[0], alone)
    assert same(plan(volume, [a, b], ["solid", "random"], seed=[3, 7])[1], alone)
    assert not same(plan(volume, b, "random", seed=8)[0], alone)


def test_two_lesions_of_one_seed_have_each_their_own_noise(scan, box, plan):
    volume = scan()
    first, second = plan(volume, box(volume, A, B), seed=7)
    assert first.seed != second.seed


def test_the_condition_lists_the_models_classes_in_the_models_order(scan, box, plan):
    volume = scan()
    settings = {"presets": HEART, "classes": HEART_CLASSES}
    swapped = box(volume, A, ((8, 10, 10), (1, 4, 4)), classes=HEART_CLASSES[::-1])
    (lesion,) = plan(volume, swapped, {"infarct": FLAT, "no_reflow": "typical"}, **settings)
    assert lesion.mask.classes == HEART_CLASSES
    assert lesion.condition.dtype == np.float32
    assert np.allclose(lesion.condition[:16], 1 / 16)
    assert np.allclose(lesion.condition[16:], HEART["no_reflow"]["typical"].weights)
    assert [row.sum() for row in lesion.patch_mask] == [16, 48]
    (only,) = plan(volume, box(volume, A, classes=("infarct",)), "typical", **settings)
    assert np.allclose(only.condition[16:], 0) and only.condition[:16].sum() == pytest.approx(1)
    assert not only.patch_mask[1].any()


@pytest.mark.parametrize(
    "texture, names",
    [
        ("solid", ["solid", "solid"]),
        (0, ["ground-glass", "ground-glass"]),
        (FLAT, ["custom", "custom"]),
        ({"nodule": "solid"}, ["solid", "solid"]),
        (["solid", "part-solid"], ["solid", "part-solid"]),
        ([2, 0], ["solid", "ground-glass"]),
        ([FLAT, {"nodule": "solid"}], ["custom", "solid"]),
        ([1.0] * 16, ["custom", "custom"]),
        (list(np.ones(16, np.float32)), ["custom", "custom"]),
        (np.ones(16), ["custom", "custom"]),
    ],
)
def test_a_texture_for_all_or_one_for_each_mask(scan, box, plan, texture, names):
    volume = scan()
    planned = plan(volume, [box(volume, A), box(volume, B)], texture)
    assert [lesion.textures["nodule"][0] for lesion in planned] == names


def test_a_model_without_texture_condition_takes_none(scan, box, plan):
    volume = scan()
    (lesion,) = plan(volume, box(volume, A), "random", presets={}, condition_way="none")
    assert lesion.textures == {}


@pytest.mark.parametrize(
    "texture, words",
    [
        ("sold", "Did you mean 'solid'"),
        (3, "0 ground-glass, 1 part-solid, 2 solid"),
        ({"nodul": "solid"}, "Did you mean 'nodule'"),
        ({}, "No texture was given for nodule"),
        ([1.0, 2.0, 3.0], "1 lesion masks and 3 textures|16 numbers"),
        (None, "texture 'None'"),
    ],
)
def test_a_texture_the_model_does_not_have_is_refused(scan, box, plan, texture, words):
    volume = scan()
    for lesion in (box(volume, A), [box(volume, A)]):
        with pytest.raises(LeFusionError, match=words):
            plan(volume, lesion, texture)


def test_every_class_that_is_made_needs_a_texture(scan, box, plan):
    volume = scan()
    mask = box(volume, A, ((8, 10, 10), (1, 4, 4)), classes=HEART_CLASSES)
    with pytest.raises(LeFusionError, match="No texture was given for no_reflow"):
        plan(volume, mask, {"infarct": "typical"}, presets=HEART, classes=HEART_CLASSES)


def test_a_list_of_another_length_is_refused(scan, box, plan):
    volume = scan()
    masks = [box(volume, A), box(volume, B)]
    with pytest.raises(LeFusionError, match="2 lesion masks and 1 textures"):
        plan(volume, masks, ["solid"])
    with pytest.raises(LeFusionError, match="2 lesion masks and 3 seeds"):
        plan(volume, masks, seed=[1, 2, 3])


def test_an_empty_list_is_refused(scan, plan):
    with pytest.raises(LeFusionError, match="no lesion to make"):
        plan(scan(), [])


def test_a_class_the_model_lacks_is_refused(scan, box, plan):
    volume = scan()
    with pytest.raises(LeFusionError, match="'nodul'. Did you mean 'nodule'"):
        plan(volume, box(volume, A, classes=("nodul",)))


def test_overlapping_lesions_are_refused(scan, box, plan):
    volume = scan()
    with pytest.raises(LeFusionError, match="overlap"):
        plan(volume, [box(volume, A), box(volume, ((7, 13, 13), (2, 2, 2)))])


def test_a_mask_on_another_grid_is_refused(scan, box, plan):
    volume, other = scan(), scan(shape=(20, 44, 43))
    with pytest.raises(LeFusionError, match="different grids"):
        plan(volume, box(other, A))
    moved = box(volume, A).ijk_to_ras.copy()
    moved[0, 3] += 0.5
    with pytest.raises(LeFusionError, match="different grids"):
        plan(volume, LesionMask(box(volume, A).array, moved))


def test_a_lesion_larger_than_the_largest_patch_is_told_the_largest_possible(scan, box, plan):
    volume = scan()
    with pytest.raises(LeFusionError, match=r"32\.0 mm .* at most 15\.0 x 31\.0 x 31\.0 mm"):
        plan(volume, box(volume, ((2, 2, 2), (3, 3, 33))))
    plan(volume, box(volume, ((2, 2, 2), (3, 3, 32))))  # the largest possible is possible


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, "7", None, np.array([1])])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(LeFusionError, match="seed must be a whole number"):
        check_seed(seed)


@pytest.mark.parametrize("seed", [0, 2**63 - 1, np.int64(5), np.uint8(3)])
def test_whole_numbers_are_seeds(seed):
    assert check_seed(seed) == seed and type(check_seed(seed)) is int


@pytest.mark.parametrize("case", ["Case_P001", "Case_P002"])
def test_a_published_network_sees_a_heart_as_its_own_data_set_would_feed_it(golden_arrays, released, case):
    """The published patch is (Z, X, Y) of the file, cropped or padded about the volume's middle; ours lies about the
    lesion. Where both lie in the volume they are the same numbers in the same order; an (X, Y) mix-up would show."""
    stored = golden_arrays("golden_hist")
    in_file, labels = (stored[f"emidec_{case}_{name}"].transpose(2, 1, 0) for name in ("volume", "labels"))
    data, label, hist = (stored[f"emidec_{case}_{name}"] for name in ("data", "label", "hist"))
    volume = Volume(in_file, np.diag([-1.4, -1.4, 10.0, 1.0]))
    spec = released("ckpt_emidec_small").spec
    lesion = LesionMask.from_labels(labels, volume.ijk_to_ras, {"infarct": 3, "no_reflow": 4})
    window = window_for(spec.intensity, volume.array)
    seen = [[], []]
    for planned in plan_lesions(volume, lesion, spec, HEART, window, "typical", 0):
        start = np.rint(kji_from_ras(volume.ijk_to_ras, planned.frame.ijk_to_ras[:3, 3])[0]).astype(int)
        places = start[[0, 2, 1]] + np.argwhere(np.ones(planned.frame.shape))  # (k, i, j) of each patch voxel
        sizes = np.array(in_file.shape)[[0, 2, 1]]
        cut = np.ceil(np.abs(sizes - (10, 72, 72)) / 2).astype(int) * np.sign(sizes - (10, 72, 72))
        both = ((places >= 0) & (places < sizes) & (places >= cut) & (places < cut + (10, 72, 72))).all(axis=1)
        theirs = tuple((places[both] - cut).T)
        assert np.abs(planned.background.ravel()[both] - data[0][theirs]).max() < 1e-6
        ours = planned.patch_mask.reshape(2, -1)[:, both]
        assert ((ours > 0) <= [label[0][theirs] == 3, label[0][theirs] == 4]).all()
        for values, mask in zip(seen, ours, strict=True):
            values.extend(planned.background.ravel()[both][mask > 0])
    for values, number, expected in zip(seen, (3, 4), hist.reshape(2, 16), strict=True):
        assert len(values) == (label == number).sum()
        shown = TextureHistogram.of(np.array(values)).weights if values else np.zeros(16)
        assert np.allclose(shown, expected, atol=1e-5)
