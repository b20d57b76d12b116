"""A scan of the scene as a `Volume`, and where a point of the world lies in it.

The library wants one matrix from voxel (i, j, k) to RAS millimetres. Under linear transforms that is the way to the
world, exactly. Under a non-linear one (a CT with tilted gantry or uneven slices, a registration) it is the affine
matrix nearest to that way: exact for a tilted gantry, and always closer to the patient's true millimetres than the
node's own frame before its transforms. Points of the world then go through the transforms to their voxel and from
there, by the matrix, into the Volume's frame, so that they meet the right voxel in either case.
"""

from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..errors import LeFusionError
from ..geometry import kji_from_ras, ras_from_kji
from ..volume import Volume, checked_matrix
from .host import Host
from .housekeeping import nodes_of
from .transforms import from_vtk, matrix_between, moved, to_vtk

FIT_POINTS = 9  # per axis: enough to see a bend, few enough to take no time


def volume_from_node(node: Any) -> Volume:
    """A copy of the node's voxels, as they are, with `frame_matrix`; later changes of the node do not reach it.

    Raises `LeFusionError` for what is not one 3D scan: nothing, no voxels, colours, labels, a time series.
    """
    image = checked_scan(node).GetImageData()
    voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])
    return Volume(np.array(voxels), frame_matrix(node), name=node.GetName() or "volume")


def volume_node(host: Host, volume: Volume) -> Any:
    """A new scalar volume node with a copy of the voxels, and display nodes."""
    node = host.scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    node.UnRegister(None)
    node.SetName(host.scene.GenerateUniqueName(volume.name))
    image = vtk.vtkImageData()
    image.SetDimensions(*volume.shape[::-1])
    scalars = numpy_to_vtk(np.ascontiguousarray(volume.array, volume.array.dtype.newbyteorder("=")).ravel(), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(to_vtk(volume.ijk_to_ras))
    host.scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    return node


def checked_scan(node: Any) -> Any:
    """The node, if it is a scalar volume with voxels in a scene; else an error that says what to choose."""
    if node is None:
        raise LeFusionError("No volume is chosen. Load a CT or MRI and choose it.")
    name = f"'{node.GetName()}'"
    if node.GetScene() is None:
        raise LeFusionError(f"The volume {name} was removed from the scene. Choose another, or load it again.")
    if node.IsA("vtkMRMLSequenceNode"):
        raise LeFusionError(f"{name} is a time series (4D). Choose one time point and clone it in the Data module.")
    if node.IsA("vtkMRMLLabelMapVolumeNode") or node.IsA("vtkMRMLSegmentationNode"):
        raise LeFusionError(f"{name} holds labels, not a scan. Choose the CT or MRI that they belong to.")
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        kind = node.GetNodeTagName() or node.GetClassName()
        raise LeFusionError(f"{name} is no volume but a {kind}. Choose a CT or MRI.")
    image = node.GetImageData()
    scalars = None if image is None else image.GetPointData().GetScalars()
    if scalars is None or 0 in image.GetDimensions():
        raise LeFusionError(f"The volume {name} holds no voxels. Load a CT or MRI and choose it.")
    if node.IsA("vtkMRMLTensorVolumeNode") or scalars.GetNumberOfComponents() != 1:
        raise LeFusionError(
            f"{name} has {scalars.GetNumberOfComponents()} numbers in each voxel (colours, vectors or a time series). "
            "Choose a volume with one grey value per voxel; the module Vector to Scalar Volume makes one."
        )
    browser = _browser_of(node)
    if browser is not None:
        raise LeFusionError(
            f"{name} is the moment shown of the time series '{browser.GetName()}' and changes when that is played. "
            "Clone it in the Data module (right-click, Clone) and choose the clone."
        )
    return node


def shape_of(node: Any) -> tuple[int, int, int]:
    """(D, H, W) of a volume node."""
    width, height, depth = node.GetImageData().GetDimensions()
    return depth, height, width


def own_matrix(node: Any) -> np.ndarray:
    """(4, 4) from voxel (i, j, k) to RAS mm in the node's own frame, before its parent transforms."""
    matrix = to_vtk(np.eye(4))
    node.GetIJKToRASMatrix(matrix)
    own = from_vtk(matrix)
    first = node.GetImageData().GetExtent()[::2]  # an image may count from elsewhere than 0
    own[:3, 3] += own[:3, :3] @ first
    return checked_matrix(own)


def frame_matrix(node: Any) -> np.ndarray:
    """(4, 4) from voxel (i, j, k) to RAS mm of the frame in which the Volume is read: the world, where that is affine.

    Under a non-linear transform: the affine matrix with the least mean square distance to the voxels' true places.
    """
    own = own_matrix(node)
    to_world = matrix_between(node, None)
    if to_world is not None:
        return checked_matrix(to_world @ own)
    # A single slice has no second voxel across it; its two faces stand in.
    spans = [np.linspace(0, n - 1, min(n, FIT_POINTS)) if n > 1 else np.array([-0.5, 0.5]) for n in shape_of(node)]
    kji = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 3)
    world = moved(ras_from_kji(own, kji), node, None)
    fit = np.linalg.lstsq(np.column_stack([kji[:, ::-1], np.ones(len(kji))]), world, rcond=None)[0]
    return checked_matrix(np.vstack([fit.T, (0, 0, 0, 1)]))


def voxels_of_world(points_world: np.ndarray, node: Any) -> np.ndarray:
    """Continuous voxel indices (N, 3) in the order (k, j, i) of points (N, 3) of the world, in RAS mm."""
    return kji_from_ras(own_matrix(node), moved(points_world, None, node))


def world_of_voxels(kji: np.ndarray, node: Any) -> np.ndarray:
    """Points (N, 3) of the world in RAS mm of continuous voxel indices (N, 3) in the order (k, j, i)."""
    return moved(ras_from_kji(own_matrix(node), kji), node, None)


def world_to_frame(points_world: np.ndarray, node: Any) -> np.ndarray:
    """Points (N, 3) of the world in the frame in which the Volume is read; the same points under linear transforms."""
    points_world = np.asarray(points_world, dtype=np.float64).reshape(-1, 3)
    if matrix_between(node, None) is not None:
        return points_world
    return ras_from_kji(frame_matrix(node), voxels_of_world(points_world, node))


def _browser_of(node: Any) -> Any:
    """The browser node of a time series whose shown moment this node is, or None."""
    browsers = nodes_of(node.GetScene(), "vtkMRMLSequenceBrowserNode")
    return next((browser for browser in browsers if browser.IsProxyNodeID(node.GetID())), None)
