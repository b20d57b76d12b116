"""How a mask model is shown what is asked (control sphere, size, ratings, organ), and what its channels mean."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..errors import LeFusionError, unknown_name
from ..geometry import ControlSphere, Grid, PatchFrame, kji_from_ras, ras_from_kji

RATING_LOW, RATING_HIGH = 1.0, 5.0  # of the LIDC readers
TYPICAL_MM = 10.0  # the size that is shown as 0


@dataclass(frozen=True)
class MaskSpec:
    """What only a model of kind "mask" has.

    sphere_voxels: so many patch voxels span the sphere's diameter, whatever it is in mm, and the size enters as a
    number; None keeps the model's `spacing_mm`, as published, and where there is none, the volume's own grid.
    sphere_values: what the sphere's channel holds outside and inside.
    ratings: how a shape can be steered, by names of LIDC ratings (1 to 5); what is not said is left to chance.
    diameter_range_mm: spheres the model was trained for; None is any that fits the patch.
    diameter_tolerance: the share by which the delivered diameter may miss the one asked for before it is drawn again.
    pieces: how many pieces of each class are kept, the largest first; () is one each. On the volume's own grid
    the largest of these numbers holds for all classes together.
    smoothing_voxels: how far single voxels are smoothed within their slice, on the volume's own grid, before a shape is
    read from what was drawn; a surface is smoothed anyway.
    levels: the value in [-1, 1] from which a channel's voxels count as drawn, for each class; () is 0 for all. A class
    of few voxels is drawn too faintly by a network that is not yet sure of it.
    boundary_channel: the network is shown the organ it draws in, beside the sphere; drawing then needs a boundary.
    organ: what that organ is, in words for people.
    nested: a channel holds its class and all that come after it, so that each class lies within the one before.
    optional: classes the network is told to draw or not to draw; what is not said is left to chance.
    published: keeps the habits of the released `diffmask.pt`: its ball of whole voxels, its clean-up.
    """

    sphere_voxels: float | None = None
    sphere_values: tuple[float, float] = (-1.0, 1.0)
    ratings: tuple[str, ...] = ()
    diameter_range_mm: tuple[float, float] | None = None
    diameter_tolerance: float = 0.15
    pieces: tuple[int, ...] = ()
    smoothing_voxels: float = 0.0
    levels: tuple[float, ...] = ()
    boundary_channel: bool = False
    organ: str = "the organ"
    nested: bool = False
    optional: tuple[str, ...] = ()
    published: bool = False

    def __post_init__(self) -> None:
        for field in ("sphere_values", "ratings", "diameter_range_mm", "pieces", "levels", "optional"):
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
        """Length of the vector that tells size, ratings and classes; 0 for the published model, which knows none."""
        return (self.sphere_voxels is not None) + 2 * len(self.ratings) + len(self.optional)

    def traits(
        self, sphere: ControlSphere, ratings: Mapping[str, float], drawn: Mapping[str, bool] | None = None
    ) -> np.ndarray:
        """(traits_size,) float32: the size in doublings of 10 mm; each rating as a value in [-1, 1] and a 1, or two
        zeros where it is not given; each optional class as 1 to be drawn, -1 not to be, 0 where that is not said.
        Raises `LeFusionError` for ratings that are not known or not from 1 to 5."""
        for name, value in ratings.items():
            if name not in self.ratings:
                raise unknown_name("rating of the shape", name, self.ratings)
            if not RATING_LOW <= value <= RATING_HIGH:
                raise LeFusionError(f"A rating goes from {RATING_LOW:g} to {RATING_HIGH:g}; got {name}={value}.")
        row = [math.log2(sphere.diameter_mm / TYPICAL_MM)] if self.sphere_voxels is not None else []
        middle, half = (RATING_LOW + RATING_HIGH) / 2, (RATING_HIGH - RATING_LOW) / 2
        for name in self.ratings:
            row += [(ratings[name] - middle) / half, 1.0] if name in ratings else [0.0, 0.0]
        row += [0.0 if (drawn or {}).get(name) is None else 2.0 * (drawn or {})[name] - 1 for name in self.optional]
        return np.array(row, dtype=np.float32)

    def channels_of(self, masks: np.ndarray) -> np.ndarray:
        """(L, ...) bool of classes apart -> what each channel holds."""
        return np.logical_or.accumulate(masks[::-1])[::-1] if self.nested else masks

    def classes_of(self, patch: np.ndarray, keep: Sequence[int]) -> np.ndarray:
        """Channels (L, ...) in [-1, 1] as drawn -> the classes `keep` apart, above 0 where a voxel is of that class.

        Nested: no class reaches beyond the one before it; of two, a voxel is of the inner one. Where the inner class
        is not kept, its place is the outer one's.
        """
        if not self.nested:
            return patch[list(keep)]
        within = np.minimum.accumulate(patch)
        inner = [*(-within[later] for later in keep[1:]), np.ones_like(patch[0])]
        return np.stack([np.minimum(within[own], rest) for own, rest in zip(keep, inner, strict=True)])

    def frame(
        self,
        sphere: ControlSphere,
        shape: tuple[int, int, int],
        spacing_mm: tuple[float, float, float] | None,
        grid: Grid | None = None,
    ) -> PatchFrame:
        """The patch with its middle voxel `shape // 2` on the sphere's centre, along the patient's axes: i to the left,
        j to the back, k to the head, as axial CT is stored. Without a spacing of its own it is a part of `grid`, moved
        by whole voxels, with the sphere's centre within half a voxel of its middle."""
        if self.sphere_voxels is not None:
            spacing_mm = (sphere.diameter_mm / self.sphere_voxels,) * 3
        if spacing_mm is None and grid is not None:
            start = kji_from_ras(grid.ijk_to_ras, np.array(sphere.center_ras))[0] - (np.array(shape) - 1) / 2
            matrix = grid.ijk_to_ras.copy()
            matrix[:3, 3] = ras_from_kji(grid.ijk_to_ras, np.rint(start))[0]
            return PatchFrame(shape, matrix)
        if spacing_mm is None:
            raise LeFusionError("This mask model has neither a spacing nor a size of its sphere in voxels.")
        matrix = np.eye(4)
        matrix[:3, :3] = np.diag([-spacing_mm[2], -spacing_mm[1], spacing_mm[0]])
        middle = np.array([n // 2 if self.published else (n - 1) / 2 for n in shape])[::-1]
        matrix[:3, 3] = sphere.center_ras - matrix[:3, :3] @ middle
        return PatchFrame(shape, matrix)

    def check_boundary(self, given: bool) -> None:
        """Refuse to draw without the organ, where the network is shown it; says how to make one."""
        if self.boundary_channel and not given:
            raise LeFusionError(
                f"The model that draws the shape draws inside an organ, {self.organ}, and needs it as the boundary. "
                "Draw it in 3D Slicer's Segment Editor (Draw or Paint on each slice) and choose that segment; on the "
                "command line --boundary FILE:SEGMENT. The boundary 'none' draws without anatomy."
            )

    def channel(self, sphere: ControlSphere, frame: PatchFrame) -> np.ndarray:
        """(D, H, W) float32: the sphere as the network is shown it."""
        outside, inside = self.sphere_values
        if self.published:  # its radius is a whole number of voxels of 1 mm
            sphere = ControlSphere(sphere.center_ras, 2 * max(1, int(sphere.diameter_mm / 2)))
        return np.where(sphere.mask_on(frame), np.float32(inside), np.float32(outside))

    def channels(self, sphere: ControlSphere, frame: PatchFrame, boundary: np.ndarray | None) -> np.ndarray:
        """(1 or 2, D, H, W) float32: the sphere, and where the spec says so the organ, `boundary` (D, H, W) bool, as 1
        inside and -1 outside; without a boundary such a network is not asked."""
        shown = [self.channel(sphere, frame)]
        self.check_boundary(boundary is not None)
        if self.boundary_channel and boundary is not None:
            shown.append(np.where(boundary, np.float32(1), np.float32(-1)))
        return np.stack(shown)
