"""Small scans and lesions for the jobs."""

import numpy as np
import pytest

from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.volume import Volume

AXIAL = np.diag([-1.0, -1.0, 1.0, 1.0])  # axial CT as it is stored, 1 mm


@pytest.fixture(scope="session")
def scan():
    """Volumes of noise around lung and tissue, values beyond the window included."""

    def make(shape=(20, 44, 44), dtype="int16", matrix=AXIAL, seed=0):
        values = np.random.default_rng(seed).normal(-600, 400, shape)
        if np.dtype(dtype).kind in "iu":
            limits = np.iinfo(dtype)
            values = np.clip(np.rint(values), limits.min, limits.max)
        return Volume(values.astype(dtype), matrix, name="scan")

    return make


@pytest.fixture(scope="session")
def box():
    """Lesion masks that are boxes of voxels, one class each: box(volume, ((k, j, i), (d, h, w)), ...)."""

    def make(volume, *boxes, classes=("nodule",)):
        array = np.zeros((len(classes), *volume.shape), bool)
        for number, (low, size) in enumerate(boxes):
            array[(number % len(classes), *(slice(a, a + n) for a, n in zip(low, size, strict=True)))] = True
        return LesionMask(array, volume.ijk_to_ras, classes)

    return make
