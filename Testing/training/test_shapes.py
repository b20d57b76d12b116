"""A mask model in training, in miniature: shapes read, views in the frame of their sphere, loss, a run."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import LeFusionLib as lf
from LeFusionLib.diffusion import cosine_schedule, velocity
from LeFusionLib.errors import LeFusionError
from LeFusionLib.geometry import ControlSphere
from LeFusionLib.lesion_mask import LesionMask
from LeFusionLib.models.mask_spec import MaskSpec
from LeFusionLib.models.sampler_spec import SamplerSpec
from LeFusionLib.synthesis.draw import ATTEMPTS
from LeFusionLib.training.objective import batch_loss
from LeFusionLib.training.settings import PRESETS, TrainSettings
from LeFusionLib.training.shape_batches import ShapeBatchMaker
from LeFusionLib.training.shape_cases import ShapeCase, read_masks, read_shapes, shape_in
from LeFusionLib.training.train import train

AXIAL = np.diag([-1.0, -1.0, 1.0, 1.0])


def ellipsoid(axes, shape=(24, 32, 32)):
    grid = np.indices(shape) - np.reshape([n // 2 for n in shape], (3, 1, 1, 1))
    return ((grid / np.reshape(axes, (3, 1, 1, 1))) ** 2).sum(axis=0) <= 1


def case(axes=(4, 5, 7), patient="p", ratings=None):
    return ShapeCase.of(LesionMask(ellipsoid(axes), AXIAL), ratings or {}, patient, f"{patient}/0")


@pytest.fixture
def settings():
    spec = replace(
        PRESETS["lung-nodule-mask"].spec,
        name="tiny-mask",
        patch_shapes=((12, 12, 12),),
        dim=8,
        dim_mults=(1, 2),
        head_dim=8,
        mask=MaskSpec(sphere_voxels=9.0, ratings=("sphericity", "spiculation")),
    )
    return TrainSettings(
        spec,
        steps=4,
        batch_size=2,
        learning_rate=1e-3,
        validate_every=4,
        save_every=2,
        distance="l2",
        validation_share=0.3,
        sampler=SamplerSpec("ddim", 2, 1, 1, 1.0),
    )


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    for number in range(6):
        mask = ellipsoid((3 + number % 3, 5, 6)).astype(np.uint8)
        lf.write_volume(lf.Volume(mask, AXIAL), folder / f"p{number}_mask.nii.gz")
    return folder


@pytest.fixture
def archive(tmp_path):
    """Three masks as archives hold them: packed bits, four readers; one lesion with a crumb, one too small."""
    masks = np.stack([ellipsoid((4, 5, 6)), ellipsoid((4, 4, 4)), ellipsoid((1, 0.5, 0.5))])
    masks[0, 0, 0, :3] = True
    names = np.array(["sphericity", "spiculation"])
    ratings = np.array([[[5, 1], [3, 0], [0, 0], [0, 0]]] * 3, np.int8)
    np.savez(
        tmp_path / "lidc_nodules_small.npz",
        masks=np.packbits(masks.reshape(3, -1), axis=1),
        shape=np.array(masks.shape[1:]),
        spacing_mm=np.ones(3, np.float32),
        patient_id=np.array(["a", "a", "b"]),
        nodule_key=np.array(["1", "2", "3"]),
        rating_names=names,
        ratings=ratings,
    )
    return tmp_path


def test_an_archive_gives_largest_pieces_with_the_mean_of_the_readers_who_rated(archive, settings):
    cases = read_shapes(archive, settings.spec)
    assert [(c.patient, c.key) for c in cases] == [("a", "1"), ("a", "2")]
    assert cases[0].ratings == {"sphericity": 4.0, "spiculation": 1.0}
    assert cases[0].sphere.diameter_mm == pytest.approx(12.5, abs=1)  # not out to the crumb in the corner
    assert len(read_masks(archive)) == 3


def test_label_maps_are_lesions_too_and_an_empty_folder_says_what_is_wanted(data, settings, tmp_path):
    cases = read_shapes(data, settings.spec)
    assert sorted(c.patient for c in cases) == [f"p{n}" for n in range(6)]
    (tmp_path / "empty").mkdir()
    for read in (lambda folder: read_shapes(folder, settings.spec), read_masks):
        with pytest.raises(LeFusionError, match="empty"):
            read(tmp_path / "empty")


def test_in_its_patch_a_lesion_is_as_large_as_its_sphere_and_its_edge_a_voxel_wide(settings):
    lesion = case((6, 6, 6))
    frame = settings.spec.mask.frame(lesion.sphere, (12, 12, 12), None)
    patch = shape_in(lesion, frame, np.eye(3), lesion.sphere)[0]
    assert patch.min() == -1 and patch.max() == 1
    assert (patch > 0).sum() == pytest.approx(np.pi / 6 * 9**3, rel=0.12)
    middle = patch[6, 6]
    assert (np.abs(middle) < 1).sum() <= 4 and middle[0] < -0.5 and middle[6] == 1


def test_views_turn_and_mirror_but_keep_the_volume_and_follow_the_sphere(settings):
    maker = ShapeBatchMaker([case((4, 5, 7), ratings={"sphericity": 2.0})], settings.spec, 2, 0.5, seed=0)
    rng = np.random.default_rng(0)
    views = [maker.view(maker.cases[0], rng) for _ in range(40)]
    volumes = [(shape > 0).sum() for shape, _, _ in views]
    assert np.std(volumes) / np.mean(volumes) < 0.15
    assert len({shape.tobytes() for shape, _, _ in views}) == 40
    told = [traits[2] for _, _, traits in views]
    assert 0 < sum(told) < 40 and {traits[4] for _, _, traits in views} == {0.0}  # spiculation was never rated
    sizes = np.array([traits[0] for _, _, traits in views])
    assert sizes.std() == pytest.approx(0.03 / np.log(2), rel=0.4)


def test_a_step_draws_the_same_batch_whenever_it_comes(settings):
    one, two = (ShapeBatchMaker([case(), case((3, 4, 5))], settings.spec, 2, 0.3, seed=1) for _ in range(2))
    a, b, c = one.draw(5), two.draw(5), one.draw(6)
    assert torch.equal(a.x_start, b.x_start) and torch.equal(a.noise, b.noise) and torch.equal(a.traits, b.traits)
    assert not torch.equal(a.x_start, c.x_start)


def test_lesions_beyond_the_range_are_not_learned(settings):
    spec = replace(settings.spec, mask=MaskSpec(sphere_voxels=9.0, diameter_range_mm=(3.0, 12.0)))
    assert len(ShapeBatchMaker([case((4, 5, 5)), case((4, 5, 9))], spec, 2, 0.3, seed=1).cases) == 1
    with pytest.raises(LeFusionError, match="None of the 1 lesions is 3 to 12 mm wide"):
        ShapeBatchMaker([case((4, 5, 9))], spec, 2, 0.3, seed=1)


def test_the_loss_is_nothing_for_the_truth_and_counts_the_air_too(settings):
    batch = ShapeBatchMaker([case()], settings.spec, 2, 0.3, seed=1).draw(0)
    schedule = cosine_schedule(300)
    a = schedule.alphas_cumprod[batch.t].float()[:, None, None, None, None]
    truth = velocity(batch.x_start, a, batch.noise)

    def cheat(x_t, t, condition, drop, as_noise, traits, off=0.0):
        assert condition.shape == x_t.shape and traits.shape == (2, 5) and not as_noise
        return truth + off

    assert batch_loss(cheat, batch, schedule, settings).item() == 0
    corner = torch.zeros_like(truth)
    corner[:, :, 0, 0, 0] = 1.0
    lost = batch_loss(lambda *a, **k: cheat(*a, **k, off=corner), batch, schedule, settings).item()
    assert lost == pytest.approx(1 / 12**3)


def test_a_run_ends_in_a_model_that_draws_and_can_be_resumed(data, settings, tmp_path):
    folder = train(replace(settings, steps=2), data, tmp_path / "run")
    folder = train(settings, data, tmp_path / "run")
    log = (tmp_path / "run" / "log.csv").read_text()
    for name in ("validation_loss", "diameter_error", "volume_ratio"):
        assert f"4,{name}," in log
    assert (tmp_path / "run" / "samples_000004.png").exists()
    model = lf.load_model(folder, "cpu")
    assert model.spec == settings.spec and model.card.textures == {}
    assert len(model.card.training["held_out_patients_sha256"]) == 2
    volume = lf.Volume(np.zeros((24, 24, 24), np.int16), AXIAL)
    with pytest.raises(LeFusionError, match=f"{ATTEMPTS} shapes were drawn"):  # four steps taught it nothing
        lf.draw_lesion_mask(volume, ControlSphere((-12, -12, 12), 10.0), model)


def test_the_real_masks_can_be_read(shared, settings):
    masks = read_masks(shared / "data")
    assert len(masks) == 2232 and len({patient for _, patient in masks}) == 736
    sizes = [ShapeCase.of(LesionMask(mask, AXIAL), {}, "p", "k").sphere.diameter_mm for mask, _ in masks[:20]]
    assert 3 < min(sizes) and max(sizes) < 40
