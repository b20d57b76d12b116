"""Lesions made again and drawn again: what is measured of them, on answers that can be checked by hand."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from LeFusionLib import LeFusionError
from LeFusionLib.diffusion import cosine_schedule
from LeFusionLib.evaluation.redrawn import REFUSED, detached, redraw
from LeFusionLib.evaluation.redrawn import summarize as summarize_redrawn
from LeFusionLib.evaluation.remade import (
    Remade,
    box_around,
    classes_of,
    markdown,
    measure,
    psnr,
    remake,
    ssim,
    summarize,
    surroundings,
)
from LeFusionLib.evaluation.remade_figure import denoising, histograms, montage
from LeFusionLib.evaluation.set_distances import set_distances
from LeFusionLib.evaluation.variety import variety
from LeFusionLib.geometry import ControlSphere
from LeFusionLib.intensity import IntensityWindow
from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.models.mask_spec import MaskSpec
from LeFusionLib.models.zoo import Model

CLASSES = ("infarct", "no_reflow")
WINDOW = IntensityWindow(0, 200, "scanner units")  # 0.1 of [-1, 1] is 10 grey values


@dataclass(frozen=True, eq=False)
class Case:
    """A slab of organ (-0.5) in nothing (-1), with an infarct (0.5) and no-reflow (0) inside."""

    image: np.ndarray
    mask: np.ndarray
    organ: np.ndarray | None
    window: IntensityWindow = WINDOW
    spacing_mm: tuple[float, float, float] = (10.0, 1.5, 1.5)


def case():
    image = np.full((4, 32, 32), -1, np.float32)
    organ, mask = np.zeros(image.shape, bool), np.zeros((2, *image.shape), bool)
    organ[:, 6:26, 6:26] = True
    mask[0, 1:3, 10:20, 10:20] = True
    mask[1, 1:3, 13:16, 13:16] = True
    mask[0] &= ~mask[1]
    image[organ] = -0.5
    image[mask[0]], image[mask[1]] = 0.5, 0.0
    return Case(image, mask, organ)


def test_equal_images_are_as_good_as_can_be_and_a_shift_costs_what_it_should():
    real = np.random.default_rng(0).uniform(-1, 1, (3, 12, 12)).astype(np.float32)
    assert psnr(real, real) == 100 and ssim(real, real) == pytest.approx(1)
    assert psnr(real, real + 0.2) == pytest.approx(20, abs=1e-4)  # 10 log10(4 / 0.04)
    other = np.random.default_rng(1).uniform(-1, 1, real.shape).astype(np.float32)
    assert abs(ssim(real, other)) < 0.2  # nothing in common


def test_the_box_holds_the_class_and_is_wide_enough_for_ssim():
    mask = np.zeros((4, 32, 32), bool)
    mask[1:3, 10:20, 31] = True
    k, j, i = box_around(mask)
    assert (k, j) == (slice(1, 3), slice(7, 23)) and (i.stop, i.stop - i.start >= 7) == (32, True)


def test_means_are_compared_with_the_class_before_or_with_the_organ():
    real = case()
    made = real.image.copy()
    made[real.mask[0]], made[real.mask[1]] = 0.7, 0.8
    infarct, inner = measure(Remade(0, real, made), CLASSES, 0)
    assert (infarct.mean_real, infarct.mean_made, infarct.beside, infarct.beside_real) == (150, 170, "surroundings", 50)
    assert (inner.mean_real, inner.mean_made, inner.beside, inner.beside_real, inner.beside_made) == (
        100, 180, "infarct", 150, 170,
    )  # fmt: skip
    # The rim of the no-reflow, of 2 slices with 3 x 3 voxels: 24 steps to the infarct, 18 to the organ.
    assert (inner.seam_real, inner.seam_made) == pytest.approx((50, (24 * 10 + 18 * 130) / 42), abs=1e-3)
    assert infarct.histogram_distance == pytest.approx(12.5)  # from bin 0.5 to 0.625 into the next
    summary = summarize([infarct, inner])
    assert summary["classes"]["infarct"]["same_order"] == 1
    row = summary["classes"]["no_reflow"]
    assert (row["brighter_real"], row["brighter_made"], row["same_order"]) == (0, 1, 0)  # it should have been darker
    assert "| no_reflow | 1 |" in markdown(summary)


def test_as_sets_equal_lesions_are_at_no_distance_and_worse_ones_farther_off():
    dice = np.random.default_rng(0)
    reals = [replace(case(), image=case().image + dice.normal(0, 0.05, (4, 32, 32)).astype(np.float32)) for _ in "abc"]
    found = []
    for shift in (0.0, 0.1, 0.3):
        lesions = [Remade(n, real, real.image + shift * real.mask[1]) for n, real in enumerate(reals)]
        found.append(set_distances(lesions, CLASSES)["no_reflow"])
    assert found[0]["swd"] == 0 and found[0]["kid"] < 1e-6
    assert 0 < found[1]["swd"] < found[2]["swd"] and found[1]["kid"] < found[2]["kid"]
    assert set_distances(lesions[:1], CLASSES)["infarct"] == {"swd": None, "kid": None}


def test_seeds_are_as_far_apart_as_each_is_from_the_real_where_the_real_could_be_one_of_them():
    real = case()
    lesions = [[Remade(0, real, real.image + shift * real.mask[1])] for shift in (0.1, -0.1, 0.3)]
    found = variety(lesions[0], lesions[1], CLASSES)["no_reflow"]
    assert found == pytest.approx({"between_seeds": 20, "from_real": 10, "variety": 2}, abs=1e-3)
    found = variety(lesions[0], lesions[2], CLASSES)["no_reflow"]  # 10 and 30 from the real
    assert found == pytest.approx({"between_seeds": 20, "from_real": 500**0.5, "variety": 20 / 500**0.5}, abs=1e-3)
    alike = variety(lesions[0], lesions[0], CLASSES)
    assert (alike["no_reflow"]["variety"], alike["infarct"]["variety"]) == (0, None)  # the infarct is the real one
    without = replace(real, mask=real.mask & np.array([True, False])[:, None, None, None])
    assert set(variety([Remade(0, without, real.image)], lesions[0], CLASSES)["no_reflow"].values()) == {None}
    dice = np.random.default_rng(0)
    drawn = [replace(real, image=dice.normal(0, 0.2, real.image.shape).astype(np.float32)) for _ in range(900)]
    first, second = ([Remade(0, a, b.image) for a, b in zip(drawn[:300], more, strict=True)]
                     for more in (drawn[300:600], drawn[600:]))  # fmt: skip
    assert variety(first, second, CLASSES)["infarct"]["variety"] == pytest.approx(1, abs=0.01)


def test_without_an_organ_the_shell_around_counts():
    real = replace(case(), organ=None, spacing_mm=(1.5, 1.5, 1.5))
    shell = surroundings(real)
    assert shell[1, 9, 10] and shell[1, 6, 10] and not shell[1, 5, 10] and not (shell & real.mask.any(axis=0)).any()


def test_a_model_makes_every_lesion_again_inside_its_mask_only(tiny_model, tmp_path):
    model = tiny_model(classes=CLASSES, **HEART)
    real = case()
    lesions, rows = remake([model], [real, real], seed=3)
    union = real.mask.any(axis=0)
    for lesion in lesions:
        assert np.allclose(lesion.made[~union], real.image[~union], atol=1e-6)
        assert not np.allclose(lesion.made[union], real.image[union], atol=1e-3)
    assert [row.lesion_class for row in rows] == [*CLASSES, *CLASSES] and {row.changed_outside for row in rows} == {0}
    montage(lesions, CLASSES, tmp_path / "lesions.png")
    histograms(lesions, CLASSES, tmp_path / "histograms.png")
    denoising(model, real, tmp_path / "denoising.png")
    assert len(list(tmp_path.glob("*.png"))) == 3


HEART = {"spacing_mm": None, "intensity": {"kind": "range"}, "patch_shapes": ((4, 16, 16), (6, 32, 32))}


def test_a_class_that_is_not_wanted_stays_real(tiny_model):
    real = case()
    (lesion,), (row,) = remake([tiny_model(classes=CLASSES, **HEART)], [real], wanted=("no_reflow",))
    assert (row.lesion_class, row.changed_outside) == ("no_reflow", 0)
    assert np.allclose(lesion.made[~real.mask[1]], real.image[~real.mask[1]], atol=1e-6)
    assert not np.allclose(lesion.made[real.mask[1]], real.image[real.mask[1]], atol=1e-3)
    without = replace(real, mask=real.mask & np.array([True, False])[:, None, None, None])
    assert remake([tiny_model(classes=CLASSES, **HEART)], [without], wanted=("no_reflow",)) == ([], [])
    with pytest.raises(LeFusionError, match="scar.*infarct, no_reflow"):
        remake([tiny_model(classes=CLASSES, **HEART)], [real], wanted=("scar",))


def test_models_of_one_class_each_make_their_classes_one_after_the_other(tiny_model):
    real = case()
    models = [tiny_model(classes=(name,), **HEART) for name in CLASSES]
    assert classes_of(models) == CLASSES
    (both,), rows = remake(models, [real], seed=3)
    (first,), _ = remake(models, [real], wanted=("infarct",), seed=3)
    assert [row.lesion_class for row in rows] == list(CLASSES) and {row.changed_outside for row in rows} == {0}
    kept = WINDOW.normalize(WINDOW.restore(real.image))
    assert np.array_equal(first.made[real.mask[1]], kept[real.mask[1]])  # only the infarct was wanted
    (alone,), _ = remake(models, [real], wanted=("no_reflow",), seed=3)
    assert not np.allclose(both.made[real.mask[1]], alone.made[real.mask[1]], atol=1e-4)  # it saw the made infarct


def test_the_first_of_several_models_is_not_shown_what_the_next_will_make(tiny_model):
    real = case()
    inner = real.mask[1]
    other = replace(real, image=np.where(inner, np.float32(0.9), real.image))  # another real core
    models = [tiny_model(classes=(name,), **HEART) for name in CLASSES]
    made = [remake(models, [one], seed=3)[0][0].made for one in (real, other)]
    assert np.array_equal(made[0][real.mask[0]], made[1][real.mask[0]])
    seen = [remake(models, [one], wanted=("infarct",), seed=3)[0][0].made for one in (real, other)]
    assert not np.array_equal(seen[0][real.mask[0]], seen[1][real.mask[0]])  # here the core is real, and shown


def test_pieces_that_touch_nothing_of_the_class_before_are_counted():
    array = np.zeros((2, 1, 5, 9), bool)
    array[0, 0, 2, :3] = True
    array[1, 0, 2, 3:5] = True
    array[1, 0, 0, 7] = True
    assert detached(LesionMask(array, np.eye(4), CLASSES)) == 1


@dataclass(frozen=True, eq=False)
class OrganCase:
    lesion: LesionMask
    organ: np.ndarray
    sphere: ControlSphere


class Draws(torch.nn.Module):
    """Sees the same patch whatever it is shown."""

    def __init__(self, spec, patch):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.spec, self.patch = spec, torch.from_numpy(patch)
        self.alphas = cosine_schedule(spec.timesteps).alphas_cumprod.float()

    def forward(self, x_t, t, condition=None, traits=None):
        a = self.alphas[t].view(-1, 1, 1, 1, 1)
        return (x_t - a**0.5 * self.patch) / (1 - a) ** 0.5


@pytest.mark.parametrize("empty", [False, True])
def test_real_lesions_are_drawn_again_and_compared(tiny_model, empty):
    real = case()
    grid = np.diag([-1.5, -1.5, 10.0, 1.0])
    lesion = LesionMask(real.mask, grid, CLASSES)
    heart = OrganCase(lesion, real.organ, ControlSphere(lesion.center_ras, lesion.diameter_mm()))
    mask = MaskSpec(boundary_channel=True, nested=True, optional=("no_reflow",))
    model = tiny_model(classes=CLASSES, kind="mask", spacing_mm=None, patch_shapes=((4, 32, 32),), mask=mask)
    frame = mask.frame(heart.sphere, (4, 32, 32), None, lesion)
    drawn = np.where(mask.channels_of(frame.extract_mask(lesion) > 0.5), np.float32(1), np.float32(-1))
    fake = Draws(model.spec, np.full_like(drawn, -1) if empty else drawn)
    shapes, (row,) = redraw(Model(model.card, fake, model.schedule, model.device), [heart])
    summary = summarize_redrawn([row])
    if empty:
        assert shapes == [None] and row.delivered == REFUSED and summary["refused"] == 1 and summary["dice"] is None
    else:
        assert row.dice == 1 and row.inner_drawn == row.inner_real > 0 and summary["outside_organ"] == 0
