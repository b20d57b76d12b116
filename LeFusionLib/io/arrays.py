"""Arrays as .npy files, for handing voxels from one process to another."""

from pathlib import Path
from typing import BinaryIO

import numpy as np

from .files import atomic_write, reading


def write_array(path: Path, array: np.ndarray) -> None:
    """Write the array, of any shape and dtype; the file appears whole or not at all."""
    with atomic_write(path, array.nbytes) as temporary, temporary.open("wb") as file:
        np.save(_Plain(file), array, allow_pickle=False)  # type: ignore[arg-type, unused-ignore]


class _Plain:
    """A file that numpy does not know for one: its own way of writing to files does not say that the disk is full."""

    def __init__(self, file: BinaryIO):
        self.write = file.write


def read_array(path: Path) -> np.ndarray:
    """The array, bit for bit; nothing in the file is run."""
    with reading(path, "an array"):
        return np.load(path, allow_pickle=False)
