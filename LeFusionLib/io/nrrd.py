"""NRRD (RAS, LAS or LPS): one volume, or the layers of a .seg.nrrd."""

import gzip
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from ..errors import LeFusionError
from ..volume import Volume
from .files import COMPRESSION, is_private

KIND = "NRRD"
LPS = "left-posterior-superior"
TO_RAS = {
    "right-anterior-superior": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    LPS: (-1, -1, 1),
}
SHORT_NAMES = {"ras": "right-anterior-superior", "las": "left-anterior-superior", "lps": LPS}
MM_PER_UNIT = {"mm": 1.0, "millimeter": 1.0, "um": 1e-3, "cm": 10.0, "m": 1e3}
TYPE_NAMES = {"float32": "float", "float64": "double"}
# Fields of the format itself, which we write anew; everything else in a header is somebody's key:=value.
FIELDS = set(
    "type,dimension,space dimension,space,sizes,space directions,kinds,endian,encoding,min,max,oldmin,old min,oldmax,"
    "old max,content,sample units,spacings,thicknesses,axis mins,axismins,axis maxs,axismaxs,centerings,labels,units,"
    "space units,space origin,measurement frame,data file,datafile,number,block size,blocksize,"
    "line skip,lineskip,byte skip,byteskip".split(",")
)


@dataclass(frozen=True, eq=False)
class NrrdStorage:
    """What is kept of the header a volume came with."""

    suffix: ClassVar[str] = ".nrrd"
    space: str = LPS
    compressed: bool = True
    keys: dict[str, str] = field(default_factory=dict)


def read(path: Path) -> tuple[np.ndarray, np.ndarray, NrrdStorage]:
    """Array (D, H, W), ijk_to_ras and storage of a .nrrd, or of a .nhdr with its data file."""
    layers, ijk_to_ras, header = read_layers(path, most=1)
    keys = {
        key: value
        for key, value in header.items()
        if key not in FIELDS and not key.startswith("Segment") and not is_private(key)
    }
    return layers[0], ijk_to_ras, NrrdStorage(_space(header), header["encoding"] != "raw", keys)


def read_layers(path: Path, most: int | None = None) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Layers (N, D, H, W), ijk_to_ras and header; a plain volume has one layer, more than `most` are refused."""
    import nrrd

    with open(path, "rb") as file:
        header = dict(nrrd.read_header(_header_lines(file)))
        header["encoding"] = header["encoding"].lower()
        ijk_to_ras, spatial = _geometry(header)
        sizes = np.array(header["sizes"])
        layers = int(np.prod(sizes[~spatial]))
        if most is not None and layers > most:
            kinds = header.get("kinds", ["unknown"] * len(sizes))
            raise LeFusionError(
                f"A volume has one value per voxel; the file has {layers} "
                f"(axis of kind '{kinds[int(np.argmin(spatial))]}', sizes {sizes.tolist()}). "
                "Take one image out of the series, or one component of the colour or vector, and save it by itself."
            )
        if str(header["type"]) == "block":
            raise LeFusionError("Its voxels are opaque blocks of bytes. Save one number per voxel.")
        array = nrrd.read_data(header, file, str(path), index_order="C")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    axes = np.flatnonzero(~spatial[::-1])
    array = np.moveaxis(array, axes, range(len(axes)))
    return np.ascontiguousarray(array.reshape(layers, *array.shape[len(axes) :])), ijk_to_ras, header


def write(volume: Volume, path: Path, synthetic: dict[str, str]) -> None:
    """Write NRRD in the space the volume came in (LPS for others), with its harmless keys."""
    source = volume.storage if isinstance(volume.storage, NrrdStorage) else NrrdStorage()
    write_array(volume.array, volume.ijk_to_ras, path, source.keys | synthetic, source.space, source.compressed)


def write_array(
    array: np.ndarray,
    ijk_to_ras: np.ndarray,
    path: Path,
    keys: dict[str, str],
    space: str = LPS,
    compressed: bool = True,
) -> None:
    """Write `array` (D, H, W) with `keys` as key:=value pairs. The same input gives the same bytes."""
    matrix = np.diag((*TO_RAS[space], 1)) @ ijk_to_ras
    vectors = ["(" + ",".join(f"{x:.17g}" for x in column + 0.0) + ")" for column in matrix[:3].T]
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    lines = [
        "NRRD0005",
        f"type: {TYPE_NAMES.get(array.dtype.name, array.dtype.name)}",
        "dimension: 3",
        f"space: {space}",
        "sizes: " + " ".join(str(size) for size in array.shape[::-1]),
        "space directions: " + " ".join(vectors[:3]),
        "kinds: domain domain domain",
        "endian: little",
        f"encoding: {'gzip' if compressed else 'raw'}",
        'space units: "mm" "mm" "mm"',
        f"space origin: {vectors[3]}",
        *(f"{key}:={value}" for key, value in keys.items()),
    ]
    with open(path, "wb") as file:
        file.write(("\n".join(lines) + "\n\n").encode())
        if compressed:
            # No name and no date in the gzip header, so that the same volume gives the same bytes.
            with gzip.GzipFile(filename="", mode="wb", compresslevel=COMPRESSION, fileobj=file, mtime=0) as packed:
                packed.write(array.data)
        else:
            file.write(array.data)


def _header_lines(file: BinaryIO) -> list[str]:
    """The header as text (segment names may be UTF-8, which pynrrd would drop); leaves `file` where the data starts."""
    lines = []
    for line in iter(file.readline, b""):
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not text:
            break
        lines.append(text)
        if len(lines) == 1 and not text.startswith("NRRD"):
            raise LeFusionError("It is not an NRRD file, whatever its name says. Give it its own extension.")
    return lines


def _space(header: dict[str, Any]) -> str:
    name = str(header.get("space", "")).lower()
    name = SHORT_NAMES.get(name, name)
    if name not in TO_RAS or header.get("space directions") is None:
        raise LeFusionError(
            f"The header does not say where the image lies (space: '{name}', directions: "
            f"{'given' if header.get('space directions') is not None else 'none'}). It needs space directions and one "
            f"of {', '.join(TO_RAS)}. Export it again from its source, or save it from 3D Slicer."
        )
    return name


def _geometry(header: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """ijk_to_ras, and for each axis of the file (fastest first) whether it is one of the three in space."""
    space = _space(header)
    nothing = [np.nan] * 3
    rows = np.array([nothing if row is None else row for row in header["space directions"]], dtype=np.float64)
    spatial = np.array([not np.isnan(row).all() for row in rows])
    if spatial.sum() != 3:
        raise LeFusionError(f"A volume needs three axes in space; the file has {spatial.sum()}. Stack the slices.")
    unit = (header.get("space units") or ["mm"])[0].lower() or "mm"
    if unit not in MM_PER_UNIT:
        raise LeFusionError(f"Its lengths are in '{unit}'; possible: {', '.join(MM_PER_UNIT)}. Save it in mm.")
    origin = header.get("space origin")
    ijk_to_space = np.eye(4)
    ijk_to_space[:3, :3] = rows[spatial].T
    ijk_to_space[:3, 3] = np.zeros(3) if origin is None else origin
    ijk_to_space[:3] *= MM_PER_UNIT[unit]
    ijk_to_space[:3] *= np.reshape(TO_RAS[space], (3, 1))
    return ijk_to_space, spatial
