"""Pictures of lesion shapes, real ones beside drawn ones (as Fig. A1 of the paper): surfaces, slices, features."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from ..io import atomic_write
from .shape_features import FEATURES, FINER, ShapeFeatures, lesion_of, smooth_field

Sets = Mapping[str, Sequence[np.ndarray]]  # {name: masks (D, H, W) at 1 mm}; equal places were asked for one size

COLUMNS = 8
SHOWN_MM = (6.0, 28.0)  # the span of diameters shown, where there are such lesions
PIXELS = 192
PICTURE_SMOOTHING_VOXELS = 0.85  # a little more than for measuring: terraces catch the light
MARGIN = 1.16  # width of a picture in diameters
AZIMUTH, ELEVATION = np.radians(35), np.radians(25)
LIGHT = np.array([-0.45, -0.65, -0.62])  # towards the light, (right, down, away): from above, left, the viewer's side
AMBIENT, SHINE = 0.30, 0.22
COLORS = ("#c9a27e", "#5b9bd5", "#e4766b", "#6fb58a", "#a98bd0")
INK, QUIET = "#22272e", "#8b98a5"
LOGARITHMIC = {"volume_mm3", "diameter_mm", "surface_mm2"}


def surfaces_figure(sets: Sets, path: Path, columns: int = COLUMNS, pixels: int = PIXELS) -> None:
    """One row per set, one column per size: smooth lit surfaces, seen from the same side. The first set gives the
    sizes. Every column has its own scale; the circle is the size asked for."""

    def draw(axis: Any, mask: np.ndarray, half_mm: float, color: str) -> None:
        axis.imshow(rendered(mask, half_mm, color, pixels), extent=(-half_mm, half_mm, half_mm, -half_mm), zorder=2)

    _grid_figure(sets, path, columns, draw)


def slices_figure(sets: Sets, path: Path, columns: int = COLUMNS) -> None:
    """The same lesions as voxels: of each the slice (H, W) in which it is largest."""

    def draw(axis: Any, mask: np.ndarray, half_mm: float, color: str) -> None:
        k = int(mask.sum(axis=(1, 2)).argmax())
        _, y, x = _middle(mask)
        rows, columns = mask[k].shape
        extent = (-0.5 - x, columns - 0.5 - x, rows - 0.5 - y, -0.5 - y)
        rgba = np.array(_rgb(color).tolist() + [1.0]) * mask[k][..., None]
        axis.imshow(rgba, extent=extent, interpolation="nearest", zorder=2)

    _grid_figure(sets, path, columns, draw)


def features_figure(sets: Mapping[str, Sequence[ShapeFeatures]], path: Path) -> None:
    """How every feature is distributed in every set; the first set is filled."""
    from matplotlib.ticker import LogLocator, NullLocator

    figure = _new_figure((14, 5.6))
    axes = figure.subplots(2, (len(FEATURES) + 1) // 2).ravel()
    for axis, feature in zip(axes, FEATURES, strict=False):
        values = {name: np.array([getattr(one, feature) for one in found]) for name, found in sets.items()}
        everything = np.concatenate(list(values.values()))
        edges = _edges(everything, feature)
        for number, (name, mine) in enumerate(values.items()):
            share = np.histogram(np.clip(mine, edges[0], edges[-1]), edges)[0] / len(mine)
            first = number == 0
            color = COLORS[number % len(COLORS)]
            axis.stairs(share, edges, fill=first, color=color, alpha=0.55 if first else 1, lw=1.8, label=name)
        if feature in LOGARITHMIC:
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axis.xaxis.set_major_formatter("{x:.0f}")
            axis.xaxis.set_minor_locator(NullLocator())
        axis.set_title(_words(feature), fontsize=10, color=INK)
        axis.set_yticks([])
        axis.tick_params(labelsize=8, colors=INK)
        for side in ("top", "left", "right"):
            axis.spines[side].set_visible(False)
    for axis in axes[len(FEATURES) :]:
        axis.axis("off")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="lower center", ncols=len(names), frameon=False, fontsize=11)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    _save(figure, path)


def rendered(mask: np.ndarray, half_mm: float, color: str, pixels: int = PIXELS) -> np.ndarray:
    """A lesion (D, H, W) bool at 1 mm as a lit surface, (pixels, pixels, 4) RGBA in [0, 1], transparent beside it.

    Parallel rays meet the smoothed field (`smooth_field`); where one first rises above the surface's level, its
    gradient is the normal, lit after Lambert with a little shine (Blinn-Phong). The picture is 2 `half_mm` wide, the
    enclosing sphere in its middle.
    """
    box = lesion_of(mask, (1, 1, 1)).bounding_box()
    field, level = smooth_field(mask[box], PICTURE_SMOOTHING_VOXELS)
    corner = np.array([axis.start for axis in box]) - 4  # smooth_field is four voxels wider
    middle = (np.array(_middle(mask)) - corner) * FINER + (FINER - 1) / 2

    pixel = 2 * half_mm * FINER / pixels  # in subvoxels; along a ray one sample per subvoxel is enough
    steps = _view() * [1, pixel, pixel]  # columns: one sample away, down, right
    shape = (int(2 * half_mm * FINER) + 2, pixels, pixels)
    start = middle - steps @ ((np.array(shape) - 1) / 2)
    seen = ndimage.affine_transform(field, steps, start, shape, order=3)

    inside = seen > level
    peak = seen.max(axis=0)
    behind = np.where(peak > level, inside.argmax(axis=0), seen.argmax(axis=0)).clip(1)[None]
    near, far = np.take_along_axis(seen, behind - 1, 0)[0], np.take_along_axis(seen, behind, 0)[0]
    part = np.clip((level - near) / np.where(far > near, far - near, 1), 0, 1)
    normal = np.empty((pixels, pixels, 3))
    for axis, step in ((2, 1), (1, pixel), (0, pixel)):  # away, down, right
        slope = np.gradient(seen, step, axis=2 - axis)
        at = [np.take_along_axis(slope, index, 0)[0] for index in (behind - 1, behind)]
        normal[..., axis] = -(at[0] * (1 - part) + at[1] * part)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)

    light = LIGHT / np.linalg.norm(LIGHT)
    halfway = light + [0, 0, -1]
    diffuse = np.clip(normal @ light, 0, 1)
    shine = np.clip(normal @ (halfway / np.linalg.norm(halfway)), 0, 1) ** 24
    lit = _rgb(color) * (AMBIENT + (1 - AMBIENT) * diffuse)[..., None] + SHINE * shine[..., None]
    edge = np.hypot(*np.gradient(peak)).clip(1e-3)  # a pixel on the outline is covered in part
    return np.clip(np.dstack([lit, 0.5 + (peak - level) / edge]), 0, 1)


def examples(diameters_mm: Sequence[float], count: int) -> list[int]:
    """Which lesions to show: `count` at most, from small to large in even ratios, each once."""
    sizes = np.log(np.asarray(diameters_mm, dtype=np.float64))
    low, high = (float(np.clip(np.log(mm), sizes.min(), sizes.max())) for mm in SHOWN_MM)
    chosen: list[int] = []
    for wanted in np.linspace(low, high, min(count, len(sizes))):
        order = np.argsort(np.abs(sizes - wanted), kind="stable")
        chosen.append(next(int(index) for index in order if index not in chosen))
    return sorted(chosen, key=lambda index: sizes[index])


def _grid_figure(sets: Sets, path: Path, columns: int, draw: Any) -> None:
    from matplotlib.patches import Circle

    asked = [lesion_of(mask, (1, 1, 1)).diameter_mm() for mask in next(iter(sets.values()))]
    shown = examples(asked, columns)
    figure = _new_figure((1.6 * len(shown) + 0.5, 1.6 * len(sets) + 0.35))
    axes = figure.subplots(len(sets), len(shown), squeeze=False)
    for number, (row, (name, masks)) in enumerate(zip(axes, sets.items(), strict=True)):
        row[0].set_ylabel(name, fontsize=12, color=INK)
        for axis, index in zip(row, shown, strict=True):
            half_mm = asked[index] / 2 * MARGIN
            circle = Circle((0, 0), asked[index] / 2, fill=False, edgecolor=QUIET, lw=0.7, ls=(0, (4, 4)), zorder=1)
            axis.add_patch(circle)
            draw(axis, masks[index], half_mm, COLORS[number % len(COLORS)])
            axis.set(xlim=(-half_mm, half_mm), ylim=(half_mm, -half_mm), xticks=[], yticks=[], aspect="equal")
            for spine in axis.spines.values():
                spine.set_visible(False)
    for axis, index in zip(axes[0], shown, strict=True):
        axis.set_title(f"{asked[index]:.0f} mm", fontsize=12, color=INK, pad=4)
    top = 1 - 0.3 / (1.6 * len(sets) + 0.35)
    figure.subplots_adjust(0.4 / (1.6 * len(shown) + 0.5), 0.01, 0.995, top, 0.03, 0.03)
    _save(figure, path)


def _middle(mask: np.ndarray) -> tuple[float, float, float]:
    """Middle of the enclosing sphere as voxel (k, j, i); at 1 mm a voxel's indices are its place in the world."""
    i, j, k = lesion_of(mask, (1, 1, 1)).center_ras
    return k, j, i


def _view() -> np.ndarray:
    """(3, 3): the directions away from the viewer, down and right in the picture as columns, in (k, j, i)."""
    right = np.array([0, np.sin(AZIMUTH), np.cos(AZIMUTH)])
    away = np.array([-np.sin(ELEVATION), np.cos(ELEVATION) * np.cos(AZIMUTH), -np.cos(ELEVATION) * np.sin(AZIMUTH)])
    up = np.cross(right, away)
    up *= np.sign(up[0])  # k runs to the head
    return np.column_stack([away, -up, right])


def _rgb(color: str) -> np.ndarray:
    from matplotlib.colors import to_rgb

    return np.array(to_rgb(color))


def _edges(values: np.ndarray, feature: str) -> np.ndarray:
    """Edges of a histogram's bars: whole numbers for a count, else 24 bars over all but the rarest 1 %."""
    if feature == "concavities":
        return np.arange(-0.5, max(int(values.max()), 3) + 1)
    low, high = np.percentile(values, (0.5, 99.5))
    high = max(high, low * 1.01, low + 1e-6)
    return np.geomspace(low, high, 25) if feature in LOGARITHMIC else np.linspace(low, high, 25)


def _words(feature: str) -> str:
    """A feature's name for people: `volume_mm3` is "volume, mm3"."""
    for unit, text in (("_mm3", ", mm³"), ("_mm2", ", mm²"), ("_mm", ", mm")):
        if feature.endswith(unit):
            return feature.removesuffix(unit) + text
    return "surface to volume, 1/mm" if feature == "surface_to_volume" else feature


def _new_figure(size_inches: tuple[float, float]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: no global state beside a user's own figures

    figure = Figure(figsize=size_inches, dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Any, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary)
