"""A segment of the user's as the boundary of a lesion: which voxels of the volume lie in it."""

from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..errors import LeFusionError, unknown_name
from ..geometry import TIE_VOXELS, kji_from_ras, nearest_on, ras_from_kji
from .segmentations import LABELMAP
from .transforms import from_vtk, matrix_between, moved
from .volumes import checked_scan, own_matrix, shape_of


def boundary_on(
    volume_node: Any, segmentation_node: Any, segment_id: str, within: np.ndarray | None = None
) -> np.ndarray:
    """(D, H, W) bool: the voxels of the volume whose centre lies in the segment, wherever both lie in the world.

    `segment_id` is the segment's ID or its name. Exact where segment and volume share grid and transform; else the
    segment's voxel nearest to each centre counts. The segmentation node is only read. With `within` (D, H, W) bool only
    these voxels are asked, which saves a minute for a whole CT between two non-linear transforms.
    """
    checked_scan(volume_node)
    labels, matrix = _labels(volume_node, segmentation_node, segment_id)
    own, shape = own_matrix(volume_node), shape_of(volume_node)
    way = matrix_between(volume_node, segmentation_node)
    if within is None and way is not None:
        boundary = nearest_on(labels, np.linalg.inv(matrix) @ way @ own, shape)
    else:
        boundary = np.zeros(shape, dtype=bool)
        for k in range(shape[0]):
            ji = np.argwhere(np.ones(shape[1:], dtype=bool) if within is None else within[k])
            kji = np.column_stack([np.full(len(ji), k), ji])
            there = kji_from_ras(matrix, moved(ras_from_kji(own, kji), volume_node, segmentation_node))
            index = np.floor(there + 0.5 + TIE_VOXELS).astype(int)
            inside = ((index >= 0) & (index < labels.shape)).all(axis=1)
            boundary[tuple(kji[inside].T)] = labels[tuple(index[inside].T)]
    if within is None and not boundary.any():
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
    labels = np.zeros((0, 0, 0), dtype=bool)
    if copy.GetBinaryLabelmapRepresentation(segment_id, image) and 0 not in image.GetDimensions():
        labels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1]) != 0
    if not labels.any():
        raise LeFusionError(f"The segment '{segment_id}' is empty. Choose another segment, or none.")
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    to_ras = from_vtk(matrix)
    to_ras[:3, 3] += to_ras[:3, :3] @ image.GetExtent()[::2]
    return labels, to_ras
