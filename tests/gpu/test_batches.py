"""From page-locked shared memory to the normalised features of sub-batches."""

import pytest
import torch
from torch.nn import functional

from data.augment.augment import Augment
from data.augment.normalise import SCALE
from data.clips.dataset import ClipDataset
from data.clips.sampling import RandomClips
from data.clips.types import ClipRequest, ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.loading.loader import BatchLoader
from data.loading.prefetch import on_device
from network.sub_batch_norm import SubBatchNorm3d
from tests.devices import DEVICES, no_waiting

SIZES = ((24, ClipShape(2, 16, 16)), (12, ClipShape(4, 24, 24)), (6, ClipShape(4, 40, 40)))  # as in a short cycle


class InTurn:
    """A batch sampler of three epochs of batches whose shape changes from each to the next."""

    def __len__(self):
        return 9

    def __iter__(self):
        for step in range(len(self)):
            clips, shape = SIZES[step % len(SIZES)]
            yield [ClipRequest((step + clip) % 32, shape, step) for clip in range(clips)]

    def sizes(self):
        return SIZES


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("workers", [0, 2])
def test_every_batch_arrives_with_the_sum_that_the_host_has(small_dataset, device, workers):
    """A copy that starts too early, or memory that is written again too soon, changes the sum of some batch."""
    videos = load_splits(small_dataset, DatasetSpec("custom", "train.csv", "val.csv")).train
    sampling = RandomClips((1, 2), flip=True, augment=True)

    def loader(workers, pin_memory):
        return BatchLoader(ClipDataset(videos, sampling, seed=0), InTurn(), workers, pin_memory)

    expected = [int(batch.frames.long().sum()) for batch in loader(0, False)]
    ours, labels = [], []
    reading = loader(workers, device == "cuda")
    for _ in range(2):
        batches = on_device(reading, torch.device(device))
        for batch in batches:
            if device == "cuda":
                torch.cuda._sleep(20_000_000)  # the step: the next copy is enqueued while it runs
            assert batch.frames.device.type == device
            ours.append(batch.frames.sum(dtype=torch.int64))
            labels.append(batch.labels.clone())
            batches.fetch_ahead()
    assert [int(total) for total in ours] == 2 * expected
    assert all(int(each.min()) >= 0 and int(each.max()) < 4 for each in labels)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_sub_batches_are_normalised_separately_in_both_layouts(device, layout):
    """Output, gradients and statistics against batch norm of each sub-batch in double precision."""
    torch.manual_seed(0)
    splits, x, grad = 4, 3 + 2 * torch.randn(8, 6, 4, 5, 5), torch.randn(8, 6, 4, 5, 5)
    norm = SubBatchNorm3d(6)
    torch.nn.init.uniform_(norm.weight, 0.5, 2)
    expected, expected_gradient, means = of_sub_batches(norm, x, grad, splits)
    norm.to(device).set_num_splits(splits)
    ours = x.to(device).contiguous(memory_format=layout).requires_grad_()
    grad = grad.to(device)
    norm(ours.detach())  # loads libraries; the statistics move
    norm.set_num_splits(1)
    norm.reset_running_stats()
    norm.set_num_splits(splits)
    with no_waiting(device):
        out = norm(ours)
        out.backward(grad)
    assert out.is_contiguous(memory_format=layout)
    torch.testing.assert_close(out.cpu().double(), expected, rtol=1e-4, atol=1e-4)
    assert ours.grad is not None and norm.split_mean is not None
    torch.testing.assert_close(ours.grad.cpu().double(), expected_gradient, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(norm.split_mean.cpu().double(), 0.1 * means, rtol=1e-4, atol=1e-4)


def of_sub_batches(norm, x, grad, splits):
    """What batch norm of each sub-batch gives: the output, the gradient of x, and the means."""
    x = x.double().requires_grad_()
    chosen = [torch.arange(split, len(x), splits) for split in range(splits)]  # clips s, s + splits, ...
    out = torch.zeros_like(x)
    for index in chosen:
        weight, bias = norm.weight.detach().double(), norm.bias.detach().double()
        out = out.index_copy(0, index, functional.batch_norm(x[index], None, None, weight, bias, True))
    (gradient,) = torch.autograd.grad(out, x, grad.double())
    return out.detach(), gradient, torch.stack([x.detach()[index].mean((0, 2, 3, 4)) for index in chosen])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_batch_from_the_loader_is_augmented_as_on_the_cpu(small_dataset, device, dtype):
    """With the strides that the loader's batches have, and in the precision that training asks for."""
    videos = load_splits(small_dataset, DatasetSpec("custom", "train.csv", "val.csv")).train
    dataset = ClipDataset(videos, RandomClips((1, 2), flip=True, augment=True), seed=0)
    batches = on_device(BatchLoader(dataset, InTurn(), 0, device == "cuda"), torch.device(device))
    augment = Augment(dtype).to(device)
    for batch in batches:
        ours = augment(batch.frames, batch.augmentation_params)
        expected = Augment()(batch.frames.cpu(), batch.augmentation_params)
        assert ours.dtype == dtype and ours.is_contiguous()
        difference = (ours.float().cpu() - expected).abs() / SCALE
        assert float(difference.mean()) < (0.02 if dtype == torch.float32 else 0.5)  # grey levels
        assert float(difference.max()) < 3
