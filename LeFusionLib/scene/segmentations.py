"""Lesion masks as segments of a new segmentation, exactly on the volume's voxels."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk

from ..errors import LeFusionError
from ..lesion_mask import LesionMask
from ..synthesis.result import class_color, synthetic_marks
from ..terminology import terminology_entry
from .host import Host
from .housekeeping import taken_back_on_error
from .transforms import to_vtk
from .volumes import own_matrix, shape_of

LABELMAP = "Binary labelmap"  # Slicer's name of the representation
ORGAN = "organ"  # ID of the segment in which lesions stay


def lesion_segmentation_node(
    host: Host, volume_node: Any, lesions: Sequence[LesionMask], name: str, report: Mapping[str, Any] | None = None
) -> Any:
    """A new segmentation under the volume's parent transform, with its geometry: one segment per lesion and class.

    Segment "nodule_2" is class nodule of the second lesion; empty classes are left out. Each has its class's colour and
    terminology and says that LeFusion made it; with `report` also from what (the marks that go into files too).
    """
    if not lesions:
        raise LeFusionError("There is no lesion to show: give at least one lesion mask.")
    for mask in lesions:
        if mask.shape != shape_of(volume_node):
            raise LeFusionError(
                f"The lesion mask is {mask.shape}, the volume '{volume_node.GetName()}' {shape_of(volume_node)} "
                "(D, H, W). Give a mask on the volume's grid."
            )
    tags = {
        "DICOM.SegmentAlgorithmType": "AUTOMATIC",
        "DICOM.SegmentAlgorithmName": "LeFusion",
        "LeFusion.Synthetic": "1",
    } | {f"LeFusion.{key}": value for key, value in (synthetic_marks(dict(report)) if report else {}).items()}
    matrix = own_matrix(volume_node)
    with taken_back_on_error(host.scene):
        node = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", host.scene.GenerateUniqueName(name))
        # First the transform: the geometry is taken over as it is only between nodes under the same one.
        node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
        for number, mask in enumerate(lesions, start=1):
            box = mask.bounding_box()
            for index, class_name in enumerate(mask.classes):
                if mask.voxels(class_name):
                    segment = _segment(mask.array[index][box], box, matrix)
                    segment.SetName(f"{class_name} {number}")
                    segment.SetColor(*class_color(class_name, mask.classes))
                    segment.SetTag(segment.GetTerminologyEntryTagName(), terminology_entry(class_name))
                    for key, value in tags.items():
                        segment.SetTag(key, value)
                    if not node.GetSegmentation().AddSegment(segment, f"{class_name}_{number}"):
                        raise LeFusionError(f"The segment {class_name}_{number} was refused. Please report this.")
    return node


def organ_segmentation_node(host: Host, volume_node: Any, organ: np.ndarray, name: str) -> tuple[Any, str]:
    """A new segmentation of one segment, `organ` (D, H, W) bool on the volume's voxels, in which lesions shall stay;
    and that segment's ID. It comes from a file, so that nothing of it is marked as made by LeFusion."""
    mask = LesionMask(organ, own_matrix(volume_node), (name,))
    box = mask.bounding_box()
    with taken_back_on_error(host.scene):
        node = host.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", host.scene.GenerateUniqueName(name))
        node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        node.CreateDefaultDisplayNodes()
        node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
        segment = _segment(organ[box], box, mask.ijk_to_ras)
        segment.SetName(name)
        if not node.GetSegmentation().AddSegment(segment, ORGAN):
            raise LeFusionError(f"The segment of '{name}' was refused. Please report this.")
    return node, ORGAN


def _segment(mask: np.ndarray, box: tuple[slice, slice, slice], ijk_to_ras: np.ndarray) -> Any:
    """A vtkSegment of a mask (d, h, w) that fills `box` (k, j, i slices) of the volume's grid."""
    image = slicer.vtkOrientedImageData()
    image.SetExtent([edge for axis in reversed(box) for edge in (axis.start, axis.stop - 1)])
    voxels = np.ascontiguousarray(mask, dtype=np.uint8)
    scalars = numpy_to_vtk(voxels.ravel(), deep=True, array_type=vtk.VTK_UNSIGNED_CHAR)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    image.SetImageToWorldMatrix(to_vtk(ijk_to_ras))
    segment = slicer.vtkSegment()
    segment.AddRepresentation(LABELMAP, image)
    return segment
