"""May a faster sampler draw a mask model's shapes? Its shapes against the slow one's, and these against each other.

As in `sampler_gate` the spread between seeds is the measure: the slow sampler draws every shape with several seeds,
sets of one seed for each sphere are drawn anew many times, and a faster setting passes where its set is no farther from
them than they mostly are from each other. Far is the Wasserstein distance of a shape's features (`FEATURES`) in
standard deviations of the slow sampler's: the mean of all features, and the feature that is farthest off.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np
from scipy.stats import wasserstein_distance

from ..errors import LeFusionError
from ..geometry import ControlSphere
from ..lesion_mask import LesionMask
from ..models.sampler_spec import SamplerSpec
from ..models.zoo import Model
from ..synthesis.draw import draw_lesion_mask
from ..volume import Volume
from .mask_shapes import Masks, draw_matching, measure, real_shapes
from .sampler_gate import DRAWS, WITHIN, Setting
from .shape_features import FEATURES

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShapeRow:
    """One setting: `seconds` a shape, spheres that were `refused` and drawn with another seed, the distances from the
    slow sampler beside what is allowed, which feature is `farthest`, the mean distance from the real shapes; all
    distances in standard deviations."""

    setting: str
    steps: int
    seconds: float
    refused: int
    mean_difference: float
    mean_allowed: float
    largest_difference: float
    largest_allowed: float
    farthest: str
    from_real: float
    passes: bool


@dataclass(frozen=True, eq=False)
class DrawnSet:
    """What one setting drew with one seed: `features` (N, 10), a row per sphere."""

    features: np.ndarray
    seconds: float
    refused: int


def shape_gate(
    real: Masks,
    slow: Setting,
    settings: Sequence[Setting],
    seeds: int = 2,
    seed: int = 0,
) -> list[ShapeRow]:
    """One row for the slow sampler (its own spread) and one for each of `settings`.

    real: masks (D, H, W) at 1 mm that the model has not seen; each lends its diameter to a sphere. seeds: how often the
    slow sampler draws in each sphere, at least 2; the others draw once, with a seed of their own.
    """
    shapes = real_shapes(real)
    made: dict[str, list[DrawnSet]] = {}
    for number, (name, model, sampler) in enumerate((slow, *settings)):
        own_seeds = range(seed, seed + seeds) if number == 0 else [seed + seeds]
        made[name] = [_drawn(model, shapes, sampler, 1_000_003 * own) for own in own_seeds]
        logger.info("%s: %.2f s a shape", name, np.mean([drawn.seconds for drawn in made[name]]))
    features = np.array([astuple(found) for found in measure(shapes)])
    steps = {name: sampler.num_steps or 1 for name, _, sampler in (slow, *settings)}
    return judged(made, slow[0], features, steps, seed)


def _drawn(model: Model, shapes: Masks, sampler: SamplerSpec, seed: int) -> DrawnSet:
    refused = 0

    def draw(volume: Volume, sphere: ControlSphere, own_seed: int) -> LesionMask:
        nonlocal refused
        try:
            return draw_lesion_mask(volume, sphere, model, seed=own_seed, sampler=sampler)
        except LeFusionError:
            refused += 1
            return draw(volume, sphere, own_seed + 1)

    since = time.perf_counter()
    masks = draw_matching(shapes, draw, seed)
    seconds = (time.perf_counter() - since) / len(masks)
    return DrawnSet(np.array([astuple(found) for found in measure(masks)]), seconds, refused)


def judged(
    made: Mapping[str, Sequence[DrawnSet]], slow: str, real: np.ndarray, steps: Mapping[str, int], seed: int = 0
) -> list[ShapeRow]:
    """The rows from what was drawn, {setting: a set for each seed}; `real` (N, 10), the real shapes' features."""
    rng = np.random.default_rng(seed)
    own_sets = np.stack([drawn.features for drawn in made[slow]])
    spread = own_sets.std(axis=(0, 1)) + 1e-6
    seeds, spheres = own_sets.shape[:2]
    orders = [np.array([rng.permutation(seeds)[:2] for _ in range(spheres)]) for _ in range(DRAWS)]

    def redrawn(order: np.ndarray, which: int) -> np.ndarray:
        return own_sets[order[:, which], np.arange(spheres)]

    def apart(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        each = zip(first.T, second.T, spread, strict=True)
        return np.array([wasserstein_distance(a, b) / sd for a, b, sd in each])

    own = np.array([apart(redrawn(order, 0), redrawn(order, 1)) for order in orders])
    allowed_mean, allowed_largest = (np.percentile(values, WITHIN) for values in (own.mean(axis=1), own.max(axis=1)))
    rows = []
    for name, sets in made.items():
        distances = own
        if name != slow:
            distances = np.array([apart(sets[0].features, redrawn(order, 0)) for order in orders])
        mean, largest = float(distances.mean()), float(distances.max(axis=1).mean())
        rows.append(
            ShapeRow(
                setting=name,
                steps=steps[name],
                seconds=round(float(np.mean([drawn.seconds for drawn in sets])), 2),
                refused=sum(drawn.refused for drawn in sets),
                mean_difference=round(mean, 4),
                mean_allowed=round(float(allowed_mean), 4),
                largest_difference=round(largest, 4),
                largest_allowed=round(float(allowed_largest), 4),
                farthest=FEATURES[int(distances.mean(axis=0).argmax())],
                from_real=round(float(np.mean([apart(drawn.features, real).mean() for drawn in sets])), 3),
                passes=bool(mean <= allowed_mean and largest <= allowed_largest),
            )
        )
    return rows


def as_markdown(rows: Sequence[ShapeRow], about: str) -> str:
    """The table of `docs/experiments/sampling.md`."""
    lines = [
        about,
        "",
        "| setting | s a shape | refused | mean of all features: difference / allowed | farthest feature: difference / "
        "allowed | mean distance from real | within the spread |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.setting} | {row.seconds:.2f} | {row.refused} | {row.mean_difference:.3f} / {row.mean_allowed:.3f} | "
        f"{row.farthest}: {row.largest_difference:.3f} / {row.largest_allowed:.3f} | {row.from_real:.2f} | "
        f"{'yes' if row.passes else 'no'} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"
