"""Points between a node and the world, through parent transforms of every kind.

A node's own frame is RAS millimetres before its parent transforms, the world is RAS millimetres after them. A node is
anything of the scene that can be moved, or None for the world itself.
"""

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy


def moved(points: np.ndarray, source: Any, target: Any) -> np.ndarray:
    """Points (N, 3) of the frame of node `source` in the frame of node `target`; None is the world.

    Linear transforms are exact. The inverse of a non-linear one is found by VTK's search, to about 0.001 mm.
    """
    points = np.array(points, dtype=np.float64).reshape(-1, 3)
    matrix = matrix_between(source, target)
    if matrix is not None:
        return points if (matrix == np.eye(4)).all() else points @ matrix[:3, :3].T + matrix[:3, 3]
    before, after = vtk.vtkPoints(), vtk.vtkPoints()
    before.SetData(numpy_to_vtk(points))
    after.SetDataTypeToDouble()
    _between(source, target).TransformPoints(before, after)
    return np.array(vtk_to_numpy(after.GetData()))


def matrix_between(source: Any, target: Any) -> np.ndarray | None:
    """(4, 4) from the frame of `source` to that of `target` (None: the world); None if the way is not linear."""
    linear = vtk.vtkTransform()
    if not slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(_between(source, target), linear):
        return None
    return from_vtk(linear.GetMatrix())


def from_vtk(matrix: Any) -> np.ndarray:
    """A vtkMatrix4x4 as a (4, 4) array."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def to_vtk(matrix: np.ndarray) -> Any:
    """A (4, 4) array as a vtkMatrix4x4."""
    copy = vtk.vtkMatrix4x4()
    copy.DeepCopy(np.asarray(matrix, dtype=np.float64).ravel().tolist())
    return copy


def _between(source: Any, target: Any) -> Any:
    """The vtkGeneralTransform from node to node."""
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(_parent(source), _parent(target), transform)
    return transform


def _parent(node: Any) -> Any:
    return None if node is None else node.GetParentTransformNode()
