"""A sketch in the scene: a part of the scan with a lesion in it, laid over the scan."""

from typing import Any

import numpy as np

from .host import Host
from .housekeeping import taken_back_on_error
from .overlay import Box, overlay_node


def sketch_node(host: Host, source: Any, voxels: np.ndarray, box: Box) -> Any:
    """A new volume node with the voxels (d, h, w) where `box` (k, j, i slices) of the scan `source` lies, shown as the
    scan is. Remove it with `remove_node`."""
    with taken_back_on_error(host.scene):
        node = overlay_node(host, source, f"{source.GetName()} sketch (synthetic)", voxels, box)
        own_display = node.GetDisplayNode()
        if own_display is not None:  # one window for both
            node.SetAndObserveDisplayNodeID(source.GetDisplayNodeID())
            host.scene.RemoveNode(own_display)
    return node
