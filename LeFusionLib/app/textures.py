"""The texture of each class of the selected lesion: presets, a histogram to reshape by hand, one taken from the scan.

Of several classes one dial is shown at a time, the others as small pictures to change over to it.
"""

from typing import Any

import numpy as np

from ..errors import LeFusionError, unknown_name
from ..scene import read_settings, sphere_mask_in_world, write_settings
from ..terminology import class_label
from ..texture import BINS, CUSTOM, RANDOM, TextureHistogram, expected_texture
from .colors import css

LEAST_VOXELS = 30  # in an exemplar, so that 16 bins say something
KEY_STEP = 0.02


class Textures:
    """`app` gives `lesions`, `model` and `scan`. `shown`: the class whose dial the page shows, if the lesion has it."""

    def __init__(self, app: Any):
        self.app, self.state = app, app.state
        self.shown = ""
        self.state.presets, self.state.bars, self.state.bars_text = [], [], ""
        self.state.dials, self.state.dial = [], {"name": "", "texture": ""}
        self.state.bars_low, self.state.bars_high = "", ""
        app.on("dial", self.on_dial)
        app.on("bar", self.on_bar)
        app.on("bar_key", self.on_bar_key)
        app.on("exemplar", self.on_exemplar)

    def show(self) -> None:
        """For the class that is shown its presets, its own bars, and the grey values to expect; and all dials' small
        pictures where there are several."""
        histogram, settings = self._current(), self._settings()
        window = self.app.model.window()
        name = self.class_name()
        presets = self._presets(name)
        texture = "" if settings is None else settings.texture_of(name)
        self.state.dial = {"name": name, "texture": texture if isinstance(texture, str) else CUSTOM}
        self.state.dials = [] if settings is None else self._small_ones(settings)
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
            self.state.bars_text = said + ("; drawn anew for each seed" if texture == RANDOM else "")

    def class_name(self) -> str:
        """The class whose dial is shown: the one asked for, else the lesion's first; "" without a lesion."""
        settings = self._settings()
        if settings is None:
            return ""
        return self.shown if self.shown in settings.classes else settings.classes[0]

    def choose(self, texture: str | tuple[float, ...]) -> None:
        """Another texture for the class that is shown."""
        settings = self._settings()
        if settings is not None:
            write_settings(self.app.lesions.selected, settings.with_texture(self.class_name(), texture))

    def on_dial(self, name: str) -> None:
        """Show the dial of this class."""
        settings = self._settings()
        if settings is not None and name not in settings.classes:
            raise unknown_name("class of this lesion", str(name), settings.classes)
        self.shown = str(name)
        self.app.lesions.changed()

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
        self.choose(TextureHistogram.of(window.normalize(values)).weights)
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
        self.choose(tuple(weights / weights.sum()))

    def _settings(self) -> Any:
        sphere = self.app.lesions.selected
        return None if sphere is None else read_settings(sphere)

    def _presets(self, name: str) -> Any:
        card = self.app.model.card()
        return {} if card is None else card.textures.get(name, {})

    def _current(self) -> TextureHistogram | None:
        settings, name = self._settings(), self.class_name()
        return None if settings is None else expected_texture(settings.texture_of(name), self._presets(name))

    def _small_ones(self, settings: Any) -> list[dict[str, Any]]:
        """One for each class, where there are several."""
        colors = {channel.name: css(channel.color) for channel in self.app.lesions.channels()}
        rows = []
        for name, texture in zip(settings.classes, settings.texture_names, strict=True):
            histogram = expected_texture(settings.texture_of(name), self._presets(name))
            row = {"name": name, "label": class_label(name), "texture": texture, "bars": _heights(histogram)}
            rows.append(row | {"color": colors.get(name, "")})
        return rows if len(rows) > 1 else []


def _top(histogram: TextureHistogram) -> float:
    """What the height of the picture stands for: room above the highest bar, to drag it up."""
    return min(1.0, max(histogram.weights) * 1.25)


def _heights(histogram: TextureHistogram | None) -> list[float]:
    """Of the bars, as shares of the picture."""
    if histogram is None:
        return []
    return [round(weight / _top(histogram), 4) for weight in histogram.weights]
