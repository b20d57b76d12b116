"""Arrays as .npy files, for handing voxels from one process to another."""

from pathlib import Path

import numpy as np

from .files import atomic_write, reading


def write_array(path: Path, array: np.ndarray) -> None:
    """Write the array, of any shape and dtype; the file appears whole or not at all."""
    with atomic_write(path, array.nbytes) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: Path) -> np.ndarray:
    """The array, bit for bit; nothing in the file is run."""
    with reading(path, "an array"):
        return np.load(path, allow_pickle=False)
