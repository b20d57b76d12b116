"""How near is made tissue to the real? Lesions of patients who were held out, made again in their own place.

Each lesion is made with its own mask and the histograms of its own tissue, and compared with what was there: PSNR and
SSIM inside the lesion's box (LeFusion, Table A2), the histograms, and the means in their order.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import LeFusionError, unknown_name
from ..intensity import IntensityWindow
from ..lesion_mask import LesionMask
from ..models.sampler_spec import SamplerSpec
from ..models.zoo import Model
from ..synthesis.lesions import plan_lesions
from ..synthesis.paint import paint_back
from ..synthesis.report import changed_outside
from ..synthesis.tissue import make_tissue
from ..texture import TextureHistogram
from ..volume import Volume
from .lesion_features import seam_contrast

logger = logging.getLogger(__name__)

BOX_VOXELS = 3  # around each class: what lies there is shown, not made, and is the same in both
SSIM_WIDTH = 7  # of its window, in slices of the box
SHELL_MM = 6.0  # of tissue around a lesion, where no organ is known


class RealLesion(Protocol):
    """What is asked of a case: `image` (D, H, W) in [-1, 1] of `window`, `mask` (L, D, H, W) bool, `organ` (D, H, W)
    bool or None, `spacing_mm` (D, H, W)."""

    @property
    def image(self) -> np.ndarray: ...
    @property
    def mask(self) -> np.ndarray: ...
    @property
    def window(self) -> IntensityWindow: ...
    @property
    def organ(self) -> np.ndarray | None: ...
    @property
    def spacing_mm(self) -> tuple[float, float, float]: ...


@dataclass(frozen=True, eq=False)
class Remade:
    """One real lesion and what was made in its place: `made` (D, H, W) in [-1, 1], as `real.image`."""

    number: int
    real: RealLesion
    made: np.ndarray


@dataclass(frozen=True)
class Row:
    """One class of one lesion; means and distances in grey values. `beside_*`: the mean of the tissue that the class is
    compared with, the class before it or, for the first, the organ's other tissue. psnr in dB. seam_*: the contrast
    at the class's rim (`seam_contrast`)."""

    case: int
    lesion_class: str
    voxels: int
    psnr: float
    ssim: float
    histogram_distance: float
    seam_real: float
    seam_made: float
    mean_real: float
    mean_made: float
    beside: str
    beside_real: float
    beside_made: float
    changed_outside: int


def remake(
    models: Sequence[Model],
    cases: Sequence[RealLesion],
    wanted: Sequence[str] = (),
    seed: int = 0,
    sampler: SamplerSpec | None = None,
) -> tuple[list[Remade], list[Row]]:
    """Every case made again, with the models' own samplers where `sampler` leaves them open; and a row per class.

    Each model in turn makes its classes in the picture that the one before left; its last class fills, for the time
    being, what those after it will make, so that none is shown what it shall not know. wanted: the classes to be made;
    what lies in the others stays real (none named: all). The cases' masks have a channel for each class of
    `classes_of(models)`; cases without any of the wanted classes are left out.
    """
    classes = classes_of(models)
    wanted = wanted or classes
    unknown = [name for name in wanted if name not in classes]
    if unknown:
        raise unknown_name("lesion class", unknown[0], classes)
    lesions, rows = [], []
    for number, case in enumerate(cases):
        volume, asked = volume_of(case), mask_of(case, classes, classes, wanted)
        if asked is None:
            continue
        result = volume
        for turn, model in enumerate(models):
            later = [name for name in classes_of(models[turn + 1 :]) if name in wanted]
            mask = mask_of(case, classes, model.spec.classes, wanted, later)
            if mask is not None:
                result = _made_by(model, case, result, mask, textures_of(case, classes, mask), seed, sampler)
        remade = Remade(number, case, case.window.normalize(result.array))
        lesions.append(remade)
        new = [
            row
            for row in measure(remade, classes, changed_outside(volume, result, asked))
            if row.lesion_class in wanted
        ]
        rows += new
        logger.info("lesion %d of %d: %s", number + 1, len(cases), {r.lesion_class: round(r.psnr, 1) for r in new})
    return lesions, rows


def _made_by(
    model: Model,
    case: RealLesion,
    volume: Volume,
    mask: LesionMask,
    textures: dict[str, TextureHistogram],
    seed: int,
    sampler: SamplerSpec | None,
) -> Volume:
    """One model's classes made in the volume."""
    planned = plan_lesions(volume, mask, model.spec, dict(model.textures), case.window, textures, seed)
    patches, _ = make_tissue(model, planned, model.card.sampler_for(sampler))
    painted = volume.array.copy()
    for lesion, patch in zip(planned, patches, strict=True):
        paint_back(painted, volume, lesion.mask, lesion.frame, patch, case.window)
    return volume.with_array(painted)


def classes_of(models: Sequence[Model]) -> tuple[str, ...]:
    """What several models make, each class once."""
    return tuple(dict.fromkeys(name for model in models for name in model.spec.classes))


def textures_of(case: RealLesion, classes: Sequence[str], mask: LesionMask) -> dict[str, TextureHistogram]:
    """The histograms of the real tissue, {class: histogram}, of the classes that `mask` has; those of the case's own
    mask are `classes`."""
    own = dict(zip(classes, case.mask, strict=True))
    return {name: TextureHistogram.of(case.image[own[name]]) for name in mask.classes if mask.voxels(name)}


def volume_of(case: RealLesion) -> Volume:
    """The case as a volume of float32 grey values, axial as it is stored."""
    k, j, i = case.spacing_mm
    return Volume(case.window.restore(case.image).astype(np.float32), np.diag([-i, -j, k, 1.0]), name="case")


def mask_of(
    case: RealLesion,
    classes: Sequence[str],
    channels: Sequence[str],
    wanted: Sequence[str] | None = None,
    filled: Sequence[str] = (),
) -> LesionMask | None:
    """The case's lesions, of whose mask the channels are `classes`, with `channels`; those not `wanted` are empty. None
    where nothing is left. filled: classes that the last of the wanted channels takes in, if it is there itself."""
    if len(case.mask) != len(classes):
        raise LeFusionError(f"The case has {len(case.mask)} classes, asked for are {len(classes)}.")
    k, j, i = case.spacing_mm
    own = dict(zip(classes, case.mask, strict=True))
    kept = {name: own[name] if wanted is None or name in wanted else np.zeros_like(own[name]) for name in channels}
    there = [name for name, mask in kept.items() if mask.any()]
    if not there:
        return None
    kept[there[-1]] = np.logical_or.reduce([kept[there[-1]], *(own[name] for name in filled if name not in channels)])
    return LesionMask(np.stack(list(kept.values())), np.diag([-i, -j, k, 1.0]), tuple(channels))


def measure(remade: Remade, classes: Sequence[str], changed: int) -> list[Row]:
    """A row for each class that is there."""
    case, window = remade.real, remade.real.window
    around = surroundings(case)
    rows = []
    for index, name in enumerate(classes):
        own = case.mask[index]
        if not own.any():
            continue
        before = case.mask[index - 1] if index else around
        named = classes[index - 1] if index and before.any() else "surroundings"
        beside = before if before.any() else around
        box = box_around(own)
        asked, got = TextureHistogram.of(case.image[own]), TextureHistogram.of(remade.made[own])
        real, made, by_real, by_made = (
            float(window.restore(np.array(image[where].mean(dtype=np.float64))))
            for where in (own, beside)
            for image in (case.image, remade.made)
        )
        rows.append(
            Row(
                remade.number,
                name,
                int(own.sum()),
                round(psnr(case.image[box], remade.made[box]), 3),
                round(ssim(case.image[box], remade.made[box]), 4),
                round(got.wasserstein(asked, window), 3),
                round(seam_contrast(window.restore(case.image), own), 3),
                round(seam_contrast(window.restore(remade.made), own), 3),
                round(real, 3),
                round(made, 3),
                named,
                round(by_real, 3),
                round(by_made, 3),
                changed,
            )  # fmt: skip
        )
    return rows


def surroundings(case: RealLesion) -> np.ndarray:
    """(D, H, W) bool: the organ without its lesions; a shell of tissue where no organ is known."""
    from scipy.ndimage import distance_transform_edt

    union = case.mask.any(axis=0)
    if case.organ is not None and (case.organ & ~union).any():
        return case.organ & ~union
    away_mm = distance_transform_edt(~union, sampling=case.spacing_mm)
    return (away_mm > 0) & (away_mm <= SHELL_MM)


def box_around(mask: np.ndarray) -> tuple[slice, ...]:
    """The slices (k, j, i) that hold a mask (D, H, W), three voxels wider in the slice, and no narrower than SSIM."""
    box = []
    for axis, length in enumerate(mask.shape):
        inside = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        low, high = int(inside[0]), int(inside[-1]) + 1
        if axis:
            low, high = low - BOX_VOXELS, high + BOX_VOXELS
            short = max(0, SSIM_WIDTH - (min(high, length) - max(low, 0)))
            low, high = low - short, high + short
        box.append(slice(max(low, 0), min(high, length)))
    return tuple(box)


def psnr(real: np.ndarray, made: np.ndarray) -> float:
    """Peak signal to noise in dB of images in [-1, 1]; 100 where they are equal."""
    error = float(np.mean((real.astype(np.float64) - made) ** 2))
    return 100.0 if error < 4e-10 else 10 * float(np.log10(4 / error))


def ssim(real: np.ndarray, made: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) of images (D, H, W) in [-1, 1], the mean over the slices."""
    from skimage.metrics import structural_similarity

    pairs = zip(real.astype(np.float64), made.astype(np.float64), strict=True)
    return float(np.mean([structural_similarity(a, b, win_size=SSIM_WIDTH, data_range=2.0) for a, b in pairs]))


def summarize(rows: Sequence[Row]) -> dict[str, Any]:
    """Per class: means and medians, and in which share of the lesions the class is brighter than what it lies beside,
    in the real and in the made ones."""
    classes = list(dict.fromkeys(row.lesion_class for row in rows))
    return {
        "lesions": len({row.case for row in rows}),
        "changed_outside": sum({row.case: row.changed_outside for row in rows}.values()),
        "classes": {name: _of_class([row for row in rows if row.lesion_class == name]) for name in classes},
    }


def _of_class(rows: Sequence[Row]) -> dict[str, Any]:
    def mean(name: str) -> float:
        return round(float(np.mean([getattr(row, name) for row in rows])), 3)

    real = np.array([row.mean_real - row.beside_real for row in rows])
    made = np.array([row.mean_made - row.beside_made for row in rows])
    return {
        "lesions": len(rows),
        "psnr": mean("psnr"),
        "ssim": mean("ssim"),
        "histogram_distance": round(float(np.median([row.histogram_distance for row in rows])), 3),
        "seam_real": mean("seam_real"),
        "seam_made": mean("seam_made"),
        "mean_real": mean("mean_real"),
        "mean_made": mean("mean_made"),
        "beside": max(set(names := [row.beside for row in rows]), key=names.count),
        "brighter_real": round(float((real > 0).mean()), 3),
        "brighter_made": round(float((made > 0).mean()), 3),
        "same_order": round(float(((real > 0) == (made > 0)).mean()), 3),
    }


COLUMNS = {
    "lesions": "lesions",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "histogram_distance": "histogram distance",
    "seam_real": "seam, real",
    "seam_made": "seam, made",
    "swd": "SWD",
    "kid": "KID, filter bank",
    "between_seeds": "between seeds",
    "from_real": "from real",
    "variety": "variety",
    "mean_real": "mean, real",
    "mean_made": "mean, made",
    "beside": "compared with",
    "brighter_real": "brighter, real",
    "brighter_made": "brighter, made",
    "same_order": "same order",
}


def markdown(summary: dict[str, Any]) -> str:
    """The summary as a table."""
    from .shape_tables import markdown_table

    rows = summary["classes"]
    there = [key for key in COLUMNS if all(key in row for row in rows.values())]
    table = [[name, *(str(row[key]) for key in there)] for name, row in rows.items()]
    return "\n".join(markdown_table(["class", *(COLUMNS[key] for key in there)], table)) + "\n"
