"""A segment of the user's as the boundary of a lesion: which voxels of the volume lie in it."""

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..errors import LeFusionError, unknown_name
from ..geometry import TIE_VOXELS, kji_from_ras, ras_from_kji
from .segmentations import LABELMAP
from .transforms import from_vtk, moved
from .volumes import checked_scan, own_matrix, shape_of

SLAB_VOXELS = 2_000_000  # so many at once: the points of a whole CT would need gigabytes


def boundary_on(volume_node: Any, segmentation_node: Any, segment_id: str) -> np.ndarray:
    """(D, H, W) bool: the voxels of the volume whose centre lies in the segment, wherever both lie in the world.

    `segment_id` is the segment's ID or its name. Exact where segment and volume share grid and transform; else the
    segment's voxel nearest to each centre counts. The segmentation node is only read.
    """
    checked_scan(volume_node)
    labels, matrix = _labels(volume_node, segmentation_node, segment_id)
    shape = shape_of(volume_node)
    own = own_matrix(volume_node)
    boundary = np.zeros(shape, dtype=bool)
    low, high = _reach(labels.shape, matrix, segmentation_node, own, volume_node)
    low, high = np.clip(low, 0, shape), np.clip(high + 1, 0, shape)
    if (high > low).all():
        rows = np.indices(high[1:] - low[1:]).reshape(2, -1).T + low[1:]
        step = max(1, SLAB_VOXELS // len(rows))
        for first in range(low[0], high[0], step):
            planes = np.arange(first, min(first + step, high[0]))
            kji = np.column_stack([np.repeat(planes, len(rows)), np.tile(rows, (len(planes), 1))])
            there = kji_from_ras(matrix, moved(ras_from_kji(own, kji), volume_node, segmentation_node))
            index = np.floor(there + 0.5 + TIE_VOXELS).astype(int)
            within = ((index >= 0) & (index < labels.shape)).all(axis=1)
            boundary[tuple(kji[within].T)] = labels[tuple(index[within].T)]
    if not boundary.any():
        raise LeFusionError(
            f"The segment '{segment_id}' of '{segmentation_node.GetName()}' has no voxel in the volume "
            f"'{volume_node.GetName()}'. Choose another segment, or none."
        )
    return boundary


def _labels(volume_node: Any, segmentation_node: Any, segment_id: str) -> tuple[np.ndarray, np.ndarray]:
    """The segment's voxels (d, h, w) bool, and their matrix to RAS mm in the segmentation's own frame."""
    if segmentation_node is None or segmentation_node.GetScene() is None:
        raise LeFusionError("The boundary's segmentation was removed from the scene. Choose another, or none.")
    segmentation = segmentation_node.GetSegmentation()
    if segmentation.GetSegment(segment_id) is None:
        names = {s.GetName(): i for i, s in ((i, segmentation.GetSegment(i)) for i in segmentation.GetSegmentIDs())}
        if segment_id not in names:
            raise unknown_name(f"segment in '{segmentation_node.GetName()}'", segment_id, names)
        segment_id = names[segment_id]
    copy = slicer.vtkMRMLSegmentationNode()  # in no scene; where voxels must be made first, they are made in the copy
    copy.GetSegmentation().SetSourceRepresentationName(segmentation.GetSourceRepresentationName())
    copy.GetSegmentation().CopySegmentFromSegmentation(segmentation, segment_id)
    if not copy.GetSegmentation().ContainsRepresentation(LABELMAP):
        copy.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
        copy.GetSegmentation().CreateRepresentation(LABELMAP)
    image = slicer.vtkOrientedImageData()
    if not copy.GetBinaryLabelmapRepresentation(segment_id, image) or 0 in image.GetDimensions():
        raise LeFusionError(f"The segment '{segment_id}' is empty. Choose another segment, or none.")
    labels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]) != 0
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_ras = from_vtk(matrix)
    to_ras[:3, 3] += to_ras[:3, :3] @ image.GetExtent()[::2]
    return labels, to_ras


def _reach(
    shape: tuple[int, ...], matrix: np.ndarray, segmentation_node: Any, own: np.ndarray, volume_node: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest voxel (k, j, i) of the volume that the segment's box can reach."""
    faces = np.stack(np.meshgrid(*[np.linspace(-0.5, n - 0.5, 9) for n in shape], indexing="ij"), axis=-1)
    there = kji_from_ras(own, moved(ras_from_kji(matrix, faces), segmentation_node, volume_node))
    low, high = there.min(axis=0), there.max(axis=0)
    margin = 1 + 0.1 * (high - low)  # a bent face may bulge between the points that we ask
    return np.floor(low - margin).astype(int), np.ceil(high + margin).astype(int)
