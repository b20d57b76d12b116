"""Where a lesion's chance comes from: the user's seed and the lesion's place, not its company or the voxel order."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import LeFusionError

# Keeps places on round millimetres away from where rounding could go either way.
ODD_TENTHS = 0.137


def place_generator(seed: Any, point_ras: Sequence[float] | np.ndarray) -> np.random.Generator:
    """A generator for the lesion at `point_ras`, (R, A, S) in mm taken to tenths: the same however the volume is stored
    or cropped, another for every place."""
    tenths = np.rint(np.asarray(point_ras, dtype=np.float64) * 10 + ODD_TENTHS)
    return np.random.default_rng([check_seed(seed), *(int(t) % 2**32 for t in tenths)])


def check_seed(seed: Any) -> int:
    """A seed is a whole number from 0 to 2^63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise LeFusionError(f"The seed must be a whole number from 0 to {2**63 - 1}; got {seed!r}.")
    return int(seed)
