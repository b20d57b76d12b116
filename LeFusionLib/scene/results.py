"""What a job made, put into the scene as new nodes; the user's own are not touched."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..errors import LeFusionError
from ..lesion_mask import LesionMask
from .host import Host
from .housekeeping import put_beside, remove_node, taken_back_on_error
from .segmentations import lesion_segmentation_node
from .volumes import checked_scan, shape_of

SYNTHETIC = "LeFusion.Synthetic"  # "1" on every node that we made from noise
REPORT = "LeFusion.Report"  # the report as JSON
LESIONS = "LeFusion.Lesions"  # reference from a result to its segmentation
ORIGINAL = "LeFusion.Original"  # reference from a result to the scan it was made from


@dataclass(frozen=True, eq=False)
class SceneResult:
    """A result in the scene: the volume with lesions, its segmentation, and the report."""

    volume_node: Any
    segmentation_node: Any
    report: dict[str, Any]


def add_result(
    host: Host, source: Any, voxels: np.ndarray, lesions: Sequence[LesionMask], report: Mapping[str, Any]
) -> SceneResult:
    """Put one result beside the scan `source`: both new nodes, or none and an error.

    `voxels` (D, H, W) of the scan's own type and `lesions` on its grid, one mask per lesion.
    """
    with taken_back_on_error(host.scene):
        volume_node = result_volume_node(host, source, voxels, report)
        segmentation_node = lesion_segmentation_node(
            host, volume_node, lesions, f"{source.GetName()} lesions (synthetic)", report
        )
        segmentation_node.SetAttribute(SYNTHETIC, "1")
        put_beside(segmentation_node, source)
        volume_node.SetNodeReferenceID(LESIONS, segmentation_node.GetID())
    return SceneResult(volume_node, segmentation_node, dict(report))


def result_volume_node(host: Host, source: Any, voxels: np.ndarray, report: Mapping[str, Any]) -> Any:
    """A new volume like `source` (grid, parent transform, window, colours) with other voxels, marked as synthetic.

    What ties a node to the patient's DICOM series is taken off: the new one must not pass for it.
    """
    image = checked_scan(source).GetImageData()
    expected = vtk_to_numpy(image.GetPointData().GetScalars()).dtype
    if voxels.shape != shape_of(source) or voxels.dtype != expected:
        raise LeFusionError(
            f"The result is {voxels.dtype} {voxels.shape}, the volume '{source.GetName()}' {expected} "
            f"{shape_of(source)} (D, H, W): it was changed while the work ran. Start again."
        )
    with taken_back_on_error(host.scene):
        node = host.volumes.CloneVolume(host.scene, source, f"{source.GetName()} with lesion (synthetic)", False)
        if node is None:
            raise LeFusionError(f"The volume '{source.GetName()}' cannot be copied in this scene. Load it again.")
        for name in list(node.GetAttributeNames()):
            if name.startswith("DICOM."):
                node.RemoveAttribute(name)
        node.SetAttribute(SYNTHETIC, "1")
        node.SetAttribute(REPORT, json.dumps(report))
        node.SetNodeReferenceID(ORIGINAL, source.GetID())
        node.RemoveNodeReferenceIDs(LESIONS)  # of an earlier result that this one was made from
        node.SetDescription("Synthetic: made by LeFusion, for research and teaching, not for diagnosis.")
        display = node.GetScalarVolumeDisplayNode()
        if display is None:
            node.CreateDefaultDisplayNodes()
        else:
            display.SetAutoWindowLevel(False)  # the window of the scan, so that both look the same
        node.SetAndObserveImageData(_image_like(image, voxels))
        put_beside(node, source)
    return node


def report_of(volume_node: Any) -> dict[str, Any] | None:
    """The report of a result, also of one that was loaded with a scene; None for other volumes."""
    text = volume_node.GetAttribute(REPORT)
    return None if text is None else json.loads(text)


def remove_result(volume_node: Any) -> None:
    """Remove a result and its segmentation. Refuses a volume that we did not make."""
    if volume_node.GetAttribute(SYNTHETIC) != "1":
        raise LeFusionError(f"'{volume_node.GetName()}' was not made by LeFusion; it stays.")
    segmentation_node = volume_node.GetNodeReference(LESIONS)
    for node in (segmentation_node, volume_node):
        if node is not None:
            remove_node(node)


def _image_like(image: Any, voxels: np.ndarray) -> Any:
    """A vtkImageData of the same extent, scalar type and name, with these voxels (D, H, W)."""
    scalars = numpy_to_vtk(
        np.ascontiguousarray(voxels).ravel(), deep=True, array_type=image.GetPointData().GetScalars().GetDataType()
    )
    scalars.SetName(image.GetPointData().GetScalars().GetName())
    copy = vtk.vtkImageData()
    copy.CopyStructure(image)
    copy.GetPointData().SetScalars(scalars)
    return copy
