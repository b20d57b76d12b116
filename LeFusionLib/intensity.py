"""Grey values and the window [-1, 1] in which the network sees them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import LeFusionError, unknown_name

SCANNER_UNITS = "scanner units"  # what MRI has: no physical unit


@dataclass(frozen=True)
class IntensityWindow:
    """Grey values between which a network sees differences: `low` is -1 for it, `high` is 1.

    The default is the paper's for lung CT: from air to above lung tissue, below dense bone.
    """

    low: float = -1000.0
    high: float = 400.0
    unit: str = "HU"

    def __post_init__(self) -> None:
        try:
            low, high = float(self.low), float(self.high)
        except (TypeError, ValueError):
            low = high = float("nan")
        if not (np.isfinite([low, high]).all() and low < high):
            raise LeFusionError(f"A window needs two numbers, low < high; got low={self.low!r}, high={self.high!r}.")
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    @property
    def width(self) -> float:
        """Grey values from low to high."""
        return self.high - self.low

    def normalize(self, values: np.ndarray) -> np.ndarray:
        """float32 in [-1, 1] of grey values of any shape; values outside the window are clipped."""
        clipped = np.clip(np.asarray(values, dtype=np.float64), self.low, self.high)
        return ((clipped - self.low) / self.width * 2 - 1).astype(np.float32)

    def restore(self, values: np.ndarray) -> np.ndarray:
        """Grey values, float64, of values in [-1, 1]: the inverse of `normalize` inside the window."""
        return (np.asarray(values, dtype=np.float64) + 1) / 2 * self.width + self.low


def fixed_window(array: np.ndarray, *, low: float, high: float, unit: str = "HU") -> IntensityWindow:
    """The same window for every volume: grey values that mean the same everywhere, as in CT."""
    return IntensityWindow(low, high, unit)


def range_window(array: np.ndarray, *, unit: str = SCANNER_UNITS) -> IntensityWindow:
    """From the volume's darkest to its brightest voxel, as published for EMIDEC."""
    return _window_between(array.min(), array.max(), unit, "its darkest and its brightest voxel")


def percentile_window(
    array: np.ndarray, *, low: float = 0.5, high: float = 99.5, unit: str = SCANNER_UNITS
) -> IntensityWindow:
    """Between two percentiles of the volume's voxels: as `range_window`, but one bright voxel does not matter."""
    try:
        in_order = 0 <= low < high <= 100
    except TypeError:
        in_order = False
    if not in_order:
        raise LeFusionError(f"Percentiles need 0 <= low < high <= 100; got low={low!r}, high={high!r}.")
    darkest, brightest = np.percentile(array, [low, high])
    return _window_between(darkest, brightest, unit, f"its percentiles {low} and {high}")


def middle_window(
    array: np.ndarray, *, low: float = 1.0, high: float = 99.0, unit: str = SCANNER_UNITS
) -> IntensityWindow:
    """Between two percentiles of the middle of the slices, half as high and wide as they are: where the organ lies.

    What surrounds the body does not count there, nor do a few bright voxels of fat at its border. Voxels of the
    volume's darkest value are no image but what scanners fill slices up with.
    """
    slices = np.atleast_2d(array)
    height, width = slices.shape[-2:]
    middle = slices[..., height // 4 : max(3 * height // 4, 1), width // 4 : max(3 * width // 4, 1)]
    shown = middle[middle > array.min()]
    return percentile_window(shown if shown.size else middle, low=low, high=high, unit=unit)


def _window_between(low: float, high: float, unit: str, what: str) -> IntensityWindow:
    if not low < high:
        raise LeFusionError(
            f"The volume is flat: {what} are both {float(low):g}, so there is no contrast to work with. "
            "Choose a volume with an image in it, or a model with a fixed window."
        )
    return IntensityWindow(low, high, unit)


WINDOW_RULES: dict[str, Callable[..., IntensityWindow]] = {
    "fixed": fixed_window,
    "range": range_window,
    "percentile": percentile_window,
    "middle": middle_window,
}


def window_for(rule: Mapping[str, Any], array: np.ndarray) -> IntensityWindow:
    """The window a model's rule gives for the voxels of a volume (any shape).

    `rule` is a row such as {"kind": "fixed", "low": -1000, "high": 400, "unit": "HU"}, {"kind": "range"} or
    {"kind": "percentile", "low": 0.5, "high": 99.5}; kinds and their settings are those of `WINDOW_RULES`.
    """
    settings = {key: value for key, value in rule.items() if key != "kind"}
    kind = rule.get("kind")
    if kind not in WINDOW_RULES:
        raise unknown_name("kind of intensity window", kind, WINDOW_RULES)
    parameters = dict(inspect.signature(WINDOW_RULES[kind]).parameters)
    del parameters["array"]
    for name in settings:
        if name not in parameters:
            raise unknown_name(f"setting of a '{kind}' window", name, parameters)
    missing = [name for name, known in parameters.items() if known.default is known.empty and name not in settings]
    if missing:
        raise LeFusionError(f"A '{kind}' window needs {' and '.join(missing)}; got {dict(rule)}.")
    return WINDOW_RULES[kind](np.asarray(array), **settings)
