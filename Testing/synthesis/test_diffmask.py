"""Drawing by diffusion: the boundary at every step, the size asked for, drawn again where it misses, refused in words.

The networks here are fakes that always mean one shape; what the real one draws is told in docs/experiments.
"""

import numpy as np
import pytest
import torch

from LeFusionLib.diffusion import cosine_schedule
from LeFusionLib.errors import Cancelled, LeFusionError
from LeFusionLib.geometry import ControlSphere
from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.models.mask_spec import MaskSpec
from LeFusionLib.models.sampler_spec import SamplerSpec
from LeFusionLib.models.zoo import load_model
from LeFusionLib.synthesis.diffmask import diffuse_shape
from LeFusionLib.synthesis.draw import ATTEMPTS, draw_lesion_mask
from LeFusionLib.synthesis.watch import Watch
from LeFusionLib.volume import Volume

SPHERE = ControlSphere((-22.0, -22.0, 10.0), 10.0)
SHAPE, VOXELS = (16, 16, 16), 12.0


class Artist(torch.nn.Module):
    """A network that sees, whatever it is shown, an ellipsoid of these half axes (in sphere radii) around the middle.

    `moods`: half axes for one drawing after the other, the last for all that follow.
    """

    def __init__(self, spec, *moods, center=(0.0, 0.0, 0.0)):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.spec, self.moods, self.center, self.seen, self.told = spec, list(moods), center, [], []
        self.alphas = cosine_schedule(spec.timesteps).alphas_cumprod.float()
        self.drawings = 0

    def forward(self, x_t, t, condition=None, traits=None):
        if not self.seen or t[0] > self.seen[-1][0]:
            self.drawings += 1
        self.seen.append((int(t[0]), x_t.clone()))
        self.told.append(None if traits is None else traits.tolist()[0])
        axes = self.moods[min(self.drawings - 1, len(self.moods) - 1)]
        grid = np.stack(np.meshgrid(*[np.arange(n) - (n - 1) / 2 for n in x_t.shape[2:]], indexing="ij"))
        places = grid / (VOXELS / 2) - np.reshape(self.center, (3, 1, 1, 1))
        inside = ((places / np.reshape(axes, (3, 1, 1, 1))) ** 2).sum(axis=0) < 1
        x_start = torch.from_numpy(np.where(inside, 1.0, -1.0)).float().expand_as(x_t)
        a = self.alphas[t].view(-1, 1, 1, 1, 1)
        return (x_t - a**0.5 * x_start) / (1 - a) ** 0.5


@pytest.fixture
def artist(tiny_model):
    """A mask model whose network is an Artist."""

    def make(*moods, center=(0.0, 0.0, 0.0), **mask):
        spec = tiny_model(
            kind="mask", patch_shapes=(SHAPE,), spacing_mm=None, mask=MaskSpec(sphere_voxels=VOXELS, **mask)
        ).spec
        return tiny_model(
            denoiser=Artist(spec, *moods, center=center),
            kind="mask",
            patch_shapes=(SHAPE,),
            spacing_mm=None,
            mask=spec.mask,
        )

    return make


EGG = (0.6, 0.7, 1.0)


def test_the_shape_is_drawn_on_the_volumes_grid_as_large_as_asked_and_inside_the_sphere(scan, artist):
    volume = scan()
    lesion = draw_lesion_mask(volume, SPHERE, artist(EGG), seed=3)
    lesion.check_on_grid_of(volume)
    assert lesion.diameter_mm() == pytest.approx(10, abs=0.7)
    assert not (lesion.union & ~SPHERE.mask_on(volume)).any()
    assert lesion.volume_mm3() == pytest.approx(4 / 3 * np.pi * 125 * 0.42, rel=0.2)
    assert (lesion.classes, lesion.sphere, lesion.drawn_by) == (("nodule",), SPHERE, "tiny@00000000")


def test_the_axes_of_the_network_are_the_patients_in_any_storage(scan, artist):
    """Half axes along (S, A, R): the egg is longest from left to right, on a permuted and flipped grid too."""
    volume = scan()
    first = draw_lesion_mask(volume, SPHERE, artist(EGG)).union
    extent = [int(np.ptp(axis)) + 1 for axis in np.nonzero(first)]
    assert extent[2] > extent[1] >= extent[0]
    turned = np.eye(4)[[2, 1, 0, 3]]
    other = Volume(volume.array.transpose(2, 1, 0), volume.ijk_to_ras @ turned)
    assert np.array_equal(draw_lesion_mask(other, SPHERE, artist(EGG)).union.transpose(2, 1, 0), first)


def test_oblique_and_anisotropic_grids_get_the_same_lesion_in_the_world(artist):
    turn = np.linalg.qr(np.random.default_rng(4).standard_normal((3, 3)))[0]
    masks = []
    for axes in (np.diag([0.8, 0.8, 0.8]), turn @ np.diag([0.6, 0.7, 1.5]), -turn @ np.diag([0.7, 0.7, 2.5])):
        matrix = np.eye(4)
        matrix[:3, :3] = axes
        matrix[:3, 3] = -axes @ np.array([24.5, 24.5, 24.5]) + SPHERE.center_ras
        volume = Volume(np.zeros((50, 50, 50), np.int16), matrix)
        lesion = draw_lesion_mask(volume, SPHERE, artist(EGG))
        assert not (lesion.union & ~SPHERE.mask_on(volume)).any()
        masks.append(lesion)
    assert [m.volume_mm3() for m in masks[1:]] == pytest.approx([masks[0].volume_mm3()] * 2, rel=0.15)
    for mask in masks[1:]:
        assert mask.center_ras == pytest.approx(masks[0].center_ras, abs=0.8)


def test_outside_the_boundary_every_step_is_background_at_that_steps_noise_level(artist):
    model = artist(EGG)
    boundary = np.zeros(SHAPE, bool)
    boundary[:8] = True
    frame = model.spec.mask.frame(SPHERE, SHAPE, None)
    sampler = SamplerSpec("ddpm", 12, 1, 1, 1.0)
    made = diffuse_shape(model.denoiser, model.schedule, SPHERE, frame, sampler, 0, boundary=boundary)
    assert (made[0][~boundary] == -1).all() and (made[0][boundary] > 0).any()
    seen = model.denoiser.seen
    assert len(seen) == 12
    for t, x_t in seen:
        a = model.schedule.alpha_bar(t)
        outside = x_t[0, 0].numpy()[~boundary]
        noise = (outside + a**0.5) / (1 - a) ** 0.5
        assert abs(noise.mean()) < 0.1 and noise.std() == pytest.approx(1, abs=0.1), t
    # and inside there is, by and by, a lesion
    assert seen[-1][1][0, 0].numpy()[boundary].max() > 0.5


def test_no_voxel_lies_outside_the_boundary_and_its_room_is_what_counts(scan, artist):
    volume = scan()
    half = np.zeros(volume.shape, bool)
    half[:, :, :20] = True
    lesion = draw_lesion_mask(volume, SPHERE, artist((0.9, 0.9, 1.0)), boundary=half)
    assert not (lesion.union & ~half).any()
    room = LesionMask(SPHERE.mask_on(volume) & half, volume.ijk_to_ras)
    assert lesion.diameter_mm() == pytest.approx(room.diameter_mm(), rel=0.16)


def test_a_shape_that_misses_its_sphere_is_drawn_again_from_the_same_stream(scan, artist):
    volume = scan()
    model = artist((0.2, 0.2, 0.2), EGG)
    lesion = draw_lesion_mask(volume, SPHERE, model, seed=1)
    assert model.denoiser.drawings == 2 and lesion.diameter_mm() == pytest.approx(10, abs=0.7)


@pytest.mark.parametrize("center, axes", [((0, 0, 0), (0.01,) * 3), ((0, 0, 0), (0.3,) * 3), ((0.8, 0, 0), (0.5,) * 3)])
def test_a_sphere_that_is_never_met_is_refused_after_so_many_attempts(scan, artist, center, axes):
    model = artist(axes, center=center)
    with pytest.raises(LeFusionError, match=f"{ATTEMPTS} shapes were drawn .* Take another seed"):
        draw_lesion_mask(scan(), SPHERE, model)
    assert model.denoiser.drawings == ATTEMPTS


def test_size_and_ratings_reach_the_network(scan, artist):
    model = artist(EGG, ratings=("sphericity", "spiculation"))
    draw_lesion_mask(scan(), SPHERE, model, ratings={"spiculation": 5})
    assert model.denoiser.told[0] == [0.0, 0.0, 0.0, 1.0, 1.0]
    with pytest.raises(LeFusionError, match="Did you mean 'sphericity'"):
        draw_lesion_mask(scan(), SPHERE, model, ratings={"spherical": 5})
    with pytest.raises(LeFusionError, match="cannot be steered by ratings"):
        draw_lesion_mask(scan(), SPHERE, "handcrafted", ratings={"spiculation": 5})


def test_seed_and_number_decide_the_shape(scan, tiny_model):
    spec = {"kind": "mask", "patch_shapes": (SHAPE,), "spacing_mm": None}
    model = tiny_model(**spec, mask=MaskSpec(sphere_voxels=VOXELS, diameter_tolerance=0.9))
    frame = model.spec.mask.frame(SPHERE, SHAPE, None)
    sampler = SamplerSpec("ddim", 3, 1, 1, 1.0)
    one, again, other = (
        diffuse_shape(model.denoiser, model.schedule, SPHERE, frame, sampler, seed).tobytes() for seed in (5, 5, 6)
    )
    assert one == again != other


def test_progress_tells_of_every_evaluation_and_cancel_stops_before_the_next(scan, artist):
    told = []
    draw_lesion_mask(scan(), SPHERE, artist((0.1,) * 3, EGG), progress=lambda *step: told.append(step))
    assert told == [(n, 2 if n < 3 else 4, "drawing the shape") for n in range(1, 5)]
    model = artist(EGG)
    with pytest.raises(Cancelled, match="Stopped after 1 of"):
        draw_lesion_mask(scan(), SPHERE, model, cancel=lambda: len(model.denoiser.seen) >= 1)
    assert len(model.denoiser.seen) == 1


def test_classes_are_drawn_together_or_one_of_them(scan, tiny_model):
    classes = {"classes": ("infarct", "no_reflow"), "kind": "mask", "patch_shapes": (SHAPE,), "spacing_mm": None}
    mask = MaskSpec(sphere_voxels=VOXELS)
    artist = Artist(tiny_model(**classes, mask=mask).spec, EGG)
    model = tiny_model(denoiser=artist, **classes, mask=mask)
    both = draw_lesion_mask(scan(), SPHERE, model)
    assert both.classes == ("infarct", "no_reflow")
    assert draw_lesion_mask(scan(), SPHERE, model, lesion_class="no_reflow").classes == ("no_reflow",)
    with pytest.raises(LeFusionError, match="'nodule'. Possible: infarct, no_reflow"):
        draw_lesion_mask(scan(), SPHERE, model, lesion_class="nodule")


def test_what_cannot_draw_is_refused(scan, artist, tiny_model):
    with pytest.raises(LeFusionError, match="makes tissue; a model that draws shapes is needed"):
        draw_lesion_mask(scan(), SPHERE, tiny_model())
    with pytest.raises(LeFusionError, match="lesions of 4 to 8 mm; got 10 mm"):
        draw_lesion_mask(scan(), SPHERE, artist(EGG, diameter_range_mm=(4.0, 8.0)))
    with pytest.raises(LeFusionError, match="number is 0, 1, 2"):
        draw_lesion_mask(scan(), SPHERE, artist(EGG), number=-1)


def test_the_published_mask_model_goes_through_the_same_door(golden, scan):
    """Its random weights draw junk: what counts is that it is asked as published, and refused in words, not painted."""
    model = load_model(golden / "ckpt_diffmask_small.pt", "cpu")
    assert model.spec.mask.published and model.spec.condition_size == 0
    frame = model.spec.mask.frame(SPHERE, (4, 16, 16), (1.0, 1.0, 1.0))
    watch = Watch(0, "drawing")
    made = diffuse_shape(
        model.denoiser, model.schedule, SPHERE, frame, SamplerSpec("ddim", 2, 1, 1, 1.0), 0, watch=watch
    )
    assert made.shape == (1, 4, 16, 16) and np.abs(made).max() <= 1 and watch.done == 2
    with pytest.raises(LeFusionError, match="largest possible diameter is 31 mm"):
        draw_lesion_mask(scan((40, 80, 80)), ControlSphere((-40, -40, 20), 35.0), model)
