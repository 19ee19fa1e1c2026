"""Paths that no file system takes: one line for each command and flag, never a traceback."""

import pytest

from tests.processes import ROOT
from tests.small_dataset import write_small_dataset

LONG = "x" * 300  # a path of a job script that went wrong, such as a variable that holds a whole list
COMMANDS = {
    "train --dataset": "train_custom.py --dataset LONG",
    "train --labels": "train_custom.py --dataset DATASET --labels LONG",
    "train --pretrained-3d": "train_custom.py --dataset DATASET --pretrained-3d LONG",
    "train --task-name": "train_custom.py --dataset DATASET --task-name LONG",
    "train --model-dir": "train_custom.py --dataset DATASET --model-dir LONG",
    "train --log-file": "train_custom.py --dataset DATASET --batch-size 8 --log-file LONG",
    "convert VIDEOS": "-m data.prepare.convert LONG out",
    "convert OUT": "-m data.prepare.convert ANNOTATIONS/videos LONG",
    "convert --labels": "-m data.prepare.convert ANNOTATIONS/videos out --labels LONG",
    "folder VIDEOS": "-m data.prepare.folder LONG out",
    "folder DATASET": "-m data.prepare.folder ANNOTATIONS/videos LONG",
    "folder --train": "-m data.prepare.folder ANNOTATIONS/videos out --train LONG",
    "folder --classes": "-m data.prepare.folder ANNOTATIONS/videos out --classes LONG",
    "verify": "-m data.prepare.verify LONG",
    "verify --labels": "-m data.prepare.verify DATASET --labels LONG",
    "labels ANNOTATIONS": "-m data.prepare.labels kinetics LONG out",
    "labels OUT": "-m data.prepare.labels ucf101 ANNOTATIONS LONG",
    "labels --kinetics400": "-m data.prepare.labels mini-kinetics ANNOTATIONS out --kinetics400 LONG",
    "download LABELS": "-m data.prepare.download LONG out",
    "download OUT": "-m data.prepare.download DATASET/labels/train.csv LONG",
    "download --cookies": "-m data.prepare.download DATASET/labels/train.csv out --cookies LONG",
    "synthetic": "-m data.prepare.synthetic LONG --videos 32 --val-videos 8 --size 32x32",
    "preview": "-m data.preview LONG --output x.png",
    "preview --output": "-m data.preview DATASET --rows 1 --output LONG.png",
    "export CHECKPOINT": "-m train.export LONG out.onnx",
    "export OUTPUT": "-m train.export DATASET/labels/train.csv LONG/out.onnx",
    "plot_scores": "-m train.plot_scores LONG",
    "report": "-m evaluate.report LONG",
    "schedule --output": "-m train.schedule --output LONG.png",
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_small_dataset(tmp_path_factory.mktemp("dataset"), train=8, val=8, frames=4)


@pytest.fixture(scope="module")
def annotations(tmp_path_factory):
    folder = tmp_path_factory.mktemp("annotations")
    for name, text in {
        "classInd.txt": "1 YoYo\n", "trainlist01.txt": "YoYo/v_YoYo_g25_c05.avi 1\n",
        "testlist01.txt": "YoYo/v_YoYo_g01_c05.avi\n", "train_ytid_list.txt": "abcdefghijk\n",
    }.items():  # fmt: skip
        (folder / name).write_text(text)
    (folder / "videos" / "YoYo").mkdir(parents=True)
    (folder / "videos" / "YoYo" / "a.mp4").touch()
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_a_path_that_is_too_long_is_one_line(server, tmp_path, dataset, annotations, name):
    words = (
        COMMANDS[name].replace("LONG", LONG).replace("DATASET", str(dataset)).replace("ANNOTATIONS", str(annotations))
    )
    words = words.replace("train_custom.py", str(ROOT / "train_custom.py"))
    process = server.start(*words.split(), folder=tmp_path)
    assert process.wait() == 2, process.output()
    lines = [line for line in process.stderr.splitlines() if line.strip()]
    assert "error: " in lines[-1] and "xxx" in lines[-1], process.stderr
    assert "Traceback" not in process.output()
