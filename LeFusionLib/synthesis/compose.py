"""Lesions of the same scan, made one after the other, put together into the one result of all of them.

Each lesion is made on the scan itself and looks the same whatever its company (see `lesions.plan_lesions`), so the
voxels are those of one request for all. One can be taken back or made anew, and the others stay.
"""

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import LeFusionError
from ..lesion_mask import LesionMask
from ..volume import Volume
from .report import changed_outside
from .result import SynthesisResult

COMMON = ("model", "device", "precision", "engine", "input")  # entries of the reports that must agree


@dataclass(frozen=True, eq=False)
class MadeLesion:
    """One lesion cut out of its result: `box` (k, j, i slices) of the scan's grid, `values` (d, h, w) in it, `mask`
    (L, d, h, w) with its `classes`, and the `report` of the result, which was of this lesion alone."""

    box: tuple[slice, slice, slice]
    values: np.ndarray
    mask: np.ndarray
    classes: tuple[str, ...]
    report: dict[str, Any]

    @classmethod
    def of(cls, result: SynthesisResult) -> "MadeLesion":
        """What is needed to paint the lesion of this result again; a copy, so that the result may go."""
        mask = result.lesion_mask
        box = mask.bounding_box()
        return cls(box, result.volume.array[box].copy(), mask.array[(slice(None), *box)].copy(), mask.classes,
                   result.report)  # fmt: skip

    def mask_on(self, volume: Volume) -> LesionMask:
        """The lesion on the whole grid of the scan."""
        array = np.zeros((len(self.classes), *volume.shape), dtype=bool)
        array[(slice(None), *self.box)] = self.mask
        return LesionMask(array, volume.ijk_to_ras, self.classes)


def put_together(volume: Volume, lesions: Sequence[MadeLesion]) -> SynthesisResult:
    """The result with all these lesions in the scan `volume`, in this order; its report is measured anew.

    Raises `LeFusionError` where two overlap, or were not made on the same scan by the same model.
    """
    if not lesions:
        raise LeFusionError("There is no lesion to put together: make one first.")
    for key in COMMON:
        if any(lesion.report[key] != lesions[0].report[key] for lesion in lesions):
            raise LeFusionError(f"The lesions differ in their {key}. Make all of them anew with the same settings.")
    array = volume.array.copy()
    mask = np.zeros((len(lesions[0].classes), *volume.shape), dtype=bool)
    numbers = np.zeros(volume.shape, dtype=np.uint16)
    for number, lesion in enumerate(lesions, start=1):
        union = lesion.mask.any(axis=0)
        if (numbers[lesion.box][union] != 0).any():
            raise LeFusionError("Two of the lesions overlap. Move one of them, or make it smaller.")
        array[lesion.box][union] = lesion.values[union]
        mask[(slice(None), *lesion.box)] |= lesion.mask
        numbers[lesion.box][union] = number
    result, lesion_mask = volume.with_array(array), LesionMask(mask, volume.ijk_to_ras, lesions[0].classes)
    changed = changed_outside(volume, result, lesion_mask)
    if changed:
        raise LeFusionError(f"{changed} voxels outside the lesions changed; the result is refused. Please report this.")
    reports = [lesion.report for lesion in lesions]
    seeds = [report["seed"] for report in reports]
    evaluations = sum(report["sampler"]["network_evaluations"] for report in reports)
    stages = {name: None for report in reports for name in report["seconds"]}
    report = reports[0] | {
        "seed": seeds[0] if len(set(seeds)) == 1 else seeds,
        "sampler": reports[0]["sampler"] | {"network_evaluations": evaluations},
        "output": {"sha256": result.sha256()},
        "lesions": [row for report in reports for row in report["lesions"]],
        "background": {
            "changed_voxels_outside_mask": changed,
            "voxels_outside_mask": int(volume.array.size - lesion_mask.voxels()),
        },
        "seconds": {name: round(math.fsum(r["seconds"].get(name, 0.0) for r in reports), 3) for name in stages},
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    return SynthesisResult(result, lesion_mask, report, volume, numbers)
