"""Drawn shapes beside real ones: equal sets are as near as halves, other sets farther, copies are found out."""

import csv
import json

import numpy as np
import pytest

from LeFusionLib.errors import LeFusionError
from LeFusionLib.evaluation.mask_shapes import (
    HALVES,
    REAL,
    TRAINING,
    compare_shapes,
    delivered_diameters,
    draw_matching,
    evaluate_shapes,
    real_shapes,
    variety,
)
from LeFusionLib.evaluation.shape_features import FEATURES, lesion_of
from LeFusionLib.evaluation.shape_overlap import (
    dice_table,
    mean_pairwise_dice,
    nearest_dice,
    on_common_grid,
    own_size,
    same_size,
)
from LeFusionLib.evaluation.shape_tables import markdown_table
from LeFusionLib.lesion_mask import LesionMask


def rod(half_length, radius, size=24):
    """An ellipsoid of revolution along the last axis, in voxels."""
    k, j, i = np.ogrid[tuple(slice(-size / 2 + 0.5, size / 2) for _ in range(3))]
    return (k / radius) ** 2 + (j / radius) ** 2 + (i / half_length) ** 2 <= 1


def rods(count, slimness, seed=0):
    lengths = np.random.default_rng(seed).uniform(3, 9, count)
    return [rod(length, max(length * slimness, 1.2)) for length in lengths]


def ball_in(volume, sphere, seed):
    return LesionMask(sphere.mask_on(volume), volume.ijk_to_ras, sphere=sphere)


def distances(rows, feature):
    return {row["set"]: row["distance_sd"] for row in rows if row["feature"] == feature}


def test_a_set_compared_with_itself_is_at_distance_0_and_rods_are_not_balls():
    real = rods(20, 0.5)
    rows = compare_shapes(real, {"the same": real, "others": rods(20, 0.5, seed=1), "balls": rods(20, 1.0)})
    assert {row["feature"] for row in rows} == set(FEATURES)
    assert all(distances(rows, feature)["the same"] == 0 for feature in FEATURES)
    elongation = distances(rows, "elongation")
    assert elongation["balls"] > 3 * max(elongation["others"], elongation[HALVES])


def test_the_distance_is_the_shift_in_the_features_own_unit_and_in_standard_deviations():
    real = [np.ones((1, 1, n), dtype=bool) for n in (2, 4)]
    longer = [np.ones((1, 1, n), dtype=bool) for n in (5, 7)]
    row = next(row for row in compare_shapes(real, {"longer": longer}) if row["feature"] == "volume_mm3" and
               row["set"] == "longer")  # fmt: skip
    assert (row["mean"], row["distance"], row["distance_sd"]) == (6, 3, 3)  # volumes 2, 4: mean 3, deviation 1


def test_every_drawn_lesion_has_a_sphere_of_its_real_ones_diameter_between_the_voxels():
    real, spheres = rods(6, 0.6), []

    def draw(volume, sphere, seed):
        spheres.append((sphere.center_ras, sphere.diameter_mm, seed))
        return ball_in(volume, sphere, seed)

    drawn = draw_matching(real, draw, seed=5)
    asked = [lesion_of(mask, (1, 1, 1)).diameter_mm() for mask in real]
    assert [diameter for _, diameter, _ in spheres] == asked
    assert [seed for _, _, seed in spheres] == list(range(5, 11))
    assert len({center for center, _, _ in spheres}) == 6
    assert all(abs(mm - 23.5) <= 0.5 for center, _, _ in spheres for mm in center)
    assert [lesion_of(mask, (1, 1, 1)).diameter_mm() for mask in drawn] == pytest.approx(asked, abs=1.0)
    again = draw_matching(real, ball_in, seed=5)
    assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))


def test_a_large_lesion_gets_a_large_grid():
    long = np.ones((1, 1, 60), dtype=bool)
    assert draw_matching([long], ball_in)[0].shape == (66, 66, 66)


def test_dice_by_hand():
    first = np.array([[1, 1, 0, 0], [0, 0, 0, 0]], dtype=bool)
    second = np.array([[1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 1, 1]], dtype=bool)
    assert dice_table(first, second).tolist() == pytest.approx(np.array([[1, 2 / 5, 0], [0, 0, 0]]))
    assert mean_pairwise_dice(second) == pytest.approx((2 / 5 + 0 + 4 / 5) / 3)


def test_on_the_common_grid_place_does_not_count_and_brought_to_one_size_size_does_not():
    small, large = rod(4, 4, 24), rod(10, 10, 24)
    moved = np.roll(small, (3, -2, 4), axis=(0, 1, 2))
    assert np.array_equal(on_common_grid(small, 1, 12), on_common_grid(moved, 1, 12))
    assert on_common_grid(small, 1, 24).sum() == small.sum()  # its centroid lies between voxels, as the grid's middle
    assert mean_pairwise_dice(same_size([small, large])) > 0.93
    assert mean_pairwise_dice(own_size([small, large])) == pytest.approx(2 * small.sum() / (small.sum() + large.sum()))


def test_one_shape_again_and_again_has_no_variety():
    lengths = np.linspace(4, 9, 8)
    assert variety([rod(6, 3)] * 5) == {"own_size": 1.0, "same_size": 1.0}
    mixed = [np.moveaxis(rod(n, 2.5), 2, int(n) % 3) for n in lengths]
    assert variety(mixed)["same_size"] < 0.8


def test_a_copy_is_found_wherever_and_however_large_it_lies():
    training = same_size([rod(9, 3), rod(6, 6), np.moveaxis(rod(8, 3), 2, 0)])
    copy, new = np.roll(rod(6, 6), 2, axis=0), np.moveaxis(rod(9, 4), 2, 1)
    near = nearest_dice([copy, new], training)
    assert near[0] == 1
    assert near[1] < 0.8


def test_sizes_are_told_per_range_of_what_was_asked():
    rows = delivered_diameters([(5, 5.5), (5.5, 5.5), (12, 10), (40, 40)])
    assert [row["asked_mm"] for row in rows] == ["4 to 6", "10 to 15", "30 and more"]
    assert [row["lesions"] for row in rows] == [2, 1, 1]
    assert rows[0]["mean_error_mm"] == 0.25 and rows[0]["within_a_voxel"] == 1
    assert rows[1]["mean_error_mm"] == -2 and rows[1]["mean_absolute_error_mm"] == 2 and rows[1]["within_a_voxel"] == 0


def test_of_a_real_mask_the_largest_piece_counts_if_it_has_eight_voxels():
    two = np.zeros((6, 6, 9), dtype=bool)
    two[:2, :2, :2], two[3:6, 3:6, 5:8] = True, True
    dust = np.zeros((6, 6, 9), dtype=bool)
    dust[0, 0, :7] = True
    assert [int(mask.sum()) for mask in real_shapes([two, dust, two])] == [27, 27]
    with pytest.raises(LeFusionError, match="Of 2 real masks 1 have a piece of at least 8 voxels"):
        real_shapes([two, dust])


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "new"
    summary = evaluate_shapes(rods(3, 0.6), rods(9, 0.6, seed=1), {"balls": ball_in}, 3, folder / "run.1")
    return folder, summary


def test_the_whole_comparison_writes_its_tables_and_pictures_and_nothing_else(evaluated):
    folder, summary = evaluated
    names = ["run.1-features.png", "run.1-slices.png", "run.1-surfaces.png", "run.1.csv", "run.1.json", "run.1.md"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert json.loads((folder / "run.1.json").read_text()) == summary
    assert summary["lesions"] == {REAL: 3, TRAINING: 9, "balls": 3}
    assert set(summary["variety"]) == set(summary["nearest_training_shape"]) == {REAL, "balls"}
    elongation = distances(summary["features"], "elongation")
    assert elongation["balls"] > 2 * elongation[TRAINING]
    assert sum(row["lesions"] for row in summary["diameters"]["balls"]) == 3


def test_every_lesion_has_its_line(evaluated):
    with (evaluated[0] / "run.1.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["set", "number", *FEATURES, "nearest_training_dice"]
    assert [row["set"] for row in rows].count("balls") == 3 and len(rows) == 15
    assert all((row["nearest_training_dice"] == "") == (row["set"] == TRAINING) for row in rows)


def test_the_markdown_has_one_line_per_feature_and_all_cells(evaluated):
    text = (evaluated[0] / "run.1.md").read_text()
    assert all(text.count(f"\n| {feature} |") == 2 for feature in FEATURES)  # in deviations and in its own unit
    assert markdown_table(["a", "b"], [["1", "2"]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_a_drawer_cannot_be_called_real(tmp_path):
    with pytest.raises(LeFusionError, match="The name real is taken"):
        evaluate_shapes(rods(3, 0.6), rods(3, 0.6), {REAL: ball_in}, 0, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []
