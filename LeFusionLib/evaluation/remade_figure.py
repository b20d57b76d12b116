"""Pictures of lesions made again: real beside made, histograms per class, and how noise becomes tissue."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..diffusion import predict_x_start
from ..errors import LeFusionError
from ..io import atomic_write
from ..models.sampler_spec import SamplerSpec
from ..models.zoo import Model
from ..synthesis.lesions import plan_lesions
from ..synthesis.tissue import make_tissue
from ..texture import BIN_CENTERS, BINS, TextureHistogram
from .figure import CLASS_COLORS
from .remade import RealLesion, Remade, mask_of, textures_of, volume_of

MARGIN_MM = 12.0  # shown around a lesion
MOST_SHOWN = 9
STEPS_SHOWN = 8
INCHES = 1.5  # of one picture

Tile = tuple[np.ndarray, Sequence[np.ndarray]]  # a picture (H, W) in [-1, 1], and the outlines of its classes, bool


def montage(lesions: Sequence[Remade], classes: Sequence[str], path: Path) -> None:
    """One column per lesion: real with the outlines of its classes, real, made."""
    shown = lesions[:MOST_SHOWN]
    tiles = []
    for lesion in shown:
        k, box = largest_slice(lesion.real)
        outline = [mask[k][box] for mask in lesion.real.mask]
        tiles.append([(lesion.real.image[k][box], outline), (lesion.real.image[k][box], []), (lesion.made[k][box], [])])
    columns = [[tile[row] for tile in tiles] for row in range(3)]
    picture_grid(columns, ["real, outlined", "real", "made"], classes, path)


def histograms(lesions: Sequence[Remade], classes: Sequence[str], path: Path) -> None:
    """Per class: the mean histogram of the real lesions beside that of the made ones."""
    figure, axes = _figure(1, len(classes), (4.2 * len(classes), 2.8))
    for index, (name, axis) in enumerate(zip(classes, axes[0], strict=True)):
        there = [lesion for lesion in lesions if lesion.real.mask[index].any()]
        for label, images, color in (
            ("real", [lesion.real.image for lesion in there], "0.45"),
            ("made", [lesion.made for lesion in there], CLASS_COLORS[index % len(CLASS_COLORS)]),
        ):
            rows = [
                TextureHistogram.of(image[lesion.real.mask[index]]).weights
                for image, lesion in zip(images, there, strict=True)
            ]
            axis.step(BIN_CENTERS, np.mean(rows, axis=0), where="mid", label=label, color=color, lw=2)
        axis.set_title(f"{name}: {len(there)} lesions", fontsize=9)
        axis.set_xlabel("grey value in the model's window, -1 to 1", fontsize=8)
        axis.set_ylabel(f"share of voxels, {BINS} bins", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=8)
    figure.tight_layout()
    _write(figure, path)


def denoising(
    model: Model,
    case: RealLesion,
    path: Path,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    sampler: SamplerSpec | None = None,
) -> None:
    """How one lesion is made (LeFusion, Fig. A7): above the patch at some noise levels, below what the network then
    takes for the lesion, in the patch of each class that is there. The case's mask has `classes` (default: the
    model's)."""
    sampler = model.card.sampler_for(sampler)
    classes = classes or model.spec.classes
    mask = mask_of(case, classes, model.spec.classes)
    if mask is None:
        raise LeFusionError("The case has no lesion of the model's classes.")
    textures = textures_of(case, classes, mask)
    planned = max(
        plan_lesions(volume_of(case), mask, model.spec, dict(model.textures), case.window, textures, seed),
        key=lambda lesion: lesion.mask.voxels(),
    )
    seen = _Seen(model.denoiser)
    patches, _ = make_tissue(replace(model, denoiser=seen), [planned], sampler)  # type: ignore[arg-type]
    inside = planned.patch_mask > 0.5
    k = int(inside.any(axis=0).sum(axis=(1, 2)).argmax())
    chosen = np.unique(np.linspace(0, len(seen.steps) - 1, STEPS_SHOWN).round().astype(int))

    def one_picture(channels: np.ndarray) -> np.ndarray:
        """(L, D, H, W) -> the slice: each class from its own channel, the background beside."""
        made = np.where(inside, channels, 0).sum(axis=0)
        return np.where(inside.any(axis=0), made, planned.background)[k]

    noisy = [seen.steps[n][1] for n in chosen]
    clean = [
        predict_x_start(torch.from_numpy(x), model.schedule.alpha_bar(t), torch.from_numpy(noise)).numpy()
        for t, x, noise in (seen.steps[n] for n in chosen)
    ]
    rows: list[list[Tile]] = [[(one_picture(x), []) for x in row] for row in (noisy, [*clean[:-1], patches[0]])]
    titles = [f"t = {seen.steps[n][0]}" for n in chosen]
    picture_grid(rows, ["noised", "taken for"], model.spec.classes, path, titles)


class _Seen:
    """A denoiser that keeps what it was shown: (t, x_t, noise) of the first row, each (L, D, H, W)."""

    def __init__(self, denoiser: Any):
        self.net, self.spec, self.steps, self._denoiser = denoiser.net, denoiser.spec, [], denoiser  # type: ignore[var-annotated]

    def __call__(self, x_t: torch.Tensor, t: torch.Tensor, *rest: Any) -> torch.Tensor:
        noise = self._denoiser(x_t, t, *rest)
        self.steps.append((int(t[0]), x_t[0].float().cpu().numpy(), noise[0].float().cpu().numpy()))
        return noise


def largest_slice(case: RealLesion) -> tuple[int, tuple[slice, slice]]:
    """The slice with most of the lesion, of several classes with most of the rarest; and the box shown of it."""
    rarest = min((mask for mask in case.mask if mask.any()), key=np.count_nonzero)
    k = int(rarest.sum(axis=(1, 2)).argmax())
    around = np.any(case.mask, axis=(0, 1)) if case.organ is None else np.any(case.organ, axis=0)
    box = []
    for axis, mm in enumerate(case.spacing_mm[1:]):
        met = np.flatnonzero(np.any(around, axis=1 - axis))
        margin = round(MARGIN_MM / mm)
        box.append(slice(max(0, int(met[0]) - margin), int(met[-1]) + 1 + margin))
    return k, (box[0], box[1])


def picture_grid(
    rows: Sequence[Sequence[Tile]],
    names: Sequence[str],
    classes: Sequence[str],
    path: Path,
    titles: Sequence[str] = (),
) -> None:
    """Rows of pictures in [-1, 1] with the outlines of their classes."""
    figure, axes = _figure(len(rows), len(rows[0]), (INCHES * len(rows[0]) + 0.4, INCHES * len(rows) + 0.3))
    for line, name, row in zip(axes, names, rows, strict=True):
        for axis, (picture, outlines) in zip(line, row, strict=True):
            axis.imshow(picture, cmap="gray", vmin=-1, vmax=1)
            for index, outline in enumerate(outlines):
                if outline.any():
                    axis.contour(outline, [0.5], colors=CLASS_COLORS[index % len(CLASS_COLORS)], linewidths=0.8)
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(name, fontsize=8)
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=7)
    if any(outlines for row in rows for _, outlines in row):
        for index, name in enumerate(classes):
            color = CLASS_COLORS[index % len(CLASS_COLORS)]
            figure.text(0.05 + 0.15 * index, 0.01, name, color=color, fontsize=9)
    figure.subplots_adjust(0.04, 0.05, 0.995, 0.94, 0.03, 0.03)
    _write(figure, path)


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, np.ndarray]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: no global state beside a user's own figures

    figure = Figure(figsize=size, dpi=110)
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def _write(figure: Any, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary)
