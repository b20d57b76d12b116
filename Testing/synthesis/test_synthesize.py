"""The main job: tissue in the lesion, every other voxel bit-identical, the same from the same seed in any company."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from LeFusionLib import Cancelled, LeFusionError, SamplerSpec
from LeFusionLib.diffusion import cosine_schedule
from LeFusionLib.models.mask_spec import MaskSpec
from LeFusionLib.models.sampler_spec import METHODS
from LeFusionLib.models.zoo import Model, load_model
from LeFusionLib.synthesis.synthesize import synthesize
from LeFusionLib.volume import SUPPORTED_DTYPES, Volume

A, B, C = ((5, 10, 10), (3, 4, 4)), ((12, 30, 28), (2, 3, 5)), ((13, 8, 30), (3, 3, 3))
HEART = ("infarct", "no_reflow")


class Paints(torch.nn.Module):
    """Sees a constant clean patch in every noise: `values`, one per class, in [-1, 1]."""

    def __init__(self, *values):
        super().__init__()
        self.values, self.calls = torch.tensor(values)[None, :, None, None, None], []
        self.net = torch.nn.Module()
        self.net.null_condition = torch.full((1, 16 * len(values)), -1.0)

    def forward(self, x_t, t, condition=None, context=None):
        self.calls.append((x_t, t, condition, context))
        a = cosine_schedule(300).alpha_bar(int(t[0]))
        return (x_t - a**0.5 * self.values) / (1 - a) ** 0.5


def outside_is_identical(result):
    before, after = result.original.array, result.volume.array
    outside = ~result.lesion_mask.union
    return before.dtype == after.dtype and before[outside].tobytes() == after[outside].tobytes()


def inside(result, mask=None):
    return result.volume.array[(mask or result.lesion_mask).union].tobytes()


@pytest.mark.parametrize("dtype", [*SUPPORTED_DTYPES, ">i2", ">f4"])
def test_in_every_type_of_voxel_only_the_lesion_changes(scan, box, tiny_model, dtype):
    volume = scan(dtype=dtype)
    before = volume.array.copy()
    result = synthesize(volume, box(volume, A, B), tiny_model(), "solid")
    assert outside_is_identical(result)
    assert result.volume.array.dtype == np.dtype(dtype)
    assert (result.volume.array != before).any()
    assert np.array_equal(volume.array, before)
    assert np.array_equal(result.volume.ijk_to_ras, volume.ijk_to_ras)


@st.composite
def affines(draw):
    """Oblique, anisotropic, permuted, flipped, left-handed, slightly sheared: from (i, j, k) to RAS mm."""
    number = st.floats(-1, 1)
    turn = np.linalg.qr(np.random.default_rng(draw(st.integers(0, 10**6))).standard_normal((3, 3)))[0]
    skew = np.eye(3)
    skew[0, 1] = 0.2 * draw(number)
    scale = [draw(st.floats(0.5, 3)) * draw(st.sampled_from([-1, 1])) for _ in range(3)]
    matrix = np.eye(4)
    matrix[:3, :3] = (turn @ skew @ np.diag(scale))[:, draw(st.permutations(range(3)))]
    matrix[:3, 3] = [200 * draw(number) for _ in range(3)]
    return matrix


@settings(max_examples=15)
@given(
    matrix=affines(),
    low=st.tuples(*[st.integers(0, 8)] * 3),
    dtype=st.sampled_from(["int16", "uint8", "float32"]),
    own_grid=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
)
def test_on_every_grid_only_the_lesion_changes(scan, box, tiny_model, matrix, low, dtype, own_grid, seed):
    volume = scan(shape=(10, 11, 12), matrix=matrix, dtype=dtype)
    lesion = box(volume, (low, (2, 3, 3)))
    model = tiny_model(spacing_mm=None if own_grid else (1.0, 1.0, 1.0))
    result = synthesize(volume, lesion, model, "random", seed=seed, sampler=SamplerSpec(num_steps=1))
    assert outside_is_identical(result)
    assert np.array_equal(result.lesion_mask.union, lesion.union)
    assert result.report["background"]["changed_voxels_outside_mask"] == 0


def test_the_same_seed_gives_the_same_bytes_and_another_other_tissue(scan, box, tiny_model):
    volume = scan()
    lesion, model = box(volume, A), tiny_model()
    first, again, other = (synthesize(volume, lesion, model, "random", seed=s) for s in (7, 7, 8))
    assert first.volume.array.tobytes() == again.volume.array.tobytes()
    assert first.report["output"] == again.report["output"]
    assert inside(first) != inside(other)


def test_the_global_dice_play_no_part_and_are_left_alone(scan, box, tiny_model):
    volume = scan()
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        state = torch.get_rng_state(), np.random.get_state()[1].tolist()
        results.append(synthesize(volume, box(volume, A), tiny_model(), "random", SamplerSpec("ddpm"), seed=7))
        assert torch.equal(torch.get_rng_state(), state[0]) and np.random.get_state()[1].tolist() == state[1]
    assert inside(results[0]) == inside(results[1])


def test_a_lesion_comes_out_the_same_alone_in_one_mask_and_in_a_list(scan, box, tiny_model):
    volume, model = scan(), tiny_model()
    a, b = box(volume, A), box(volume, B)
    alone = synthesize(volume, b, model, "random", seed=7)
    for company in (box(volume, A, B), [a, b], [b, a], [b]):
        assert inside(synthesize(volume, company, model, "random", seed=7), b) == inside(alone)
    own = synthesize(volume, [a, b], model, ["solid", "random"], seed=[1, 7])
    assert inside(own, b) == inside(alone)
    assert inside(own, a) == inside(synthesize(volume, a, model, "solid", seed=1))


def test_lesions_with_patches_of_two_sizes_come_out_in_their_own_places(scan, box, tiny_model):
    volume, model = scan(), tiny_model()
    large, small = box(volume, ((2, 2, 2), (9, 5, 5))), box(volume, B)
    both = synthesize(volume, [large, small], model, "solid", seed=3)
    for lesion in (large, small):
        assert inside(both, lesion) == inside(synthesize(volume, lesion, model, "solid", seed=3))


class TwoRows(Model):
    """As on a graphics card, where several lesions share a call."""

    rows_at_once = 2


def test_rows_that_share_a_call_are_the_lesions_in_their_order(scan, box, tiny_model):
    """The second lesion needs a larger patch, so the first and third share a call, and it fills one alone."""
    volume, model = scan(), tiny_model()
    masks, told = [box(volume, b) for b in (A, ((10, 30, 28), (6, 5, 5)), C)], []
    shared = TwoRows(model.card, model.denoiser, model.schedule, model.device)
    result = synthesize(volume, masks, shared, "solid", seed=3, progress=lambda *args: told.append(args[:2]))
    expected = synthesize(volume, masks, model, "solid", seed=3)
    difference = result.volume.array.astype(int) - expected.volume.array
    assert np.abs(difference).max() <= 1  # HU, of rounding
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]  # two calls of two steps


def test_each_class_comes_from_its_own_channel(scan, box, tiny_model):
    volume = scan()
    lesion = box(volume, ((5, 10, 10), (5, 6, 6)), ((5, 10, 16), (5, 6, 6)), classes=HEART)
    fake = Paints(0.5, -0.5)
    result = synthesize(volume, lesion, tiny_model(fake, classes=HEART), "typical")
    assert (result.volume.array[6:9, 11:15, 11:16] == 50).all()  # -1000 + 1.5 / 2 * 1400
    assert (result.volume.array[6:9, 11:15, 16:21] == -650).all()
    x_t, _, condition, context = fake.calls[0]
    assert x_t.shape == (1, 2, 16, 32, 32) and condition.shape == (1, 32) and context.shape == (1, 3, 16, 32, 32)


def test_classes_given_in_another_order_keep_their_names(scan, box, tiny_model):
    volume = scan()
    lesion = box(volume, ((5, 10, 10), (5, 6, 6)), ((5, 10, 16), (5, 6, 6)), classes=HEART[::-1])
    result = synthesize(volume, lesion, tiny_model(Paints(0.5, -0.5), classes=HEART), "typical")
    assert (result.volume.array[6:9, 11:15, 11:16] == -650).all()
    assert result.lesion_mask.classes == HEART


def test_progress_tells_every_network_evaluation_of_all_lesions(scan, box, tiny_model):
    volume, told, fake = scan(), [], Paints(0.0)
    sampler = SamplerSpec("ddim", num_steps=5, jump_length=2, jump_n_sample=2)
    result = synthesize(
        volume, box(volume, A, B), tiny_model(fake), "solid", sampler, progress=lambda *args: told.append(args)
    )
    assert [args[:2] for args in told] == [(n, len(told)) for n in range(1, len(told) + 1)]
    assert result.report["sampler"]["network_evaluations"] == len(told) == len(fake.calls) == 2 * 9


@pytest.mark.parametrize("scale, calls", [(1.0, 2), (2.0, 4), (0.0, 4)])
def test_guidance_other_than_one_asks_the_network_twice_and_is_heeded(scan, box, tiny_model, scale, calls):
    volume, fake = scan(), Paints(0.0)
    result = synthesize(volume, box(volume, A), tiny_model(fake), "solid", SamplerSpec(guidance_scale=scale))
    assert len(fake.calls) == calls == result.report["sampler"]["network_evaluations"]
    shown = {bool((condition < 0).all()) for _, _, condition, _ in fake.calls}  # the null condition is -1 here
    assert shown == ({False} if scale == 1.0 else {True, False})


def test_guidance_of_zero_forgets_the_texture(scan, box, tiny_model):
    volume, model = scan(), tiny_model()
    made = {}
    for scale in (0.0, 1.0):
        for texture in ("solid", "ground-glass"):
            made[scale, texture] = inside(
                synthesize(volume, box(volume, A), model, texture, SamplerSpec(guidance_scale=scale))
            )
    assert made[0.0, "solid"] == made[0.0, "ground-glass"]
    assert made[1.0, "solid"] != made[1.0, "ground-glass"]


@pytest.mark.parametrize("after", [0, 1, 3])
def test_cancelling_stops_within_one_evaluation_and_leaves_nothing(scan, box, tiny_model, tmp_path, monkeypatch, after):
    monkeypatch.chdir(tmp_path)
    volume, fake = scan(), Paints(0.0)
    before = volume.array.copy()
    with pytest.raises(Cancelled):
        synthesize(
            volume, box(volume, A, B), tiny_model(fake), "solid",
            cancel=lambda: len(fake.calls) >= after,
        )  # fmt: skip
    assert len(fake.calls) == after
    assert np.array_equal(volume.array, before) and list(tmp_path.iterdir()) == []
    assert issubclass(Cancelled, LeFusionError)


@pytest.mark.parametrize(
    "changes", [{"context": "noised"}, {"condition_way": "cross_attention"}, {"condition_way": "none"}]
)
def test_every_way_of_showing_background_and_texture_makes_a_result(scan, box, tiny_model, changes):
    volume = scan()
    result = synthesize(volume, box(volume, A), tiny_model(**changes))
    assert outside_is_identical(result)
    assert ("texture" in result.report["lesions"][0]) == (changes.get("condition_way") != "none")


@pytest.mark.parametrize("method", METHODS)
def test_every_sampler_reaches_the_tissue_the_network_sees(scan, box, tiny_model, method):
    volume = scan()
    result = synthesize(
        volume, box(volume, ((5, 10, 10), (5, 6, 6))), tiny_model(Paints(0.5)), "solid", SamplerSpec(method, 6)
    )
    assert (result.volume.array[6:9, 11:15, 11:15] == 50).all()


def test_a_lesion_at_the_corner_of_the_volume_is_made_too(scan, box, tiny_model):
    volume = scan()
    result = synthesize(volume, box(volume, ((0, 0, 0), (2, 3, 3)), ((18, 41, 41), (2, 3, 3))), tiny_model(), "solid")
    assert outside_is_identical(result) and len(result.report["lesions"]) == 2


@pytest.mark.parametrize(
    "kind, lesion_classes, dtype",
    [pytest.param("lidc", ("nodule",), "int16", marks=pytest.mark.slow), ("emidec", HEART, "uint16")],
)
def test_a_published_checkpoint_makes_tissue(golden, scan, box, kind, lesion_classes, dtype):
    model = load_model(golden / f"ckpt_{kind}_small.pt", "cpu")
    volume = scan(shape=(12, 40, 40), dtype=dtype)
    lesion = box(volume, A, ((8, 10, 10), (1, 4, 4)), classes=lesion_classes)
    result = synthesize(volume, lesion, model, "random", SamplerSpec(num_steps=1, jump_length=1, jump_n_sample=1))
    assert outside_is_identical(result) and result.report["sampler"]["method"] == "ddpm"


def test_a_model_that_draws_masks_is_refused(scan, box, tiny_model):
    volume = scan()
    with pytest.raises(LeFusionError, match="draws lesion shapes; choose a model that makes tissue"):
        synthesize(volume, box(volume, A), tiny_model(kind="mask", mask=MaskSpec()))


def test_a_flat_volume_and_too_many_steps_are_refused(scan, box, tiny_model):
    volume = scan()
    flat = Volume(np.zeros(volume.shape, np.int16), volume.ijk_to_ras)
    with pytest.raises(LeFusionError, match="flat"):
        synthesize(flat, box(flat, A), tiny_model(intensity={"kind": "range"}), "solid")
    with pytest.raises(LeFusionError, match="1 to 300 steps"):
        synthesize(volume, box(volume, A), tiny_model(), "solid", SamplerSpec(num_steps=301))


def test_a_model_is_found_by_its_name(scan, box, tiny_model):
    volume = scan()
    with pytest.raises(LeFusionError, match="There is no model 'no-such-model'"):
        synthesize(volume, box(volume, A), "no-such-model")


@pytest.mark.parametrize("seed", [-1, 0.5, True, None, "1", [1, 2]])
def test_bad_seeds_are_refused_before_the_network_is_asked(scan, box, tiny_model, seed):
    volume, fake = scan(), Paints(0.0)
    with pytest.raises(LeFusionError, match="seed"):
        synthesize(volume, box(volume, A), tiny_model(fake), "solid", seed=seed)
    assert not fake.calls
