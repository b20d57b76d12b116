"""Published checkpoints: every key has its place; anything else is refused, and the error lists what differs."""

import json
import pickle
import re
import zlib

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from LeFusionLib.errors import LeFusionError
from LeFusionLib.models.released import halves_from_pairs, load_released_checkpoint

QKV = "denoise_fn.module.downs.0.3.fn.fn.fn.to_qkv.weight"


@pytest.fixture(scope="module")
def file(golden):
    return torch.load(golden / "ckpt_lidc_small.pt", weights_only=True)


@pytest.fixture
def saved(file, tmp_path):
    """A copy of the small checkpoint with `change(state)` done to its weights, written to a file."""

    def save(change=lambda state: None):
        state = dict(file["model"])
        change(state)
        torch.save(dict(file) | {"model": state}, tmp_path / "changed.pt")
        return tmp_path / "changed.pt"

    return save


@pytest.mark.parametrize("kind", ["lidc", "emidec", "diffmask"])
def test_every_key_of_a_full_size_checkpoint_finds_its_own_place(golden, tmp_path, kind):
    """Each tensor is filled with a number of its own (and takes no room); each of ours then holds one key's number."""
    keys = json.loads((golden / f"keys_{kind}.json").read_text())
    buffers = torch.load(golden / f"ckpt_{kind}_small.pt", weights_only=True)["model"]
    state, key_of = {}, {}
    for row in keys["saved_training"]:
        key = row["key"]
        if not key.startswith("denoise_fn.") or key.endswith("rotary_emb.freqs"):
            state[key] = buffers[key]
            continue
        number = float(zlib.crc32(key.encode()) % 2**24)
        assert number not in key_of
        key_of[number] = key
        state[key] = torch.tensor(number).expand(row["shape"])
    assert len(state) == keys["n_keys"] == len(keys["saved_training"])
    torch.save({"step": 1, "model": state, "ema": state, "scaler": {}}, tmp_path / f"{kind}.pt")

    net = load_released_checkpoint(tmp_path / f"{kind}.pt")
    found = []
    for name, value in net.net.state_dict().items():
        assert value.unique().numel() == 1, name
        found.append(key_of[value.flatten()[0].item()])
    assert sorted(found) == sorted(key_of.values())
    assert sum(p.numel() for p in net.parameters()) == keys["n_parameters"]
    spec, config = net.spec, keys["config"]
    assert (spec.dim, spec.dim_mults, spec.timesteps) == (config["dim"], tuple(config["dim_mults"]), 300)
    assert spec.condition_size == (config["cond_dim"] or 0)
    assert spec.in_channels == config["channels"]
    assert (spec.name, spec.heads, spec.head_dim) == (kind, 8, 32)
    assert spec.kind == ("mask" if kind == "diffmask" else "texture")
    assert spec.classes == (("infarct", "no_reflow") if kind == "emidec" else ("nodule",))


def test_an_unwrapped_checkpoint_is_the_same_network(file, saved, released):
    """What the published inference loads: the text "module." taken out of the keys."""

    def strip(state):
        for key in list(state):
            state[key.replace("module.", "", 1)] = state.pop(key)

    net = load_released_checkpoint(saved(strip))
    for name, value in released("ckpt_lidc_small").net.state_dict().items():
        assert torch.equal(net.net.state_dict()[name], value)


def test_the_average_is_read_when_asked_for(golden, file):
    net = load_released_checkpoint(golden / "ckpt_lidc_small.pt", weights="ema")
    key = "denoise_fn.module.init_conv.bias"
    assert torch.equal(net.net.stem.bias, file["ema"][key])
    assert not torch.equal(file["ema"][key], file["model"][key])


def test_the_files_own_schedule_is_used(golden):
    assert load_released_checkpoint(golden / "ckpt_repaint_emidec_small.pt").schedule.timesteps == 40


def test_reordering_queries_and_keys_keeps_scores_and_values():
    to_qkv, x = torch.randn(3 * 2 * 4, 5), torch.randn(7, 5)
    ours = halves_from_pairs(to_qkv, heads=2, head_dim=4)
    (q, k, v), (q2, k2, v2) = ((x @ w.T).view(7, 3, 2, 4).unbind(1) for w in (to_qkv, ours))
    assert torch.allclose(torch.einsum("ihd,jhd->hij", q, k), torch.einsum("ihd,jhd->hij", q2, k2), atol=1e-5)
    assert torch.equal(v, v2)
    assert torch.allclose(q2[:, :, 1], q[:, :, 2])  # pairs (0, 1), (2, 3) -> halves (0, 2), (1, 3)


def refused(path, *words):
    with pytest.raises(LeFusionError) as caught:
        load_released_checkpoint(path)
    text = str(caught.value)
    assert path.name in text and str(path.parent) not in text
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    "key",
    [
        "denoise_fn.module.init_conv.weight",
        "denoise_fn.module.final_conv.1.bias",
        "denoise_fn.module.downs.3.0.block1.proj.weight",
        "denoise_fn.module.ups.2.4.weight",
        "posterior_variance",
        "betas",
        QKV,
    ],
)
def test_a_missing_key_is_named(saved, key):
    with pytest.raises(LeFusionError, match="missing"):
        load_released_checkpoint(saved(lambda state: state.pop(key)))


def test_an_unknown_key_is_named(saved):
    refused(saved(lambda s: s.update({"denoise_fn.module.extra.weight": torch.zeros(1)})), "unknown", "extra.weight")
    refused(saved(lambda s: s.update({"optimizer.weight": torch.zeros(1)})), "unknown", "optimizer.weight")


def test_another_shape_is_named_with_both_shapes(saved):
    refused(
        saved(lambda s: s.update({QKV: torch.zeros(768, 9)})), "other shape", QKV.replace("module.", ""), "(768, 9)"
    )


def test_a_transposed_weight_is_not_taken_for_the_right_one(saved):
    """The same count of numbers in another order would load, and draw nonsense."""
    key = "denoise_fn.module.downs.0.3.fn.fn.fn.to_out.weight"
    refused(saved(lambda s: s.update({key: s[key].T.contiguous()})), "other shape", "to_out")
    key = "denoise_fn.module.downs.1.0.block1.proj.weight"
    refused(saved(lambda s: s.update({key: s[key].transpose(0, 1).contiguous()})), "other shape", "block1.proj")


def test_a_long_list_of_differences_is_shortened(saved):
    def drop(state):
        for key in [k for k in state if ".norm." in k]:
            del state[key]

    with pytest.raises(LeFusionError, match=r"and \d+ more"):
        load_released_checkpoint(saved(drop))


def test_odd_rotary_frequencies_and_schedules_are_named(saved):
    key = "denoise_fn.module.init_temporal_attn.fn.fn.fn.rotary_emb.freqs"
    refused(saved(lambda s: s.update({key: torch.ones(16)})), "other rotary frequencies")
    refused(saved(lambda s: s.update(alphas_cumprod=s["alphas_cumprod"] * 0.5)), "does not follow", "alphas_cumprod")
    refused(saved(lambda s: s.update(posterior_variance=torch.zeros(7))), "does not follow", "posterior_variance")


def test_networks_of_other_tasks_are_refused(saved):
    """Three classes, a condition of another length, a network without condition and without sphere."""

    def three_classes(state):
        state["denoise_fn.module.final_conv.1.weight"] = torch.zeros(3, 8, 1, 1, 1)

    refused(saved(three_classes), "another network")
    refused(saved(lambda s: s.update({"denoise_fn.module.null_cond_emb": torch.zeros(1, 7)})), "another network")
    refused(saved(lambda s: s.pop("denoise_fn.module.null_cond_emb")), "another network")
    refused(saved(lambda s: s.update(betas=torch.tensor(0.1))), "another network")


class Code:
    """What a malicious pickle does: it names a function to be called while it is read."""

    def __reduce__(self):
        return exec, ("raise SystemExit('code from the file was run')",)


def test_a_pickle_with_code_is_refused_and_its_code_not_run(tmp_path, file):
    path = tmp_path / "evil.pt"
    path.write_bytes(pickle.dumps({"model": Code()}, protocol=2))
    refused(path, "safely")
    torch.save({"model": dict(file["model"]), "scaler": Code()}, path)
    refused(path, "safely")


def test_a_truncated_an_empty_and_a_foreign_file_are_refused(golden, tmp_path):
    whole = (golden / "ckpt_lidc_small.pt").read_bytes()
    path = tmp_path / "cut.pt"
    for content in (whole[: len(whole) // 2], whole[:-100], whole[:20], b"", b"<html>not found</html>", b"\x80\x02."):
        path.write_bytes(content)
        refused(path, "read safely")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=40))
def test_any_small_file_ends_in_our_error(tmp_path, content):
    path = tmp_path / "any.pt"
    path.write_bytes(content)
    with pytest.raises(LeFusionError):
        load_released_checkpoint(path)


@pytest.mark.parametrize(
    "content", [[1, 2], 7, {}, {"model": 3}, {"model": {"a": 1}}, {"state_dict": {}}, {"model": {}}]
)
def test_what_is_no_checkpoint_is_refused_and_said_what_it_is(tmp_path, content):
    torch.save(content, tmp_path / "odd.pt")
    refused(tmp_path / "odd.pt")


def test_a_file_or_folder_that_is_not_there(tmp_path):
    refused(tmp_path / "nothing.pt", "There is no file")
    (tmp_path / "folder.pt").mkdir()
    refused(tmp_path / "folder.pt")


def test_the_weights_named_are_there(golden):
    with pytest.raises(LeFusionError, match=re.escape("['ema', 'model', 'scaler', 'step']")):
        load_released_checkpoint(golden / "ckpt_lidc_small.pt", weights="best")
