"""Recipes: what they set, and that a flag of the command line wins."""

import dataclasses

import pytest

from common.options import differences, flag_name, plain
from tests.plans import make_plan
from train.options import TrainOptions, parse_options
from train.precise_norm import batches_for_statistics
from train.recipe import RECIPES, recipe_lines, recipe_warnings

DEFAULTS = TrainOptions(end_epoch=40, lr_steps=(10, 20))


def parse(*words, defaults=DEFAULTS):
    return parse_options("about", defaults, None, ["--dataset", "DIR", *words])


def changed(options, others):
    """The options that differ, but for the recipe's name and what counts as given."""
    one, other = plain(options), plain(others)
    return {name: value for name, value in one.items() if value != other[name]}.keys() - {"recipe", "given"}


def test_the_default_sets_nothing():
    """Runs of earlier commands would train differently."""
    assert not changed(parse("--recipe", "paper"), parse())
    assert not recipe_lines(parse())


def test_a_recipe_only_sets_flags():
    """What it does could not be done, or undone, by flags; nor be read from the options of a run."""
    modern = parse("--recipe", "modern")
    flags = {field.name for field in dataclasses.fields(TrainOptions) if "flag" in field.metadata}
    values = RECIPES["modern"](DEFAULTS)
    replaced = {"augment"}  # by RandAugment, but for the mirror
    assert changed(modern, parse()) == values.keys() | replaced <= flags
    words = [word for name, value in values.items() for word in (flag_name(name), str(value))]
    assert not changed(modern, parse(*words))


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (["--mixup", "0"], "mixup", 0.0),
        (["--drop-path", "0.3"], "drop_path", 0.3),
        (["--lr-schedule", "steps"], "lr_schedule", "steps"),
        (["--zero-init-residual", "False"], "zero_init_residual", False),
        (["--warmup-epochs", "3"], "warmup_epochs", 3.0),
    ],
)
def test_a_flag_wins_wherever_it_stands(words, name, value):
    """A part that a user turns off would stay on; also if the flag says the same as the script's default."""
    for given in (["--recipe", "modern", *words], [*words, "--recipe", "modern"]):
        options = parse(*given)
        assert getattr(options, name) == value
        assert changed(options, parse("--recipe", "modern")) == {name}
        assert any(flag_name(name) in line and "command line" in line for line in recipe_lines(options))


def test_augmentation_that_is_given_stays():
    """A user who asks for it would get RandAugment in its place; or a mistake, though nothing contradicts."""
    options = parse("--recipe", "modern", "--augment", "full")
    assert options.randaugment == "none"
    assert parse("--recipe", "modern", "--augment", "none").randaugment == "none"
    assert parse("--recipe", "modern", "--augment", "none", "--randaugment", "2x9").randaugment == "2x9"
    assert parse("--recipe", "modern", "--randaugment", "none").randaugment == "none"
    assert parse("--recipe", "modern", "--randaugment", "3x5").randaugment == "3x5"


def test_the_log_tells_all_that_is_set():
    """A run's name would not say what it trains with."""
    (line,) = recipe_lines(parse("--recipe", "modern"))
    assert all(flag_name(name) in line for name in RECIPES["modern"](DEFAULTS))


def test_the_warm_up_is_a_share_of_the_run_but_that_of_long_cycles_is_their_own():
    assert parse("--recipe", "modern").warmup_epochs == 2
    assert parse("--recipe", "modern", "--end-epoch", "10").warmup_epochs == 0.5
    assert parse("--recipe", "modern", "--long-cycles").warmup_epochs is None
    assert parse("--recipe", "modern", "--long-cycles", "--multigrid", "per-epoch").warmup_epochs == 2
    assert parse("--recipe", "modern", "--short-cycles").warmup_epochs == 2


def test_on_resume_a_recipe_counts_as_its_flags():
    """The parts that a resumed run keeps unless they are given would stay as they were, and the others change."""
    assert set(RECIPES["modern"](DEFAULTS)) <= set(parse("--recipe", "modern").given)
    found = differences(parse("--recipe", "modern"), plain(parse()))
    assert {"--mixup", "--ema", "--lr-schedule"} <= found.keys()
    assert next(iter(found)) == "--recipe"  # the flag that a user forgot
    assert set(RECIPES["modern"](DEFAULTS)) <= set(parse("--recipe", "paper").given)
    assert not set(RECIPES["modern"](DEFAULTS)) & set(parse().given)
    assert not differences(parse("--recipe", "modern"), plain(parse("--recipe", "modern")))


def test_a_run_too_short_for_a_recipe_is_told():
    """It would be taken for a better one."""
    assert recipe_warnings(parse("--recipe", "modern"), 300)
    assert not recipe_warnings(parse("--recipe", "modern"), 20_000) and not recipe_warnings(parse(), 300)
    (line,) = recipe_warnings(parse("--recipe", "modern", "--dropout", "0"), 300)
    assert "--dropout" not in line and "--cutmix" in line
    off = ("--dropout", "0", "--cutmix", "0", "--zero-init-residual", "False")
    assert not recipe_warnings(parse("--recipe", "modern", *off), 300)
    assert not recipe_warnings(parse("--recipe", "modern", "--pretrained-3d", "FILE", "--fine-tune"), 300)


@pytest.mark.parametrize(("videos", "wanted", "batches"), [(1000, 200, 125), (1000, 50, 50), (5, 200, 1)])
def test_statistics_need_no_more_than_one_pass_over_the_videos(videos, wanted, batches):
    """The recipe's 200 batches would be many passes over a small dataset before each validation."""
    plan = make_plan(batch_size=8, clip_length=4, clip_size=32, lr_steps=(), num_videos=max(videos, 8))
    assert batches_for_statistics(wanted, plan) == batches
