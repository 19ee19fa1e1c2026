"""Random damage to every kind of small file that a user keeps: read as it is, or refused in one clear line.

Checkpoints, databases, scan indices and holes in videos have tests beside their readers. A failure prints its seed.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import DataError
from data.labels.class_order import read_class_index
from data.labels.label_file import read_labels
from data.prepare.official.diving48 import read_diving48
from data.prepare.official.hacs import read_hacs
from data.prepare.official.hmdb51 import read_hmdb51
from data.prepare.official.kinetics import read_kinetics
from data.prepare.official.moments import read_moments
from data.prepare.official.ucf101 import read_ucf101
from data.prepare.report import read_problems
from data.prepare.worker_pool import run_jobs
from data.store.video_file import VideoReader
from tests.numbered import encode_numbered_video, frame_number
from tests.train.monitor.test_callbacks import epoch_report
from train.monitor.curves import read_scores
from train.monitor.score_files import ScoreFiles

pytestmark = pytest.mark.slow
ROUNDS = 400
FOREIGN = (b"\xff\xfe", b"\xef\xbb\xbf", b'"', b";", b"\x1b[2J", b"[" * 3000)

# For each reader a folder of valid files, and the one to damage.
TEXTS: dict[str, tuple[Callable[[Path], object], dict[str, str]]] = {
    "labels": (
        lambda folder: read_labels(folder / "x.csv"),
        {"x.csv": "label,youtube_id,time_start,time_end,split\nwave,-_abc,1.5,3,train\nüben,b,0,2,val\n"},
    ),
    "classes": (lambda folder: read_class_index(folder / "c.txt"), {"c.txt": "wave\nclap hands\nüben\n"}),
    "hacs": (
        read_hacs,
        {"HACS_clips_v1.1.1.csv": "classname,youtube_id,subset,start,end,label\nA,abcdefghijk,training,1.0,3.0,1\n"},
    ),
    "kinetics": (
        lambda folder: read_kinetics(folder, 400),
        {"kinetics-400_train.csv": "label,youtube_id,time_start,time_end,split\nwave,abcdefghijk,1,11,train\n"},
    ),
    "moments": (
        read_moments,
        {
            "trainingSet.csv": "a+b/x_1.mp4,a+b,3,0\n", "moments_categories.txt": "a+b,0\nc,1\n",
            "validationSet.csv": "c/y_2.mp4,c,3,0\n",
        },
    ),
    "ucf101": (
        lambda folder: read_ucf101(folder, 1),
        {
            "trainlist01.txt": "YoYo/v_YoYo_g25_c05.avi 1\r\n", "classInd.txt": "1 YoYo\r\n",
            "testlist01.txt": "YoYo/v_YoYo_g01_c05.avi\r\n",
        },
    ),
    "hmdb51": (lambda folder: read_hmdb51(folder, 1), {"wave_test_split1.txt": "a_#1(x)!.avi 1\nb.avi 2 \nc.avi 0\n"}),
    "diving48": (
        read_diving48,
        {
            "Diving48_V2_train.json": '[{"vid_name": "a_1", "label": 0, "start_frame": 0, "end_frame": 9}]',
            "Diving48_V2_test.json": '[{"vid_name": "b_1", "label": 0, "start_frame": 0, "end_frame": 9}]',
            "Diving48_vocab.json": '[["Back", "15som", "NoTwis", "PIKE"]]',
        },
    ),
    "scores": (
        lambda folder: read_scores(folder / "scores_val.csv", ("epoch", "loss", "top1")),
        {"scores_val.csv": "epoch,step,loss,top1,top5,videos\n1,8,1.5,50.0,90.0,7\n2,16,1.25,62.5,90.0,7\n"},
    ),
    "problems": (lambda folder: read_problems(folder / "p.csv"), {"p.csv": "kind,item,reason\nfailed,a/b,too long\n"}),
}  # fmt: skip


@pytest.fixture
def numbers() -> Iterator[random.Random]:
    seed = random.randrange(10**9)
    print("seed", seed)
    yield random.Random(seed)


def damaged(content: bytes, numbers: random.Random) -> bytes:
    """The content with a flipped bit, a cut end, a piece of zeros, a piece twice, or bytes of another encoding."""
    at = numbers.randrange(len(content))
    piece = content[at : at + numbers.randrange(1, 40)]
    kind = numbers.randrange(6)
    if kind == 0:
        return content[:at] + bytes([content[at] ^ 1 << numbers.randrange(8)]) + content[at + 1 :]
    if kind == 1:
        return content[:at]
    if kind == 2:
        return content[:at] + bytes(len(piece)) + content[at + len(piece) :]
    if kind == 3:
        return content[:at] + piece + content[at:]
    if kind == 4:
        return content[:at] + numbers.choice(FOREIGN) + content[at:]
    return content.decode("utf-8").encode(numbers.choice(["utf-16", "utf-16-le", "utf-8-sig"]))


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_file(name: str, tmp_path: Path, numbers: random.Random) -> None:
    """A user edits these files, and programs write them with other separators and encodings."""
    read, files = TEXTS[name]
    for file, text in files.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    read(tmp_path)
    target, text = next(iter(files.items()))
    for _ in range(ROUNDS):
        content = damaged(text.encode(), numbers)
        (tmp_path / target).write_bytes(content)
        try:
            read(tmp_path)
        except DataError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000, content
        except Exception as error:
            raise AssertionError(f"{content!r}") from error


def test_score_files_are_continued_or_moved_aside(tmp_path: Path, numbers: random.Random) -> None:
    """Whatever stands in the file, the next epoch's row is written, and what cannot be read is kept beside it."""
    text = TEXTS["scores"][1]["scores_val.csv"]
    for round_number in range(ROUNDS):
        folder = tmp_path / str(round_number)
        folder.mkdir()
        content = damaged(text.encode(), numbers)
        (folder / "scores_val.csv").write_bytes(content)
        ScoreFiles(folder).on_epoch(epoch_report(3))
        curve = read_scores(folder / "scores_val.csv", ("epoch", "loss", "top1"))
        assert curve["epoch"][-1] == 3, content
        aside = [path for path in folder.iterdir() if "damaged" in path.name]
        assert not aside or aside[0].read_bytes() == content


def read_video(path: Path, beat: Callable[[], None]) -> tuple[list[int], list[str]]:
    reader = VideoReader(path, 360, None, 1, True, beat)
    return [frame_number(pixels) for pixels in reader], reader.warnings


@pytest.mark.parametrize("suffix", ["mp4", "webm", "avi", "mkv", "ts"])
def test_a_video(suffix: str, tmp_path: Path, numbers: random.Random) -> None:
    """Its frames stay in order, or it is refused; no decoder crashes or hangs, and no frame comes from elsewhere."""
    codec = {"webm": "libvpx"}.get(suffix, "mpeg4")
    whole = encode_numbered_video(tmp_path / f"v.{suffix}", 50, codec=codec).read_bytes()
    paths = []
    for number in range(60):
        at = numbers.randrange(len(whole))
        length = numbers.choice([1, 16, 512, 4096])
        kinds = [
            whole[:at] + bytes([whole[at] ^ 1 << numbers.randrange(8)]) + whole[at + 1 :],
            whole[:at],
            whole[:at] + bytes(length) + whole[at + length :],
            whole[:at] + whole[at + length :],
        ]
        paths.append(tmp_path / f"{number}.{suffix}")
        paths[-1].write_bytes(kinds[number % 4])
    for outcome in run_jobs(read_video, paths, 2, stall_seconds=60):
        assert "worker died" not in outcome.reason and "no progress" not in outcome.reason, outcome
        if outcome.result is None:
            assert outcome.reason and "\n" not in outcome.reason and "Error: " not in outcome.reason, outcome
            continue
        frames, warnings = outcome.result
        # Nothing tells where a transport stream began or how long it was: what is left has no gap.
        is_part = suffix == "ts" and frames == list(range(frames[0], frames[0] + len(frames)))
        if len(frames) < 44 and not is_part:
            # Nor does anything tell single dropped frames from a pause, or a quarter of a second from an inexact end.
            assert warnings, f"{outcome.job}: {len(frames)} of 50 frames without a warning"
        assert len(frames) <= 50
