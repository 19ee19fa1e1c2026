"""What the kernels are told of each clip is what PyTorch's operations get."""

import numpy as np
import pytest

from data.augment.params import named_params, random_params
from data.augment.randaugment import RandAugment, params_of, randaugment_params
from data.augment.table import BLURRED, BLURRED_SAMPLES, ROW, SAMPLED, tables_of
from data.augment.values import parts_of

SIZE = (20, 30)


@pytest.fixture
def fields() -> np.ndarray:
    """The parameters of clips, as training draws them."""
    rng = np.random.default_rng(3)
    return named_params(np.stack([random_params(rng) for _ in range(200)]))


def rows_of(tables) -> np.ndarray:
    return tables.rows.view(ROW)[:, 0]


def taps_of(tables, clip: int) -> np.ndarray:
    """Down, right and weight (m, 3) of a clip's taps."""
    row = rows_of(tables)[clip]
    return tables.taps[int(row["first_tap"]) : int(row["first_tap"] + row["taps"])]


def test_each_clip_has_its_kernel(fields):
    """A tap too few darkens a clip, and those of its neighbour blur it as no motion does."""
    tables, blur = tables_of(fields, *SIZE), parts_of(fields, *SIZE)["blur"]
    kernels = iter(blur.values["kernels"].astype(np.float32))
    for clip, is_blurred in enumerate(blur.is_chosen):
        taps = taps_of(tables, clip)
        if not is_blurred:
            assert taps.tolist() == [[0, 0, 1]]
            continue
        expected = next(kernels)
        made = np.zeros_like(expected)
        made[tuple(taps[:, :2].astype(int).T + len(made) // 2)] = taps[:, 2]
        assert np.array_equal(made, expected)


def test_each_clip_has_its_table_of_levels():
    """The tables are in the order of the clips that have one; the others are told that they have none."""
    names = ["solarize", "rotate", "identity", "equalize", "sharpness", "colour", "contrast"]
    fields = named_params(np.stack([params_of([(name, 9, 1), ("identity", 9, 1)]) for name in names]))
    assert rows_of(tables_of(fields, *SIZE))["levels"].tolist() == [1, 0, 0, 2, 0, 0, 3]


def test_where_pixels_come_from(fields):
    """A clip that is rotated and blurred is sampled first, into a place of its own."""
    tables = tables_of(fields, *SIZE)
    rows, parts = rows_of(tables), parts_of(fields, *SIZE)
    is_warped = parts["rotation"].is_chosen | parts["perspective"].is_chosen
    is_blurred = parts["blur"].is_chosen
    expected = np.where(is_warped, np.where(is_blurred, BLURRED_SAMPLES, SAMPLED), BLURRED)
    assert np.array_equal(rows["source"], expected) and len(set(expected)) == 3
    assert np.array_equal(tables.sampled, np.flatnonzero(is_warped & is_blurred))
    assert np.array_equal(rows["slot"][tables.sampled], np.arange(len(tables.sampled)))
    assert np.array_equal(rows["is_rotated"], parts["rotation"].is_chosen)


def test_a_clip_is_told_the_same_in_any_batch(fields):
    """Otherwise results would change with --gpus, --accumulate and the batch size."""
    rng = np.random.default_rng(4)
    of_randaugment = named_params(np.stack([randaugment_params(RandAugment(4, 9), rng) for _ in range(50)]))
    fields = np.concatenate([fields[:150], of_randaugment])
    together = tables_of(fields, *SIZE)
    elsewhere = [name for name in ROW.names if name not in ("levels", "slot", "first_tap")]
    for clip in range(len(fields)):
        alone = tables_of(fields[clip : clip + 1], *SIZE)
        assert np.array_equal(taps_of(alone, 0), taps_of(together, clip))
        for name in elsewhere:
            assert np.array_equal(rows_of(alone)[name][0], rows_of(together)[name][clip]), name


def test_frames_that_are_too_small_are_not_mirrored(fields):
    """A mirrored place outside of the frame is memory of something else."""
    is_blurred = parts_of(fields, *SIZE)["blur"].is_chosen
    assert rows_of(tables_of(fields, *SIZE))["is_mirrored"][is_blurred].all()
    for size in ((1, 9), (9, 2), (4, 4)):
        tables = tables_of(fields, *size)
        for clip in np.flatnonzero(is_blurred):
            reach = np.abs(taps_of(tables, clip)[:, :2]).max()
            assert rows_of(tables)["is_mirrored"][clip] == (reach < min(size))
