"""What a model is and how it is sampled, checked when it is written down."""

import json

import pytest

from LeFusionLib.diffusion import evaluations, time_grid
from LeFusionLib.errors import LeFusionError
from LeFusionLib.models.card import ModelCard
from LeFusionLib.models.mask_spec import MaskSpec
from LeFusionLib.models.sampler_spec import SamplerSpec
from LeFusionLib.models.spec import ModelSpec
from LeFusionLib.models.unet3d import UNet3D


@pytest.mark.parametrize(
    "changes, condition, channels_in",
    [
        ({"context": "noised"}, 16, 1),
        ({"context": "clean"}, 16, 3),
        ({"context": "clean", "classes": ("infarct", "no_reflow")}, 32, 5),
        ({"context": "noised", "classes": ("infarct", "no_reflow")}, 32, 2),
        ({"kind": "mask", "mask": MaskSpec()}, 0, 2),
        ({"kind": "mask", "mask": MaskSpec(sphere_voxels=12.0, ratings=("sphericity",))}, 3, 2),
    ],
)
def test_channels_follow_from_kind_classes_and_context(tiny_spec, changes, condition, channels_in):
    spec = tiny_spec(**changes)
    assert (spec.condition_size, spec.in_channels) == (condition, channels_in)
    net = UNet3D(**spec.network_options())
    assert net.stem.in_channels == channels_in and net.head.out_features == len(spec.classes)


def test_a_specification_comes_back_from_json(tiny_spec):
    mask = MaskSpec(12.0, (-1.0, 1.0), ("sphericity",), (3.0, 30.0), 0.1, (1,))
    for spec in (tiny_spec(), tiny_spec(kind="mask", mask=mask)):
        assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"kind": "textures"}, "Did you mean 'texture'"),
        ({"context": "dirty"}, "Possible: noised, clean"),
        ({"condition_way": "cross"}, "Possible: none, concat, cross_attention"),
        ({"classes": ()}, "at least one class"),
        ({"patch_shapes": ()}, "one patch shape"),
        ({"dim": 12}, "multiple of 8"),
        ({"dim": 0}, "multiple of 8"),
        ({"patch_shapes": ((8, 15, 16),)}, "multiples of 2"),
        ({"patch_shapes": ((8, 16),)}, r"\(D, H, W\)"),
        ({"dim_mults": (1, 2, 4, 8, 16, 32)}, "multiples of 32"),
        ({"kind": "mask"}, "have a `mask`"),
        ({"mask": MaskSpec()}, "have a `mask`"),
    ],
)
def test_what_cannot_be_built_is_refused_when_written_down(tiny_spec, changes, words):
    with pytest.raises(LeFusionError, match=words):
        tiny_spec(**changes)


def test_an_unknown_setting_names_its_neighbour_and_a_missing_one_is_named(tiny_spec):
    with pytest.raises(LeFusionError, match="'head_dims'. Did you mean 'head_dim'"):
        ModelSpec.from_dict(tiny_spec().to_dict() | {"head_dims": 8})
    values = tiny_spec().to_dict()
    del values["classes"]
    with pytest.raises(LeFusionError, match="classes"):
        ModelSpec.from_dict(values)


def test_open_sampler_settings_are_the_models_own():
    own = SamplerSpec("dpm++", 25, 1, 2, 1.5)
    assert SamplerSpec().filled_from(own) == own
    assert SamplerSpec("ddim", num_steps=7).filled_from(own) == SamplerSpec("ddim", 7, 1, 2, 1.5)
    assert SamplerSpec(guidance_scale=0.0).filled_from(own).guidance_scale == 0.0
    assert SamplerSpec(**json.loads(json.dumps(own.to_dict()))) == own


def card_of(spec, **qualities):
    return ModelCard(spec, SamplerSpec("ddim", 20, 1, 1, 1.0), qualities=qualities)


def test_qualities_are_the_cards_or_follow_from_how_the_background_is_shown(tiny_spec):
    clean, noised = card_of(tiny_spec()), card_of(tiny_spec(context="noised"))
    expected = {
        "draft": (SamplerSpec("ddim", 10, 1, 1, 1.0), SamplerSpec("ddpm", 25, 1, 2, 1.0)),
        "standard": (SamplerSpec("ddim", 20, 1, 1, 1.0), SamplerSpec("ddpm", 65, 1, 2, 1.0)),
        "paper": (SamplerSpec("ddpm", 300, 1, 1, 1.0), SamplerSpec("ddpm", 300, 2, 2, 1.0)),
    }
    for name, settings in expected.items():
        assert tuple(card.sampler_for(SamplerSpec(name)) for card in (clean, noised)) == settings
    # the coarse grid with repeats of the published weights, and what it stands for
    counts = [evaluations(time_grid(300, s.num_steps, s.jump_length, s.jump_n_sample)) for _, s in expected.values()]
    assert counts == [49, 129, 598]
    own = card_of(tiny_spec(), draft=SamplerSpec("dpm++", 4, 1, 1, 1.0))
    assert own.sampler_for(SamplerSpec("draft", guidance_scale=2.0)) == SamplerSpec("dpm++", 4, 1, 1, 2.0)
    assert own.sampler_for(None) == own.sampler_for(SamplerSpec()) == own.sampler
    assert own.sampler_for(SamplerSpec("ddpm", 7)) == SamplerSpec("ddpm", 7, 1, 1, 1.0)
    assert ModelCard.from_dict(json.loads(json.dumps(own.to_dict()))) == own


def test_a_card_leaves_nothing_open_and_knows_its_qualities(tiny_spec):
    for name, sampler, words in [
        ("draft", SamplerSpec("ddim", 5), "leaves open how to sample .draft"),
        ("standard", SamplerSpec("draft", 5, 1, 1, 1.0), "leaves open how to sample .standard"),
        ("drafty", SamplerSpec("ddim", 5, 1, 1, 1.0), "Did you mean 'draft'"),
    ]:
        with pytest.raises(LeFusionError, match=words):
            card_of(tiny_spec(), **{name: sampler})


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"method": "drat"}, "Did you mean 'draft'"),
        ({"method": "dpm"}, r"Did you mean 'd[dp]\w"),
        ({"num_steps": 0}, "num_steps must be a whole number from 1; got 0"),
        ({"num_steps": 2.5}, "num_steps"),
        ({"num_steps": True}, "num_steps"),
        ({"jump_length": -1}, "jump_length"),
        ({"jump_n_sample": "2"}, "jump_n_sample"),
        ({"guidance_scale": -0.1}, "from 0 to 20"),
        ({"guidance_scale": float("nan")}, "from 0 to 20"),
        ({"guidance_scale": "2"}, "from 0 to 20"),
    ],
)
def test_sampler_settings_that_cannot_be_are_refused(settings, words):
    with pytest.raises(LeFusionError, match=words):
        SamplerSpec(**settings)
