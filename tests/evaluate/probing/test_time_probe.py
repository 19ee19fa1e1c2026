"""`python -m evaluate.run --time-probe`: what the order of frames is worth to a network."""

import json

import numpy as np
import pytest
import torch

from common.errors import DataError
from common.ranks import Ranks
from data.augment.normalise import Normalise
from data.clips.changed_time import ChangedTime
from data.clips.dataset import ClipDataset
from data.clips.sampling import UniformClips
from data.clips.types import ClipRequest, ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_val
from data.loading.loader import BatchLoader, SequentialBatches
from data.prepare import convert, synthetic
from data.prepare.synthetic_scene import class_table
from evaluate import run
from evaluate.evaluation import evaluate
from network import registry
from network.resnet3d import Recursion
from tests.brightness import BrightnessNetwork, brightness_checkpoint, levels, write_brightness_dataset
from tests.numbered import jpeg, write_database
from tests.processes import ROOT
from tests.runs import rows
from tests.small_dataset import CLASSES as SMALL_CLASSES
from tests.tiny_network import TinyNetwork

ALONE = Ranks(0, 0, 1)
SPEC = DatasetSpec("custom", "train.csv", "val.csv")
GATES_FLAGS = ("--time-probe", "--device", "cpu", "--workers", 0, "--clip-length", 4, "--val-size", 32,
               "--val-frame-interval", 1)  # fmt: skip
VIEWS = [("--val-clips", 1), ("--val-clips", 2, "--val-crops", 3, "--val-batch-size", 1), ("--workers", 2)]


@pytest.fixture(autouse=True)
def brightness_network(monkeypatch):
    monkeypatch.setitem(registry._builders, "brightness", lambda n, gates, at: BrightnessNetwork(n))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_brightness_dataset(tmp_path_factory.mktemp("brightness"))


def probe(folder, dataset, *flags, interval=2, length=4):
    """Run the command; the rows of both files, by their first column."""
    checkpoint = brightness_checkpoint(folder / "x.pth", interval, length)
    arguments = [checkpoint, dataset, "--time-probe", "--device", "cpu", "--workers", 0, "--output", folder / "out"]
    assert run.main([*map(str, arguments), *map(str, flags)]) == 0
    return by_name(folder / "out" / "time_probe.csv"), by_name(folder / "out" / "time_probe_per_class.csv")


def by_name(path):
    return {next(iter(row.values())): row for row in rows(path)}


def frames_of(sampling, length, num_frames, video=0):
    request = ClipRequest(video, ClipShape(length, 8, 8), 0)
    return [each.indices.tolist() for each in sampling.frames(num_frames, request, np.random.default_rng(0))]


@pytest.mark.parametrize("source", ["frames", "videos"])
def test_reversal_swaps_classes_and_freezing_ends_them(tmp_path, capsys, source):
    """Else the probe would call a network blind to order that lives by it, or the reverse."""
    dataset = write_brightness_dataset(tmp_path / "data", source=source)
    conditions, classes = probe(tmp_path, dataset, "--source", source)
    top1 = {name: float(row["top1"]) for name, row in conditions.items()}
    third = pytest.approx(100 / 3, abs=1e-3)
    assert {name: top1[name] for name in ("forwards", "reversed", "frozen")} == {
        "forwards": 100, "reversed": third, "frozen": third,
    }  # fmt: skip
    assert (top1["half_interval"], top1["double_interval"]) == (100, 100)
    assert float(conditions["reversed"]["top1_difference"]) == pytest.approx(-200 / 3, abs=1e-3)
    assert {
        name: (row["reversed"], row["reversed_as"], row["reversed_as_percent"]) for name, row in classes.items()
    } == {
        "bright": ("100.0000", "bright", "100.0000"),
        "falling": ("0.0000", "rising", "100.0000"),
        "rising": ("0.0000", "falling", "100.0000"),
    }
    assert classes["bright"]["shuffled"] == "100.0000"
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert line["time_probe"] == summary["time_probe"]
    assert line["time_probe"]["conditions"]["reversed"]["top1"] == pytest.approx(100 / 3)
    assert line["top1"] == 100 and not line["time_probe"]["left_out"]


@pytest.mark.parametrize(("each", "is_sure"), [(2, False), (12, True)])
def test_few_videos_are_told_and_show_little(tmp_path, capsys, each, is_sure):
    """Four videos that shuffling makes wrong may be chance, and were called a use of the order of frames."""
    probe(tmp_path, write_brightness_dataset(tmp_path / "data", each=each))
    *lines, last = capsys.readouterr().out.splitlines()
    found, log = json.loads(last)["time_probe"]["warnings"], " ".join(" ".join(lines).split())
    assert f"{3 * each} videos are few" in found[0] and found[0] in log
    assert ("not clear whether the network uses" in log) != is_sure
    assert "the network uses the order" in log and (is_sure or "McNemar" in found[1])


def test_the_interval_may_be_a_time(tmp_path):
    """2@25 of videos of 25 frames a second is the interval 2, halved and doubled as well."""
    dataset = write_brightness_dataset(tmp_path / "data", each=1, source="videos")
    first = probe(tmp_path, dataset, "--source", "videos")
    assert probe(tmp_path, dataset, "--source", "videos", interval="2@25") == first


@pytest.mark.parametrize("flags", VIEWS, ids=str)
def test_the_probe_is_the_same_for_any_batches_and_workers(tmp_path, dataset, flags):
    """Else nobody could get the figures of a paper again on another machine."""
    first = probe(tmp_path, dataset, *flags)
    assert probe(tmp_path, dataset, *flags, "--val-batch-size", 5, "--workers", 1) == first
    assert float(first[0]["shuffled"]["loss"]) > 0


def test_orders_are_those_of_the_very_same_frames():
    """Else a probe would measure other frames, not another order."""
    clips = UniformClips(2, clips=3)
    plain = frames_of(clips, 5, 40)
    assert frames_of(ChangedTime(clips, "reversed"), 5, 40) == [clip[::-1] for clip in plain]
    assert frames_of(ChangedTime(clips, "frozen"), 5, 40) == [[clip[2]] * 5 for clip in plain]
    shuffled = [frames_of(ChangedTime(clips, "shuffled", seed=1), 5, 40, video) for video in range(40)]
    assert all(sorted(clip) == own for video in shuffled for clip, own in zip(video, plain, strict=True))
    assert all(clip != own for video in shuffled for clip, own in zip(video, plain, strict=True))
    assert len({str([[i - clip[0] for i in clip] for clip in video]) for video in shuffled}) > 30, "one order for all"
    assert shuffled[3] == frames_of(ChangedTime(clips, "shuffled", seed=1), 5, 40, 3)
    assert shuffled != [frames_of(ChangedTime(clips, "shuffled", seed=2), 5, 40, video) for video in range(40)]
    assert frames_of(ChangedTime(clips, "shuffled"), 5, 1) == [[0] * 5] * 3, "an endless search for another order"


@pytest.mark.parametrize(
    ("clips", "factor", "frames", "expected"),
    [
        (UniformClips(2), 0.5, 20, [[8, 9, 10, 11]]),  # 6 8 10 12 around 9
        (UniformClips(2), 2.0, 20, [[3, 7, 11, 15]]),
        (UniformClips(2, clips=2), 2.0, 20, [[0, 4, 8, 12], [7, 11, 15, 19]]),  # moved into the video
        (UniformClips(3), 0.5, 20, [[7, 9, 10, 12]]),  # 1.5 frames
        (UniformClips(4), 2.0, 16, [[0, 5, 10, 15]]),  # the largest that fits
        (UniformClips(1), 0.5, 20, [[8, 9, 10, 11]]),  # no half frames
        (UniformClips(2), 0.5, 3, [[0, 0, 1, 2]]),  # repeats already
        (UniformClips(1, span=True), 0.5, 16, [[5, 7, 9, 11]]),
    ],
    ids=str,
)
def test_another_interval_keeps_the_middle_and_stays_in_the_video(clips, factor, frames, expected):
    """Else half the interval would be another part of the video, or repeat its last frame."""
    assert frames_of(ChangedTime(clips, factor=factor), 4, frames) == expected


@pytest.mark.parametrize(
    ("interval", "left_out", "changed"),
    [(1, {"half_interval"}, {"double_interval": 6}), ("all", {"double_interval"}, {"half_interval": 6}),
     (3, {"double_interval"}, {"half_interval": 6})],
)  # fmt: skip
def test_an_interval_that_no_video_has_room_for_is_left_out(tmp_path, capsys, dataset, interval, left_out, changed):
    """A row that in truth is `forwards` again would say that the interval costs nothing."""
    conditions, _ = probe(tmp_path, dataset, interval=interval)
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["time_probe"]
    assert set(found["left_out"]) == left_out and not left_out & set(conditions)
    assert {name: int(row["videos_changed"]) for name, row in conditions.items() if row["videos_changed"]} == changed


def test_two_frames_have_no_shuffled_order(tmp_path, dataset):
    """It would be `reversed` under another name."""
    conditions, classes = probe(tmp_path, dataset, length=2)
    assert "shuffled" not in conditions and "shuffled" not in classes["rising"]
    assert float(conditions["reversed"]["top1"]) < 50


def test_videos_of_which_an_interval_needs_a_damaged_frame_are_left_out_of_all_rows(tmp_path, capsys):
    """Else two conditions would be compared on different videos, or be paired wrongly."""
    dataset = write_brightness_dataset(tmp_path / "data")
    blobs = [jpeg(np.full((24, 32, 3), level, np.uint8)) for level in levels("rising")]
    blobs[5] = blobs[5][:200]  # forwards: 2 4 6 8; half the interval: 4 5 6 7
    folder = dataset / "jpg" / "rising" / "rising_1"
    for path in folder.iterdir():
        path.unlink()
    write_database(folder, blobs)
    conditions, classes = probe(tmp_path, dataset, "--on-bad-video", "skip")
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["videos"], line["bad_videos"]) == (6, 0)
    assert (line["time_probe"]["videos"], line["time_probe"]["unread"]) == (5, 1)
    assert {row["videos"] for row in conditions.values()} == {"5"} and classes["rising"]["videos"] == "1"
    assert run.main([str(tmp_path / "x.pth"), str(dataset), "--time-probe", "--device", "cpu", "--workers", "0"]) == 2
    assert "rising_1" in capsys.readouterr().err


def test_clips_without_an_order_are_refused(tmp_path, dataset):
    """A single frame would cost nothing whatever is done to it."""
    with pytest.raises(DataError, match="--time-probe"):
        probe(tmp_path, dataset, "--clip-length", 1)
    assert not (tmp_path / "out").exists()


def test_open_gates_are_those_of_the_evaluations_views(small_dataset):
    """The table would tell of gates of a training before it, or of one rank's or batch's alone."""
    loader = loader_of(small_dataset, clips=2)
    network = network_with_some_open_gates(loader)
    network(torch.randn(50, 3, 4, 32, 32))  # as in a training before
    found = evaluate(network, loader, torch.device("cpu"), ALONE, clips=2).open_gates
    assert all(share.isnan() for share in network.open_gate_fractions().values())
    with torch.no_grad():
        for batch in loader:
            network(Normalise()(batch.frames))
    expected = {name: float(share) for name, share in network.open_gate_fractions().items()}
    assert found == pytest.approx(expected) and len(found) == 4
    assert any(0.1 < share < 0.9 for share in found.values())


def test_a_network_with_gates_shows_how_many_are_open(tmp_path, monkeypatch, small_dataset):
    """The method's own account of the order of frames: the columns would be empty."""
    monkeypatch.setitem(registry._builders, "srtg_tiny", lambda n, gates, at: TinyNetwork(n, Recursion(gates, at)))
    checkpoint = gates_checkpoint(tmp_path / "gates.pth", small_dataset)
    arguments = [checkpoint, small_dataset, *GATES_FLAGS, "--output", tmp_path / "out"]
    assert run.main([*map(str, arguments)]) == 0
    conditions = by_name(tmp_path / "out" / "time_probe.csv")
    shares = {name: float(row["open_gates"]) for name, row in conditions.items()}
    assert all(0 < share < 100 for share in shares.values()) and len(set(shares.values())) > 1
    assert float(conditions["frozen"]["open_gates_difference"]) == pytest.approx(
        shares["frozen"] - shares["forwards"], abs=2e-4
    )


@pytest.mark.slow
def test_two_ranks_find_what_one_finds(server, tmp_path, small_dataset):
    """A random order by a rank's own numbering, or gates of one rank, would change with the number of GPUs."""
    checkpoint = gates_checkpoint(tmp_path / "gates.pth", small_dataset)
    script = ROOT / "tests" / "scripts" / "evaluate_tiny.py"
    flags = (script, checkpoint, small_dataset, *GATES_FLAGS, "--val-clips", 2)
    two = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    processes = [
        server.start(*words, *flags, "--output", name, folder=tmp_path) for words, name in (((), "one"), (two, "two"))
    ]
    for process in processes:
        assert process.wait() == 0, process.output()
    one, two = (by_name(tmp_path / name / "time_probe.csv") for name in ("one", "two"))
    assert one.keys() == two.keys() and len({row["loss"] for row in one.values()}) > 1
    for name, row in one.items():
        for column in ("loss", "top1", "open_gates", "videos"):
            assert float(row[column]) == pytest.approx(float(two[name][column]), abs=2e-3), (name, column)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_network_of_the_demo_takes_reversed_videos_for_the_reversed_class(server, tmp_path):
    """The demo's classes differ in order alone: a network that still knows them shuffled has found a leak."""
    demo, results = tmp_path / "demo", tmp_path / "results"
    assert synthetic.main([str(demo), "--videos", "576", "--val-videos", "96", "--size", "48x48"]) == 0
    assert convert.main([str(demo / "videos"), str(demo)]) == 0
    training = server.start(
        ROOT / "train_custom.py", "--dataset", demo, "--model-dir", results, "--network", "srtg_r3d_10",
        "--clip-length", 8, "--clip-size", 44, "--train-frame-interval", 4, "--val-frame-interval", 4,
        "--batch-size", 32, "--lr-base", 0.1, "--warmup-epochs", 1, "--lr-steps", 6, 8, "--end-epoch", 9,
        "--device", "cpu", folder=tmp_path,
    )  # fmt: skip
    assert training.wait(3000) == 0, training.output()
    (best,) = results.glob("*/*_best.pth")
    assert run.main([str(best), str(demo), "--time-probe", "--device", "cpu", "--output", str(tmp_path / "out")]) == 0
    conditions, classes = (by_name(tmp_path / "out" / f"time_probe{name}.csv") for name in ("", "_per_class"))
    top1 = {name: float(row["top1"]) for name, row in conditions.items()}
    assert top1["forwards"] > 85 and top1["reversed"] < 10 and top1["shuffled"] < 35 and top1["frozen"] < 35, top1
    for name, row in classes.items():
        assert row["reversed_as"] == reversed_class(name) and float(row["reversed_as_percent"]) > 50, row


def reversed_class(name):
    """The class whose videos are the reversed ones of a class of the demo."""
    table = class_table(8)
    wanted = tuple(part._replace(backwards=not part.backwards) for part in reversed(table[name]))
    return next(other for other, parts in table.items() if parts == wanted)


def gates_checkpoint(path, dataset):
    facts = {"name": "srtg_tiny", "gates": True, "placement": "final", "num_classes": len(SMALL_CLASSES)}
    weights = network_with_some_open_gates(loader_of(dataset)).state_dict()
    torch.save({"network": facts, "weights": weights, "classes": list(SMALL_CLASSES)}, path)
    return path


def network_with_some_open_gates(loader):
    """A network without training, of which some gates are open for some clips and closed for others."""
    clips = torch.cat([Normalise()(batch.frames.clone()) for batch in loader])
    for seed in range(10, 40):
        torch.manual_seed(seed)
        network = TinyNetwork(len(SMALL_CLASSES), Recursion(True, "final")).train()
        with torch.no_grad():
            for _ in range(50):  # for the statistics of batch norm
                network(clips)
            network.reset_open_gate_fractions()
            network.eval()(clips)
        if any(0.2 < share < 0.8 for share in network.open_gate_fractions().values()):
            return network
    pytest.fail("all gates of 30 networks are open for all clips, or for none")


def loader_of(dataset, clips=1):
    """Batches of three videos."""
    videos, _ = load_val(dataset, SPEC)
    batches = SequentialBatches(len(videos), 3, ClipShape(4, 32, 32))
    return BatchLoader(ClipDataset(videos, UniformClips(1, clips=clips), 0), batches, 0, False)
