import json
import stat

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tumorprog.errors import InputError
from tumorprog.heads.bilstm import ProgressionLSTM, predict_months
from tumorprog.model_files import load_description, load_into, save

DESCRIPTION = {"classes": [2, 3, 4], "scaling": "robust", "epoch": 7}


def test_a_loaded_model_equals_the_saved_one_with_its_standardisation(tmp_path):
    vectors = [np.random.default_rng(0).normal(2, 9, (5, 100)).astype(np.float32)]
    first, second = ProgressionLSTM(8), ProgressionLSTM(8)
    first.fit_standardisation(vectors, np.array([6.0]))
    save(tmp_path / "progression", first, {"hidden": 8})
    load_into(tmp_path / "progression", second, expected={"hidden": 8})
    assert predict_months(second, vectors) == predict_months(first, vectors)
    assert sorted(path.name for path in (tmp_path / "progression").iterdir()) == ["model.json", "model.safetensors"]


def test_the_files_are_plain_safetensors_and_json_with_ordinary_permissions(tmp_path):
    model = nn.Linear(4, 3)
    save(tmp_path, model, DESCRIPTION)
    assert torch.equal(load_file(tmp_path / "model.safetensors")["weight"], model.weight)
    assert json.loads((tmp_path / "model.json").read_text()) == DESCRIPTION == load_description(tmp_path)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("model.safetensors", "model.json")]
    assert modes[0] == modes[1]


def test_tensors_that_are_views_are_written_completely(tmp_path):
    model = nn.Linear(4, 3)
    model.weight = nn.Parameter(torch.arange(12.0).reshape(4, 3).T)
    save(tmp_path, model, {})
    loaded = nn.Linear(4, 3)
    load_into(tmp_path, loaded, expected={})
    assert torch.equal(loaded.weight, model.weight)


def test_expected_tuples_match_json_lists(tmp_path):
    save(tmp_path, nn.Linear(1, 1), {"classes": (2, 3, 4)})
    load_into(tmp_path, nn.Linear(1, 1), expected={"classes": (2, 3, 4)})


@pytest.mark.parametrize(
    ("expected", "expected_text"),
    [
        ({"scaling": "minmax"}, "scaling is robust, expected minmax"),
        ({"classes": [2, 3]}, r"classes is \[2, 3, 4\], expected \[2, 3\]"),
        ({"wavelet": "haar"}, "wavelet is missing, expected haar"),
    ],
)
def test_a_different_description_is_rejected_and_the_model_unchanged(tmp_path, expected, expected_text):
    save(tmp_path, nn.Linear(2, 2), DESCRIPTION)
    model = nn.Linear(2, 2)
    before = model.weight.clone()
    with pytest.raises(InputError, match=r"model\.json: " + expected_text):
        load_into(tmp_path, model, expected=expected)
    assert torch.equal(model.weight, before)


def test_tensors_of_another_network_are_rejected(tmp_path):
    save(tmp_path, nn.Linear(2, 2), DESCRIPTION)
    with pytest.raises(InputError, match=r"model\.safetensors: .*weight is \(2, 2\), expected \(2, 3\)"):
        load_into(tmp_path, nn.Linear(3, 2), expected={})
    with pytest.raises(InputError, match=r"bias is .*expected no tensor of that name"):
        load_into(tmp_path, nn.Linear(2, 2, bias=False), expected={})


@pytest.mark.parametrize("num_bytes", [0, 20, 100])
def test_damaged_weights_are_named_in_the_error(tmp_path, num_bytes):
    save(tmp_path, nn.Linear(20, 20), DESCRIPTION)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read"):
        load_into(tmp_path, nn.Linear(20, 20), expected={})


def test_missing_files_are_named_in_the_error(tmp_path):
    with pytest.raises(InputError, match=r"model\.json: no such file.*train one first"):
        load_description(tmp_path)
    save(tmp_path, nn.Linear(1, 1), DESCRIPTION)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.safetensors"):
        load_into(tmp_path, nn.Linear(1, 1), expected={})


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_a_damaged_description_is_named_in_the_error(tmp_path, content):
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.json"):
        load_description(tmp_path)


def test_a_failed_save_leaves_no_loadable_model(tmp_path):
    save(tmp_path, nn.Linear(1, 1), DESCRIPTION)
    with pytest.raises(ValueError, match="JSON"):
        save(tmp_path, nn.Linear(1, 1), {"loss": float("nan")})
    with pytest.raises(InputError, match="no complete model"):
        load_into(tmp_path, nn.Linear(1, 1), expected={})
