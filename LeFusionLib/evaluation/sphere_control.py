"""Is the size that was asked for delivered? Shapes drawn in an organ of real scans, near its wall too."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import LeFusionError
from ..geometry import ControlSphere, ras_from_kji
from ..models.sampler_spec import SamplerSpec
from ..models.zoo import Model
from ..synthesis.draw import draw_lesion_mask
from ..volume import Volume
from .texture_control import read_scans

REFUSED = -1.0  # delivered diameter of a sphere in which nothing could be drawn


@dataclass(frozen=True)
class Row:
    """One sphere: how large, how much of it lies in the organ, and what was drawn. Lengths in mm.

    `beyond_sphere`: how far the outermost voxel centre lies outside the sphere, 0 where none does.
    """

    scan: str
    asked: float
    share_inside: float
    delivered: float
    volume_mm3: float
    slices: int
    outside_boundary: int
    beyond_sphere: float
    seconds: float


def sphere_control(
    model: Model | str,
    data: Path,
    spheres: int,
    seed: int = 0,
    diameters_mm: tuple[float, float] = (5.0, 25.0),
    sampler: SamplerSpec | None = None,
) -> list[Row]:
    """Draw in `spheres` random spheres of each scan under `data`, with the organ beside it as boundary.

    data: pairs `NAME_ct.*` and `NAME_lungs.*`. Centres are random voxels of the organ; spheres may reach over its wall.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for name, volume, organ in read_scans(data):
        places = np.argwhere(organ)
        for number, diameter_mm in enumerate(rng.uniform(*diameters_mm, spheres)):
            center = ras_from_kji(volume.ijk_to_ras, places[rng.integers(len(places))][None])[0]
            sphere = ControlSphere(tuple(center), float(diameter_mm))
            rows.append(_draw(model, name, volume, organ, sphere, seed + number, sampler))
    return rows


def _draw(
    model: Model | str,
    scan: str,
    volume: Volume,
    organ: np.ndarray,
    sphere: ControlSphere,
    seed: int,
    sampler: SamplerSpec | None,
) -> Row:
    ball = sphere.mask_on(volume)
    share = float((ball & organ).sum() / ball.sum())
    started = time.monotonic()
    try:
        lesion = draw_lesion_mask(volume, sphere, model, boundary=organ, seed=seed, sampler=sampler)
    except LeFusionError:
        return Row(scan, sphere.diameter_mm, share, REFUSED, 0.0, 0, 0, 0.0, time.monotonic() - started)
    points = ras_from_kji(volume.ijk_to_ras, lesion.kji)
    away_mm = np.linalg.norm(points - sphere.center_ras, axis=1).max() - sphere.diameter_mm / 2
    return Row(
        scan,
        round(sphere.diameter_mm, 2),
        round(share, 3),
        round(lesion.diameter_mm(), 2),
        round(lesion.volume_mm3(), 1),
        int(lesion.union.any(axis=(1, 2)).sum()),
        int((lesion.union & ~organ).sum()),
        round(max(0.0, float(away_mm)), 3),
        round(time.monotonic() - started, 2),
    )


def summarize(rows: Sequence[Row]) -> dict[str, object]:
    """Errors of the diameter as shares of what was asked: in all, and where the sphere lies wholly inside."""
    drawn = [row for row in rows if row.delivered != REFUSED]
    inside = [row for row in drawn if row.share_inside > 0.999]
    return {
        "spheres": len(rows),
        "refused": len(rows) - len(drawn),
        "outside_boundary": sum(row.outside_boundary for row in drawn),
        "farthest_beyond_sphere_mm": max(row.beyond_sphere for row in drawn),
        "diameter_error": _errors(drawn),
        "diameter_error_wholly_inside": _errors(inside) | {"spheres": len(inside)},
        "seconds": {
            "median": round(float(np.median([row.seconds for row in rows])), 2),
            "longest": round(max(row.seconds for row in rows), 2),
        },
    }


def _errors(rows: Sequence[Row]) -> dict[str, float]:
    shares = np.array([row.delivered / row.asked - 1 for row in rows])
    if not len(shares):
        return {}
    return {
        "median_absolute": round(float(np.median(np.abs(shares))), 4),
        "90_percent_below": round(float(np.percentile(np.abs(shares), 90)), 4),
        "median": round(float(np.median(shares)), 4),
    }
