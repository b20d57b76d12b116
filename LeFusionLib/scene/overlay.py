"""A volume to lay over a scan; for looking at, never saved."""

from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ..geometry import PatchFrame
from .host import Host
from .housekeeping import taken_back_on_error
from .results import LESIONS, ORIGINAL, SYNTHETIC
from .transforms import to_vtk
from .volumes import own_matrix, shape_of

Box = tuple[slice, slice, slice]


def overlay_node(host: Host, source: Any, name: str, voxels: np.ndarray, box: Box | None = None) -> Any:
    """A new volume node with the voxels (d, h, w) where `box` (k, j, i slices) of the volume `source` lies, or all of
    it; marked as synthetic, and without what else `source` has of its own. `remove_node` removes it."""
    whole = PatchFrame(shape_of(source), own_matrix(source))  # an image may count from elsewhere than 0, ours does not
    part = whole if box is None else PatchFrame.of_box(whole, box)
    image = vtk.vtkImageData()
    image.SetDimensions(*voxels.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(voxels).ravel(), deep=True))
    with taken_back_on_error(host.scene):
        node = host.volumes.CloneVolume(host.scene, source, name, False)
        for attribute in list(node.GetAttributeNames()):
            node.RemoveAttribute(attribute)
        for role in (LESIONS, ORIGINAL):
            node.RemoveNodeReferenceIDs(role)
        node.SetAttribute(SYNTHETIC, "1")
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        node.SetIJKToRASMatrix(to_vtk(part.ijk_to_ras))
        node.SetAndObserveImageData(image)
    return node
