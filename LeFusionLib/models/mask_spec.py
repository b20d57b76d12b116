"""How a mask model is shown what is asked: the control sphere, its size, and ratings of the shape."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..errors import LeFusionError, unknown_name
from ..geometry import ControlSphere, PatchFrame

RATING_LOW, RATING_HIGH = 1.0, 5.0  # of the LIDC readers
TYPICAL_MM = 10.0  # the size that is shown as 0


@dataclass(frozen=True)
class MaskSpec:
    """What only a model of kind "mask" has.

    sphere_voxels: so many patch voxels span the sphere's diameter, whatever it is in mm, and the size enters as a
    number; None keeps the model's `spacing_mm`, as published.
    sphere_values: what the sphere's channel holds outside and inside.
    ratings: how a shape can be steered, by names of LIDC ratings (1 to 5); what is not said is left to chance.
    diameter_range_mm: spheres the model was trained for; None is any that fits the patch.
    diameter_tolerance: the share by which the delivered diameter may miss the one asked for before it is drawn again.
    pieces: how many pieces of each class are kept, the largest first; () is one each.
    published: keeps the habits of the released `diffmask.pt`: its ball of whole voxels, its clean-up.
    """

    sphere_voxels: float | None = None
    sphere_values: tuple[float, float] = (-1.0, 1.0)
    ratings: tuple[str, ...] = ()
    diameter_range_mm: tuple[float, float] | None = None
    diameter_tolerance: float = 0.15
    pieces: tuple[int, ...] = ()
    published: bool = False

    def __post_init__(self) -> None:
        for field in ("sphere_values", "ratings", "diameter_range_mm", "pieces"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, tuple(getattr(self, field)))
        if self.sphere_voxels is not None and not self.sphere_voxels > 0:
            raise LeFusionError(f"A sphere must span more than 0 patch voxels; got {self.sphere_voxels}.")
        if not 0 < self.diameter_tolerance < 1:
            raise LeFusionError(f"The diameter's tolerance is a share between 0 and 1; got {self.diameter_tolerance}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "MaskSpec":
        """From JSON; an unknown key is refused and its neighbour named."""
        names = [field.name for field in fields(cls)]
        for key in values:
            if key not in names:
                raise unknown_name("setting of a mask model", key, names)
        return cls(**values)

    @property
    def traits_size(self) -> int:
        """Length of the vector that tells size and ratings; 0 for the published model, which knows neither."""
        return (self.sphere_voxels is not None) + 2 * len(self.ratings)

    def traits(self, sphere: ControlSphere, ratings: Mapping[str, float]) -> np.ndarray:
        """(traits_size,) float32: the size in doublings of 10 mm; each rating as a value in [-1, 1] and a 1, or two
        zeros where it is not given. Raises `LeFusionError` for ratings that are not known or not from 1 to 5."""
        for name, value in ratings.items():
            if name not in self.ratings:
                raise unknown_name("rating of the shape", name, self.ratings)
            if not RATING_LOW <= value <= RATING_HIGH:
                raise LeFusionError(f"A rating goes from {RATING_LOW:g} to {RATING_HIGH:g}; got {name}={value}.")
        row = [math.log2(sphere.diameter_mm / TYPICAL_MM)] if self.sphere_voxels is not None else []
        middle, half = (RATING_LOW + RATING_HIGH) / 2, (RATING_HIGH - RATING_LOW) / 2
        for name in self.ratings:
            row += [(ratings[name] - middle) / half, 1.0] if name in ratings else [0.0, 0.0]
        return np.array(row, dtype=np.float32)

    def frame(
        self,
        sphere: ControlSphere,
        shape: tuple[int, int, int],
        spacing_mm: tuple[float, float, float] | None,
    ) -> PatchFrame:
        """The patch with its middle voxel `shape // 2` on the sphere's centre, along the patient's axes: i to the left,
        j to the back, k to the head, as axial CT is stored."""
        if self.sphere_voxels is not None:
            spacing_mm = (sphere.diameter_mm / self.sphere_voxels,) * 3
        if spacing_mm is None:
            raise LeFusionError("This mask model has neither a spacing nor a size of its sphere in voxels.")
        matrix = np.eye(4)
        matrix[:3, :3] = np.diag([-spacing_mm[2], -spacing_mm[1], spacing_mm[0]])
        middle = np.array([n // 2 if self.published else (n - 1) / 2 for n in shape])[::-1]
        matrix[:3, 3] = sphere.center_ras - matrix[:3, :3] @ middle
        return PatchFrame(shape, matrix)

    def channel(self, sphere: ControlSphere, frame: PatchFrame) -> np.ndarray:
        """(D, H, W) float32: the sphere as the network is shown it."""
        outside, inside = self.sphere_values
        if self.published:  # its radius is a whole number of voxels of 1 mm
            sphere = ControlSphere(sphere.center_ras, 2 * max(1, int(sphere.diameter_mm / 2)))
        return np.where(sphere.mask_on(frame), np.float32(inside), np.float32(outside))
