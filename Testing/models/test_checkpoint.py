"""Our model folder: what is saved comes back, and a folder that was touched is refused in words."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file, save_file

from LeFusionLib.errors import LeFusionError
from LeFusionLib.models.checkpoint import (
    CARD,
    WEIGHTS,
    ModelCard,
    file_sha256,
    load_denoiser,
    read_card,
    save_model,
)
from LeFusionLib.models.denoiser import Denoiser


@pytest.fixture
def model(tiny_model):
    return tiny_model()


@pytest.fixture
def folder(model, tmp_path):
    return save_model(tmp_path / "tiny", model.denoiser, model.card)


def change_card(folder, change):
    values = json.loads((folder / CARD).read_text())
    change(values)
    (folder / CARD).write_text(json.dumps(values))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_weights_come_back_to_the_rounding_of_their_type(model, tmp_path, dtype):
    folder = save_model(tmp_path / "m", model.denoiser, model.card, dtype)
    assert sorted(p.name for p in folder.iterdir()) == [CARD, WEIGHTS]
    card = read_card(folder)
    loaded = load_denoiser(folder, card)
    assert not loaded.training
    expected = {k: v.to(getattr(torch, dtype)).float() for k, v in model.denoiser.state_dict().items()}
    assert expected.keys() == loaded.state_dict().keys()
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32 and torch.equal(value, expected[name]), name


def test_the_card_comes_back_and_holds_the_hash_of_the_weights(model, folder):
    card = read_card(folder)
    assert card.spec == model.spec and card.sampler == model.card.sampler and card.licence == "CC0-1.0"
    assert card.sha256 == file_sha256(folder / WEIGHTS)
    for name, presets in model.textures.items():
        assert dict(card.textures[name]) == dict(presets)
        assert card.textures[name].probabilities == presets.probabilities


@pytest.mark.parametrize(
    "changes", [{}, {"context": "noised"}, {"condition_way": "cross_attention"}, {"classes": ("infarct", "no_reflow")}]
)
def test_a_loaded_model_predicts_what_the_saved_one_did(tiny_model, tmp_path, changes):
    model = tiny_model(**changes)
    spec = model.spec
    save_model(tmp_path / "m", model.denoiser, model.card, "float32")
    loaded = load_denoiser(tmp_path / "m", read_card(tmp_path / "m"))
    x = torch.randn(1, len(spec.classes), 4, 8, 8)
    context = torch.rand(1, 1 + len(spec.classes), 4, 8, 8) if spec.context == "clean" else None
    condition = torch.rand(2, 1, spec.condition_size)
    with torch.inference_mode():
        y = [net(x, torch.tensor([9]), condition[0], context) for net in (model.denoiser, loaded)]
        other = loaded(x, torch.tensor([9]), condition[1], context)
    assert torch.equal(*y)
    assert not torch.equal(y[0], other)


def test_the_clean_context_is_seen_and_dropped_rows_get_the_null_condition(tiny_spec):
    torch.manual_seed(0)
    net = Denoiser(tiny_spec()).eval()
    x, t, condition = torch.randn(2, 1, 4, 8, 8), torch.tensor([9, 9]), torch.rand(2, 16)
    context = torch.rand(2, 2, 4, 8, 8)
    with torch.inference_mode():
        y = net(x, t, condition, context)
        assert not torch.equal(net(x, t, condition, context + 0.5), y)
        dropped = net(x, t, condition, context, drop=torch.tensor([True, False]))
        null = net(x, t, net.net.null_condition.expand(2, -1), context)
    assert torch.allclose(dropped[0], null[0], atol=1e-6)
    assert torch.allclose(dropped[1], y[1], atol=1e-6)


def test_saving_again_replaces_the_model(model, folder):
    save_model(folder, model.denoiser, model.card, "float32")
    load_denoiser(folder, read_card(folder))


def test_tampered_weights_are_refused(folder):
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(LeFusionError, match="another sha256"):
        load_denoiser(folder, read_card(folder))


def test_missing_weights_and_a_missing_card_are_named(folder):
    (folder / WEIGHTS).rename(folder / "elsewhere")
    with pytest.raises(LeFusionError, match=re.escape(f"no {WEIGHTS} in tiny")):
        load_denoiser(folder, read_card(folder))
    (folder / CARD).unlink()
    with pytest.raises(LeFusionError, match="holds no model"):
        read_card(folder)


def test_weights_that_are_no_safetensors_are_refused(folder):
    (folder / WEIGHTS).write_bytes(b"not at all")
    change_card(folder, lambda v: v.update(sha256=file_sha256(folder / WEIGHTS)))
    with pytest.raises(LeFusionError, match="cannot be read"):
        load_denoiser(folder, read_card(folder))


@pytest.mark.parametrize(
    "setting, value, word",
    [
        ("dim", 16, "other shape"),
        ("dim_mults", (1, 2, 2), "missing: "),
        ("condition_way", "none", "other shape: down.0.block1.modulation"),
    ],
)
def test_weights_of_another_network_list_what_differs(folder, setting, value, word):
    change_card(folder, lambda v: v["spec"].update({setting: value}))
    with pytest.raises(LeFusionError, match="another network") as caught:
        load_denoiser(folder, read_card(folder))
    assert word in str(caught.value) and len(str(caught.value)) < 1000


def test_weights_with_a_key_too_many_name_it(folder):
    state = load_file(folder / WEIGHTS)
    save_file(state | {"extra.weight": torch.zeros(1)}, folder / WEIGHTS)
    change_card(folder, lambda v: v.update(sha256=file_sha256(folder / WEIGHTS)))
    with pytest.raises(LeFusionError, match="unknown: extra.weight"):
        load_denoiser(folder, read_card(folder))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda v: v.update(samplers={}), "'samplers'. Did you mean 'sampler'"),
        (lambda v: v["spec"].update(head_dims=4), "Did you mean 'head_dim'"),
        (lambda v: v["spec"].pop("dim"), "dim"),
        (lambda v: v["spec"].update(dim="eight"), "incomplete"),
        (lambda v: v["sampler"].update(steps=4), "steps"),
        (lambda v: v.pop("licence"), "licence"),
        (lambda v: v.update(textures=[1]), "incomplete"),
        (lambda v: v["textures"]["nodule"]["presets"].update(solid=[1, 2]), "16 numbers"),
    ],
)
def test_a_card_with_a_wrong_entry_names_it(folder, change, words):
    change_card(folder, change)
    with pytest.raises(LeFusionError, match=words):
        read_card(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"\xff\xfe\xff"])
def test_a_card_that_is_no_card_is_refused(folder, content):
    (folder / CARD).write_bytes(content)
    with pytest.raises(LeFusionError, match=CARD):
        read_card(folder)


def test_a_card_needs_no_textures_and_its_dictionary_is_json(tiny_model):
    card = tiny_model(condition_way="none").card
    assert ModelCard.from_dict(json.loads(json.dumps(card.to_dict()))).textures == {}
