"""Files in, files out: only here is known how each format says where a voxel is."""

from .files import atomic_write, check_output, output_suffix, split_name, written_together
from .segmentation import read_labels, segment_names, write_segmentation
from .volumes import read_volume, write_volume

__all__ = [
    "atomic_write",
    "check_output",
    "output_suffix",
    "read_labels",
    "read_volume",
    "segment_names",
    "split_name",
    "write_segmentation",
    "write_volume",
    "written_together",
]
