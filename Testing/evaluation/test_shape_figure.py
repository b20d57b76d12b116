"""Pictures of shapes: a ball is lit as a ball, in its true size, and the pictures hold every set."""

import numpy as np
import pytest

from LeFusionLib.evaluation.shape_features import shape_features
from LeFusionLib.evaluation.shape_figure import examples, features_figure, rendered, slices_figure, surfaces_figure


def ellipsoid(*radii, size=24):
    k, j, i = np.ogrid[tuple(slice(-size / 2 + 0.5, size / 2) for _ in range(3))]
    return (k / radii[0]) ** 2 + (j / radii[1]) ** 2 + (i / radii[2]) ** 2 <= 1


@pytest.fixture(scope="module")
def ball():
    return rendered(ellipsoid(8, 8, 8), half_mm=12, color="white", pixels=48)


def test_a_ball_is_a_disc_of_its_own_radius(ball):
    assert ball.shape == (48, 48, 4) and ball.min() >= 0 and ball.max() <= 1
    radius_pixels = np.sqrt(ball[..., 3].sum() / np.pi)
    assert radius_pixels * 24 / 48 == pytest.approx(8, abs=0.3)  # mm
    rows, columns = np.nonzero(ball[..., 3] > 0.5)
    assert rows.mean() == pytest.approx(23.5, abs=0.5) and columns.mean() == pytest.approx(23.5, abs=0.5)


def test_light_comes_from_above_on_the_left(ball):
    grey = ball[..., :3].mean(axis=-1)
    assert grey[16, 18] > grey[24, 24] > grey[33, 31]  # towards the light, in the middle, away from it


def test_the_outline_is_soft(ball):
    alpha = ball[..., 3]
    assert ((alpha > 0.05) & (alpha < 0.95)).sum() > 20
    assert (alpha[[0, -1]] == 0).all() and (alpha[20:28, 20:28] == 1).all()


def test_up_in_the_picture_is_to_the_head():
    drop = ellipsoid(9, 3, 3)
    drop |= np.roll(ellipsoid(5, 5, 5), 5, axis=0)  # thick at the higher k
    alpha = rendered(drop, half_mm=13, color="white", pixels=48)[..., 3]
    assert alpha[:24].sum() > 1.5 * alpha[24:].sum()


def test_what_lies_in_a_corner_of_its_grid_looks_the_same():
    lone = np.zeros((24, 24, 24), dtype=bool)
    lone[:3, :3, :3] = True
    middle = np.roll(lone, 9, axis=(0, 1, 2))
    assert np.allclose(rendered(lone, 3, "white", 32), rendered(middle, 3, "white", 32))


def test_examples_run_from_small_to_large_each_once():
    diameters = [30, 5, 6, 12, 25, 7, 28, 12.1]
    chosen = [diameters[index] for index in examples(diameters, 4)]
    assert chosen == [6, 12, 12.1, 28] or chosen == [6, 7, 12, 28] or chosen == [6, 12, 25, 28]
    assert chosen == sorted(set(chosen))
    assert len(examples([4, 4, 4], 8)) == 3
    assert [[40, 50][n] for n in examples([40, 50], 8)] == [40, 50]


def test_each_picture_is_one_png_and_its_size_follows_rows_and_columns(tmp_path):
    real = [ellipsoid(n, n, n) for n in (3, 5, 8)]
    drawn = [ellipsoid(n, n - 1, n - 1) for n in (3, 5, 8)]
    sets = {"real": real, "hand-crafted": drawn, "DiffMask": drawn}
    surfaces_figure(sets, tmp_path / "surfaces.png", columns=2, pixels=32)
    slices_figure({"real": real}, tmp_path / "slices.png", columns=3)
    features = {name: [shape_features(mask, (1, 1, 1)) for mask in masks] for name, masks in sets.items()}
    features_figure(features, tmp_path / "features.png")
    content = {path.stem: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(content) == {"surfaces", "slices", "features"}
    assert all(png[:8] == b"\x89PNG\r\n\x1a\n" for png in content.values())
    size = {name: [int.from_bytes(png[n : n + 4], "big") for n in (16, 20)] for name, png in content.items()}
    assert size["surfaces"] == [round((1.6 * 2 + 0.5) * 120), round((1.6 * 3 + 0.35) * 120)]
    assert size["slices"] == [round((1.6 * 3 + 0.5) * 120), round((1.6 + 0.35) * 120)]
