"""MetaImage (.mha, .mhd; LPS): read with SimpleITK, written here so that a full disk is noticed."""

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..errors import LeFusionError
from ..volume import Volume, checked_matrix
from .files import COMPRESSION, is_private

KIND = "MetaImage"
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
GEOMETRY = {"ElementSpacing", "ElementSize", "TransformMatrix", "Rotation", "Orientation"}
# Fields of the format itself, which we write anew; everything else in a header is somebody's key = value.
FIELDS = GEOMETRY | set(
    "ObjectType,ObjectSubType,NDims,BinaryData,BinaryDataByteOrderMSB,ElementByteOrderMSB,CompressedData,"
    "CompressedDataSize,Offset,Position,Origin,CenterOfRotation,AnatomicalOrientation,DistanceUnits,DimSize,HeaderSize,"
    "ElementType,ElementDataFile,ElementNumberOfChannels,ElementMin,ElementMax,ElementToIntensityFunctionSlope,"
    "ElementToIntensityFunctionOffset,ParentID,TransformType,Color,CompressionLevel".split(",")
)
ELEMENT_TYPES = {
    "int8": "MET_CHAR",
    "uint8": "MET_UCHAR",
    "int16": "MET_SHORT",
    "uint16": "MET_USHORT",
    "int32": "MET_INT",
    "uint32": "MET_UINT",
    "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE",
}


@dataclass(frozen=True, eq=False)
class MetaImageStorage:
    """What is kept of the header a volume came with."""

    suffix: ClassVar[str] = ".mha"
    compressed: bool = True
    keys: dict[str, str] = field(default_factory=dict)


def read(path: Path) -> tuple[np.ndarray, np.ndarray, MetaImageStorage]:
    """Array (D, H, W), ijk_to_ras and storage of a .mha, or of a .mhd with its data file."""
    import SimpleITK as sitk

    header = _read_header(path)
    _check_header(header)
    image = sitk.ReadImage(str(path), imageIO="MetaImageIO")
    array = sitk.GetArrayFromImage(image)
    array = array.reshape(array.shape[-3:])  # further axes have one entry each
    dimension = image.GetDimension()
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3, :3] = np.reshape(image.GetDirection(), (dimension, dimension))[:3, :3] * image.GetSpacing()[:3]
    ijk_to_lps[:3, 3] = image.GetOrigin()[:3]
    keys = {key: value for key, value in header.items() if key not in FIELDS and not is_private(key)}
    return array, LPS_TO_RAS @ ijk_to_lps, MetaImageStorage(header.get("CompressedData", "").lower() == "true", keys)


def write(volume: Volume, path: Path, synthetic: dict[str, str]) -> None:
    """Write one .mha with the harmless keys the volume came with."""
    source = volume.storage if isinstance(volume.storage, MetaImageStorage) else MetaImageStorage()
    array = np.ascontiguousarray(volume.array, dtype=volume.array.dtype.newbyteorder("<"))
    data = zlib.compress(array.data, COMPRESSION) if source.compressed else array.data
    matrix = LPS_TO_RAS @ volume.ijk_to_ras
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": str(source.compressed),
        **({"CompressedDataSize": str(len(data))} if source.compressed else {}),
        "TransformMatrix": _numbers((matrix[:3, :3] / spacing).T.ravel()),
        "Offset": _numbers(matrix[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _numbers(spacing),
        **source.keys,
        **synthetic,
        "DimSize": _numbers(array.shape[::-1]),
        "ElementType": ELEMENT_TYPES[array.dtype.name],
        "ElementDataFile": "LOCAL",  # the format wants this one last
    }
    with open(path, "wb") as file:
        file.write("".join(f"{key} = {value}\n" for key, value in fields.items()).encode())
        file.write(data)


def _read_header(path: Path) -> dict[str, str]:
    """The key = value lines up to ElementDataFile."""
    header: dict[str, str] = {}
    with open(path, "rb") as file:
        for line in file:
            key, equals, value = line[:4096].decode("utf-8", "replace").partition("=")
            if not equals:
                break
            header[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":
                return header
    raise LeFusionError("It is not a MetaImage file, or its header is cut short. Copy or export it again.")


def _check_header(header: dict[str, str]) -> None:
    """Refuse, before reading a voxel, what is not one 3D scalar image with its place in the world."""
    sizes = [int(size) for size in header["DimSize"].split()]
    if len(sizes) < 3 or any(size != 1 for size in sizes[3:]):
        raise LeFusionError(
            f"A volume needs three axes; the file has {len(sizes)} {sizes}. "
            "Take one image out of the time series, or stack the slices."
        )
    channels = int(header.get("ElementNumberOfChannels", "1"))
    if channels != 1 or header.get("ElementType", "").endswith("_ARRAY"):
        raise LeFusionError(
            f"A volume has one value per voxel; the file has {channels} (colour, vector or complex numbers). "
            "Save one component by itself."
        )
    if not GEOMETRY & header.keys():
        raise LeFusionError(
            "The header does not say where the image lies (neither ElementSpacing nor TransformMatrix). "
            "Export it again from its source, or save it from 3D Slicer."
        )
    numbers = np.array([float(x) for key in header.keys() & (GEOMETRY | {"Offset"}) for x in header[key].split()])
    if not np.isfinite(numbers).all():
        checked_matrix(np.full((4, 4), np.nan))  # says it in the same words as everywhere


def _numbers(values: object) -> str:
    return " ".join(f"{x:.17g}" for x in np.asarray(values, dtype=np.float64) + 0.0)
