"""The report: what was asked, what was delivered, and that nothing else changed; measured on the result."""

import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..errors import LeFusionError
from ..intensity import IntensityWindow
from ..lesion_mask import LesionMask
from ..models.sampler_spec import SamplerSpec
from ..texture import TextureHistogram
from ..volume import Volume
from .lesions import PlannedLesion

if TYPE_CHECKING:  # it brings torch, which a program that only puts lesions together does not need
    from ..models.zoo import Model


def make_report(
    volume: Volume,
    result: Volume,
    lesion_mask: LesionMask,
    lesions: Sequence[PlannedLesion],
    window: IntensityWindow,
    model: "Model",
    sampler: SamplerSpec,
    network_evaluations: int,
    seed: int | Sequence[int],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """A JSON-serialisable dict, as `docs/report.md` describes it. No path and no patient data.

    Raises `LeFusionError` if a voxel outside the mask differs: such a result must not leave the house.
    """
    changed = changed_outside(volume, result, lesion_mask)
    if changed:
        raise LeFusionError(f"{changed} voxels outside the lesion changed; the result is refused. Please report this.")
    return {
        "software": "LeFusion",
        "version": __version__,
        "synthetic": True,
        "seed": [int(s) for s in seed] if isinstance(seed, Sequence) else int(seed),
        "model": {
            "name": model.spec.name,
            "kind": model.spec.kind,
            "sha256": model.card.sha256,
            "licence": model.card.licence,
        },
        "device": str(model.device),
        "precision": model.precision,
        "engine": model.engine,
        "sampler": sampler.to_dict() | {"network_evaluations": network_evaluations},
        "input": {
            "name": volume.name,
            "sha256": volume.sha256(),
            "shape": list(volume.shape),
            "spacing_mm": [round(mm, 6) for mm in volume.spacing_mm],
            "dtype": volume.array.dtype.name,
        },
        "output": {"sha256": result.sha256()},
        "lesions": [row for lesion in lesions for row in _rows(lesion, result, window)],
        "background": {
            "changed_voxels_outside_mask": changed,
            "voxels_outside_mask": int(volume.array.size - lesion_mask.voxels()),
        },
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def changed_outside(volume: Volume, result: Volume, lesion_mask: LesionMask) -> int:
    """Number of voxels outside the mask whose bits differ; all of them where type or grid differ."""
    same = volume.array.dtype == result.array.dtype and volume.shape == result.shape
    if not same or not np.array_equal(volume.ijk_to_ras, result.ijk_to_ras):
        return int(volume.array.size)
    bits = np.dtype(f"u{volume.array.dtype.itemsize}")  # -0.0 and 0.0 are different bits
    differ = np.ascontiguousarray(volume.array).view(bits) != np.ascontiguousarray(result.array).view(bits)
    return int(np.count_nonzero(differ & ~lesion_mask.union))


def _rows(lesion: PlannedLesion, result: Volume, window: IntensityWindow) -> list[dict[str, Any]]:
    mask = lesion.mask
    rows = []
    for name in mask.classes:
        if not mask.voxels(name):
            continue
        values = result.array[mask.array[mask.classes.index(name)]]
        row: dict[str, Any] = {
            "class": name,
            "center_ras": [round(mm, 3) for mm in mask.center_ras],
            "diameter_mm": {
                "asked": mask.sphere.diameter_mm if mask.sphere else None,
                "delivered": round(mask.diameter_mm(name), 3),
            },
            "drawn_by": mask.drawn_by,
            "voxels": mask.voxels(name),
            "slices": int(mask.array[mask.classes.index(name)].any(axis=(1, 2)).sum()),
            "volume_mm3": round(mask.volume_mm3(name), 3),
            "mean": {"value": round(float(values.mean()), 3), "unit": window.unit},
        }
        if name in lesion.textures:
            row["texture"] = _texture(lesion.textures[name], values, window)
        rows.append(row)
    return rows


def _texture(asked: tuple[str, TextureHistogram], values: np.ndarray, window: IntensityWindow) -> dict[str, Any]:
    """Asked against delivered: 1-D Wasserstein distance in grey values and total variation of the histograms."""
    name, histogram = asked
    delivered = TextureHistogram.of(window.normalize(values))
    return {
        "name": name,
        "asked": [round(w, 6) for w in histogram.as_list()],
        "delivered": [round(w, 6) for w in delivered.as_list()],
        "window": [window.low, window.high],
        "wasserstein": round(delivered.wasserstein(histogram, window), 3),
        "unit": window.unit,
        "total_variation": round(delivered.total_variation(histogram), 4),
    }
