"""Mixup, CutMix and erasing change clips and targets as their papers say, and by keyed draws alone."""

import signal

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F

from common.distributed.stop_signal import StoppedBySignal
from common.ranks import Ranks
from data.augment.augment import Augment
from data.augment.normalise import Normalise
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from network.weights.reading import read_checkpoint
from tests.devices import DEVICES, no_waiting
from tests.plans import make_plan
from tests.runs import TINY, TINY_FLAGS
from tests.runs import assert_same as assert_equal
from tests.train.test_step_graphs import STEPS, Setting, StandIn, assert_same
from tests.train.test_trainer import Listener, Run, final, plan_of, send
from train.mixing import Mixing, MixingOptions, erased_box, make_mixing, mixing_warnings

CPU = torch.device("cpu")
ALL = MixingOptions(mixup=0.8, cutmix=1.0, erase=0.5)
CLASSES = 4
SHAPE = (6, 3, 4, 10, 12)
LABELS = torch.tensor([0, 1, 2, 3, 3, 1])


def mixing_of(options=ALL, seed=1, rank=0, device=CPU):
    return Mixing(options, seed, rank, CLASSES, device)


def clips_of(device=CPU, dtype=torch.float32, memory_format=torch.contiguous_format):
    clips = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    return clips.to(device, dtype, memory_format=memory_format)


def mix_of_plain_numpy(clips, labels, mix):
    """Clips, targets and labels, clip by clip."""
    clips, count = clips.astype(np.float64), len(clips)
    mixed, targets, larger = clips.copy(), np.zeros((count, CLASSES)), []
    for one in range(count):
        other = count - 1 - one
        if mix.box is None:
            mixed[one] = mix.share * clips[one] + (1 - mix.share) * clips[other]
        else:
            for y in range(mix.box.top, mix.box.bottom):
                for x in range(mix.box.left, mix.box.right):
                    mixed[one, :, :, y, x] = clips[other, :, :, y, x]
        targets[one, labels[one]] += mix.share
        targets[one, labels[other]] += 1 - mix.share
        larger.append(labels[one] if mix.share >= 0.5 else labels[other])
    return mixed, targets, larger


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float16, 2e-3), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("device", DEVICES)
def test_pixels_and_targets_of_a_mixed_batch_are_those_of_plain_numpy(device, dtype, tolerance, memory_format):
    """A partner in another place than its label, or another share, teaches wrong labels; a new layout costs time."""
    mixing = mixing_of(MixingOptions(mixup=0.8, cutmix=1.0), device=torch.device(device))
    seen = set()
    for step in range(60):
        clips, labels = clips_of(device, dtype, memory_format), LABELS.to(device)
        given, address, strides = clips.cpu().float().numpy().copy(), clips.data_ptr(), clips.stride()
        with no_waiting(device):
            mixed = mixing(clips, labels, step, 0)
        mix = mixing.draw(step, 0, *SHAPE[-2:])
        pixels, targets, larger = mix_of_plain_numpy(given, LABELS.numpy(), mix)
        np.testing.assert_allclose(clips.cpu().float().numpy(), pixels, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(mixed.targets.cpu().numpy(), targets, atol=1e-6)
        assert mixed.labels.tolist() == larger
        assert (mixed.targets.dtype, mixed.labels.dtype) == (torch.float32, torch.int64)
        assert (clips.dtype, clips.data_ptr(), clips.stride()) == (dtype, address, strides)
        seen.add((mix.box is None, mix.share >= 0.5))
    assert len(seen) == 4


def test_the_share_of_a_label_is_that_of_the_pixels():
    """A box that the border cuts off would leave the label too small a share."""
    mixing = mixing_of(MixingOptions(cutmix=1.0))
    shares = []
    for step in range(300):
        clips = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1, 1).repeat(1, 3, 2, 24, 32)
        mixed = mixing(clips, torch.tensor([0, 1]), step, 0)
        assert torch.equal(clips[0, 0, 0], clips[0, 2, 1])  # one box for all frames
        torch.testing.assert_close(mixed.targets[:, 1], clips[:, 0, 0].mean((1, 2)))
        torch.testing.assert_close(mixed.targets.sum(1), torch.ones(2))
        shares.append(float(mixed.targets[0, 0]))
    assert min(shares) < 0.3 and max(shares) > 0.97  # of Beta(1, 1), which is uniform


@pytest.mark.parametrize(("mixup", "cutmix", "low", "high"), [(0.8, 1.0, 80, 120), (0.8, 0, 0, 0), (0, 1.0, 200, 200)])
def test_each_batch_is_changed_by_one_of_both(mixup, cutmix, low, high):
    mixing = mixing_of(MixingOptions(mixup=mixup, cutmix=cutmix))
    assert low <= sum(mixing.draw(step, 0, 32, 32).box is not None for step in range(200)) <= high


@pytest.mark.parametrize(("videos", "repeats", "parts"), [(2, 2, 1), (3, 2, 1), (3, 4, 1), (3, 2, 2), (4, 4, 2)])
@pytest.mark.parametrize("options", [MixingOptions(mixup=1.0), MixingOptions(cutmix=1.0)])
def test_clips_of_one_video_are_not_mixed_with_each_other(options, videos, repeats, parts):
    """With several clips of a video side by side, as --repeat-clips has them, nothing would be mixed of some videos."""
    mixing = Mixing(options, 1, 0, videos, CPU, repeats)
    labels = torch.arange(videos).repeat_interleave(repeats)
    clips = F.one_hot(labels, videos).float().view(-1, videos, 1, 1, 1).repeat(1, 1, 2, 8, 8)
    for part in range(parts):
        own = labels[part::parts]
        changed_clips = clips[part::parts].clone()
        step = next(step for step in range(99) if 0.2 < mixing.draw(step, part, 8, 8).share < 0.8)
        mixed = mixing(changed_clips, own, step, part)
        torch.testing.assert_close(mixed.targets, changed_clips.mean((2, 3, 4)))
        assert ((mixed.targets > 0).sum(1) == 2).all(), mixed.targets


def changed(options=ALL, step=5, part=0, **key):
    clips = clips_of()
    mixed = mixing_of(options, **key)(clips, LABELS, step, part)
    return clips, mixed.targets


def test_the_draws_are_those_of_the_key():
    """After a resume a run would see other clips; and each part of a batch, or seed, must be mixed otherwise."""
    first = changed()
    torch.rand(7)
    state = torch.get_rng_state()
    assert_equal(changed(), first)
    assert torch.equal(torch.get_rng_state(), state)
    for other in (changed(seed=2), changed(step=6), changed(part=1)):
        assert not torch.equal(other[0], first[0]) and not torch.equal(other[1], first[1])
    erasing = MixingOptions(erase=0.9)
    assert not torch.equal(changed(erasing, rank=1)[0], changed(erasing)[0])


@pytest.mark.parametrize("device", DEVICES)
def test_a_box_of_a_clip_is_erased_in_all_frames(device):
    """All else, and the labels, stay; the noise is that of a pixel, with the statistics of normalised clips."""
    mixing, erased, noise = mixing_of(MixingOptions(erase=0.25), device=torch.device(device)), [], []
    for step in range(40):
        clips, labels = torch.full((16, 3, 4, 32, 48), 9.0, device=device), torch.arange(16, device=device) % CLASSES
        with no_waiting(device):
            mixed = mixing(clips, labels, step, 0)
        assert mixed.targets is labels and mixed.labels is labels
        for clip in clips.cpu():
            mask = clip != 9
            assert (mask == mask[0, 0]).all()
            rows, columns = mask[0, 0].any(1).nonzero(), mask[0, 0].any(0).nonzero()
            assert mask[0, 0].sum() == len(rows) * len(columns)
            if len(rows):
                assert mask[0, 0][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
                erased.append((len(rows) * len(columns) / (32 * 48), len(rows) / len(columns)))
                noise.append(clip[mask])
    assert 0.19 < len(erased) / (40 * 16) < 0.31
    areas, aspects = map(np.array, zip(*erased, strict=True))
    assert 0.012 < areas.min() < 0.05 and 0.28 < areas.max() < 0.37
    assert 0.2 < aspects.min() < 0.5 and 2 < aspects.max() < 4
    assert 0.35 < (aspects > 1).mean() < 0.65
    values = torch.cat(noise)
    assert abs(values.mean()) < 0.02 and abs(values.std() - 1) < 0.02


def test_a_box_fits_in_frames_of_any_form():
    """One beyond the border would be smaller than drawn; in a frame of a single row there may be none."""
    rng = np.random.default_rng(0)
    for height, width in ((1, 1), (1, 90), (5, 3), (32, 32)):
        for _ in range(50):
            box = erased_box(rng, height, width)
            assert box is None or (0 <= box.top < box.bottom <= height and 0 <= box.left < box.right <= width)


def test_a_run_without_them_has_no_mixing():
    assert make_mixing(MixingOptions(), 1, 0, CLASSES, CPU) is None
    for options in (MixingOptions(mixup=0.1), MixingOptions(cutmix=0.1), MixingOptions(erase=0.1)):
        assert make_mixing(options, 1, 0, CLASSES, CPU)


def test_parts_of_a_single_clip_are_said():
    """A clip that is mixed with itself is not mixed."""

    def warnings(options=ALL, parts=1, **changes):
        plan = make_plan(num_videos=64, **{"batch_size": 4, "end_epoch": 8, "lr_steps": (4,)} | changes)
        return mixing_warnings(options, plan, parts)

    assert not warnings()
    (line,) = warnings(parts=4)
    assert "--mixup" in line and "--cutmix" in line
    (line,) = warnings(MixingOptions(mixup=1.0), parts=4, long_cycles=True)
    assert "--cutmix" not in line and "16x256x256" in line and "112" not in line
    assert not warnings(MixingOptions(erase=1.0), parts=4)
    (line,) = warnings(repeat_clips=4)
    assert "video" in line and not warnings(repeat_clips=2)
    assert not warnings(batch_size=5)  # of an odd number, the middle one stays as it is: timm has the same


@pytest.mark.parametrize("repeats", [2, 3, 4, 5])
@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_clips_that_meet_their_own_video_are_said(repeats, parts):
    """A part of --accumulate may have more clips of a video than of others: some are then mixed with their own.

    The warning counts what the mixing of a step's parts does, part by part as the Trainer takes them.
    """
    for videos in range(1, 9):
        clips = repeats * videos
        if clips % parts:
            continue
        plan = make_plan(num_videos=64, batch_size=clips, end_epoch=8, lr_steps=(4,), repeat_clips=repeats)
        mixing, met = Mixing(MixingOptions(mixup=1.0), 1, 0, videos, CPU, repeats), 0
        for part in range(parts):
            labels = torch.arange(videos).repeat_interleave(repeats)[part::parts]
            met += int((mixing(labels.float().view(-1, 1, 1, 1, 1), labels, 0, part).targets == 1).sum())
        found = mixing_warnings(MixingOptions(mixup=1.0), plan, parts)
        if met == 0:
            assert not found
        elif met == clips:
            assert len(found) == 1 and "no effect" in found[0]
        else:
            assert len(found) == 1 and f"{met} of {clips} at 16x256x256" in found[0], found


class MixedPasses:
    """Passes of mixed clips, by the draws of their number."""

    def __init__(self, passes):
        self.passes, self.mixing, self.count = passes, mixing_of(MixingOptions(0.8, 1.0, 0.25)), 0

    def __call__(self, clips, labels, *arguments):
        mixed = self.mixing(clips, labels, self.count, 0)
        self.count += 1
        return self.passes(clips, mixed.targets, *arguments)

    def finish(self):
        self.passes.finish()


@pytest.mark.parametrize("parts", [1, 2])
def test_replayed_passes_have_the_targets_of_their_clips(parts):
    """A recording that keeps the shares of the step it was made in would train wrong labels from then on."""
    recorder = StandIn()
    settings = [Setting(), Setting(recorder)]
    for setting in settings:
        setting.passes = MixedPasses(setting.passes)
        for number in range(STEPS):
            setting.step(number, parts)
    assert recorder.replayed > 2 * recorder.recorded > 0
    assert_same(*settings)


@pytest.fixture(scope="module")
def splits(small_dataset):
    return load_splits(small_dataset, DatasetSpec("custom", "train.csv", "val.csv"))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_part_of_a_batch_is_mixed_in_itself_after_normalisation(splits, tmp_path, accumulate):
    """The network sees only clips of the part; validation sees none that is mixed. Accuracy is of the larger share."""
    run = Run(splits, tmp_path, plan=plan_of(splits, end_epoch=2, lr_steps=()), mixing=mixing_of(),
              accumulate=accumulate)  # fmt: skip
    seen = {True: [], False: []}
    run.network.register_forward_pre_hook(lambda module, inputs: seen[module.training].append(inputs[0].clone()))
    passes, scores, targets, labels = run.trainer.passes, run.trainer.score_sums, [], []
    run.trainer.passes = _Watched(passes, targets)
    add = scores.add
    scores.add = lambda loss_sum, logits, given: (labels.append(given), add(loss_sum, logits, given))
    run.fit()
    expected = []
    for epoch in (1, 2):
        run.sampler.set_position(epoch, 0)
        for batch in run.loader:
            for part in range(accumulate):
                clips = Augment()(batch.frames, batch.augmentation_params)[part::accumulate].clone()
                mixed = mixing_of()(clips, batch.labels[part::accumulate], len(expected) // accumulate, part)
                expected.append((clips, mixed.targets, mixed.labels))
    assert_equal(list(zip(seen[True], targets, labels, strict=True)), expected)
    assert_equal(seen[False], 2 * [Normalise()(batch.frames) for batch in run.val_loader])


class _Watched:
    """Passes whose targets are kept."""

    def __init__(self, passes, targets):
        self.passes, self.targets = passes, targets

    def __call__(self, clips, targets, *rest):
        self.targets.append(targets)
        return self.passes(clips, targets, *rest)

    def __getattr__(self, name):
        return getattr(self.passes, name)


def test_a_run_resumed_in_mid_epoch_goes_on_with_the_same_draws(splits, tmp_path):
    """To the bit, at a step that is neither the first nor the last of its epoch."""
    Run(splits, tmp_path / "whole", mixing=mixing_of(), accumulate=2).fit()

    cut = Run(splits, tmp_path / "cut", mixing=mixing_of(), accumulate=2, listener=Listener({11: send(signal.SIGTERM)}))
    with pytest.raises(StoppedBySignal):
        cut.fit()
    assert cut.position() in ((2, 3), (2, 4))
    start = read_checkpoint(cut.folder.last)
    Run(splits, tmp_path / "cut", mixing=mixing_of(), accumulate=2, start=start).fit()
    assert_equal(final(tmp_path / "cut"), final(tmp_path / "whole"))


def mix_on_a_rank(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    torch.set_num_threads(1)
    ranks = Ranks(rank, rank, 2)
    setting = Setting(StandIn(), ranks=ranks)
    setting.passes = MixedPasses(setting.passes)
    shares, erased = [], []
    for number in range(STEPS):
        setting.step(number, 2, rank)
        clips = clips_of()
        mixed = mixing_of(MixingOptions(0.8, 1.0), rank=rank)(clips, LABELS, number, 0)
        shares.append((clips.tolist(), mixed.targets.tolist()))
        mixing_of(MixingOptions(erase=0.9), rank=rank)(clips, LABELS, number, 0)
        erased.append(clips.tolist())
    one, other = ranks.gather((shares, setting.state()))
    assert one[0] == other[0]
    weights = [name for name, _ in setting.network.named_parameters()]
    assert all(torch.equal(one[1][name], other[1][name]) for name in weights)
    one, other = ranks.gather(erased)
    assert all(mine != theirs for mine, theirs in zip(one, other, strict=True))
    dist.barrier()
    dist.destroy_process_group()


def test_two_ranks_mix_alike_and_erase_apart(tmp_path):
    """Each its own clips, and they train one network."""
    mp.spawn(mix_on_a_rank, (str(tmp_path),), nprocs=2)


def test_the_log_says_what_is_on_and_a_resume_what_has_changed(server, small_dataset, tmp_path):
    """Else nobody knows afterwards by which recipe a run was trained."""
    flags = (*TINY_FLAGS, "--dataset", small_dataset, "--workers", 0, "--end-epoch", 2, "--lr-steps", 9)
    first = server.start(TINY, *flags, "--mixup", 0.8, "--cutmix", 1, "--erase", 0.25, folder=tmp_path)
    assert first.wait() == 0, first.output()
    for words in ("--mixup: ", "Beta(0.8, 0.8)", "--cutmix: ", "Beta(1, 1)", "--erase: ", "probability 0.25"):
        assert words in first.stdout
    more = ("--end-epoch", 3, "--resume-epoch", "auto", "--cutmix", 1, "--erase", 0.5)
    second = server.start(TINY, *flags, *more, folder=tmp_path)
    assert second.wait() == 0, second.output()
    assert "--mixup 0.8, now 0" in second.stdout and "--erase 0.25, now 0.5" in second.stdout
    assert "--cutmix 1" not in second.stdout
    refused = server.start(TINY, *flags, "--erase", 1.5, folder=tmp_path)
    assert refused.wait() == 2 and "--erase 1.5" in refused.stderr
