"""Hearts in training, in miniature: both lesion classes at once, few slices, and what is absent costs nothing."""

import json
from dataclasses import replace

import numpy as np
import pytest

import LeFusionLib as lf
from LeFusionLib.diffusion import cosine_schedule
from LeFusionLib.errors import LeFusionError
from LeFusionLib.intensity import IntensityWindow
from LeFusionLib.models.sampler_spec import SamplerSpec
from LeFusionLib.training import validation
from LeFusionLib.training.augment import random_view, smallest_shape
from LeFusionLib.training.batches import BatchMaker, texture_condition
from LeFusionLib.training.cases import LesionCase, read_cases, split_by_patient
from LeFusionLib.training.hearts import TEST_PATIENTS, Heart, with_square_pixels
from LeFusionLib.training.objective import batch_loss
from LeFusionLib.training.settings import MR_MIDDLE, MR_PERCENTILES, MR_RANGE, PRESETS, preset
from LeFusionLib.training.train import _keep_settings, train

GRID = np.diag([-1.5, -1.5, 10.0, 1.0])
HEART = PRESETS["cardiac-mi-pmo"].spec


def labels(slices=5, pmo=True, lesion=True, size=48):
    """A ring of muscle (2) round the cavity (1) in every slice; a quarter of it is infarct (3), its core no-reflow."""
    j, i = np.indices((size, size)) - size // 2
    radius = np.hypot(j, i)
    flat = np.select([radius <= 6, radius <= 11], [1, 2], 0)
    if lesion:
        flat[(flat == 2) & (j > abs(i))] = 3
    if pmo:
        flat[(flat == 3) & (abs(i) < 5) & (radius < 10)] = 4
    return np.repeat(flat[None], slices, axis=0).astype(np.uint8)


def grey(label):
    """Each slice of its own, each tissue of its own, some dark and bright voxels at the rim."""
    image = np.choose(label, [300, 700, 400, 800, 500]).astype(np.int16) + 5 * np.arange(len(label))[:, None, None]
    image[:, 0, 0], image[:, 0, 1] = 0, 1000
    return image.astype(np.int16)


def put(folder, name, label, image=None):
    for part, array in (("Images", grey(label) if image is None else image), ("Contours", label)):
        (folder / name / part).mkdir(parents=True)
        lf.write_volume(lf.Volume(array, GRID), folder / name / part / f"{name}.nii.gz")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The original layout: two hearts with both lesions, two with infarct only, two without."""
    folder = tmp_path_factory.mktemp("hearts")
    for number, (pmo, lesion) in enumerate([(1, 1), (1, 1), (0, 1), (0, 1), (0, 0), (0, 0)], 1):
        put(folder, f"Case_{'P' if lesion else 'N'}{number:03d}", labels(4 + number, bool(pmo), bool(lesion)))
    return folder


def case(slices=5, pmo=True):
    label = labels(slices, pmo)
    masks = np.stack([label == 3, label == 4])
    return LesionCase(IntensityWindow(0, 1000).normalize(grey(label)), masks, IntensityWindow(0, 1000), "p", "p",
                      (10.0, 1.5, 1.5))  # fmt: skip


def test_a_heart_is_one_case_with_both_classes_and_all_its_slices(data):
    cases = read_cases(data, HEART)
    assert [c.patient for c in cases] == ["Case_P001", "Case_P002", "Case_P003", "Case_P004"]  # normal hearts are none
    for number, heart in enumerate(cases, 1):
        label = labels(4 + number, pmo=number < 3)
        assert heart.image.shape == label.shape and heart.spacing_mm == (10.0, 1.5, 1.5)
        assert (heart.mask == [label == 3, label == 4]).all()
        assert heart.image.min() == -1 and heart.image.max() == 1  # the whole volume's range


def test_a_model_of_one_class_sees_its_own_class_only(data):
    alone = read_cases(data, PRESETS["cardiac-pmo"].spec)
    assert [c.patient for c in alone] == ["Case_P001", "Case_P002"]
    assert (alone[0].mask[0] == (labels(5) == 4)).all()
    assert len(read_cases(data, PRESETS["cardiac-mi"].spec)) == 4


def test_padding_and_cropping_neither_lose_nor_invent_a_slice():
    """Slices differ in grey: in a patch of 12 a heart of 5 has its own five, once each; all others repeat its ends."""
    heart, rng = case(5), np.random.default_rng(0)
    for _ in range(20):
        image, mask = random_view(heart, (12, 48, 48), 2.0, rng)
        assert mask.sum(axis=(1, 2, 3)).tolist() == heart.mask.sum(axis=(1, 2, 3)).tolist()
        with_lesion = mask.any(axis=(0, 2, 3))
        assert with_lesion.sum() == 5 and np.ptp(np.flatnonzero(with_lesion)) == 4
        levels = image[mask[0]].round(4)
        assert sorted(set(levels.tolist())) == sorted(set(heart.image[heart.mask[0]].round(4).tolist()))
        assert not mask[:, ~with_lesion].any() and np.isfinite(image).all()
        assert all(image[k, 24, 24] in image[with_lesion][[0, -1], 24, 24] for k in np.flatnonzero(~with_lesion))


def test_a_lesion_gets_the_patch_it_would_get_when_it_is_made():
    """Slices are thick: a margin of 2 mm is two voxels in the slice and asks for one slice, not four."""
    shapes = ((5, 24, 24), (6, 24, 24), (12, 40, 40))
    for slices, expected in ((4, 0), (5, 1), (6, 2), (11, 2), (12, None)):
        assert smallest_shape(case(slices), shapes, 2.0) == expected
    assert smallest_shape(case(12), shapes, 0.0) == 2


def test_an_absent_class_has_no_histogram_and_no_loss_and_padding_has_none_either():
    settings = PRESETS["cardiac-mi-pmo"]
    heart = case(5, pmo=False)
    assert texture_condition(heart.image, heart.mask)[:16].sum() == pytest.approx(1)
    assert (texture_condition(heart.image, heart.mask)[16:] == 0).all()
    batch = BatchMaker([heart], replace(HEART, patch_shapes=((12, 48, 48),)), 2, 0.0, seed=0).draw(0)
    assert batch.x_start.shape == (2, 2, 12, 48, 48)
    schedule, seen = cosine_schedule(300), {}

    def cheat(x_t, t, condition, context, drop, as_noise):
        a = schedule.alphas_cumprod[t].float()[:, None, None, None, None].sqrt()
        truth = a * batch.noise - (1 - a**2).sqrt() * batch.x_start
        seen["channels"] = context.shape[1]
        return truth + 100 * (1 - batch.lesion_mask)  # wrong in the other class, in padded slices, in the background

    for reduction in ("published", "per_lesion"):
        loss = batch_loss(cheat, batch, schedule, replace(settings, reduction=reduction))
        assert loss.item() == pytest.approx(0, abs=1e-6)
    assert seen["channels"] == 3


def test_pairs_are_read_as_they_are_and_other_numbers_are_refused(tmp_path):
    label = labels()
    lf.write_volume(lf.Volume(grey(label), GRID), tmp_path / "emidec_P100_image.nii.gz")
    lf.write_volume(lf.Volume(label, GRID), tmp_path / "emidec_P100_label.nii.gz")
    (only,) = read_cases(tmp_path, HEART)
    assert only.patient == "Case_P100" and only.voxels == (label >= 3).sum()
    lf.write_volume(lf.Volume(label * 2, GRID), tmp_path / "second_label.nii.gz")
    with pytest.raises(LeFusionError, match=r"second_label.nii.gz has no image; expected .*/second_image.nii.gz"):
        read_cases(tmp_path, HEART)
    lf.write_volume(lf.Volume(grey(label)[1:], GRID), tmp_path / "second_image.nii.gz")
    with pytest.raises(LeFusionError, match="another grid"):
        read_cases(tmp_path, HEART)
    (tmp_path / "second_image.nii.gz").unlink()
    lf.write_volume(lf.Volume(grey(label), GRID), tmp_path / "second_image.nii.gz")
    with pytest.raises(LeFusionError, match="second has the numbers 6, 8. Possible are 0 background"):
        read_cases(tmp_path, HEART)


def test_readers_of_other_classes_are_not_asked(data, tmp_path):
    with pytest.raises(LeFusionError, match="no training cases of nodule"):
        read_cases(data, PRESETS["lung-nodule"].spec)
    (tmp_path / "nodules_x.npz").write_bytes(b"")
    with pytest.raises(LeFusionError, match=r"no training cases of infarct, no_reflow .*emidec_\*\.npz"):
        read_cases(tmp_path, HEART)


def stretched(label, factor):
    return np.repeat(label, factor, axis=1)


def test_stretched_hearts_become_round_again_and_round_ones_stay_as_they_are():
    label = labels()
    image = grey(label).astype(np.float32)
    same = with_square_pixels(image, label)
    assert same[0] is image and same[1] is label
    for axes in ((0, 1, 2), (0, 2, 1)):
        long, long_label = (stretched(a, 2).transpose(axes) for a in (image, label))
        back, back_label = (a.transpose(axes) for a in with_square_pixels(long, long_label))
        assert len(back_label) == len(label) and abs(back_label.shape[1] - 48) <= 1
        outline = [np.ptp(np.argwhere(back_label > 0)[:, axis]) for axis in (1, 2)]
        assert abs(outline[0] - outline[1]) <= 1
        assert set(np.unique(back_label)) == {0, 1, 2, 3, 4} and back.shape == back_label.shape
    nothing = np.zeros_like(label)
    assert with_square_pixels(image, nothing)[1] is nothing


def test_an_archive_of_crops_knows_the_whole_volumes_range(tmp_path):
    label = labels()
    image = np.clip(grey(label) // 5, 20, 180).astype(np.uint8)
    both = {"images_u8": np.concatenate([image, image[::-1]]), "labels": np.concatenate([label, label])}
    order = np.r_[0:5, 4:-1:-1]
    names = np.array(["Case_P001"] * 5 + ["Case_P002"] * 5)
    np.savez(tmp_path / "emidec_small.npz", **both, case_id=names, slice_index=order)
    middle, _ = read_cases(tmp_path, HEART)
    assert (middle.window.low, middle.window.high) == tuple(np.percentile(image, (1, 99)))  # of the crop
    one, two = read_cases(tmp_path, replace(HEART, intensity=MR_RANGE))
    assert (one.window.low, one.window.high) == (0, 255)
    assert one.image.min() == pytest.approx(20 / 255 * 2 - 1)
    assert np.array_equal(one.image, two.image)  # put in order by the index of the slice
    with pytest.raises(LeFusionError, match="parts of the volumes"):
        read_cases(tmp_path, replace(HEART, intensity=MR_PERCENTILES))


def test_named_patients_are_held_out_where_they_are(data):
    cases = read_cases(data, HEART)
    training, held_out = split_by_patient(cases, 0.5, 0, ("Case_P003", "Case_P099"))
    assert [c.patient for c in held_out] == ["Case_P003"] and len(training) == 3
    assert len(split_by_patient(cases, 0.5, 0, ("Case_P099",))[1]) == 2
    assert len(TEST_PATIENTS) == 10 and PRESETS["cardiac-mi-pmo"].held_out == TEST_PATIENTS


def test_the_variants_of_the_paper_are_rows():
    rows = {"cardiac-mi-pmo": (2, 32), "cardiac-mi-pmo-j": (2, 0), "cardiac-mi": (1, 0), "cardiac-pmo": (1, 0)}
    for name, (classes, condition) in rows.items():
        small, paper = preset(name).spec, preset(f"{name}-paper").spec
        for spec in (small, paper):
            assert (len(spec.classes), spec.condition_size) == (classes, condition)
            assert spec.spacing_mm is None and spec.modality == "MR" and spec.mask_model == "cardiac-mi-pmo-mask"
        assert (small.intensity, paper.intensity) == (MR_MIDDLE, MR_RANGE)
        assert (small.context, small.prediction) == ("clean", "velocity")
        assert (paper.patch_shapes, paper.context, paper.prediction) == (((10, 72, 72),), "noised", "noise")
    for name, row in PRESETS.items():
        if name.startswith("cardiac"):
            assert row.spec.name == name and row.held_out and "non-commercial" in row.licence


@pytest.fixture
def tiny(monkeypatch):
    for name, value in {"LOSS_BATCHES": 1, "SAMPLES": 1, "SAMPLE_STEPS": 2}.items():
        monkeypatch.setattr(validation, name, value)

    def settings(name):
        row = PRESETS[name]
        spec = replace(row.spec, patch_shapes=((9, 24, 24),), dim=8, dim_mults=(1, 2), head_dim=8)
        sampler = SamplerSpec("ddim", 2, 1, 1, 1.0)
        return replace(row, spec=spec, steps=2, batch_size=1, validate_every=2, save_every=1, sampler=sampler)

    return settings


@pytest.mark.parametrize("name", ["cardiac-mi-pmo", "cardiac-mi-pmo-j", "cardiac-mi"])
def test_every_variant_trains_by_the_same_command_and_makes_tissue(name, tiny, data, tmp_path):
    model = lf.load_model(train(tiny(name), data, tmp_path / "run"), "cpu")
    assert set(model.card.textures) == (set(HEART.classes) if name == "cardiac-mi-pmo" else set())
    label = labels(5)
    volume = lf.Volume(grey(label), GRID)
    names = model.spec.classes
    lesion = lf.LesionMask(np.stack([label == 3, label == 4][: len(names)]), GRID, classes=names)
    result = lf.synthesize(volume, lesion, model, texture="random", seed=1)
    assert (result.volume.array == volume.array)[~lesion.union].all()
    assert (result.volume.array != volume.array)[lesion.union].any()


def test_a_run_begun_before_a_setting_existed_is_resumed(tiny, tmp_path):
    settings = tiny("cardiac-mi-pmo-j")
    _keep_settings(settings, tmp_path / "run")
    file = tmp_path / "run" / "settings.json"
    before = json.loads(file.read_text())
    del before["spec"]["axes"], before["held_out"]
    file.write_text(json.dumps(before))
    _keep_settings(settings, tmp_path / "run")
    with pytest.raises(LeFusionError, match="other settings .spec"):
        _keep_settings(replace(settings, spec=replace(settings.spec, axes="kij")), tmp_path / "run")


def test_the_real_hearts_are_read_round_and_none_is_too_large(shared):
    cases = read_cases(shared / "data", HEART)
    assert len(cases) == 57 and len({c.patient for c in cases}) == 57
    training, held_out = split_by_patient(cases, 0.15, 0, TEST_PATIENTS)
    assert (len(training), len(held_out)) == (48, 9)  # one of the published ten is not among the development cases
    assert sum(c.mask[1].any() for c in cases) == 34
    archive = np.load(shared / "data" / "emidec_dev.npz")
    slices = dict(zip(*np.unique(archive["case_id"], return_counts=True), strict=True))
    for heart in cases:
        assert len(heart.image) == slices[heart.patient]
        assert smallest_shape(heart, HEART.patch_shapes, HEART.margin_mm) is not None
        assert -1 <= heart.image.min() < heart.image.max() <= 1


def test_the_original_case_agrees_with_the_archive(shared, tmp_path):
    for part in ("image", "label"):
        (tmp_path / f"emidec_P100_{part}.nii.gz").symlink_to((shared / f"data/emidec_P100_{part}.nii.gz").resolve())
    (original,) = read_cases(tmp_path, HEART)
    (archived,) = (c for c in read_cases(shared / "data", HEART) if c.patient == "Case_P100")
    assert original.patient == "Case_P100" and len(original.image) == len(archived.image) == 7
    means = [[c.image[m].mean() for m in c.mask] for c in (original, archived)]
    assert np.allclose(*means, atol=0.06)  # the same grey values on nearly the same window


def test_a_heart_says_which_numbers_it_knows():
    heart = Heart(np.zeros((1, 2, 2)), np.array([[[0, 2], [3, 4]]], np.uint8), GRID, "p")
    assert heart.organ.tolist() == [[[False, True], [True, True]]]
    with pytest.raises(LeFusionError, match="numbers 7"):
        Heart(np.zeros((1, 1, 1)), np.full((1, 1, 1), 7, np.uint8), GRID, "p")
