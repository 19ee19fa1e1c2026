from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

from tests.plans import make_plan
from train.schedule.sampler import ScheduleSampler

KINDS = {
    "fixed": {},
    "short": {"short_cycles": True},
    "long": {"long_cycles": True},
    "both": {"long_cycles": True, "short_cycles": True},
    "per-epoch": {"long_cycles": True, "short_cycles": True, "per_epoch": True},
}
quick = settings(max_examples=60, deadline=None)


def plan_of(kind, num_videos=300, world_size=4, repeats=1, batch_size=4):
    return make_plan(
        clip_length=8, clip_size=32, batch_size=batch_size, lr_base=0.1, lr_steps=(4, 8), end_epoch=10,
        num_videos=num_videos, world_size=world_size, repeat_clips=repeats, **KINDS[kind],
    )  # fmt: skip


def batches(plan, epoch, step=0, seed=5, rank=0, world_size=1):
    sampler = ScheduleSampler(plan, seed, rank, world_size)
    sampler.set_position(epoch, step)
    result = list(sampler)
    assert len(result) == len(sampler)
    return result


def videos(batch_list):
    return [request.index for request in chain.from_iterable(batch_list)]


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(num_videos=st.integers(16, 400), epoch=st.integers(1, 10), seed=st.integers(0, 2**40))
def test_an_epoch_visits_each_video_at_most_once(kind, num_videos, epoch, seed):
    """A video drawn twice while another is left out would bias every epoch."""
    plan = plan_of(kind, num_videos)
    epoch = min(epoch, plan.num_epochs)
    seen = videos(batches(plan, epoch, seed=seed))
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(num_videos))
    # The remaining videos do not fill another batch (in the per-epoch variant, one of each shape).
    cycle = [spec.batch_size for phase in plan.phases for spec in phase.short_cycle]
    assert num_videos - len(seen) < max(cycle) * (4 if kind == "per-epoch" else 1)


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(epoch=st.integers(1, 10), world_size=st.sampled_from([1, 2, 4]))
def test_ranks_are_in_step_and_together_see_what_one_rank_sees(kind, epoch, world_size):
    """One more batch, or another shape, on one rank would hang the run; other clips would change the result."""
    plan = plan_of(kind)
    whole = batches(plan, epoch)
    ranks = [batches(plan, epoch, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert {len(rank) for rank in ranks} == {len(whole)} == {plan.steps_in_epoch(epoch)}
    for step, batch in enumerate(whole):
        parts = [rank[step] for rank in ranks]
        assert {len(part) for part in parts} == {len(batch) // world_size}
        assert sorted(chain(*parts)) == sorted(batch)
        spec = plan.step_spec(epoch, step)
        assert len(batch) == spec.batch_size
        assert {(r.shape, r.epoch, r.max_interval_factor) for r in batch} == {
            (spec.shape, epoch, spec.max_interval_factor)
        }


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(data=st.data())
def test_resuming_at_a_position_yields_exactly_the_rest(kind, data):
    """Also with another number of ranks than before: no clip is read again, none is left out."""
    plan = plan_of(kind)
    epoch = data.draw(st.integers(1, plan.num_epochs))
    step = data.draw(st.integers(0, plan.steps_in_epoch(epoch)))
    assert batches(plan, epoch, step) == batches(plan, epoch)[step:]
    halves = [batches(plan, epoch, step, rank=rank, world_size=2) for rank in range(2)]
    assert sorted(videos(chain(*halves))) == sorted(videos(batches(plan, epoch)[step:]))


def test_order_depends_on_seed_and_epoch_alone():
    plan = plan_of("fixed")
    first, again = (videos(batches(plan, 1)) for _ in range(2))
    assert first == again == videos(batches(plan_of("fixed", world_size=2), 1))
    assert first != videos(batches(plan, 2))
    assert first != videos(batches(plan, 1, seed=6))
    assert first != sorted(first)


class Echo(Dataset):
    def __len__(self):
        return 300

    def __getitem__(self, request):
        return request


def test_one_loader_with_the_same_workers_serves_every_shape_of_the_run():
    """The workers are kept, but each iteration must start at the sampler's new position."""
    plan = plan_of("both")
    sampler = ScheduleSampler(plan, seed=5)
    loader = DataLoader(Echo(), batch_sampler=sampler, num_workers=1, persistent_workers=True, collate_fn=list)
    for epoch, step in ((1, 0), (5, 1), (plan.num_epochs, 3)):
        sampler.set_position(epoch, step)
        assert list(loader) == batches(plan, epoch, step)


@pytest.mark.parametrize("kind", KINDS)
@quick
@given(
    num_videos=st.integers(16, 200), epoch=st.integers(1, 10), repeats=st.sampled_from([2, 4]),
    world_size=st.sampled_from([1, 2]), data=st.data(),
)  # fmt: skip
def test_repeated_clips_are_of_the_same_videos_once_an_epoch(kind, num_videos, epoch, repeats, world_size, data):
    """--repeat-clips: all clips of a video are in one batch of one rank, which opens it once; and a resume goes on."""
    plan = plan_of(kind, num_videos, world_size, repeats, batch_size=8)
    epoch = min(epoch, plan.num_epochs)
    ranks = [batches(plan, epoch, rank=rank, world_size=world_size) for rank in range(world_size)]
    seen = []
    for step in range(plan.steps_in_epoch(epoch)):
        for rank in ranks:
            batch = rank[step]
            assert len(batch) * world_size == plan.step_spec(epoch, step).batch_size
            number = len(batch) // repeats
            assert [request.repeat for request in batch] == [*range(repeats)] * number
            found = [request.index for request in batch[::repeats]]
            assert [request.index for request in batch] == [index for index in found for _ in range(repeats)]
            seen += found
    assert len(set(seen)) == len(seen)
    cycle = [spec.batch_size for phase in plan.phases for spec in phase.short_cycle]
    assert (num_videos - len(seen)) * repeats < max(cycle) * (4 if kind == "per-epoch" else 1)
    step = data.draw(st.integers(0, plan.steps_in_epoch(epoch)))
    assert batches(plan, epoch, step, world_size=world_size) == ranks[0][step:]


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_every_nth_clip_of_a_batch_is_of_as_many_videos_as_can_be(parts):
    """So sub-batches of batch norm and the parts of --accumulate are taken: of two clips of each video, half would
    normalise like the other half."""
    for batch in batches(plan_of("both", 64, repeats=2, batch_size=16), 1):
        for first in range(parts):
            indices = [request.index for request in batch[first::parts]]
            assert len(set(indices)) == len(indices)


def test_the_first_clips_of_an_epoch_are_of_the_videos_of_a_run_without_repeats():
    """And an epoch has twice the steps, of half of the videos each."""
    once, twice = plan_of("fixed", 64), plan_of("fixed", 64, repeats=2, batch_size=8)
    assert twice.steps_in_epoch(1) == once.steps_in_epoch(1) == 16
    order = videos(batches(once, 1))
    assert [request.index for batch in batches(twice, 1) for request in batch if not request.repeat] == order
    assert plan_of("fixed", 64, world_size=2, repeats=2).steps_in_epoch(1) == 32
    assert plan_of("fixed", 64, world_size=2, repeats=2).total_steps == 2 * once.total_steps


def statistics_batches(kind, epoch=2, rank=0, world_size=1, count=7, seed=5, step=0):
    plan = plan_of(kind, num_videos=20, world_size=4)
    sampler = ScheduleSampler(plan, seed, rank, world_size, lambda each: count if each == epoch else 0)
    sampler.set_position(epoch, step)
    steps = plan.steps_in_epoch(epoch) - step
    assert len(sampler) == steps + count
    found = list(sampler)
    return found[:steps], found[steps:]


@pytest.mark.parametrize("kind", KINDS)
def test_batches_of_precise_batch_norm_have_the_full_shape_after_the_steps(kind):
    """Statistics of the small shapes are not those of the validation."""
    steps, found = statistics_batches(kind)
    assert steps == batches(plan_of(kind, num_videos=20), 2)
    assert len(found) == 7 and {len(batch) for batch in found} == {4}
    assert {request.shape for request in chain.from_iterable(found)} == {(8, 32, 32)}
    keys = [(request.epoch, request.index) for request in chain.from_iterable(found)]
    assert len(set(keys)) == 28 and min(epoch for epoch, _ in keys) > 10**9  # no clip of training, and none twice
    assert sorted(index for _, index in keys[:20]) == list(range(20))


def test_batches_of_precise_batch_norm_have_the_base_shape_where_its_phases_get_no_epoch():
    """A short run may end at a smaller shape; it is validated at the base shape all the same."""
    plan = make_plan(
        clip_length=4, clip_size=32, batch_size=8, long_cycles=True, lr_steps=(2,), end_epoch=3, num_videos=48
    )
    assert plan.phases[-1].frames < 4
    assert plan.full_spec == ((4, 32, 32), 8, 1, 1)


def test_batches_of_precise_batch_norm_are_the_same_after_each_epoch_and_for_all_ranks_together():
    """A resumed run, and one on another machine, would validate with other statistics."""
    _, alone = statistics_batches("both")
    assert statistics_batches("both", epoch=3, step=1)[1] == alone
    assert statistics_batches("both", seed=6)[1] != alone
    by_rank = [statistics_batches("both", rank=rank, world_size=2)[1] for rank in range(2)]
    for batch, *parts in zip(alone, *by_rank, strict=True):
        assert parts == [batch[0::2], batch[1::2]]
