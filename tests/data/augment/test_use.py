"""Kernels of augmentation are tried once on a GPU before they are used there, and give way to PyTorch."""

import warnings

import pytest
import torch

from common.kernels.switch import has_triton, use_kernels
from common.normalisation import NORMALISATIONS
from data.augment import plain, use
from data.augment.augment import Augment
from data.augment.params import named_params
from data.augment.randaugment import OPERATIONS
from data.augment.table import BLURRED, BLURRED_SAMPLES, ROW, SAMPLED, tables_of
from data.augment.values import parts_of
from tests.network.kernels.devices import DEVICES

try:
    from data.augment import kernels
except ImportError:
    kernels = None
needs_triton = pytest.mark.skipif(kernels is None, reason="needs Triton")
LAST = torch.channels_last_3d


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    monkeypatch.setattr(use, "_failures", {})


def test_what_is_tried_has_all_kinds():
    """A kind that is not tried may be wrong on a GPU, and be used."""
    fields = named_params(use.samples_of_params())
    parts = parts_of(fields, *use.SHAPE[2:])
    assert list(parts) == ["rotation", "perspective", "blur", "hue forwards", "hue backwards", "affine map"]
    for name in ("rotation", "perspective"):
        assert (parts[name].is_chosen & parts["blur"].is_chosen).any()
    assert (parts["rotation"].is_chosen | parts["perspective"].is_chosen)[~parts["blur"].is_chosen].any()
    for name in ("noise_scale", "colour", "contrast", "add", "motion_kernel", "blur_sigma"):
        assert (fields[name] != fields[name][0]).any(), name
    assert set(fields["operations"].astype(int).flatten()) == set(range(len(OPERATIONS)))
    rows = tables_of(fields, *use.SHAPE[2:]).rows.view(ROW)[:, 0]
    assert set(rows["source"][rows["levels"] != 0]) == {BLURRED, SAMPLED, BLURRED_SAMPLES}


@needs_triton
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "layout"), [(torch.float32, torch.contiguous_format), (torch.bfloat16, LAST)])
def test_right_results_are_accepted(dtype, layout, device):
    """Else no GPU would ever use the kernels, and augmentation would be slow for no reason."""
    assert use.failure(torch.device(device), dtype, layout) == ""
    assert "used, its results are right" in use.description_of_kernels(torch.device(device), dtype, layout)


@needs_triton
@pytest.mark.parametrize("device", DEVICES)
def test_the_normalisation_of_other_weights_is_tried_too(device):
    """Its kernel is another one: three scales, other limits."""
    key = torch.device(device), torch.float32, LAST, NORMALISATIONS["torchvision"]
    assert use.failure(*key) == ""
    assert key in use._failures and len(use._failures) == 1


def test_an_error_is_in_grey_levels_of_its_channel():
    """With another deviation a grey level is another step."""
    normalisation = NORMALISATIONS["hara2018"]
    right = torch.zeros(2, 3, 1, 4, 4)
    assert use.error_of(right + 0.6, right, normalisation) == pytest.approx(0.6)
    assert use.error_of(right + 0.6, right) == pytest.approx(0.6 / 0.0167, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_small_errors_are_found(dtype):
    """A GPU or a Triton on which a kernel is wrong must not augment with it."""
    right = torch.linspace(-2, 2, 1000)
    assert use.error_of(right.to(dtype), right) <= 0
    wrong = right.clone()
    wrong[900] += 0.02  # more than a grey level
    assert use.error_of(wrong.to(dtype), right) > use.TOLERANCE
    wrong[3] = float("nan")
    assert not use.error_of(wrong.to(dtype), right) <= use.TOLERANCE


@needs_triton
def test_failures_are_said_once_and_out_of_memory_is_no_failure(monkeypatch):
    """A run that trains slowly must say why; and what lacks memory now may work at the next batch."""
    key = torch.device("cpu"), torch.float32, LAST

    def full(clips, params, out, normalisation):
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(kernels, "augment", full)
    with pytest.raises(torch.OutOfMemoryError):
        use.failure(*key)

    def broken(clips, params, out, normalisation):
        raise RuntimeError("no kernel\nfor this device")

    monkeypatch.setattr(kernels, "augment", broken)
    with pytest.warns(UserWarning, match="RuntimeError: no kernel$"):
        assert use.failure(*key)
    monkeypatch.setattr(kernels, "augment", plain.augment)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert use.failure(*key) and "no kernel" in use.description_of_kernels(*key), "tried and said once"


@needs_triton
def test_wrong_results_are_found(monkeypatch):
    """Each value is compared, also those of the second call, which takes another way than the first."""
    calls = []

    def wrong_at_last(clips, params, out, normalisation):
        plain.augment(clips, params, out, normalisation)
        calls.append(1)
        if len(calls) == 2:
            out[-1, -1, -1, -1, -1] += 0.01

    monkeypatch.setattr(kernels, "augment", wrong_at_last)
    assert "0.6 grey levels" in use.failure_of(torch.device("cpu"), torch.float32, LAST)


def test_on_a_cpu_pytorch_augments(monkeypatch):
    """There is no compiler for it there."""
    monkeypatch.setattr(use, "failure", lambda *key: pytest.fail("tried"))
    clips = torch.zeros(1, 3, 2, 5, 6, dtype=torch.uint8)
    assert Augment()(clips, torch.from_numpy(use.samples_of_params()[:1])).shape == clips.shape


@pytest.mark.gpu
def test_on_a_gpu_the_switch_decides(monkeypatch):
    """--fused False is for those who do not trust the kernels."""
    calls = []
    if kernels is not None:
        right = kernels.augment
        monkeypatch.setattr(kernels, "augment", lambda *args: (calls.append(1), right(*args)))
    clips, params = torch.zeros(2, 3, 2, 5, 6, dtype=torch.uint8, device="cuda"), use.samples_of_params()[-2:]
    before = use_kernels(False)
    try:
        expected = Augment()(clips, torch.from_numpy(params))
        assert not calls
        use_kernels(True)
        fused = Augment()(clips, torch.from_numpy(params))
    finally:
        use_kernels(before)
    assert bool(calls) == has_triton()
    assert use.error_of(fused.cpu(), expected.cpu()) < use.TOLERANCE
