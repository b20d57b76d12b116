"""Grey values go into the window and come back."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from LeFusionLib.errors import LeFusionError
from LeFusionLib.intensity import WINDOW_RULES, IntensityWindow, window_for

SHARED = Path(__file__).resolve().parents[1] / "../shared"


def test_the_window_maps_its_ends_to_minus_one_and_one():
    made = IntensityWindow().normalize(np.array([-1000, -300, 400, -2000, 3000], np.int16))
    assert made.dtype == np.float32
    assert made.tolist() == [-1, 0, 1, -1, 1]
    assert IntensityWindow().width == 1400


def test_what_is_restored_is_in_grey_values():
    made = IntensityWindow().restore(np.array([-1, 0, 1, 1.1], np.float32))
    assert made.dtype == np.float64
    assert np.allclose(made, [-1000, -300, 400, 470])


@given(st.floats(-1000, 400), st.floats(-5000, 5000), st.floats(1, 5000))
def test_the_window_comes_back(share, low, width):
    window = IntensityWindow(low, low + width)
    value = low + (share + 1000) / 1400 * width
    assert abs(window.restore(window.normalize(value)) - value) < 1e-6 * width


@pytest.mark.parametrize(("low", "high"), [(1, 1), (2, 1), (0, np.nan), (0, np.inf), ("a", 1), (None, 1)])
def test_a_window_that_is_none_is_refused(low, high):
    with pytest.raises(LeFusionError, match="low < high"):
        IntensityWindow(low, high)


def test_each_rule_gives_its_window():
    array = np.arange(201, dtype=np.int16)
    assert window_for({"kind": "fixed", "low": -5, "high": 5, "unit": "HU"}, array) == IntensityWindow(-5, 5, "HU")
    assert window_for({"kind": "range"}, array) == IntensityWindow(0, 200, "scanner units")
    assert window_for({"kind": "percentile"}, array) == IntensityWindow(1, 199, "scanner units")
    assert window_for({"kind": "percentile", "low": 10, "high": 90}, array) == IntensityWindow(20, 180, "scanner units")


def test_the_middle_of_the_slices_is_what_counts_and_what_fills_them_up_does_not():
    array = np.full((3, 8, 8), 1000.0)  # a bright border
    array[:, 2:6, 2:6] = np.linspace(100, 200, 48).reshape(3, 4, 4)
    array[0, :2] = 0  # and black where the scanner had nothing
    rule = {"kind": "middle", "low": 0, "high": 100}
    assert window_for(rule, array) == IntensityWindow(100, 200, "scanner units")
    array[0, 2, 2:6] = 0
    inside = array[:, 2:6, 2:6]
    assert window_for(rule, array) == IntensityWindow(inside[inside > 0].min(), 200, "scanner units")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"kind": "fix"}, "Did you mean 'fixed'"),
        ({}, "Possible: fixed, range, percentile, middle"),
        ({"kind": "range", "lo": 3}, "setting of a 'range' window 'lo'"),
        ({"kind": "fixed", "lwo": 3}, "Did you mean 'low'"),
        ({"kind": "range", "array": 3}, "setting of a 'range' window 'array'"),
        ({"kind": "fixed", "low": 3}, "needs high"),
        ({"kind": "fixed"}, "needs low and high"),
        ({"kind": "percentile", "low": 60, "high": 40}, "0 <= low < high <= 100"),
        ({"kind": "percentile", "low": "1"}, "0 <= low < high <= 100"),
    ],
)
def test_a_rule_that_is_none_is_refused(rule, words):
    with pytest.raises(LeFusionError, match=words):
        window_for(rule, np.arange(10))


@pytest.mark.parametrize("kind", ["range", "percentile", "middle"])
def test_a_flat_volume_has_no_window(kind):
    with pytest.raises(LeFusionError, match="flat: .* are both 7"):
        window_for({"kind": kind}, np.full(10, 7))


def test_every_rule_says_what_it_is_for():
    assert all(rule.__doc__ for rule in WINDOW_RULES.values())


def test_normalised_values_are_the_published_ones():
    """Where the published preparation only crops, its numbers are ours to the golden tolerance."""
    path = SHARED / "golden/golden_hist.npz"
    if not path.is_file():
        pytest.skip("the golden numbers are not here")
    golden = np.load(path)
    made = window_for({"kind": "fixed", "low": -1000, "high": 400}, None).normalize(golden["lidc_exact_volume"])
    assert np.abs(made - golden["lidc_exact_data"][0]).max() < 1e-6
    case = "emidec_Case_P001"
    made = window_for({"kind": "range"}, golden[f"{case}_volume"]).normalize(golden[f"{case}_volume"])
    # 80 x 75 x 7 in file order is cropped by 4 and 2 at the low ends, padded by 2 slices, and put slices first.
    assert np.abs(made[4:-4, 2:-1].transpose(2, 0, 1) - golden[f"{case}_data"][0, 2:9]).max() < 1e-6
