"""The texture of the selected lesion: presets, a histogram to reshape by hand, one taken from the scan."""

from typing import Any

import numpy as np

from ..errors import LeFusionError
from ..scene import read_settings, sphere_mask_in_world
from ..texture import BINS, RANDOM, TextureHistogram, expected_texture

CUSTOM = "custom"
LEAST_VOXELS = 30  # in an exemplar, so that 16 bins say something
KEY_STEP = 0.02


class Textures:
    """`app` gives `lesions`, `model` and `scan`."""

    def __init__(self, app: Any):
        self.app, self.state = app, app.state
        self.state.presets, self.state.bars, self.state.bars_text = [], [], ""
        self.state.bars_low, self.state.bars_high = "", ""
        app.on("bar", self.on_bar)
        app.on("bar_key", self.on_bar_key)
        app.on("exemplar", self.on_exemplar)

    def show(self) -> None:
        """Presets of the selected lesion's class, its own bars, and the grey values to expect."""
        histogram, settings = self._current(), self._settings()
        window = self.app.model.window()
        presets = self._presets()
        names = [*presets, RANDOM] if presets else []
        self.state.presets = [{"name": name, "bars": _heights(expected_texture(name, presets))} for name in names]
        self.state.bars = _heights(histogram)
        self.state.bars_text = self.state.bars_low = self.state.bars_high = ""
        if window is not None:
            self.state.bars_low = f"{window.low:.0f} {window.unit}"
            self.state.bars_high = f"{window.high:.0f} {window.unit}"
        if histogram is not None and window is not None:
            low, high = histogram.range(window)
            said = f"Expected: {low:.0f} to {high:.0f} {window.unit} (nine of ten voxels)"
            self.state.bars_text = said + ("; drawn anew for each seed" if settings.texture == RANDOM else "")

    def on_bar(self, across: float, up: float) -> None:
        """A bar dragged: `across` and `up` are shares of the picture, from the lower left."""
        histogram = self._current()
        if histogram is None:
            return
        across, up = (min(max(float(share), 0.0), 0.9999) for share in (across, up))
        self._set(histogram, int(across * BINS), up * _top(histogram))

    def on_bar_key(self, number: int, sign: int) -> None:
        """A bar made a little higher or lower by the keyboard."""
        histogram = self._current()
        if histogram is not None and 0 <= int(number) < BINS:
            weight = histogram.weights[int(number)] + (KEY_STEP if sign > 0 else -KEY_STEP)
            self._set(histogram, int(number), max(weight, 0.0))

    def on_exemplar(self) -> None:
        """The texture of what the scan holds inside the selected sphere."""
        window, sphere, scan = self.app.model.window(), self.app.lesions.selected, self.app.scan
        if sphere is None or window is None:
            raise LeFusionError("Place a sphere inside a lesion of the scan first.")
        values = scan.volume.array[sphere_mask_in_world(sphere, scan.node)]
        if values.size < LEAST_VOXELS:
            raise LeFusionError(
                f"The sphere holds {values.size} voxels, too few to tell a texture. Make it larger, but keep it inside "
                "the lesion of the scan."
            )
        self.app.lesions.change(texture=TextureHistogram.of(window.normalize(values)).weights)
        self.app.tell(
            f"The texture is now that of the {values.size} voxels inside the sphere. Move it to the new place."
        )

    def _set(self, histogram: TextureHistogram, number: int, weight: float) -> None:
        """This bar so high, the others in their proportions, the sum 1."""
        rest = 1.0 - histogram.weights[number]
        weight = min(weight, 1.0)
        weights = np.array(histogram.weights) * ((1 - weight) / rest if rest > 1e-9 else 0.0)
        if rest <= 1e-9:  # all of it was in this bar: what is taken off goes to all others alike
            weights += (1 - weight) / (BINS - 1)
        weights[number] = weight
        self.app.lesions.change(texture=tuple(weights / weights.sum()))

    def _settings(self) -> Any:
        sphere = self.app.lesions.selected
        return None if sphere is None else read_settings(sphere)

    def _presets(self) -> Any:
        card, settings = self.app.model.card(), self._settings()
        return {} if card is None or settings is None else card.textures.get(settings.classes[0], {})

    def _current(self) -> TextureHistogram | None:
        settings = self._settings()
        return None if settings is None else expected_texture(settings.texture_of(settings.classes[0]), self._presets())


def _top(histogram: TextureHistogram) -> float:
    """What the height of the picture stands for: room above the highest bar, to drag it up."""
    return min(1.0, max(histogram.weights) * 1.25)


def _heights(histogram: TextureHistogram | None) -> list[float]:
    """Of the bars, as shares of the picture."""
    if histogram is None:
        return []
    return [round(weight / _top(histogram), 4) for weight in histogram.weights]
