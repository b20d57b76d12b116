"""A result of the scene as files: volume, segments and report."""

import json
from pathlib import Path
from typing import Any

import slicer

from ..errors import LeFusionError
from ..io import check_output, written_together
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
    try:
        with written_together(paths) as (image, labels, text):
            for node, storage, path in (
                (volume_node, slicer.vtkMRMLNRRDStorageNode(), image),
                (segments, slicer.vtkMRMLSegmentationStorageNode(), labels),
            ):
                storage.SetFileName(str(path))
                if not storage.WriteData(node):
                    raise OSError
            text.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise LeFusionError(
            f"'{name}' could not be written into the folder {Path(folder).name}. Choose another folder."
        ) from error
    return paths
