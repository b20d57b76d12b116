"""A sketch in the scene: a part of the scan with a lesion in it, to lay over the scan; for looking at, never saved."""

from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from .host import Host
from .housekeeping import taken_back_on_error
from .results import LESIONS, SYNTHETIC
from .transforms import to_vtk
from .volumes import own_matrix


def sketch_node(host: Host, source: Any, voxels: np.ndarray, box: tuple[slice, slice, slice]) -> Any:
    """A new volume node with the voxels (d, h, w) where `box` (k, j, i slices) of the scan `source` lies, shown as the
    scan is. Remove it with `remove_node`."""
    matrix = own_matrix(source).copy()
    matrix[:3, 3] += matrix[:3, :3] @ [axis.start for axis in box[::-1]]
    image = vtk.vtkImageData()
    image.SetDimensions(*voxels.shape[::-1])
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(voxels).ravel(), deep=True))
    with taken_back_on_error(host.scene):
        node = host.volumes.CloneVolume(host.scene, source, f"{source.GetName()} sketch (synthetic)", False)
        for name in list(node.GetAttributeNames()):
            node.RemoveAttribute(name)
        node.SetAttribute(SYNTHETIC, "1")
        node.RemoveNodeReferenceIDs(LESIONS)
        node.SetSaveWithScene(False)
        node.SetHideFromEditors(True)
        node.SetIJKToRASMatrix(to_vtk(matrix))
        node.SetAndObserveImageData(image)
        own_display = node.GetDisplayNode()
        if own_display is not None:  # one window for both
            node.SetAndObserveDisplayNodeID(source.GetDisplayNodeID())
            host.scene.RemoveNode(own_display)
    return node
