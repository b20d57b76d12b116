"""A mask model that draws two classes inside an organ, in miniature: targets, rules, and a run."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import LeFusionLib as lf
from LeFusionLib.diffusion import cosine_schedule, velocity
from LeFusionLib.errors import LeFusionError
from LeFusionLib.geometry import ControlSphere, PatchFrame
from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.models.sampler_spec import SamplerSpec
from LeFusionLib.synthesis.draw import ATTEMPTS
from LeFusionLib.training.objective import batch_loss
from LeFusionLib.training.organ_cases import OrganCase, read_organs
from LeFusionLib.training.settings import PRESETS
from LeFusionLib.training.shape_batches import ShapeBatchMaker
from LeFusionLib.training.shape_cases import read_shapes
from LeFusionLib.training.train import train

OBLIQUE = np.eye(4)
OBLIQUE[:3, :3] = np.array([[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]]) @ np.diag([1.5, 1.5, 10])
SPEC = PRESETS["cardiac-mi-pmo-mask"].spec
CLASSES = SPEC.classes


def labels(slices=5, pmo=True):
    """Cavity 1, muscle 2, a quarter of it infarct 3, the inner part of that no-reflow 4."""
    j, i = np.indices((40, 40)) - 20
    radius = np.hypot(j, i)
    flat = np.select([radius <= 6, radius <= 12], [1, 2], 0)
    flat[(flat == 2) & (j > abs(i))] = 3
    if pmo:
        flat[(flat == 3) & (abs(i) < 4) & (radius < 10)] = 4
    return np.repeat(flat[None], slices, axis=0).astype(np.uint8)


def case(slices=5, pmo=True, matrix=OBLIQUE):
    label = labels(slices, pmo)
    return OrganCase.of(LesionMask(np.stack([label == 3, label == 4]), matrix, CLASSES), label >= 2, f"p{slices}")


@pytest.fixture
def settings():
    mask = replace(SPEC.mask, smoothing_voxels=0.0, levels=())  # drawings are compared voxel by voxel
    spec = replace(SPEC, patch_shapes=((8, 32, 32),), dim=8, dim_mults=(1, 2), head_dim=8, mask=mask)
    sampler = SamplerSpec("ddim", 2, 1, 1, 1.0)
    return replace(PRESETS["cardiac-mi-pmo-mask"], spec=spec, steps=2, batch_size=2, validate_every=2, save_every=1,
                   validation_share=0.3, sampler=sampler)  # fmt: skip


def test_the_patch_is_a_part_of_the_volumes_own_grid_with_every_slice_once():
    heart = case(5)
    frame = SPEC.mask.frame(heart.sphere, (8, 32, 32), None, heart.grid)
    positions = frame.positions_on(heart.lesion)
    assert np.allclose(positions, np.rint(positions), atol=1e-6)
    shape, organ = heart.drawn_in(frame, SPEC.mask, heart.sphere, None)
    both = heart.lesion.union
    assert (shape[0] > 0).sum() == both.sum() and (shape[1] > 0).sum() == heart.lesion.voxels("no_reflow")
    assert organ.any(axis=(1, 2)).sum() == 5 and not organ[~organ.any(axis=(1, 2))].any()
    assert (shape[:, ~organ] == -1).all()  # beyond the muscle and beyond the slices there is background


def test_turned_shapes_keep_their_slices_their_nesting_and_their_organ():
    heart = case(5)
    frame = SPEC.mask.frame(heart.sphere, (8, 32, 32), None, heart.grid)
    rng = np.random.default_rng(0)
    for _ in range(10):
        shape, organ = heart.drawn_in(frame, SPEC.mask, heart.sphere, rng)
        assert ((shape[1] > 0) <= (shape[0] > 0)).all() and ((shape[0] > 0) <= organ).all()
        assert (shape[0] > 0).any(axis=(1, 2)).sum() == 5
        assert (shape[0] > 0).sum() == pytest.approx(heart.lesion.voxels(), rel=0.1)


def test_nested_channels_put_no_reflow_inside_the_infarct_whatever_the_network_says():
    """Where both channels are above 0 a voxel is no-reflow; no-reflow alone is nothing; infarct alone is infarct."""
    patch = np.array([[1, 1, -1, -1], [1, -1, 1, -1.0]])
    infarct, no_reflow = SPEC.mask.classes_of(patch, [0, 1]) > 0
    assert infarct.tolist() == [False, True, False, False] and no_reflow.tolist() == [True, False, False, False]
    # Switched off, no-reflow is none and its place is infarct; no-reflow alone stays where a lesion was drawn.
    assert (SPEC.mask.classes_of(patch, [0]) > 0).tolist() == [[True, True, False, False]]
    assert (SPEC.mask.classes_of(patch, [1]) > 0).tolist() == [[True, False, False, False]]
    masks = np.array([[False, True, False], [True, False, False]])
    assert SPEC.mask.channels_of(masks).tolist() == [[True, True, False], [True, False, False]]
    back = SPEC.mask.classes_of(2.0 * SPEC.mask.channels_of(masks) - 1, [0, 1]) > 0
    assert (back == masks).all()
    plain = replace(SPEC.mask, nested=False)
    assert (plain.classes_of(patch, [0, 1]) == patch).all() and (plain.channels_of(masks) == masks).all()


def test_the_network_is_told_which_classes_are_there_or_left_in_the_dark(settings):
    assert case(5, pmo=False).present == {"infarct": True, "no_reflow": False}
    sphere = ControlSphere((0, 0, 0), 30)
    told = [SPEC.mask.traits(sphere, {}, drawn).tolist() for drawn in ({}, {"no_reflow": True}, {"no_reflow": False})]
    assert told == [[0.0], [1.0], [-1.0]]
    maker = ShapeBatchMaker([case(5, pmo=False)], settings.spec, 2, 0.5, seed=0)
    rng = np.random.default_rng(0)
    seen = {float(maker.view(maker.cases[0], rng)[2][0]) for _ in range(20)}
    assert seen == {-1.0, 0.0}
    with pytest.raises(LeFusionError, match="no_reflow"):
        replace(SPEC, mask=replace(SPEC.mask, optional=("no_flow",)))


def test_sphere_and_organ_are_shown_and_only_the_organ_counts(settings):
    batch = ShapeBatchMaker([case(5)], settings.spec, 2, 0.3, seed=0).draw(0)
    assert batch.x_start.shape == (2, 2, 8, 32, 32) and batch.sphere.shape == (2, 2, 8, 32, 32)
    organ = batch.sphere[:, 1:] > 0
    assert 0 < organ.float().mean() < 0.3 and set(batch.sphere.unique().tolist()) == {-1.0, 1.0}
    schedule = cosine_schedule(300)
    a = schedule.alphas_cumprod[batch.t].float()[:, None, None, None, None]
    truth = velocity(batch.x_start, a, batch.noise)
    wrong_outside = truth + 5 * (~organ).float()
    wrong_inside = truth + organ.float()
    losses = [batch_loss(lambda *x, out=out, **k: out, batch, schedule, settings).item()
              for out in (wrong_outside, wrong_inside)]  # fmt: skip
    assert losses[0] == 0 and losses[1] == pytest.approx(1)
    assert settings.spec.in_channels == 4


def test_without_the_organ_such_a_model_says_what_is_needed(settings):
    frame = PatchFrame((8, 32, 32), OBLIQUE)
    with pytest.raises(
        LeFusionError, match="muscle of the left ventricle.*Draw it in 3D Slicer's Segment Editor.*none"
    ):
        SPEC.mask.channels(case().sphere, frame, None)


def test_hearts_are_read_with_their_muscle_and_other_folders_are_told(tmp_path):
    for number, pmo in ((1, True), (2, False)):
        lf.write_volume(lf.Volume(labels(5, pmo).astype(np.int16), OBLIQUE), tmp_path / f"P00{number}_image.nii.gz")
        lf.write_volume(lf.Volume(labels(5, pmo), OBLIQUE), tmp_path / f"P00{number}_label.nii.gz")
    one, two = read_shapes(tmp_path, SPEC)
    assert (one.patient, two.patient) == ("Case_P001", "Case_P002")
    assert (one.organ == (labels() >= 2)).all() and one.volume_mm3() == pytest.approx((labels() >= 3).sum() * 22.5)
    assert not two.present["no_reflow"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(LeFusionError, match="with their organ in the folder empty"):
        read_organs(tmp_path / "empty", SPEC)


def test_a_run_ends_in_a_model_that_draws_inside_the_muscle_only(settings, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for number in range(1, 5):
        label = labels(4 + number, pmo=number % 2 == 0)
        lf.write_volume(lf.Volume(label.astype(np.int16), OBLIQUE), data / f"P00{number}_image.nii.gz")
        lf.write_volume(lf.Volume(label, OBLIQUE), data / f"P00{number}_label.nii.gz")
    settings = replace(settings, spec=replace(settings.spec, patch_shapes=((6, 16, 16),)))
    model = lf.load_model(train(settings, data, tmp_path / "run"), "cpu")
    assert model.spec == settings.spec and (tmp_path / "run" / "samples_000002.png").exists()
    assert "volume_ratio" in (tmp_path / "run" / "log.csv").read_text()
    heart = case(5)
    with pytest.raises(LeFusionError, match="needs it as the boundary"):
        lf.draw_lesion_mask(lf.Volume(np.zeros((5, 40, 40), np.int16), OBLIQUE), heart.sphere, model)


class Always(torch.nn.Module):
    """A network that sees one patch whatever it is shown."""

    def __init__(self, spec, patch):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.spec, self.patch, self.told = spec, torch.from_numpy(patch), []
        self.alphas = cosine_schedule(spec.timesteps).alphas_cumprod.float()

    def forward(self, x_t, t, condition=None, traits=None):
        assert condition.shape[1] == 2
        self.told.append(traits.tolist())
        a = self.alphas[t].view(-1, 1, 1, 1, 1)
        return (x_t - a**0.5 * self.patch) / (1 - a) ** 0.5


@pytest.mark.parametrize("lesion_class", [None, "infarct", ("infarct", "no_reflow")])
def test_a_drawing_lies_in_the_muscle_and_a_class_switched_off_is_off(settings, tiny_model, lesion_class):
    """The network draws a real lesion, and all that is not muscle too: it gets the lesion, with no-reflow if asked."""
    from LeFusionLib.models.zoo import Model

    heart = case(5)
    frame = settings.spec.mask.frame(heart.sphere, settings.spec.patch_shapes[0], None, heart.grid)
    real, organ = heart.drawn_in(frame, settings.spec.mask, heart.sphere, None)
    fake = Always(settings.spec, np.where(organ, real, np.float32(1)))
    card = replace(tiny_model().card, spec=settings.spec, textures={})
    model = Model(card, fake, cosine_schedule(300), torch.device("cpu"))
    volume = lf.Volume(np.zeros((5, 40, 40), np.int16), OBLIQUE)
    drawn = lf.draw_lesion_mask(volume, heart.sphere, model, boundary=heart.organ, lesion_class=lesion_class, seed=0)
    assert not (drawn.union & ~heart.organ).any() and drawn.voxels("infarct") > 0
    alone = lesion_class == "infarct"
    assert drawn.classes == (("infarct",) if alone else CLASSES)
    wanted = heart.lesion.union[None] if alone else heart.lesion.array
    assert (drawn.array == wanted & drawn.union).all() and drawn.voxels() > 0.9 * heart.lesion.voxels()
    assert fake.told[0] == [[0.0 if lesion_class is None else -1.0 if alone else 1.0]]
    if not alone:
        assert drawn.voxels("no_reflow") > 0


def test_a_class_that_was_asked_for_by_name_is_there_or_the_dice_are_thrown_again(settings, tiny_model):
    """The network draws an infarct without no-reflow: left to chance that is right, asked for by name it is not."""
    from LeFusionLib.models.zoo import Model

    heart = case(5, pmo=False)
    frame = settings.spec.mask.frame(heart.sphere, settings.spec.patch_shapes[0], None, heart.grid)
    real, _ = heart.drawn_in(frame, settings.spec.mask, heart.sphere, None)
    card = replace(tiny_model().card, spec=settings.spec, textures={})
    model = Model(card, Always(settings.spec, real), cosine_schedule(300), torch.device("cpu"))
    volume = lf.Volume(np.zeros((5, 40, 40), np.int16), OBLIQUE)
    assert lf.draw_lesion_mask(volume, heart.sphere, model, boundary=heart.organ).voxels("no_reflow") == 0
    with pytest.raises(LeFusionError, match=f"{ATTEMPTS} shapes were drawn.*no no_reflow"):
        lf.draw_lesion_mask(volume, heart.sphere, model, boundary=heart.organ, lesion_class=CLASSES)


def test_a_faint_class_counts_from_its_own_level_and_stays_in_the_one_before(settings):
    from LeFusionLib.geometry import PatchFrame
    from LeFusionLib.synthesis.diffmask import shape_of

    patch = np.full((2, 2, 16, 16), -1, np.float32)
    patch[0, 0, 4:9, 4:9] = 0.8  # an infarct, and in and beside it no-reflow that the network is not sure of
    patch[1, 0, 5:8, 5:12] = -0.6
    frame = PatchFrame(patch.shape[1:], OBLIQUE)
    for levels, inner in (((), 0), ((0.0, -0.75), 12)):
        spec = replace(settings.spec, mask=replace(settings.spec.mask, levels=levels))
        lesion = shape_of(patch, frame, spec, (0, 1)).lesion
        assert [int(mask.sum()) for mask in lesion.array] == [25 - inner, inner]


def test_without_anatomy_only_when_asked(settings, tiny_model):
    from LeFusionLib.models.zoo import Model

    heart = case(5)
    frame = settings.spec.mask.frame(heart.sphere, settings.spec.patch_shapes[0], None, heart.grid)
    real, _ = heart.drawn_in(frame, settings.spec.mask, heart.sphere, None)
    card = replace(tiny_model().card, spec=settings.spec, textures={})
    model = Model(card, Always(settings.spec, real), cosine_schedule(300), torch.device("cpu"))
    volume = lf.Volume(np.zeros((5, 40, 40), np.int16), OBLIQUE)
    with pytest.raises(LeFusionError, match="Segment Editor"):
        lf.draw_lesion_mask(volume, heart.sphere, model)
    drawn = lf.draw_lesion_mask(volume, heart.sphere, model, boundary="none")
    assert (drawn.union & ~heart.sphere.mask_on(volume)).sum() == 0 and drawn.voxels("infarct") > 0


def test_the_real_hearts_fit_the_patch_of_their_spheres(shared):
    cases = read_shapes(shared / "data", SPEC)
    assert len(cases) == 57 and sum(c.present["no_reflow"] for c in cases) == 34
    low, high = SPEC.mask.diameter_range_mm
    assert all(low <= c.sphere.diameter_mm <= high for c in cases)
    assert all(not (c.lesion.union & ~c.organ).any() for c in cases)  # real infarcts lie in the muscle
    for heart in cases[::6]:
        frame = SPEC.mask.frame(heart.sphere, SPEC.patch_shapes[0], None, heart.grid)
        shape, organ = heart.drawn_in(frame, SPEC.mask, heart.sphere, None)
        assert (shape[0] > 0).sum() == heart.lesion.voxels() and ((shape[1] > 0) <= (shape[0] > 0)).all()
