"""A result of the scene as files: volume, segments and report."""

import json
from pathlib import Path
from typing import Any

import slicer

from ..errors import LeFusionError
from ..io import check_output
from .results import LESIONS, report_of


def export_result(volume_node: Any, folder: str | Path) -> list[Path]:
    """Write `<name>.nrrd`, `.seg.nrrd` and `.json` of a result into `folder`; nothing that exists is replaced.

    As Slicer saves them: in the nodes' own frames, without their parent transforms. Returns the paths.
    """
    report, segments = report_of(volume_node), volume_node.GetNodeReference(LESIONS)
    if report is None or segments is None:
        raise LeFusionError(f"'{volume_node.GetName()}' is no whole result of LeFusion; it has no report or segments.")
    name = "".join(c if c.isalnum() or c in " -_()" else "_" for c in volume_node.GetName()).strip()
    paths = [Path(folder) / f"{name}{ending}" for ending in (".nrrd", ".seg.nrrd", ".json")]
    check_output(paths, [], overwrite=False)
    for node, storage, path in (
        (volume_node, slicer.vtkMRMLNRRDStorageNode(), paths[0]),
        (segments, slicer.vtkMRMLSegmentationStorageNode(), paths[1]),
    ):
        storage.SetFileName(str(path))
        if not storage.WriteData(node):
            for written in paths:
                written.unlink(missing_ok=True)
            raise LeFusionError(f"'{path.name}' could not be written into {Path(folder).name}. Choose another folder.")
    paths[2].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return paths
