"""Training cases of a mask model that draws inside an organ: lesions and organ on the volume's own grid."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import LeFusionError
from ..geometry import ControlSphere, PatchFrame, kji_from_ras
from ..lesion_mask import LesionMask
from ..models.mask_spec import MaskSpec
from ..models.spec import ModelSpec
from . import hearts

logger = logging.getLogger(__name__)

MIN_VOXELS = 8  # smaller masks have no shape to learn


@dataclass(frozen=True, eq=False)
class OrganCase:
    """All lesions of one organ as one: their mask, the `organ` (D, H, W) bool on the same grid, the sphere around."""

    lesion: LesionMask
    organ: np.ndarray
    sphere: ControlSphere
    patient: str

    @classmethod
    def of(cls, lesion: LesionMask, organ: np.ndarray, patient: str) -> "OrganCase":
        return cls(lesion, organ, ControlSphere(lesion.center_ras, lesion.diameter_mm()), patient)

    @property
    def grid(self) -> LesionMask:
        """Shapes stay on the volume's own."""
        return self.lesion

    @property
    def ratings(self) -> Mapping[str, float]:
        """Nobody rated these shapes."""
        return {}

    @property
    def present(self) -> Mapping[str, bool]:
        """{class: is it there?}"""
        return {name: self.lesion.voxels(name) > 0 for name in self.lesion.classes}

    def volume_mm3(self) -> float:
        """Of all classes together."""
        return self.lesion.volume_mm3()

    def drawn_in(
        self, frame: PatchFrame, mask: MaskSpec, about: ControlSphere, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `AnyShape`. Turned by any angle and mirrored within the slice; slices keep their order, and none is made
        of two. Outside the organ, and beyond the volume's slices, there is background."""
        from scipy.ndimage import map_coordinates

        positions = frame.positions_on(self.lesion)
        if rng is not None:
            center = kji_from_ras(self.lesion.ijk_to_ras, np.array(about.center_ras))[0, 1:]
            in_slice_mm = np.array(self.lesion.spacing_mm[1:])
            offsets_mm = (positions[:, 1:] - center) * in_slice_mm
            positions[:, 1:] = offsets_mm @ _turned_in_slice(rng) / in_slice_mm + center
        positions[:, 0] = np.rint(positions[:, 0])

        def read(array: np.ndarray) -> np.ndarray:
            share = map_coordinates(array.astype(np.float32), positions.T, order=1, mode="constant")
            return share.reshape(frame.shape)

        organ = read(self.organ) > 0.5
        shape = np.stack([np.where(organ, 2 * read(m) - 1, -1) for m in mask.channels_of(self.lesion.array)])
        return shape.astype(np.float32), organ


def read_organs(folder: Path, spec: ModelSpec) -> list[OrganCase]:
    """Hearts with their muscle as the organ, by the first layout of `hearts.SOURCES` that is met; those without a
    lesion are none."""
    assert spec.mask is not None
    cases = []
    pattern = next((pattern for pattern in hearts.SOURCES if any(folder.glob(pattern))), None)
    if pattern is not None and set(spec.classes) <= set(hearts.LABELS):
        for file in sorted(folder.glob(pattern)):
            for heart in hearts.SOURCES[pattern](file):
                masks = heart.masks(spec.classes)
                if masks.any(axis=0).sum() >= MIN_VOXELS:
                    lesion = LesionMask(masks, heart.ijk_to_ras, spec.classes)
                    cases.append(OrganCase.of(lesion, heart.organ, heart.patient))
    if not cases:
        raise LeFusionError(
            f"There are no lesions of {', '.join(spec.classes)} with their organ in the folder {folder.name}. "
            f"Possible: hearts in files named like {', '.join(hearts.SOURCES)}, labels {hearts.LABELS}."
        )
    logger.info("%d organs of %d patients read", len(cases), len({case.patient for case in cases}))
    return cases


def _turned_in_slice(rng: np.random.Generator) -> np.ndarray:
    """(2, 2): any angle, mirrored or not."""
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return turn * rng.choice([-1.0, 1.0], 2)
