"""What a checkpoint knows is not replaced by defaults in silence: scores would be those of another network."""

import logging
from pathlib import Path

import pytest
import torch

from common.errors import NetworkError
from evaluate.preprocessing import Preprocessing
from network.weights.facts import training_facts
from train.evaluating import val_shape
from train.file_settings import settings_from_file
from train.options import TrainOptions

FACTS = {"name": "srtg_r3d_10", "gates": True, "placement": "mid", "num_classes": 3}
OWN = {
    "network": FACTS,
    "weights": {"fc.bias": torch.zeros(3)},
    "options": {"clip_length": 4, "clip_size": 32, "val_frame_interval": 3, "batch_size": 7},
}
PATH = Path("x.pth")


def test_an_evaluation_takes_network_and_clips_from_the_file():
    options, notes = settings_from_file(TrainOptions(evaluate=True), PATH, OWN)
    assert (options.network, options.gates, options.placement) == ("srtg_r3d_10", True, "mid")
    assert (options.clip_length, options.clip_size, options.val_frame_interval) == (4, 32, 3)
    assert options.batch_size == TrainOptions().batch_size
    ((level, text),) = notes
    assert level == logging.INFO
    for fact in ("x.pth", "srtg_r3d_10", "gates True", "placement mid", "clip length 4", "clip size 32"):
        assert fact in text


def test_an_evaluation_is_at_the_size_of_the_run_s_validation():
    """A run that was validated at another size than it was trained at would get another score, without a word."""
    own = OWN | {"options": OWN["options"] | {"val_size": 48}}
    options, notes = settings_from_file(TrainOptions(evaluate=True), PATH, own)
    assert val_shape(options) == (4, 48, 48) and "clip size 48" in notes[0][1]
    own["preprocessing"] = Preprocessing(4, 32, 3).plain()  # as older versions wrote it
    assert Preprocessing.from_facts(training_facts(own)) == Preprocessing(4, 48, 3)
    given = TrainOptions(evaluate=True, val_size=40, given=("val_size",))
    options, notes = settings_from_file(given, PATH, own)
    assert val_shape(options) == (4, 40, 40)
    (warning,) = [text for level, text in notes if level == logging.WARNING]
    assert "clip size 48" in warning and "clip size 40" in warning
    assert settings_from_file(TrainOptions(val_size=40), PATH, own)[0].val_size == 40
    with pytest.raises(NetworkError, match="val_size is 0"):
        settings_from_file(TrainOptions(evaluate=True), PATH, own | {"options": own["options"] | {"val_size": 0}})


def test_an_evaluation_takes_the_split_of_the_file():
    """The validation videos of UCF-101's split 1 are training videos of a network of split 2: 100 % for nothing."""
    own = OWN | {"options": OWN["options"] | {"variant": "2"}}
    options, notes = settings_from_file(TrainOptions(evaluate=True, variant="1"), PATH, own, ("1", "2", "3"))
    assert options.variant == "2" and "variant 2" in notes[0][1]
    given = TrainOptions(evaluate=True, variant="1", given=("variant",))
    options, notes = settings_from_file(given, PATH, own, ("1", "2", "3"))
    assert options.variant == "1"
    assert [level for level, text in notes if "variant 2" in text] == [logging.WARNING]
    assert settings_from_file(TrainOptions(evaluate=True, variant="400"), PATH, own, ("400",))[0].variant == "400"
    assert settings_from_file(TrainOptions(variant="1"), PATH, own, ("1", "2"))[0].variant == "1"


def test_a_flag_overrides_the_file_and_is_named():
    given = TrainOptions(evaluate=True, gates=False, clip_size=64, given=("gates", "clip_size"))
    options, notes = settings_from_file(given, PATH, OWN)
    assert (options.gates, options.clip_size, options.placement) == (False, 64, "mid")
    (warning,) = [text for level, text in notes if level == logging.WARNING]
    for fact in ("x.pth", "gates True", "gates False", "clip size 32", "clip size 64"):
        assert fact in warning
    assert "placement" not in warning


def test_a_new_run_takes_the_network_but_its_own_clips():
    """Fine-tuning at another shape is usual; another network or placement with the same tensors is a mistake."""
    options, _ = settings_from_file(TrainOptions(), PATH, OWN)
    assert (options.network, options.gates, options.placement) == ("srtg_r3d_10", True, "mid")
    assert options.clip_size == TrainOptions().clip_size


def test_another_crop_scale_than_the_file_s_is_told():
    """Weights that were trained on smaller parts of the frames are worse on larger ones, and nothing else shows it."""
    crops = {"clip_length": 4, "clip_size": 32, "interval": 3, "crop_scale": 1.3125, "colour": "RGB"}
    own = OWN | {"preprocessing": crops | {"mean": [124, 117, 104], "std": [60, 60, 60]}}
    options, notes = settings_from_file(TrainOptions(), PATH, own)
    assert options.crop_scale == TrainOptions().crop_scale
    (text,) = [text for _, text in notes if "crop scale" in text]
    assert "1.312" in text and "1.148" in text
    _, notes = settings_from_file(TrainOptions(crop_scale=1.3125), PATH, own)
    assert not [text for _, text in notes if "crop scale" in text]


def test_what_the_file_does_not_say_is_said():
    foreign = {"state_dict": {"fc.bias": torch.zeros(3)}}
    options, notes = settings_from_file(TrainOptions(evaluate=True), PATH, foreign)
    assert options == TrainOptions(evaluate=True)
    ((level, text),) = notes
    assert level == logging.WARNING and "x.pth" in text and f"clip size {options.clip_size}" in text
    assert "gates False, placement final" in text
    plain = TrainOptions(evaluate=True, network="r3d_18")
    assert "gates" not in settings_from_file(plain, PATH, foreign)[1][0][1]
    given = ("gates", "placement", "clip_length", "clip_size", "val_frame_interval")
    given = TrainOptions(evaluate=True, given=given)
    assert settings_from_file(given, PATH, foreign)[1] == []
    assert settings_from_file(TrainOptions(), PATH, foreign)[1] == []


def test_an_assumed_split_is_said():
    """An older export names its network but not its split: the script's split 1 may be what it was trained on."""
    older = {name: OWN[name] for name in ("network", "weights")}
    _, notes = settings_from_file(TrainOptions(evaluate=True, variant="1"), PATH, older, ("1", "2"))
    assert [text for level, text in notes if level == logging.WARNING and "variant 1" in text]
    given = TrainOptions(evaluate=True, variant="1", given=("variant",))
    assert "variant" not in settings_from_file(given, PATH, older, ("1", "2"))[1][1][1]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("val_frame_interval", 10**18, "val_frame_interval is 10+: 2147483647 is the most"),
        ("clip_length", 1 << 20_000, "clip_length is a number of 20001 bits"),
        ("clip_length", 10**6, "clips of 1000000 frames of 32x32 are too large.*--clip-length"),
        ("clip_size", 20_000, "clips of 4 frames of 20000x20000 are too large"),
    ],
    ids=["interval", "bits", "frames", "pixels"],
)
def test_values_that_no_flag_takes_are_the_file_s_fault(name, value, said):
    """The bounds of the flags were not applied to them: the evaluation ran out of memory, or ended in a traceback."""
    bad = OWN | {"options": OWN["options"] | {name: value}}
    with pytest.raises(NetworkError, match=rf"x\.pth: its .*{said}"):
        settings_from_file(TrainOptions(evaluate=True), PATH, bad)
    if value < 10**9:
        given = TrainOptions(evaluate=True, clip_length=4, clip_size=32, given=("clip_length", "clip_size"))
        assert settings_from_file(given, PATH, bad)[0].clip_size == 32
