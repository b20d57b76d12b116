"""The lesion-focused training loss."""

from torch import Tensor

from ..errors import unknown_name

DISTANCES = {"l1": lambda a, b: (a - b).abs(), "l2": lambda a, b: (a - b).square()}
REDUCTIONS = ("published", "per_lesion")


def lesion_focused_loss(
    noise: Tensor, predicted: Tensor, lesion_mask: Tensor, distance: str = "l1", reduction: str = "published"
) -> Tensor:
    """Compare predicted and true noise inside the lesion only, each class in its own channel (LeFusion, Eqs. 4, 6).

    `noise`, `predicted` (B, C, D, H, W); `lesion_mask` (B, C, D, H, W). Reduction "published": per class the mean over
    all voxels of the patch, so that small lesions count less, classes added; "per_lesion": the mean over each lesion's
    own voxels, then over the lesions present.
    """
    if distance not in DISTANCES:
        raise unknown_name("distance", distance, DISTANCES)
    if reduction not in REDUCTIONS:
        raise unknown_name("reduction", reduction, REDUCTIONS)
    error = DISTANCES[distance](noise, predicted) * lesion_mask
    if reduction == "published":
        return error.mean(dim=(0, 2, 3, 4)).sum()
    voxels = lesion_mask.sum(dim=(2, 3, 4))
    per_lesion = error.sum(dim=(2, 3, 4)) / voxels.clamp(min=1)
    return per_lesion.sum() / (voxels > 0).sum().clamp(min=1)
