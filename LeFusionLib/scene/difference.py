"""Result minus scan, as a volume to lay over the scan; for looking at, never saved."""

from typing import Any

import numpy as np
from vtk.util.numpy_support import vtk_to_numpy

from ..errors import LeFusionError
from .host import Host
from .housekeeping import remove_node, taken_back_on_error
from .overlay import overlay_node
from .results import ORIGINAL

OPAQUE = 1e-3  # of the display window's width: smaller differences are see-through


def difference_node(host: Host, result: Any) -> Any:
    """A new volume node, float32, result minus the scan it was made from; what is equal is see-through."""
    original = result.GetNodeReference(ORIGINAL)
    if original is None or original.GetImageData() is None:
        raise LeFusionError("The scan that this result was made from is not in the scene any more.")
    images = [node.GetImageData() for node in (result, original)]
    if images[0].GetDimensions() != images[1].GetDimensions():
        raise LeFusionError(f"'{original.GetName()}' has another size now than when the result was made.")
    made, known = (vtk_to_numpy(image.GetPointData().GetScalars()).astype(np.float32) for image in images)
    depth_first = images[0].GetDimensions()[::-1]
    difference = (made - known).reshape(depth_first)
    with taken_back_on_error(host.scene):
        node = overlay_node(host, result, f"{result.GetName()} difference", difference)
        if node.GetScalarVolumeDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
        most = float(np.abs(difference).max()) or 1.0
        display = node.GetScalarVolumeDisplayNode()
        display.SetSaveWithScene(False)
        display.SetAutoWindowLevel(False)
        display.SetWindowLevel(2 * most, 0.0)
        # One threshold cannot hide a middle; what is brighter is shown, and in a lung nodules are brighter.
        display.SetApplyThreshold(True)
        display.SetThreshold(max(OPAQUE * most, 0.5), most)
    return node


def remove_difference(node: Any) -> None:
    """Remove what `difference_node` made."""
    remove_node(node)
