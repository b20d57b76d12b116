"""Textures sum to 1, say what they look like, and are drawn as the paper draws them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LeFusionLib.errors import LeFusionError
from LeFusionLib.intensity import IntensityWindow
from LeFusionLib.texture import (
    BINS,
    TextureHistogram,
    TexturePresets,
    expected_texture,
    published_textures,
    resolve_texture,
)

SHARED = Path(__file__).resolve().parents[1] / "../shared"
UNITS = IntensityWindow(0, 16, "steps")  # bin b holds the grey values b to b + 1


def golden():
    path = SHARED / "golden/golden_hist.npz"
    if not path.is_file():
        pytest.skip("the golden numbers are not here")
    return np.load(path)


def bins(**weights):
    """A texture with these bins filled: bins(b3=1, b4=2)."""
    return TextureHistogram(tuple(weights.get(f"b{number}", 0) for number in range(BINS)))


textures = (
    st.lists(st.floats(0, 1000), min_size=BINS, max_size=BINS)
    .filter(lambda weights: sum(weights) > 1e-3)
    .map(lambda weights: TextureHistogram(tuple(weights)))
)


@given(textures, st.integers(0, 2**32))
def test_the_sum_is_one_before_and_after_fluctuation(texture, seed):
    for weights in (texture.weights, texture.fluctuated(np.random.default_rng(seed)).weights):
        assert abs(math.fsum(weights) - 1) < 1e-12
        assert min(weights) >= 0


@given(textures, st.integers(0, 2**32))
def test_fluctuation_stays_within_ten_percent(texture, seed):
    """The factors before the sum is set back can be told apart from it only up to one common factor."""
    before = np.array(texture.weights)
    after = np.array(texture.fluctuated(np.random.default_rng(seed)).weights)
    assert ((after == 0) == (before == 0)).all()
    factors = after[before > 0] / before[before > 0]
    assert factors.max() / factors.min() <= 1.1 / 0.9 * (1 + 1e-9)
    drawn = before * np.random.default_rng(seed).uniform(0.9, 1.1, BINS)
    assert (np.abs(drawn - before) <= 0.1 * before).all() and np.allclose(drawn / drawn.sum(), after)


def test_fluctuation_uses_its_whole_range_and_its_own_amount():
    flat = TextureHistogram((1,) * BINS)
    rng = np.random.default_rng(0)
    factors = np.array([flat.fluctuated(rng).weights for _ in range(500)]) * BINS
    assert factors.min() < 0.93 and factors.max() > 1.07
    assert flat.fluctuated(rng, amount=0) == flat
    with pytest.raises(LeFusionError, match="fluctuate"):
        flat.fluctuated(rng, amount=1)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ((1,) * 15, "16 numbers, one per bin on .*; got 15"),
        ((1,) * 17, "got 17"),
        ((0,) * 16, "all 0"),
        ((1,) * 15 + (-1,), "bin 15: -1.0"),
        ((math.nan,) + (1,) * 15, "bin 0: nan"),
        ((math.inf,) + (1,) * 15, "bin 0: inf"),
        ("solid", "16 numbers"),
        (None, "16 numbers"),
    ],
)
def test_what_is_no_texture_is_refused(weights, words):
    with pytest.raises(LeFusionError, match=words):
        TextureHistogram(weights)


def test_a_normalised_texture_stays_bit_for_bit():
    texture = bins(b2=1, b3=1, b9=1)
    assert TextureHistogram(tuple(json.loads(json.dumps(texture.as_list())))) == texture


def test_values_fall_into_sixteen_bins_the_last_one_closed():
    texture = TextureHistogram.of(np.array([[-1, -0.999], [1, 0.9]]))
    assert texture == bins(b0=1, b15=1)
    assert TextureHistogram.of(np.array([0.0, 5, -5, np.inf])) == bins(b8=1)  # outside is dropped
    with pytest.raises(LeFusionError, match="none of the 2 values"):
        TextureHistogram.of(np.array([3, 4]))
    with pytest.raises(LeFusionError, match="none of the 0 values"):
        TextureHistogram.of(np.array([]))


def test_bin_edges_are_the_published_ones():
    values, counts = golden()["hist_edge_values"], golden()["hist_edge_counts"]
    assert np.allclose(TextureHistogram.of(values).weights, counts / counts.sum(), atol=1e-12)


@pytest.mark.parametrize("name", ["exact", "mixed"])
def test_measured_textures_of_nodules_are_the_published_ones(name):
    known = golden()
    measured = TextureHistogram.of(known[f"lidc_{name}_data"][known[f"lidc_{name}_label"] > 0])
    assert np.abs(np.array(measured.weights) - known[f"lidc_{name}_hist"]).max() < 1e-6


@pytest.mark.parametrize("case", ["emidec_Case_P001", "emidec_Case_P002"])
def test_measured_textures_of_infarcts_are_the_published_ones(case):
    known = golden()
    for label, expected in zip((3, 4), known[f"{case}_hist"].reshape(2, BINS), strict=True):
        values = known[f"{case}_data"][known[f"{case}_label"] == label]
        measured = TextureHistogram.of(values).weights if values.size else np.zeros(BINS)
        assert np.abs(measured - expected).max() < 1e-6


def test_a_texture_says_how_bright_it_is():
    assert bins(b3=1).mean(UNITS) == 3.5
    assert bins(b3=1, b5=3).mean(UNITS) == 5.0
    assert bins(b0=1).mean(IntensityWindow()) == -1000 + 1400 / 32


def test_a_texture_says_which_grey_values_to_expect():
    assert bins(b3=1).range(UNITS, coverage=1) == (3, 4)
    assert np.allclose(bins(b3=1).range(UNITS, coverage=0.5), (3.25, 3.75))
    assert np.allclose(bins(b3=1, b10=1).range(UNITS, coverage=0.5), (3.5, 10.5))
    assert np.allclose(TextureHistogram((1,) * BINS).range(UNITS), (0.8, 15.2))
    with pytest.raises(LeFusionError, match="coverage"):
        bins(b3=1).range(UNITS, coverage=0)


@given(textures, st.floats(0.01, 1))
def test_the_range_lies_in_the_window_round_the_middle(texture, coverage):
    low, high = texture.range(UNITS, coverage)
    assert -1e-9 <= low <= high + 1e-9 <= 16 + 1e-8


def test_distances_known_by_eye():
    assert bins(b3=1).wasserstein(bins(b7=1), UNITS) == 4.0
    assert bins(b3=1, b5=1).wasserstein(bins(b4=1), UNITS) == 1.0
    assert bins(b0=1).wasserstein(bins(b15=1), IntensityWindow()) == 15 / 16 * 1400
    assert bins(b3=1).total_variation(bins(b7=1)) == 1.0
    assert bins(b3=1, b5=1).total_variation(bins(b3=1)) == 0.5


@given(textures, textures)
def test_distances_are_distances(a, b):
    from scipy.stats import wasserstein_distance

    centers = np.arange(BINS) + 0.5
    assert math.isclose(
        a.wasserstein(b, UNITS), wasserstein_distance(centers, centers, a.weights, b.weights), abs_tol=1e-9
    )
    assert a.wasserstein(a, UNITS) == a.total_variation(a) == 0
    assert math.isclose(a.total_variation(b), b.total_variation(a))
    assert 0 <= a.total_variation(b) <= 1 + 1e-12


# --- files

WEIGHTS = [0, 0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0, 0, 0, 0.5]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.json", json.dumps(WEIGHTS)),
        ("object.json", json.dumps({"weights": WEIGHTS, "name": "mine"})),
        ("row.csv", ",".join(map(str, WEIGHTS))),
        ("column.csv", "\n".join(map(str, WEIGHTS)) + "\n"),
        ("semicolon.csv", "\ufeff" + "; ".join(map(str, WEIGHTS)) + "\r\n"),
        ("spaces.txt", " ".join(map(str, WEIGHTS))),
    ],
)
def test_a_texture_is_read_from_any_layout(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert TextureHistogram.read(tmp_path / name) == TextureHistogram(tuple(WEIGHTS))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1,2,3", "got 3"),
        ("", "got 0"),
        (",".join(["0"] * 16), "all 0"),
        (",".join(["-1"] * 16), "bin 0: -1.0"),
        ("bin,weight\n" + "1,2\n" * 8, "'bin' is no number"),
        ("[1, 2", "not valid JSON"),
        ('{"bins": []}', "it has .'bins'"),
        ('{"weights": "abc"}', "16 numbers"),
        ("[[1, 2], [3, 4]]", "16 numbers"),
    ],
)
def test_a_file_that_is_no_texture_says_why(tmp_path, text, words):
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LeFusionError, match=rf"mine.csv' does not fit.*{words}"):
        TextureHistogram.read(path)


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(LeFusionError, match="cannot be read: No such file"):
        TextureHistogram.read(tmp_path / "nowhere.csv")
    (tmp_path / "image.csv").write_bytes(bytes([0xFF, 0xD8, 0xFE]))
    with pytest.raises(LeFusionError, match="not a text file"):
        TextureHistogram.read(tmp_path / "image.csv")


# --- presets


def test_the_published_presets_are_there():
    lidc = published_textures("lidc")["nodule"]
    assert list(lidc) == ["ground-glass", "part-solid", "solid"]
    assert lidc.probabilities == {"ground-glass": 0.05, "part-solid": 0.2, "solid": 0.75}
    means_hu = [lidc[name].mean(IntensityWindow()) for name in lidc]
    assert np.allclose(means_hu, [-343, -127, 69], atol=1)  # ground glass is darkest, solid like soft tissue
    assert {name: list(presets) for name, presets in published_textures("emidec").items()} == {
        "infarct": ["typical"],
        "no_reflow": ["typical"],
    }
    with pytest.raises(LeFusionError, match="Did you mean 'lidc'"):
        published_textures("ldic")


def test_the_published_numbers_are_copied_right():
    path = SHARED / "facts/released_presets.json"
    if not path.is_file():
        pytest.skip("the published presets are not here")
    known = json.loads(path.read_text())
    ours = [
        preset
        for name in ("lidc", "emidec")
        for presets in published_textures(name).values()
        for preset in presets.values()
    ]
    for preset, row in zip(ours, known["lidc"] + known["emidec"], strict=True):
        assert np.allclose(preset.weights, np.array(row) / sum(row), atol=1e-12)


def test_the_draw_is_75_20_5():
    presets = published_textures("lidc")["nodule"]
    rng = np.random.default_rng(20)
    names = [presets.draw(rng)[0] for _ in range(10_000)]
    counts = np.array([names.count(name) for name in ("solid", "part-solid", "ground-glass")])
    expected = np.array([7500, 2000, 500])
    assert ((counts - expected) ** 2 / expected).sum() < 13.8  # chi-square, 2 degrees of freedom, p > 0.001


def test_a_draw_fluctuates_and_the_same_seed_repeats_it():
    presets = published_textures("lidc")["nodule"]
    name, texture = presets.draw(np.random.default_rng(7))
    assert texture != presets[name]
    assert texture.total_variation(presets[name]) < 0.1
    assert presets.draw(np.random.default_rng(7)) == (name, texture)


def test_presets_without_probabilities_are_drawn_equally():
    presets = TexturePresets({"a": bins(b1=1), "b": bins(b2=1)})
    assert presets.probabilities == {"a": 0.5, "b": 0.5}
    assert len(presets) == 2 and presets["b"] == bins(b2=1)


@pytest.mark.parametrize(
    ("names", "probabilities", "words"),
    [
        ([], None, "at least one"),
        (["random"], None, "none called 'random'"),
        (["solid", "part"], {"solid": 0.5, "prat": 0.5}, "Did you mean 'part'"),
        (["solid", "part"], {"solid": 1}, "for each of"),
        (["solid", "part"], {"solid": 0.5, "part": 0.4}, "sum 1"),
        (["solid", "part"], {"solid": 1.5, "part": -0.5}, ">= 0"),
    ],
)
def test_presets_that_are_none_are_refused(names, probabilities, words):
    with pytest.raises(LeFusionError, match=words):
        TexturePresets({name: bins(b1=1) for name in names}, probabilities)


# --- what the user gives

PRESETS = TexturePresets({"ground-glass": bins(b3=1), "solid": bins(b12=1, b11=1)}, {"ground-glass": 0, "solid": 1})


@pytest.mark.parametrize(
    ("asked", "name", "texture"),
    [
        ("solid", "solid", PRESETS["solid"]),
        (0, "ground-glass", PRESETS["ground-glass"]),
        (np.int64(1), "solid", PRESETS["solid"]),
        (bins(b5=1), "custom", bins(b5=1)),
        ([0] * 15 + [2], "custom", bins(b15=1)),
        (np.array([0] * 15 + [2]), "custom", bins(b15=1)),
    ],
)
def test_a_texture_is_found_by_whatever_the_user_gives(asked, name, texture):
    assert resolve_texture(asked, PRESETS, np.random.default_rng(0)) == (name, texture)


def test_a_texture_is_found_in_a_file(tmp_path):
    for path in (tmp_path / "mine.csv", tmp_path / "mine"):
        path.write_text(",".join(map(str, WEIGHTS)))
        for asked in (path, str(path)):
            assert resolve_texture(asked, PRESETS, np.random.default_rng(0)) == (
                "mine",
                TextureHistogram(tuple(WEIGHTS)),
            )


def test_random_is_a_draw():
    assert resolve_texture("random", PRESETS, np.random.default_rng(3)) == PRESETS.draw(np.random.default_rng(3))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("sold", "There is no texture 'sold'. Did you mean 'solid'. Possible: ground-glass, solid, random"),
        ("nowhere.json", "cannot be read"),
        (2, "number 2. Possible: 0 ground-glass, 1 solid"),
        (-1, "number -1"),
        (True, "no texture 'True'"),
        (None, "no texture 'None'"),
        ([1, 2, 3], "got 3"),
    ],
)
def test_a_texture_that_does_not_exist_is_refused(asked, words):
    with pytest.raises(LeFusionError, match=words):
        resolve_texture(asked, PRESETS, np.random.default_rng(0))


def test_what_to_expect_of_random_is_the_presets_mean_by_how_often_each_is_drawn():
    dark, bright = TextureHistogram((1,) + (0,) * 15), TextureHistogram((0,) * 15 + (1,))
    presets = TexturePresets({"dark": dark, "bright": bright}, {"dark": 0.75, "bright": 0.25})
    assert expected_texture("random", presets).weights == (0.75,) + (0,) * 14 + (0.25,)
    assert expected_texture("dark", presets) is dark
    assert expected_texture(bright.weights, presets) == bright
    assert expected_texture("grey", presets) is None and expected_texture("random", {}) is None
