import urllib.request

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18
from torchvision.transforms import Normalize

from tumorprog.errors import SettingsError
from tumorprog.graders.resnet18 import build, grad_cam, normalise, probabilities


@pytest.fixture(scope="module")
def pretrained():
    """A ResNet-18 of 1000 classes with random weights, in place of the ImageNet weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        return resnet18(weights=None)


@pytest.fixture(scope="module")
def images():
    """Read-only images, as views of Parquet columns are."""
    stored = np.random.default_rng(0).integers(0, 256, (5, 224, 224), dtype=np.uint8)
    stored.setflags(write=False)
    return stored


def test_the_seed_determines_the_weights_and_the_global_state_is_unchanged():
    before = torch.get_rng_state()
    first, again, other = (build("none", seed=seed).state_dict() for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


def test_there_is_one_output_per_grade():
    assert build("none", seed=0).fc.out_features == 3


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("last_layer", ["of ImageNet", "missing", "of the grades"])
def test_weights_of_a_file_fill_all_layers_except_a_last_layer_of_other_classes(
    tmp_path, pretrained, suffix, last_layer
):
    state = dict(pretrained.state_dict())
    if last_layer != "of ImageNet":
        del state["fc.weight"], state["fc.bias"]
    if last_layer == "of the grades":
        state |= {"fc.weight": torch.full((3, 512), 0.5), "fc.bias": torch.ones(3)}
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    random, built = build("none", seed=1).state_dict(), build(str(path), seed=1).state_dict()
    assert all(torch.equal(built[name], state[name]) for name in built if not name.startswith("fc."))
    source = state if last_layer == "of the grades" else random
    assert torch.equal(built["fc.weight"], source["fc.weight"])
    assert torch.equal(built["fc.bias"], source["fc.bias"])


def test_files_without_batch_norm_counters_are_read(tmp_path, pretrained):
    state = {name: tensor for name, tensor in pretrained.state_dict().items() if "num_batches" not in name}
    save_file(state, tmp_path / "old.safetensors")
    assert torch.equal(build(str(tmp_path / "old.safetensors"), seed=0).conv1.weight, pretrained.conv1.weight)


def test_imagenet_weights_are_read_from_the_torch_cache(tmp_path, monkeypatch, pretrained):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(pretrained.state_dict(), cache / "resnet18-f37072fd.pth")
    built = build("imagenet", seed=0)
    assert torch.equal(built.layer4[1].conv2.weight, pretrained.layer4[1].conv2.weight)
    (cache / "resnet18-f37072fd.pth").write_bytes(b"cut short")
    with pytest.raises(SettingsError, match=r"damaged .*delete them"):
        build("imagenet", seed=0)


def test_without_a_network_the_error_names_the_alternatives(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps the proxies of an earlier test
    with pytest.raises(SettingsError, match=r"no network\?.*--grader\.weights FILE.*--grader\.weights none"):
        build("imagenet", seed=0)


@pytest.mark.parametrize(
    ("change", "expected_text"),
    [
        ({"fc.weight": torch.zeros(10, 512)}, r"fc\.weight has shape \(10, 512\), expected \(3, 512\)"),
        ({"conv1.weight": torch.zeros(64, 1, 7, 7)}, r"conv1\.weight has shape"),
        ({"layer9.weight": torch.zeros(1)}, r"layer9\.weight is unknown"),
        ({"conv1.weight": None}, r"conv1\.weight is missing"),
    ],
)
def test_weights_of_another_network_are_rejected_with_file_and_keys(tmp_path, pretrained, change, expected_text):
    state = {name: tensor for name, tensor in (dict(pretrained.state_dict()) | change).items() if tensor is not None}
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(SettingsError, match=r"grader\.weights.*other\.pth.*" + expected_text):
        build(str(tmp_path / "other.pth"), seed=0)


def test_a_file_without_a_plain_state_dict_is_rejected(tmp_path, pretrained):
    path = tmp_path / "whole.pth"
    torch.save(pretrained, path)  # includes code, as torch.save(model) does
    with pytest.raises(SettingsError, match=r"whole\.pth.*state_dict"):
        build(str(path), seed=0)
    torch.save({"epoch": 3, "state_dict": dict(pretrained.state_dict())}, path)
    with pytest.raises(SettingsError, match=r"whole\.pth is not a plain state dict"):
        build(str(path), seed=0)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
@pytest.mark.parametrize("size", [0, 7, 0.01, 0.5, 0.999])
def test_damaged_files_are_named_in_the_error(tmp_path, pretrained, suffix, size):
    complete, truncated = tmp_path / "whole", tmp_path / f"cut.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(dict(pretrained.state_dict()), complete)
    content = complete.read_bytes()
    truncated.write_bytes(content[: size if isinstance(size, int) else int(size * len(content))])
    with pytest.raises(SettingsError, match=rf"cut\.{suffix} cannot be read"):
        build(str(truncated), seed=0)


@pytest.mark.parametrize("weights", ["imagnet", "/no/such/file.pth", "."])
def test_weights_that_are_neither_a_name_nor_a_file_are_rejected(weights):
    with pytest.raises(SettingsError, match="which is not a file; expected imagenet, none or"):
        build(weights, seed=0)


def test_other_file_suffixes_are_rejected(tmp_path):
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(SettingsError, match=r"weights\.h5 is not a"):
        build(str(tmp_path / "weights.h5"), seed=0)


def test_normalise_equals_torchvision_on_three_equal_channels(images):
    tensor = torch.from_numpy(images.copy())
    expected = Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(tensor.unsqueeze(1).expand(-1, 3, -1, -1) / 255)
    result = normalise(tensor)
    assert result.dtype == torch.float32
    assert result.shape == (5, 3, 224, 224)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)


def test_normalise_rejects_scaled_images(images):
    with pytest.raises(TypeError, match=r"float32.*uint8"):
        normalise(torch.from_numpy(images / np.float32(255)))


def test_probabilities_are_those_of_the_network_for_any_batch_size(images):
    model = build("none", seed=0).train()
    together = probabilities(model, images, device="cpu")
    assert together.dtype == np.float32
    assert together.shape == (5, 3)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-6)
    with torch.no_grad():
        logits = model.eval()(normalise(torch.from_numpy(images.copy())))
    np.testing.assert_allclose(together, logits.softmax(1).numpy(), atol=1e-6)
    np.testing.assert_allclose(probabilities(model, images, device="cpu", batch_size=2), together, atol=1e-5)


def test_probabilities_leave_the_model_unchanged_and_accept_zero_images(images):
    model = build("none", seed=0).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    probabilities(model, images, device="cpu")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert probabilities(model, images[:0], device="cpu").shape == (0, 3)


def test_grad_cam_matches_its_definition():
    """Compare with autograd gradients, averaged over the image and multiplied with the activations."""
    model = build("none", seed=0).eval()
    images = np.random.default_rng(0).integers(0, 256, (3, 224, 224), np.uint8)
    classes = np.array([0, 2, 1])
    classes.setflags(write=False)  # as arrays from pandas are
    activations = []
    model.layer4.register_forward_hook(lambda _module, _inputs, output: activations.append(output))
    logits = model(normalise(torch.from_numpy(images)))
    (gradient,) = torch.autograd.grad(logits[torch.arange(3), torch.tensor([0, 2, 1])].sum(), activations[0])
    maps = torch.relu((gradient.mean(dim=(2, 3), keepdim=True) * activations[0]).sum(dim=1)).detach()
    maps = maps / maps.amax(dim=(1, 2), keepdim=True)
    expected = torch.nn.functional.interpolate(maps[:, None], size=(224, 224), mode="bilinear")[:, 0]
    found = grad_cam(model, images, classes, device="cpu")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    assert found.min() >= 0
    assert np.abs(found - grad_cam(model, images, classes[::-1].copy(), device="cpu")).max() > 0.1


def test_grad_cam_is_zero_if_nothing_supports_the_class():
    model = build("none", seed=0)
    with torch.no_grad():
        model.fc.weight.fill_(-1.0)  # activations are never negative
    images = np.random.default_rng(0).integers(0, 256, (1, 224, 224), np.uint8)
    assert not grad_cam(model, images, np.array([1]), device="cpu").any()
