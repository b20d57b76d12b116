"""A lesion's shape from a control sphere."""

import numpy as np

from ..errors import LeFusionError, unknown_name
from ..geometry import ControlSphere
from ..lesion_mask import LesionMask
from ..volume import Volume
from .chance import place_generator
from .shapes import handcrafted_shape

HANDCRAFTED = "handcrafted"
SHAPES = {HANDCRAFTED: handcrafted_shape}


def draw_lesion_mask(
    volume: Volume,
    sphere: ControlSphere,
    model: str = HANDCRAFTED,
    boundary: LesionMask | np.ndarray | None = None,
    seed: int = 0,
    lesion_class: str = "nodule",
) -> LesionMask:
    """The mask of one lesion inside `sphere` and, where given, inside `boundary` ((D, H, W) bool or a mask).

    model: "handcrafted", the overlapping ellipsoids of the paper's baseline (Hu et al. 2023). The same seed, sphere and
    volume grid give the same shape. Raises `LeFusionError` for spheres outside the volume, smaller than a voxel, or
    without a voxel of the boundary.
    """
    if model not in SHAPES:
        raise unknown_name("mask model", model, SHAPES)
    sphere.check_inside(volume)
    if isinstance(boundary, LesionMask):
        boundary.check_on_grid_of(volume)
        boundary = boundary.union
    if boundary is not None and boundary.shape != volume.shape:
        raise LeFusionError(
            f"The boundary is {boundary.shape} voxels, the volume {volume.shape}. Give a boundary on the volume's grid."
        )
    shape = SHAPES[model](volume, sphere, place_generator(seed, sphere.center_ras), boundary)
    return LesionMask(shape, volume.ijk_to_ras, (lesion_class,), sphere=sphere, drawn_by=model)
