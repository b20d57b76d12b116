"""One picture of one result: before, after, what changed, and the texture asked for beside the one delivered."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from ..geometry import kji_from_ras
from ..intensity import IntensityWindow
from ..lesion_mask import LesionMask
from ..texture import BINS, TextureHistogram
from ..volume import Volume

SIZE_INCHES = (15.0, 11.6)
DPI = 110
INK, QUIET, GROUND, PANEL = "#e6edf3", "#8b98a5", "#0d1117", "#161b22"
BOX, WARNING = "#ffd166", "#ff9f43"
CLASS_COLORS = ("#4cc9f0", "#f78fb3", "#9be564", "#c39bff")
DIVERGING = ("#7cc7ff", "#2f7fd6", "#163a63", "#0d1117", "#6b3517", "#e07b2c", "#ffc38a")  # dark where nothing changed
COLUMNS = ("after, whole slice", "before", "after", "after with mask", "difference: after - before")
# plane: the axis it cuts (k, j, i of the reoriented array), letters at its left, right, upper and lower edge
PLANES = {"axial": (0, "RLAP"), "coronal": (1, "RLSI"), "sagittal": (2, "APSI")}

Textures = TextureHistogram | Mapping[str, TextureHistogram]


def result_figure(
    before: Volume,
    after: Volume,
    mask: LesionMask,
    window: IntensityWindow,
    asked: Textures,
    delivered: Textures,
    title: str,
    path: str | Path,
) -> Path:
    """Write the picture as PNG and return its path.

    `before`, `after` and `mask` share one grid of any orientation; the largest lesion is shown, cut through its middle,
    in the grey values of `window`. `asked` and `delivered` are textures: one, or {class: texture}.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: no global state beside a user's own figures

    mask.check_on_grid_of(before)
    mask.check_on_grid_of(after)
    lesion = max(mask.components(), key=LesionMask.voxels)
    cut = _Cut.through(lesion)
    inside = mask.union
    change = np.abs(after.array[inside].astype(np.float64) - before.array[inside])
    grey = {"cmap": "gray", "vmin": window.low, "vmax": window.high}
    diverging = {"cmap": _diverging(), "vmin": -max(change.max(), 1.0), "vmax": max(change.max(), 1.0)}

    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, facecolor=GROUND)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        4, 5, left=0.05, right=0.925, top=0.90, bottom=0.06, hspace=0.04, wspace=0.04,
        height_ratios=(1, 1, 1, 0.78), width_ratios=(1.3, 1, 1, 1, 1),
    )  # fmt: skip
    for row, name in enumerate(PLANES):
        axes = [figure.add_subplot(grid[row, column]) for column in range(5)]
        old, new, labels = (
            cut.plane(name, reoriented(array, mask.ijk_to_ras)[0]).astype(np.float32)
            for array in (before.array, after.array, mask.labels())
        )
        for ax, image in zip(axes[:4], (new, old, new, new), strict=True):
            cut.show(ax, name, image, grey, whole=ax is axes[0])
        colored = cut.show(axes[4], name, new - old, diverging)
        cut.outline(axes[3], name, labels)
        _decorate(axes, name, cut, first=row == 0)
    bar = figure.colorbar(colored, cax=figure.add_axes((0.937, 0.30, 0.009, 0.58)))
    bar.ax.tick_params(colors=QUIET, labelsize=8)
    bar.outline.set_edgecolor(PANEL)
    bar.set_label(f"change in {window.unit}", color=QUIET, fontsize=9)

    _texture_panel(figure.add_subplot(grid[3, :3]), window, _by_class(asked, mask), _by_class(delivered, mask))
    _facts_panel(figure.add_subplot(grid[3, 3:]), lesion, mask, before, after, window)
    figure.text(0.05, 0.955, title, color=INK, fontsize=17, fontweight="bold", va="center")
    figure.text(
        0.925, 0.955, "SYNTHETIC \u2013 not for diagnosis", color=GROUND, fontsize=13, fontweight="bold", ha="right",
        va="center", bbox={"boxstyle": "round,pad=0.45", "facecolor": WARNING, "edgecolor": "none"},
    )  # fmt: skip
    figure.savefig(path, format="png", facecolor=GROUND)
    return Path(path)


def reoriented(array: np.ndarray, ijk_to_ras: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The array (D, H, W) with its axes swapped and flipped so that k runs to the head, j to the back, i to the left.

    An axial slice `array[k]`, shown row by row, then has anterior up and the patient's left on the image's right.
    No voxel is resampled: an oblique volume gets the nearest such axes. Returns the view and its matrix (4, 4).
    """
    to_lps_head = np.array([[0, 0, 1], [0, -1, 0], [-1, 0, 0]])  # rows: along S, P, L, of a RAS vector
    steps = ijk_to_ras[:3, 2::-1]  # one voxel along k, j, i as columns
    along = to_lps_head @ (steps / np.linalg.norm(steps, axis=0))
    order = max(permutations(range(3)), key=lambda p: sum(abs(along[row, axis]) for row, axis in enumerate(p)))
    flips = [along[row, axis] < 0 for row, axis in enumerate(order)]
    view = array.transpose(order)[tuple(slice(None, None, -1) if f else slice(None) for f in flips)]
    matrix = np.eye(4)
    origin = np.array(ijk_to_ras[:3, 3], dtype=np.float64)
    for column, axis, flip in zip((2, 1, 0), order, flips, strict=True):
        step = steps[:, axis]
        matrix[:3, column] = -step if flip else step
        origin += step * (array.shape[axis] - 1) if flip else 0
    matrix[:3, 3] = origin
    return view, matrix


@dataclass(frozen=True)
class _Cut:
    """Where the three planes lie, in the reoriented array: voxel `middle` (k, j, i), and half the width shown."""

    middle: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    half_mm: float

    @classmethod
    def through(cls, lesion: LesionMask) -> "_Cut":
        """Through the lesion's voxel nearest to its centre (a ring has none at the centre itself)."""
        union, matrix = reoriented(lesion.union, lesion.ijk_to_ras)
        spacing = np.linalg.norm(matrix[:3, 2::-1], axis=0)
        voxels = np.argwhere(union)
        center = kji_from_ras(matrix, np.array(lesion.center_ras))[0]
        middle = voxels[np.linalg.norm((voxels - center) * spacing, axis=1).argmin()]
        k, j, i = (int(n) for n in middle)
        return cls((k, j, i), tuple(spacing.tolist()), max(lesion.diameter_mm(), 15.0))

    def plane(self, name: str, array: np.ndarray) -> np.ndarray:
        """The slice (rows, columns) of a reoriented array, head or front up."""
        image = np.take(array, self.middle[PLANES[name][0]], axis=PLANES[name][0])
        return image if name == "axial" else image[::-1]  # k runs to the head, rows run down

    def in_plane(self, name: str, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Spacing of the plane's rows and columns, and the place of `middle` in it; both (row, column) in mm."""
        kept = [axis for axis in range(3) if axis != PLANES[name][0]]
        spacing = np.array(self.spacing_mm)[kept]
        row, column = np.array(self.middle)[kept]
        return spacing, spacing * (row if name == "axial" else rows - 1 - row, column)

    def show(self, ax: Any, name: str, image: np.ndarray, style: dict[str, Any], whole: bool = False) -> Any:
        """Draw the plane in millimetres: all of it, with a box where the others look, or what is in that box."""
        from matplotlib.patches import Rectangle

        rows, columns = image.shape
        (dy, dx), (y, x) = self.in_plane(name, rows)
        interpolation = "bicubic" if style["cmap"] == "gray" else "nearest"  # a view for the eye; a change as it is
        extent = (-dx / 2, (columns - 0.5) * dx, (rows - 0.5) * dy, -dy / 2)
        shown = ax.imshow(image, extent=extent, interpolation="antialiased" if whole else interpolation, **style)
        half = self.half_mm
        if whole:
            ax.add_patch(Rectangle((x - half, y - half), 2 * half, 2 * half, fill=False, edgecolor=BOX, linewidth=1.2))
            ax.set_xlim(extent[0], extent[1])
            ax.set_ylim(extent[2], extent[3])
        else:
            ax.set_xlim(x - half, x + half)
            ax.set_ylim(y + half, y - half)
        return shown

    def outline(self, ax: Any, name: str, labels: np.ndarray) -> None:
        """The border of every class in a plane of labels, along the voxels' edges."""
        dy, dx = self.in_plane(name, len(labels))[0]
        for number in np.unique(labels[labels > 0]).astype(int):
            fine = np.kron(np.pad(labels == number, 1), np.ones((8, 8)))  # so that the line follows the voxels
            y = (np.arange(fine.shape[0]) - 11.5) / 8 * dy
            x = (np.arange(fine.shape[1]) - 11.5) / 8 * dx
            ax.contour(x, y, fine, levels=[0.5], colors=CLASS_COLORS[(number - 1) % len(CLASS_COLORS)], linewidths=1.1)


def _decorate(axes: list[Any], name: str, cut: _Cut, first: bool) -> None:
    """Titles, the plane's name, side letters, and a bar of 10 mm."""
    from matplotlib.patheffects import withStroke

    left, right, top, bottom = list(PLANES[name][1])
    for column, ax in enumerate(axes):
        ax.set(xticks=[], yticks=[], facecolor="black")
        for spine in ax.spines.values():
            spine.set_edgecolor(PANEL)
        if first:
            ax.set_title(COLUMNS[column], color=INK, fontsize=10.5, pad=7)
    axes[0].set_ylabel(name, color=INK, fontsize=12, labelpad=6)
    edged = [withStroke(linewidth=2.5, foreground="black")]  # readable on black and on white
    for x, y, letter in [(0.035, 0.5, left), (0.965, 0.5, right), (0.5, 0.95, top), (0.5, 0.05, bottom)]:
        for ax in axes[:2]:
            at = {"transform": ax.transAxes, "ha": "center", "va": "center"}
            ax.text(x, y, letter, color=INK, fontsize=9, path_effects=edged, **at)
    x, y = axes[1].get_xlim()[0], axes[1].get_ylim()[0]
    step = cut.half_mm * 0.12
    axes[1].plot([x + step, x + step + 10], [y - step, y - step], color=INK, linewidth=2, path_effects=edged)
    axes[1].text(
        x + step + 5, y - 1.35 * step, "10 mm", color=INK, fontsize=8, ha="center", va="bottom", path_effects=edged
    )


def _texture_panel(
    ax: Any, window: IntensityWindow, asked: dict[str, TextureHistogram], delivered: dict[str, TextureHistogram]
) -> None:
    """Both histograms over the window, and how far apart they are."""
    edges = window.restore(np.linspace(-1, 1, BINS + 1))
    for color, (name, wanted) in zip(CLASS_COLORS * len(asked), asked.items(), strict=False):
        ax.stairs(wanted.weights, edges, fill=True, color=color, alpha=0.28, label=f"{name}: asked")
        if name in delivered:
            got = delivered[name]
            apart = f"{wanted.wasserstein(got, window):.0f} {window.unit} apart"
            ax.stairs(got.weights, edges, color=color, linewidth=2, label=f"{name}: delivered, {apart}")
    ax.set_xlim(edges[0], edges[-1])
    ax.set_xticks(edges[::2])
    ax.set_facecolor(PANEL)
    ax.tick_params(colors=QUIET, labelsize=8)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.set_xlabel(f"grey value in the lesion, {window.unit}", color=QUIET, fontsize=9)
    ax.set_ylabel("share of voxels", color=QUIET, fontsize=9)
    ax.legend(facecolor=PANEL, edgecolor="none", labelcolor=INK, fontsize=9, loc="upper left")
    _sit_low(ax)


def _facts_panel(
    ax: Any, lesion: LesionMask, mask: LesionMask, before: Volume, after: Volume, window: IntensityWindow
) -> None:
    """What was measured on the result, in a few lines."""
    inside = lesion.union
    r, a, s = lesion.center_ras
    changed = int(((before.array != after.array) & ~mask.union).sum())
    lines = [
        ("volume", f"{before.name}"),
        ("grid", f"{' x '.join(map(str, before.shape))} at {' x '.join(f'{mm:.2g}' for mm in before.spacing_mm)} mm"),
        ("centre (RAS)", f"{r:.1f}, {a:.1f}, {s:.1f} mm"),
        ("lesion", f"{lesion.diameter_mm():.1f} mm wide, {lesion.volume_mm3():.0f} mm\u00b3, {lesion.voxels()} voxels"),
        ("mean inside", f"{before.array[inside].mean():.0f} \u2192 {after.array[inside].mean():.0f} {window.unit}"),
        ("changed outside", f"{changed} voxels"),
    ]  # fmt: skip
    ax.set(xticks=[], yticks=[], facecolor=PANEL)
    for spine in ax.spines.values():
        spine.set_visible(False)
    for number, (name, value) in enumerate(lines):
        y = 0.88 - number * 0.152
        ax.text(0.04, y, name, transform=ax.transAxes, color=QUIET, fontsize=10, va="center")
        ax.text(0.29, y, value, transform=ax.transAxes, color=INK, fontsize=10, va="center")
    _sit_low(ax)


def _sit_low(ax: Any) -> None:
    """Leave air between the images and a panel of the last row."""
    box = ax.get_position()
    ax.set_position((box.x0, box.y0, box.width, box.height * 0.84))


def _by_class(textures: Textures, mask: LesionMask) -> dict[str, TextureHistogram]:
    return {mask.classes[0]: textures} if isinstance(textures, TextureHistogram) else dict(textures)


def _diverging() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("change", list(DIVERGING))
