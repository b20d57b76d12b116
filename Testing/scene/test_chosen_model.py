"""The model chosen in the scene: its card, or why there is none; the grey values it sees."""

import numpy as np
import pytest


@pytest.fixture
def chosen(bench):
    from LeFusionLib.scene import ChosenModel, Parameters

    return ChosenModel(Parameters(bench.host))


def test_the_bundled_model_has_a_card_a_mask_model_and_a_fixed_window(chosen):
    assert chosen.card().spec.name == "lung-nodule" and chosen.error == ""
    assert chosen.mask_spec().kind == "mask"
    assert (chosen.window().low, chosen.window().high, chosen.window().unit) == (-1000, 400, "HU")
    chosen.parameters.mask_model = "handcrafted"
    assert chosen.mask_spec() is None


def test_a_model_that_is_not_there_says_so_until_it_is_looked_for_again(chosen, tiny_folder, tmp_path):
    folder = tmp_path / "late"
    chosen.parameters.model = str(folder)
    assert chosen.card() is None and "late" in chosen.error and chosen.window() is None
    folder.symlink_to(tiny_folder)
    assert chosen.card() is None
    chosen.look_again()
    assert chosen.card().spec.name == "tiny" and chosen.error == ""


def test_the_window_of_an_mri_comes_from_the_chosen_volume(bench, chosen, tmp_path, tiny_model):
    pytest.importorskip("torch", reason="torch is not installed; a model folder is made with it")
    from LeFusionLib.models.checkpoint import save_model

    model = tiny_model(intensity={"kind": "range"})
    chosen.parameters.model = str(save_model(tmp_path / "mr", model.denoiser, model.card))
    assert chosen.window() is None
    node = bench.volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5) + 7, np.eye(4))
    chosen.parameters.volume = node
    assert (chosen.window().low, chosen.window().high) == (7, 66)
