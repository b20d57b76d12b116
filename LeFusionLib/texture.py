"""What tissue looks like: a histogram of 16 bins over the model's intensity window, one per lesion class."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import LeFusionError, unknown_name
from .intensity import IntensityWindow

BINS = 16
BIN_EDGES = np.linspace(-1.0, 1.0, BINS + 1)  # of normalised grey values
BIN_CENTERS = (BIN_EDGES[:-1] + BIN_EDGES[1:]) / 2
RANDOM = "random"
CUSTOM = "custom"  # what a texture that is no preset is called
PUBLISHED = Path(__file__).parent / "data" / "published_textures.json"
FLUCTUATION = 0.1  # LeFusion (ICLR 2025), appendix, "Selection of Histograms": each component within +-10 %


@dataclass(frozen=True)
class TextureHistogram:
    """The share of a lesion's voxels in each of 16 equal bins on [-1, 1] of the model's window.

    `weights`: 16 finite numbers >= 0, not all 0; kept divided by their sum.
    """

    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        try:
            weights = tuple(float(weight) for weight in self.weights)
        except (TypeError, ValueError):
            raise LeFusionError(f"A texture needs {BINS} numbers; got {self.weights!r}.") from None
        if len(weights) != BINS:
            raise LeFusionError(f"A texture needs {BINS} numbers, one per bin on [-1, 1]; got {len(weights)}.")
        bad = [f"bin {number}: {weight}" for number, weight in enumerate(weights) if not (0 <= weight < math.inf)]
        if bad:
            raise LeFusionError(f"A texture's numbers must be finite and not negative; got {', '.join(bad)}.")
        total = math.fsum(weights)
        if total == 0:
            raise LeFusionError(f"A texture's {BINS} numbers are all 0. Give at least one bin a share of the voxels.")
        if abs(total - 1) > 1e-14:  # what is already normalised stays bit for bit, through files and reports
            weights = tuple(weight / total for weight in weights)
        object.__setattr__(self, "weights", weights)

    @classmethod
    def of(cls, values_normalized: np.ndarray) -> "TextureHistogram":
        """The texture of normalised grey values (any shape): the published bins, the last one closed at 1.

        Values outside [-1, 1] are dropped; the published rule then divides by the number of all values, ours by
        those counted, so that the sum is always 1 (the same for clipped values, which are all inside).
        """
        values = np.asarray(values_normalized).ravel()
        counts = np.histogram(values, bins=BINS, range=(-1.0, 1.0))[0]
        if not counts.any():
            raise LeFusionError(f"No texture can be measured: none of the {values.size} values lies in [-1, 1].")
        return cls(tuple(counts))

    @classmethod
    def read(cls, path: str | Path) -> "TextureHistogram":
        """The texture in a file: JSON (a list, or {"weights": a list}), or CSV (16 numbers in one row or column)."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise LeFusionError(f"The texture file '{path}' cannot be read: {reason}.") from None
        try:
            return cls(_weights_in(text))
        except LeFusionError as error:
            raise LeFusionError(f"The texture file '{path}' does not fit. {error}") from None

    def as_list(self) -> list[float]:
        """The 16 weights, sum 1, for JSON or a tensor."""
        return list(self.weights)

    def mean(self, window: IntensityWindow) -> float:
        """Mean grey value in the window's unit, each bin at its centre."""
        return float(np.dot(self.weights, window.restore(BIN_CENTERS)))

    def range(self, window: IntensityWindow, coverage: float = 0.9) -> tuple[float, float]:
        """The middle range of grey values, in the window's unit, in which `coverage` (0 to 1) of the voxels should lie.

        Voxels are taken as evenly spread in their bin; the rest lies half below, half above.
        """
        if not 0 < coverage <= 1:
            raise LeFusionError(f"A coverage is above 0 and at most 1; got {coverage!r}.")
        tail = (1 - coverage) / 2
        low, high = window.restore(np.array([_quantile(self.weights, tail), -_quantile(self.weights[::-1], tail)]))
        return float(low), float(high)

    def fluctuated(self, rng: np.random.Generator, amount: float = FLUCTUATION) -> "TextureHistogram":
        """Each bin multiplied by its own factor within 1 +- `amount`, then the sum set back to 1 (the paper's +-10 %).

        Before the sum is set back, every bin is within `amount` of what it was; empty bins stay empty.
        """
        if not 0 <= amount < 1:
            raise LeFusionError(f"A texture may fluctuate by 0 to below 1 (0.1 is 10 %); got {amount!r}.")
        return TextureHistogram(tuple(np.array(self.weights) * rng.uniform(1 - amount, 1 + amount, BINS)))

    def wasserstein(self, other: "TextureHistogram", window: IntensityWindow) -> float:
        """Mean way, in the window's grey values, that voxels must move to turn this texture into the other.

        The Wasserstein-1 distance with each bin at its centre: the area between the two cumulative histograms.
        """
        between = np.abs(np.cumsum(np.subtract(self.weights, other.weights))[:-1])
        return float(between.sum() * window.width / BINS)

    def total_variation(self, other: "TextureHistogram") -> float:
        """The share of voxels in other bins: 0 for the same texture, 1 where no bin is shared."""
        return float(0.5 * np.abs(np.subtract(self.weights, other.weights)).sum())


@dataclass(frozen=True, eq=False)
class TexturePresets(Mapping[str, TextureHistogram]):
    """The named textures of one lesion class, in order, and how often "random" takes each.

    `probabilities` {name: share} names every preset and sums to 1; None: all equally often.
    """

    textures: Mapping[str, TextureHistogram]
    probabilities: Mapping[str, float] | None = field(default=None)

    def __post_init__(self) -> None:
        textures = dict(self.textures)
        if not textures or RANDOM in textures:
            raise LeFusionError(f"Presets need at least one texture, none called '{RANDOM}'; got {list(textures)}.")
        shares = dict(self.probabilities or {name: 1 / len(textures) for name in textures})
        for name in shares:
            if name not in textures:
                raise unknown_name("texture", name, textures)
        values = [shares.get(name, math.nan) for name in textures]
        if not (all(value >= 0 for value in values) and math.isclose(math.fsum(values), 1, abs_tol=1e-6)):
            raise LeFusionError(f"Probabilities need a number >= 0 for each of {list(textures)}, sum 1; got {shares}.")
        object.__setattr__(self, "textures", textures)
        object.__setattr__(self, "probabilities", {name: shares[name] for name in textures})

    def __getitem__(self, name: str) -> TextureHistogram:
        return self.textures[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.textures)

    def __len__(self) -> int:
        return len(self.textures)

    def draw(self, rng: np.random.Generator) -> tuple[str, TextureHistogram]:
        """A preset's name by its probability (the paper's 75:20:5) and its texture, fluctuated by +-10 %."""
        shares = np.array(list((self.probabilities or {}).values()))
        name = list(self)[int(rng.choice(len(self), p=shares / shares.sum()))]
        return name, self[name].fluctuated(rng)


Texture = str | int | Path | TextureHistogram | Sequence[float]


def resolve_texture(
    texture: Texture, presets: TexturePresets, rng: np.random.Generator
) -> tuple[str, TextureHistogram]:
    """A name for the report and the texture, of what the user gave for ONE lesion class.

    `texture` is a preset's name or index (from 0), a `TextureHistogram`, 16 numbers, the path of a file, or "random".
    Only "random" uses `rng`. What is no preset is called "custom", or like its file.
    """
    if isinstance(texture, TextureHistogram):
        return CUSTOM, texture
    if isinstance(texture, int | np.integer) and not isinstance(texture, bool):
        if not 0 <= texture < len(presets):
            numbered = ", ".join(f"{index} {name}" for index, name in enumerate(presets))
            raise LeFusionError(f"There is no texture number {texture}. Possible: {numbered}.")
        name = list(presets)[texture]
        return name, presets[name]
    if isinstance(texture, str) and texture == RANDOM:
        return presets.draw(rng)
    if isinstance(texture, str) and texture in presets:
        return texture, presets[texture]
    if isinstance(texture, Path) or (isinstance(texture, str) and (Path(texture).suffix or Path(texture).is_file())):
        return Path(texture).stem, TextureHistogram.read(texture)
    if isinstance(texture, Sequence | np.ndarray) and not isinstance(texture, str | bytes):
        return CUSTOM, TextureHistogram(tuple(texture))
    raise unknown_name("texture", texture, [*presets, RANDOM])


def published_sets() -> list[str]:
    """The data sets whose textures were published."""
    return list(json.loads(PUBLISHED.read_text(encoding="utf-8"))["textures"])


def expected_texture(
    texture: str | Sequence[float], presets: Mapping[str, TextureHistogram]
) -> TextureHistogram | None:
    """What to show of a texture before it is made: for "random" the presets' mean by how often each is drawn.

    None where its name is not among the presets.
    """
    if not isinstance(texture, str):
        return TextureHistogram(tuple(texture))
    if texture in presets:
        return presets[texture]
    if texture != RANDOM or not isinstance(presets, TexturePresets):
        return None
    shares = np.array(list((presets.probabilities or {}).values()))
    return TextureHistogram(tuple(shares @ np.array([histogram.weights for histogram in presets.values()])))


def published_textures(name: str) -> dict[str, TexturePresets]:
    """The published cluster centres of a data set of `published_sets`, {lesion class: its presets}."""
    published = json.loads(PUBLISHED.read_text(encoding="utf-8"))["textures"]
    if name not in published:
        raise unknown_name("set of published textures", name, published)
    return {
        lesion_class: TexturePresets(
            {preset: TextureHistogram(tuple(row["weights"])) for preset, row in rows.items()},
            {preset: row["probability"] for preset, row in rows.items()},
        )
        for lesion_class, rows in published[name].items()
    }


def _weights_in(text: str) -> tuple[float, ...]:
    """The numbers in a file's text; JSON by its first character, otherwise whatever stands between separators."""
    if text.lstrip()[:1] in ("[", "{"):
        try:
            content = json.loads(text)
        except json.JSONDecodeError as error:
            raise LeFusionError(f"It is not valid JSON (line {error.lineno}: {error.msg}).") from None
        if isinstance(content, dict) and "weights" not in content:
            raise LeFusionError(f'It needs a list of {BINS} numbers, or {{"weights": [...]}}; it has {list(content)}.')
        return content["weights"] if isinstance(content, dict) else content
    words = [word for word in re.split(r"[\s,;]+", text) if word]
    for word in words:
        try:
            float(word)
        except ValueError:
            raise LeFusionError(f"It needs {BINS} numbers, without headings; '{word}' is no number.") from None
    return tuple(float(word) for word in words)


def _quantile(weights: Sequence[float], share: float) -> float:
    """The normalised grey value below which `share` of the voxels lie; for 0, where the first voxels begin."""
    below = np.concatenate([[0.0], np.cumsum(weights)])
    number = min(int(np.searchsorted(below, share, side="right")) - 1, BINS - 1)
    return float(BIN_EDGES[number] + (share - below[number]) / weights[number] * 2 / BINS)
