"""Models by name, folder or published file, on the device asked for and no other."""

import pytest
import torch

from LeFusionLib.errors import LeFusionError
from LeFusionLib.models import card
from LeFusionLib.models.checkpoint import save_model
from LeFusionLib.models.mask_spec import MaskSpec
from LeFusionLib.models.zoo import bundled_models, chosen_device, default_model, load_model, mask_model_for


@pytest.fixture
def bundled(tiny_model, tmp_path, monkeypatch):
    """An installation that brings two models: one for masks, one for tissue."""
    mask = tiny_model(name="shape", kind="mask", mask=MaskSpec())
    for name, model in (("a-shape", mask), ("tiny", tiny_model())):
        save_model(tmp_path / name, model.denoiser, model.card)
    (tmp_path / "no-model").mkdir()
    monkeypatch.setattr(card, "BUNDLED", tmp_path)
    return tmp_path


def test_bundled_models_are_known_by_name_and_the_first_for_tissue_is_the_default(bundled):
    assert bundled_models() == {"a-shape": bundled / "a-shape", "tiny": bundled / "tiny"}
    assert default_model() == "tiny"
    assert list(bundled_models("mask")) == ["a-shape"]
    model = load_model("tiny", "cpu")
    assert model.spec.name == "tiny" and model.device == torch.device("cpu") and model.rows_at_once == 1
    assert list(model.textures["nodule"]) == ["ground-glass", "part-solid", "solid"]
    assert not any(p.requires_grad for p in model.denoiser.parameters()) and not model.denoiser.training


def test_the_mask_model_of_the_same_classes_draws_for_a_texture_model(bundled, tiny_spec):
    assert mask_model_for(tiny_spec()) == "a-shape"
    assert mask_model_for(tiny_spec(classes=("infarct", "no_reflow"))) is None


def test_a_folder_is_a_model_too(bundled):
    assert load_model(bundled / "tiny", "cpu").card.sha256 == load_model("tiny", "cpu").card.sha256


def test_an_unknown_name_tells_the_nearest_and_an_empty_folder_what_is_missing(bundled):
    with pytest.raises(LeFusionError, match="'tinny'. Did you mean 'tiny'"):
        load_model("tinny", "cpu")
    with pytest.raises(LeFusionError, match="holds no model"):
        load_model(bundled / "no-model", "cpu")
    with pytest.raises(LeFusionError, match="There is no file"):
        load_model(bundled / "lidc.pt", "cpu")


def test_without_any_model_the_default_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(card, "BUNDLED", tmp_path)
    with pytest.raises(LeFusionError, match="model folder"):
        default_model()


@pytest.mark.parametrize(
    "kind, textures", [("lidc", ["nodule"]), ("emidec", ["infarct", "no_reflow"]), ("diffmask", [])]
)
def test_a_published_checkpoint_is_a_model_with_the_published_textures_and_sampler(golden, kind, textures):
    model = load_model(golden / f"ckpt_{kind}_small.pt", "cpu")
    assert list(model.textures) == textures
    assert model.card.sampler.method == "ddpm" and model.card.sampler.num_steps == model.spec.timesteps
    assert model.schedule is model.denoiser.schedule
    assert len(model.card.sha256) == 64


@pytest.fixture
def cpu_only(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_auto_takes_the_best_device_there_is(cpu_only):
    assert chosen_device("auto") == chosen_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there_is_refused_not_replaced(cpu_only, device):
    with pytest.raises(LeFusionError, match=f"'{device}' is not on this machine. Possible here: cpu"):
        chosen_device(device)


@pytest.mark.parametrize("device", ["gpu", "cud", "cuda:x", "", "cuda:-1"])
def test_a_word_that_is_no_device_is_refused(cpu_only, device):
    with pytest.raises(LeFusionError, match="Possible: auto, cpu, cuda, mps"):
        chosen_device(device)


def test_gpus_are_counted(two_gpus):
    assert chosen_device("auto") == torch.device("cuda")
    assert chosen_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(LeFusionError, match="'cuda:2' is not on this machine. Possible here: cpu, cuda"):
        chosen_device("cuda:2")


def test_the_device_is_refused_before_anything_is_read(cpu_only):
    with pytest.raises(LeFusionError, match="not on this machine"):
        load_model("no such model", "cuda")
