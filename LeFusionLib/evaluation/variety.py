"""Do the lesions of different seeds differ as much as they should?

Surroundings, mask and histogram leave open what the tissue is: many would fit, the real one among them. Where the made
ones are drawn from just these, two of them are as far apart as each is from the real. Where they are nearer to each
other than to it, they are too much alike, however good each is (in forecasting: spread and error of an ensemble, Fortin
et al. 2014).
"""

from collections.abc import Sequence

import numpy as np

from .remade import Remade


def variety(
    first: Sequence[Remade], second: Sequence[Remade], classes: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """{class: {"between_seeds", "from_real": root mean square differences in grey values; "variety": their ratio}} of
    the same lesions made with two seeds. None where no lesion has the class, the ratio also where all are the real."""
    found: dict[str, dict[str, float | None]] = {}
    for index, name in enumerate(classes):
        between, error = [], []
        for a, b in zip(first, second, strict=True):
            own = a.real.mask[index]
            if own.any():
                real, one, other = (a.real.window.restore(image[own]) for image in (a.real.image, a.made, b.made))
                between.append(_square(one, other))
                error.append((_square(one, real) + _square(other, real)) / 2)
        if not between:
            found[name] = {"between_seeds": None, "from_real": None, "variety": None}
            continue
        apart, off = float(np.mean(between)) ** 0.5, float(np.mean(error)) ** 0.5
        ratio = round(apart / off, 3) if off else None
        found[name] = {"between_seeds": round(apart, 3), "from_real": round(off, 3), "variety": ratio}
    return found


def _square(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean((a.astype(np.float64) - b) ** 2))
