"""Names, places and safe writing of files; nothing here knows what is inside them."""

import errno
import logging
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..errors import LeFusionError, unknown_name
from ..volume import Volume

READABLE = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")  # one file each, so that it appears whole or not at all

COMPRESSION = 1  # of zlib: on CT three times as fast as 3 for 5 % more bytes

# EFBIG and EDQUOT are what a quota or a FAT disk says instead of ENOSPC.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# Header keys that may say who the patient is: DICOM attributes (by name, or by number as in 0010|0020) and free text.
PRIVATE_KEY = re.compile(
    r"dicom|patient|physician|operator|institution|hospital|birth|study|series|accession|instanceuid|comment|content"
    r"|date|address|sex$|age$|^name$|^id$|^[0-9a-f]{4}[|_,]?[0-9a-f]{4}$",
    re.IGNORECASE,
)

logger = logging.getLogger(__name__)

Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


def split_name(path: str | os.PathLike[str], formats: tuple[str, ...] = READABLE) -> tuple[str, str]:
    """The stem and the extension in lower case; a `.seg.nrrd` is an `.nrrd`. An extension not in `formats` is an error.

    >>> split_name("data/ct.v2.nii.gz"), split_name("Lesion.seg.NRRD")
    (('ct.v2', '.nii.gz'), ('Lesion', '.nrrd'))
    """
    name = Path(path).name
    for suffix in (".seg.nrrd", *formats):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)] or "volume", ".nrrd" if suffix == ".seg.nrrd" else suffix
    parts = Path(name).suffixes
    given = "".join(parts[-2:] if len(parts) > 1 and parts[-2].lower() in (".nii", ".seg") else parts[-1:]) or name
    error = unknown_name("image format", given, formats)
    if given.lower() in (".dcm", ".ima"):
        error = LeFusionError(f"'{name}' is a single DICOM file. Give the folder that holds its whole series.")
    raise error


def output_suffix(volume: Volume) -> str:
    """The extension of the format the volume came in; ".nii.gz" for DICOM and for volumes made from arrays."""
    return getattr(volume.storage, "suffix", ".nii.gz")


def is_private(key: str) -> bool:
    """Whether a header key may carry patient data; such keys are not copied into what we write."""
    return PRIVATE_KEY.search(key) is not None


def one_line(fields: dict[str, str]) -> dict[str, str]:
    """Header fields as text without line breaks, which would end the field in every header format."""
    return {str(key): " ".join(str(value).split()) for key, value in fields.items()}


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a file reader raises on a bad file into one error that names the file."""
    try:
        yield
    except LeFusionError as error:
        raise LeFusionError(f"{path.name}: {error}") from error
    except PermissionError as error:
        raise LeFusionError(f"{path.name}: there is no permission to read it. Ask its owner or copy it.") from error
    except FileNotFoundError as error:
        missing = Path(error.filename or path).name
        raise LeFusionError(f"{path.name}: its data file {missing} is missing. Copy it beside the header.") from error
    except Exception as error:  # readers raise anything on damaged files: struct.error, zlib.error, KeyError, ...
        logger.debug("reading %s failed", kind, exc_info=True)
        raise LeFusionError(
            f"{path.name} cannot be read as {kind}: it is damaged, incomplete or of another format. "
            "Copy or export it again."
        ) from error


def check_output(paths: Paths, inputs: Paths, overwrite: bool = False) -> None:
    """Refuse outputs that would replace something; creates nothing.

    An existing file is refused unless `overwrite`. An input is refused always, also behind a symbolic or hard link;
    so is anything inside an input folder (a DICOM series), and one output named twice.
    """
    outputs, inputs = _as_paths(paths), _as_paths(inputs)
    folders = [given for given in inputs if given.is_dir()]
    files = [given for given in inputs if given not in folders]
    files += [file for folder in folders for file in folder.iterdir()]
    seen: set[Path] = set()
    for path in outputs:
        real = path.resolve()
        if real in seen:
            raise LeFusionError(f"Two outputs would be written to {path}. Give each its own name.")
        seen.add(real)
        if any(folder.resolve() in (real, *real.parents) for folder in folders):
            raise LeFusionError(f"The output {path} lies in the folder of the input series. Choose another folder.")
        if any(_same_file(path, file) for file in files):
            raise LeFusionError(f"The output {path} is an input; inputs are never overwritten. Choose another name.")
        if path.is_dir():
            raise LeFusionError(f"The output {path} is a folder. Give a file name.")
        if os.path.lexists(path) and not overwrite:
            raise LeFusionError(f"The output {path} exists already. Choose another name, or allow overwriting.")


def _as_paths(paths: Paths) -> list[Path]:
    return [Path(paths)] if isinstance(paths, str | os.PathLike) else [Path(path) for path in paths]


def _same_file(a: Path, b: Path) -> bool:
    return a.resolve() == b.resolve() or (a.exists() and b.exists() and a.samefile(b))


@contextmanager
def atomic_write(path: str | os.PathLike[str], needed_bytes: int = 0) -> Iterator[Path]:
    """Give a temporary path beside `path`, with its extension, to write to; it becomes `path` when all went well.

    On any error the temporary file is removed and what was at `path` before is untouched. `needed_bytes` (an upper
    bound) is only told to a user whose disk is full.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise LeFusionError(f"There is no folder {path.parent} to write {path.name} into. Create it first.")
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}{''.join(path.suffixes[-2:])}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())  # network disks may tell only now that they are full
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise LeFusionError(
                f"{path} cannot be written: {error.strerror or error}. Choose another folder or ask for permission."
            ) from error
        written = temporary.stat().st_size if temporary.exists() else 0
        free = shutil.disk_usage(path.parent).free + written
        raise LeFusionError(
            f"There is not enough room in {path.parent} for {path.name}: it needs up to "
            f"{max(needed_bytes, written) / 1e6:.1f} MB, {free / 1e6:.1f} MB are free. "
            "Free some space or choose another folder; nothing was written."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def written_together(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Give a path aside for each of `paths`, of the same name, to write to; either all appear in their folder, or none.

    `paths` lie in one folder, which exists.
    """
    with tempfile.TemporaryDirectory(dir=paths[0].parent, prefix=".lefusion-") as folder:
        aside = [Path(folder) / path.name for path in paths]
        yield aside
        for temporary, path in zip(aside, paths, strict=True):
            os.replace(temporary, path)
