"""The command line as a user meets it: what it writes, what it says, and its exit status."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import LeFusionLib as lf
from LeFusionLib.cli import main
from LeFusionLib.models.checkpoint import ModelCard, save_model
from LeFusionLib.models.denoiser import Denoiser
from LeFusionLib.models.sampler_spec import SamplerSpec
from LeFusionLib.models.spec import ModelSpec
from LeFusionLib.texture import TexturePresets, published_textures

CENTER = ["--center", "-10", "-10", "12"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model with random weights: it makes noise, but goes every way a real one goes."""
    import torch

    torch.manual_seed(0)
    spec = ModelSpec(
        name="tiny",
        classes=("nodule",),
        patch_shapes=((8, 16, 16), (16, 24, 24)),
        spacing_mm=(1.0, 1.0, 1.0),
        intensity={"kind": "fixed", "low": -1000.0, "high": 400.0, "unit": "HU"},
        dim=8,
        dim_mults=(1, 2),
        heads=2,
        head_dim=8,
        context="clean",
    )
    presets = published_textures("lidc")["nodule"]
    card = ModelCard(spec, SamplerSpec("ddim", 3, 1, 1, 1.0), {"nodule": TexturePresets(dict(presets))}, "CC0", "tiny")
    return str(save_model(tmp_path_factory.mktemp("model"), Denoiser(spec), card))


@pytest.fixture(autouse=True)
def shapes_by_hand(monkeypatch):
    """The bundled mask model has its own tests; here shapes cost nothing unless a test says otherwise."""
    from LeFusionLib.models import zoo
    from LeFusionLib.synthesis import draw

    monkeypatch.setattr(zoo, "mask_model_for", lambda spec: None)
    monkeypatch.setattr(draw, "DIFFMASK", draw.HANDCRAFTED)


@pytest.fixture
def scan(tmp_path):
    """A small CT of lung with noise, 1 mm, in its own folder."""
    array = np.random.default_rng(0).normal(-850, 30, (24, 32, 32)).astype(np.int16)
    volume = lf.Volume(array, np.array([[-1.0, 0, 0, 5], [0, -1, 0, 5], [0, 0, 1, 0], [0, 0, 0, 1]]), name="scan")
    path = tmp_path / "in" / "scan.nii.gz"
    path.parent.mkdir()
    lf.write_volume(volume, path)
    return path


def run(*words):
    return main([str(word) for word in words])


def test_the_browser_app_says_what_it_needs_and_what_it_cannot_do(tmp_path, capsys, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    absent = {"trame_slicer": None}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: absent[name] if name in absent else find(name))
    for words, says in (
        ([], "pip install 'lefusion[app]'"),
        ([tmp_path / "nowhere.nii.gz"], "nowhere.nii.gz"),
        (["--data", tmp_path / "none"], "--data"),
        (["--port", 70000], "port"),
        (["--steps", "many"], "steps"),
    ):
        assert run("app", *words) == 2
        said = capsys.readouterr().err
        assert says in said and said.count("\n") == 1 and "Traceback" not in said


def test_synthesize_writes_volume_segmentation_and_report_and_changes_nothing_else(scan, model, tmp_path, capsys):
    out = tmp_path / "out"
    status = run(
        "synthesize", scan, *CENTER, "--diameter", 8, "--texture", "solid", "--seed", 7, "--model", model, "-o", out
    )
    assert status == 0
    assert sorted(file.name for file in out.iterdir()) == ["scan.json", "scan.nii.gz", "scan.seg.nrrd"]
    before, after = lf.read_volume(scan), lf.read_volume(out / "scan.nii.gz")
    labels, _, names = lf.read_labels(out / "scan.seg.nrrd")
    assert names == {"nodule": 1}
    assert (before.array[labels == 0] == after.array[labels == 0]).all()
    assert (before.array[labels == 1] != after.array[labels == 1]).any()
    assert after.array.dtype == np.int16
    report = json.loads((out / "scan.json").read_text())
    assert report["synthetic"] is True and report["background"]["changed_voxels_outside_mask"] == 0
    said = capsys.readouterr().out
    assert "0 of" in said and "network" in said  # what changed outside, and where the time went


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_lesion(scan, model, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert (
            run("synthesize", scan, *CENTER, "--diameter", 8, "--seed", seed, "--model", model, "-o", tmp_path / name)
            == 0
        )
    a, b, c = (lf.read_volume(tmp_path / name / "scan.nii.gz").array for name in "abc")
    assert (a == b).all() and (a != c).any()


def test_a_given_mask_and_an_exemplar_texture(scan, model, tmp_path):
    assert run("draw-mask", scan, *CENTER, "--diameter", 8, "-o", tmp_path / "mask.nii.gz") == 0
    assert run(
        "synthesize", scan, "--mask", tmp_path / "mask.nii.gz", "--texture-from", scan, tmp_path / "mask.nii.gz",
        "--model", model, "-o", tmp_path / "out",
    ) == 0  # fmt: skip
    asked = json.loads((tmp_path / "out" / "scan.json").read_text())["lesions"][0]["texture"]["asked"]
    assert asked[1] > 0.6  # lung at -850 +- 30 HU falls into the second bin, -912.5 to -825, to four fifths


def test_several_shapes_to_choose_from_and_each_can_be_painted(scan, model, tmp_path, capsys):
    target = tmp_path / "shapes" / "mask.seg.nrrd"
    assert run("draw-mask", scan, *CENTER, "--diameter", 8, "--count", 3, "-o", target) == 0
    files = [target.with_name(f"mask-{n}.seg.nrrd") for n in range(3)]
    labels = [lf.read_labels(file)[0] for file in files]
    assert len({mask.tobytes() for mask in labels}) == 3
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [str(file) for file in files]
    words = ["synthesize", scan, *CENTER, "--diameter", 8, "--shape", 2, "--model", model, "-o", tmp_path / "out"]
    assert run(*words) == 0
    assert (lf.read_labels(tmp_path / "out" / "scan.seg.nrrd")[0] == labels[2]).all()
    assert run("draw-mask", scan, *CENTER, "--diameter", 8, "--count", 2, "-o", target) == 2  # they are there already
    assert run("draw-mask", scan, *CENTER, "--diameter", 8, "--count", 0, "-o", tmp_path / "none.nrrd") == 2


def test_a_boundary_file_keeps_the_lesion_in_and_an_empty_or_foreign_one_is_refused(scan, model, tmp_path, capsys):
    volume = lf.read_volume(scan)
    half = np.zeros(volume.shape, np.uint8)
    half[:, :, 16:] = 1
    lf.write_volume(lf.Volume(half, volume.ijk_to_ras), tmp_path / "half.nii.gz")
    words = ["synthesize", scan, *CENTER, "--diameter", 8, "--model", model]
    assert run(*words, "--boundary", tmp_path / "half.nii.gz", "-o", tmp_path / "out") == 0
    assert not lf.read_labels(tmp_path / "out" / "scan.seg.nrrd")[0][half == 0].any()
    lf.write_volume(lf.Volume(half * 0, volume.ijk_to_ras), tmp_path / "empty.nii.gz")
    away = volume.ijk_to_ras + np.outer([0, 0, 1, 0], [0, 0, 0, 500])
    lf.write_volume(lf.Volume(half, away), tmp_path / "other.nii.gz")
    lf.write_volume(lf.Volume(1 - half, volume.ijk_to_ras), tmp_path / "elsewhere.nii.gz")
    far = ["synthesize", scan, "--center", "-16", "-10", "12", "--diameter", 6, "--model", model]
    for line, name, says in (
        (words, "empty", "is empty"),
        (words, "other", "lies elsewhere"),
        (far, "elsewhere", "no voxel inside the boundary"),
    ):
        assert run(*line, "--boundary", tmp_path / f"{name}.nii.gz", "-o", tmp_path / "none") == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and says in error and not (tmp_path / "none").exists()


def test_a_boundary_on_another_grid_is_met_where_it_lies_in_the_world(scan, model, tmp_path):
    volume = lf.read_volume(scan)
    half = np.zeros(volume.shape, np.uint8)
    half[:, :, 16:] = 1
    flipped = volume.ijk_to_ras @ np.diag([-1.0, 1, 1, 1])
    flipped[:3, 3] += volume.ijk_to_ras[:3, 0] * (volume.shape[2] - 1)
    words = ["synthesize", scan, *CENTER, "--diameter", 8, "--model", model]
    for name, array, matrix in (("own", half, volume.ijk_to_ras), ("flipped", half[:, :, ::-1], flipped)):
        lf.write_volume(lf.Volume(np.ascontiguousarray(array), matrix), tmp_path / f"{name}.nii.gz")
        assert run(*words, "--boundary", tmp_path / f"{name}.nii.gz", "-o", tmp_path / name) == 0
    ours, theirs = (lf.read_labels(tmp_path / name / "scan.seg.nrrd")[0] for name in ("own", "flipped"))
    assert np.array_equal(ours, theirs)


def test_progress_json_is_one_object_per_line(scan, model, tmp_path, capsys):
    run("synthesize", scan, *CENTER, "--diameter", 8, "--model", model, "-o", tmp_path / "out", "--progress", "json")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["step"] for line in lines[:-1]] == [1, 2, 3]
    assert lines[-1]["done"] and len(lines[-1]["files"]) == 3


def test_several_spheres_make_several_lesions(scan, model, tmp_path):
    more = ["--center", "-18", "-18", "6", "--diameter", 5]
    assert run("synthesize", scan, *CENTER, "--diameter", 5, *more, "--model", model, "-o", tmp_path / "out") == 0
    assert len(json.loads((tmp_path / "out" / "scan.json").read_text())["lesions"]) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["{scan}x.nii", *CENTER, "--diameter", "8"], "no file"),
        (["{scan}"], "--mask FILE, or --center"),
        (["{scan}", *CENTER], "centres need as many --diameter"),
        (["{scan}", "--center", "900", "0", "0", "--diameter", "8"], "outside"),
        (["{scan}", *CENTER, "--diameter", "0.2"], "smallest possible"),
        (["{scan}", *CENTER, "--diameter", "-3"], "diameter"),
        (["{scan}", *CENTER, "--diameter", "80"], "largest possible diameter is 15 mm"),
        (["{scan}", *CENTER, "--diameter", "8", "--texture", "sold"], "Did you mean 'solid'"),
        (["{scan}", *CENTER, "--diameter", "8", "--texture", "7"], "no texture number 7"),
        (["{scan}", *CENTER, "--diameter", "8", "--texture", "nodul=solid"], "Did you mean 'nodule'"),
        (["{scan}", *CENTER, "--diameter", "8", "--seed", "-1"], "seed"),
        (["{scan}", *CENTER, "--diameter", "8", "--sampler", "dpmm++"], "Did you mean 'dpm++'"),
        (["{scan}", *CENTER, "--diameter", "8", "--steps", "0"], "num_steps"),
        (["{scan}", *CENTER, "--diameter", "8", "--steps", "301"], "1 to 300 steps"),
        (["{scan}", *CENTER, "--diameter", "8", "--device", "cuda:9"], "cuda:9"),
        (["{scan}", *CENTER, "--diameter", "8", "--device", "gpu"], "no device 'gpu'"),
        (["{scan}", *CENTER, "--diameter", "8", "--mask-model", "handcraft"], "Did you mean 'handcrafted'"),
        (["{scan}", *CENTER, "--diameter", "8", "--boundary", "nowhere.nii.gz"], "no file"),
        (["{scan}", *CENTER, "--diameter", "8", "--boundary", "lung"], "--boundary FILE"),
        (["{scan}", *CENTER, "--diameter", "8", "--mask-model", "{model}"], "makes tissue"),
        (["{scan}", *CENTER, "--diameter", "8", "--rating", "sphericity=5"], "cannot be steered by ratings"),
        (["{scan}", *CENTER, "--diameter", "8", "--rating", "round"], "NAME=NUMBER"),
        (["{scan}", *CENTER, "--diameter", "8", "--shape", "-1"], "whole number from 0"),
        (["{scan}", "--mask", "{scan}"], "It may be an image"),
        (["{scan}", *CENTER, "--diameter", "eight"], "invalid float value"),
        (["{scan}", *CENTER, "--diameter", "8", "--device", "cpu", "--precision", "bfloat16"], "needs an NVIDIA GPU"),
        (["{scan}", *CENTER, "--diameter", "8", "--precision", "bf16"], "Possible: float32, bfloat16, float16"),
    ],
)
def test_a_mistake_is_one_clear_line_with_status_2_and_nothing_written(scan, model, tmp_path, capsys, words, says):
    words = [word.format(scan=scan, model=model) for word in words]
    assert run("synthesize", *words, "--model", model, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and says in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_quiet_is_over_when_the_command_is(capsys, caplog):
    import logging

    assert main(["models", "--quiet"]) == 0
    logging.getLogger("LeFusionLib.synthesis.draw").warning("few slices")
    assert "few slices" in caplog.text


def test_an_unknown_model_names_the_bundled_ones(scan, tmp_path, capsys):
    assert run("synthesize", scan, *CENTER, "--diameter", 8, "--model", "lung-nodul", "-o", tmp_path / "out") == 2
    assert "no model 'lung-nodul'" in capsys.readouterr().err


def test_existing_outputs_are_refused_unless_told_and_an_input_always(scan, model, tmp_path, capsys):
    words = ["synthesize", scan, *CENTER, "--diameter", 8, "--model", model]
    assert run(*words, "-o", tmp_path / "out") == 0
    kept = (tmp_path / "out" / "scan.nii.gz").read_bytes()
    assert run(*words, "--seed", 5, "-o", tmp_path / "out") == 2
    assert (tmp_path / "out" / "scan.nii.gz").read_bytes() == kept
    assert run(*words, "--seed", 5, "-o", tmp_path / "out", "--overwrite") == 0
    assert (tmp_path / "out" / "scan.nii.gz").read_bytes() != kept
    input_bytes = scan.read_bytes()
    assert run(*words, "-o", scan.parent, "--overwrite") == 2
    (tmp_path / "link").symlink_to(scan.parent)
    assert run(*words, "-o", tmp_path / "link", "--overwrite") == 2
    assert scan.read_bytes() == input_bytes and sorted(scan.parent.iterdir()) == [scan]
    assert "input" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_leaves_nothing(scan, model, tmp_path):
    command = [
        sys.executable, "-m", "LeFusionLib", "synthesize", scan, *CENTER, "--diameter", "8", "--steps", "300",
        "--sampler", "ddpm", "--jump-length", "10", "--jump-n-sample", "10",
        "--progress", "json", "--model", model, "-o", tmp_path / "out",
    ]  # fmt: skip
    root = Path(lf.__file__).resolve().parent.parent
    environment = os.environ | {"PYTHONPATH": str(root)}
    process = subprocess.Popen(
        [str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()  # the first evaluation is done
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Stopped after" in error and b"Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_convert_makes_a_folder_that_loads_and_refuses_what_is_no_checkpoint(golden, tmp_path, capsys):
    assert run("convert", golden / "ckpt_lidc_small.pt", "-o", tmp_path / "lidc") == 0
    assert lf.load_model(tmp_path / "lidc", "cpu").textures["nodule"]["solid"]
    (tmp_path / "bad.pt").write_bytes(b"no checkpoint")
    assert run("convert", tmp_path / "bad.pt", "-o", tmp_path / "bad") == 2
    assert "cannot be read" in capsys.readouterr().err or not (tmp_path / "bad").exists()
    assert not (tmp_path / "bad").exists()


def test_models_lists_what_is_bundled(capsys):
    assert run("models") == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in lf.bundled_models())


def test_train_dry_run_prints_the_resolved_settings_and_an_unknown_preset_its_neighbour(capsys):
    assert run("train", "lung-nodule", "--data", "d", "--run", "r", "--steps", 5, "--dry-run") == 0
    settings = json.loads(capsys.readouterr().out)
    assert settings["steps"] == 5 and settings["spec"]["classes"] == ["nodule"]
    assert run("train", "lung-nodul", "--data", "d", "--run", "r") == 2
    assert "Did you mean 'lung-nodule" in capsys.readouterr().err


def test_help_needs_no_torch(tmp_path):
    root = Path(lf.__file__).resolve().parent.parent
    code = "import sys; from LeFusionLib.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, stdout=subprocess.DEVNULL).returncode == 0


def test_an_evaluation_without_its_data_says_so(tmp_path, capsys):
    assert run("evaluate", "texture", "-o", tmp_path / "t") == 2
    assert "needs a folder: --data DIR" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["texture", "spheres"])
def test_an_evaluation_of_diameters_the_wrong_way_round_says_so(what, tmp_path, capsys):
    given = ["--data", tmp_path, "--diameters", 30, 20, "-o", tmp_path / "new" / "t"]
    assert run("evaluate", what, *given) == 2
    assert "smallest and the largest in mm, such as 20 30; got 30 20" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
