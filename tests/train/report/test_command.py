"""`python -m evaluate.report`: what a colleague reads on the page, and one line for a mistake."""

import base64
import hashlib
import json
import os
import re
import sys

import cv2
import numpy as np
import pytest
import torch

from common.cli import run_command
from evaluate.model import load_model
from network import registry
from tests.evaluate.tiny_model import BUILDERS, write_checkpoint
from tests.numbered import encode_numbered_video
from tests.runs import RUN, TINY, TINY_FLAGS
from tests.train.report.made_run import write_csv, write_evaluation, write_events, write_run
from tests.train.report.read_page import Page
from train.checkpoint.progress import Progress
from train.monitor import curves
from train.report.command import main

ALL = ["plan", "curves", "gates", "data", "evaluation1", "command", "checkpoints"]
HOSTILE = "<script>alert(1)</script>\"'&amp;<img src=x onerror=alert(2)>\x1b[2J"


@pytest.fixture
def report(monkeypatch, capsys):
    """report(run, *flags) -> (exit status, stdout, stderr)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["evaluate.report", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            run_command(main)
        return end.value.code, *capsys.readouterr()

    return run


def page_of(run):
    return Page((run / "report.html").read_text(encoding="utf-8"))


def sections(page):
    return [attributes["id"] for attributes in page.of("section")]


def worst_row(dataset, video="clap/val_000", path=None):
    return (video, "clap", 0.012, "jump", 0.87, path or dataset / "jpg" / video)


def test_the_page_of_a_run_has_every_part_in_order_and_its_figures(tmp_path, small_dataset, report):
    """It is sent to a colleague in place of the folder: what is not there, or wrong, nobody looks up."""
    run = write_run(tmp_path / "run", dataset=str(small_dataset))
    write_evaluation(run, ["clap", "jump", "run", "walk fast"], worst=[worst_row(small_dataset)])
    (run / "srtg_r3d_10_best.pth").write_bytes(b"weights")
    status, out, err = report(run)
    assert (status, err) == (0, "") and str(run / "report.html") in out
    page = page_of(run)
    assert f"its frames are from {small_dataset.resolve() / 'jpg'}" in out
    assert f"Frames from {small_dataset.resolve() / 'jpg'}." in page.text("evaluation1")
    assert sections(page) == ALL
    head = page.text()
    assert all(fact in head for fact in ("srtg_r3d_10", "gates on", "61.2", "55.5 to 66.5", "37.5", "60.0", "2 min"))
    assert re.search("best epoch.*6", head)
    plan = page.text("plan")  # 40 videos, batch of 4, rate falls after epochs 2 and 4
    assert all(fact in plan for fact in ("1 to 2", "3 to 4", "5 to 6", "0.001", "60 steps"))
    assert "4200d82c" in page.text("data") and "33" in page.text("data")
    assert all(fact in page.text("evaluation1") for fact in ("51.5", "61.25", "walk fast", "jump (87 %)", "val_000"))
    assert all(fact in page.text("command") for fact in ("python train_custom.py", "--batch-size", "2.13.0"))
    assert "srtg_r3d_10_best.pth" in page.text("checkpoints")


def test_the_curves_show_the_values_of_each_epoch(tmp_path, report):
    """A curve of other values than those in the score files would be believed."""
    run = write_run(tmp_path / "run")
    report(run)
    text = page_of(run).text("curves")
    assert "epoch 3 training: 36 % validation: 30 %" in text  # top-1
    assert "epoch 2 training: 2.5 validation: 3" in text  # loss
    assert "epoch 4 2 clips/s" in text.replace("training: ", "")  # 40 clips in 20 s
    assert "epoch 5 50 %" in text.replace("training: ", "")  # waiting
    assert "layer2.0, step 30, epoch 3: 50 %" in page_of(run).text("gates")


def test_the_page_loads_nothing_and_runs_no_script_but_its_own(tmp_path, report):
    """A class, an option or a video may be called anything; who opens the page must not run it."""
    run = write_run(tmp_path / "run", dataset=HOSTILE, task_name=HOSTILE, **{HOSTILE: HOSTILE})
    facts = json.loads((run / "options.json").read_text())
    facts |= {"command": [HOSTILE], "versions": {HOSTILE: HOSTILE}, "git": HOSTILE}
    (run / "options.json").write_text(json.dumps(facts))
    (run / "passport.json").write_text(json.dumps({HOSTILE: {"videos": 40, HOSTILE: {HOSTILE: HOSTILE}}}))
    row = (HOSTILE, HOSTILE, 0.1, HOSTILE, 0.9, "")
    folder = write_evaluation(run, [HOSTILE, "other"], worst=[row], name=f"evaluation_{HOSTILE[:8]}_1x1", date=HOSTILE)
    summary = json.loads((folder / "summary.json").read_text()) | {"checkpoint": HOSTILE, "clip": HOSTILE}
    (folder / "summary.json").write_text(json.dumps(summary | {"scores": {HOSTILE: 1.0, "top1": 2.0}}))
    write_events(run / "tensorboard", [1])
    assert report(run)[0] == 0
    text = (run / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.text("evaluation1").count("alert(1)") > 3
    (script,) = page.scripts
    policy = next(each["content"] for each in page.of("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy.split("script-src")[1]
    names = {name for _, attributes in page.elements for name in attributes}
    assert not [name for name in names if name.startswith("on")] and "\x1b" not in text
    links = [each[name] for _, each in page.elements for name in ("src", "href") if name in each]
    assert all(link.startswith(("#", "data:image/")) for link in links) and not re.search("https?://", text)
    assert not {"link", "iframe", "object", "embed", "base", "form"} & {name for name, _ in page.elements}


def test_frames_of_the_worst_videos_are_in_the_page(tmp_path, small_dataset, report):
    """Eight frames tell at a glance whether the label or the network is wrong; another video's would mislead."""
    run = write_run(tmp_path / "run", dataset=str(small_dataset))
    moved = worst_row(small_dataset, "jump/val_001", tmp_path / "gone" / "val_001")  # found in the dataset of now
    part = worst_row(small_dataset, "run/val_002_000010_000020", small_dataset / "jpg" / "run" / "val_002")
    write_evaluation(run, ["clap", "jump"], worst=[worst_row(small_dataset), moved, part])
    status, _, err = report(run)
    page = page_of(run)
    strips = [each for each in page.of("img") if each["src"].startswith("data:image/jpeg")]
    assert [each["alt"].rpartition("/")[2] for each in strips] == ["val_000", "val_001"]
    assert status == 0 and "1 of 3" in err and "val_002_000010_000020" in page.text("evaluation1")
    content = base64.b64decode(strips[0]["src"].partition(",")[2])
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[0] == 90 and picture.shape[1] == 8 * 108 + 7 * 2  # 8 frames of 48 x 40


def test_frames_of_another_place_than_the_dataset_are_not_in_the_page(tmp_path, small_dataset, report):
    """A run that someone sent would put any picture of the disk into a page that is sent on."""
    run = write_run(tmp_path / "run", dataset=str(tmp_path / "data"))
    write_evaluation(run, ["clap", "jump"], worst=[worst_row(small_dataset)])
    status, out, err = report(run)
    assert status == 0 and "give --dataset" in err and "frames are from" not in out
    assert not [each for each in page_of(run).of("img") if each["src"].startswith("data:image/jpeg")]
    summary = run / "evaluation_val_5x3" / "summary.json"
    facts = json.loads((run / "options.json").read_text())
    facts["options"]["dataset"] = str(
        small_dataset
    )  # of the run; the evaluation is of another one, with the same names
    (run / "options.json").write_text(json.dumps(facts))
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"dataset": str(tmp_path / "other")}))
    status, out, err = report(run)
    assert status == 0 and "give --dataset" in err and "frames are from" not in out
    status, out, err = report(run, "--dataset", small_dataset)
    assert (status, err) == (0, "") and f"its frames are from {small_dataset.resolve()}" in out
    status, _, err = report(run, "--dataset", tmp_path / "none")
    assert status == 2 and "none is no folder" in err


def nested(depth, count=1):
    value = ["x"]
    for _ in range(depth):
        value = [value] * count
    return value


@pytest.mark.parametrize("field", ["options", "versions", "network"])
def test_a_checkpoint_of_nested_lists_is_shown_at_once(tmp_path, report, field):
    """A list of lists that share their values takes a few bytes in a file, and years to show."""
    run = write_run(tmp_path / "run")
    facts = json.loads((run / "options.json").read_text())
    facts.pop(field, None)
    (run / "options.json").write_text(json.dumps(facts))
    state = {"position": {"epoch": 4, "step": 0}, "progress": Progress(epoch=4, global_step=30).state_dict()}
    state[field] = {"name": nested(40, 10), "gates": True, "seed": 25811}
    torch.save(state, run / "srtg_r3d_10_last.pth")
    assert report(run)[0] == 0
    assert field != "options" or "25811" in page_of(run).text("command")


def test_facts_nested_more_deeply_than_python_shows_are_no_traceback(tmp_path, report):
    """Each file of a run may be edited, or made."""
    run = write_run(tmp_path / "run", network=nested(900))
    folder = write_evaluation(run, ["a", "b"])
    facts = json.loads((run / "options.json").read_text())
    deep = {"versions": {"a": nested(900), "torch": "2.13.1"}, "git": nested(900), "command": ["x.py", nested(900)]}
    (run / "options.json").write_text(json.dumps(facts | deep))
    (run / "passport.json").write_text(json.dumps({"train": {"videos": 40, "sizes": {"a": nested(900)}}}))
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"by_clips": nested(900), "clip": nested(900)}))
    status, _, err = report(run)
    assert status == 0 and "no plan is shown" in err and "network" in err
    assert "2.13.1" in page_of(run).text("command") and "61.2" in page_of(run).text()


def test_an_option_of_thousands_of_values_makes_no_plan(tmp_path, report):
    """The phases of 20,000 lr steps took hours."""
    run = write_run(tmp_path / "run", lr_steps=list(range(1, 20_000)), end_epoch=4_000_000)
    status, _, err = report(run)
    assert status == 0 and "no plan is shown" in err and "lr_steps" in err
    assert "lr-steps" not in page_of(run).text("command")


def test_a_validation_that_changes_thousands_of_times_is_not_marked(tmp_path, report):
    """Each change was compared with each epoch: a file of 200 KB took minutes."""
    run = write_run(tmp_path / "run")
    rows = [(epoch, 1, 5, 9, epoch % 2) for epoch in range(1, 10_000)]
    write_csv(run / "scores_val.csv", ("epoch", "loss", "top1", "videos", "video_list"), rows)
    assert report(run)[0] == 0
    text = page_of(run).text("curves")
    assert "changed 9,998 times" in text and "from epoch" not in text


def test_a_video_that_takes_long_to_decode_has_no_frames(tmp_path, report, monkeypatch):
    """A small file of huge frames held the command for an hour."""
    monkeypatch.setattr("train.report.evaluation_parts.MOST_SECONDS", -1)
    file = encode_numbered_video(tmp_path / "data" / "videos" / "clap" / "v.mp4", 20)
    run = write_run(tmp_path / "run", dataset=str(tmp_path / "data"))
    write_evaluation(run, ["clap", "jump"], worst=[worst_row(tmp_path, "clap/v", file)])
    status, _, err = report(run)
    assert status == 0 and "v.mp4 takes too long to decode" in err


LINKS = {
    "options.json": "of/options.json",
    "scores_val.csv": "of/scores_val.csv",
    "passport.json": "docker/config.json",
    "tensorboard": "of/tensorboard",
    "train.log": "of/train.log",
    "srtg_r3d_10_last.pth": "of/srtg_r3d_10_last.pth",
    "evaluation_val_5x3": "of/evaluation_val_5x3",
    "evaluation_val_5x3/summary.json": "of/evaluation_val_5x3/summary.json",
    "evaluation_val_5x3/per_class.csv": "of/evaluation_val_5x3/per_class.csv",
    "evaluation_val_5x3/confusion.png": "of/evaluation_val_5x3/confusion.png",
    "evaluation_val_5x3/worst.csv": "of/evaluation_val_5x3/worst.csv",
}


def write_full_run(folder):
    run = write_run(folder)
    write_evaluation(run, ["a", "b"])
    (run / "train.log").write_text("2026-03-04 05:06:07,000 INFO begins\n")
    progress = Progress(epoch=4, global_step=30).state_dict()
    torch.save({"position": {"epoch": 4, "step": 0}, "progress": progress}, run / "srtg_r3d_10_last.pth")
    return run


@pytest.mark.parametrize("name", LINKS)
def test_a_link_out_of_the_folder_of_a_run_is_not_followed(tmp_path, report, name):
    """A run that someone sent would put a file of passwords, or any picture, into a page that is sent on."""
    run = write_full_run(tmp_path / "run")
    write_full_run(tmp_path / "of")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "config.json").write_text('{"auths": {"registry": {"auth": "c2VjcmV0"}}}')
    (run / name).rename(tmp_path / "before")
    (run / name).symlink_to(tmp_path / LINKS[name])
    status, _, err = report(run)
    said = f"{run / name} is reached through a link out of the run's folder"
    assert status == 1 and said in err and said in page_of(run).text() and "c2VjcmV0" not in page_of(run).text()
    (run / name).unlink()
    (tmp_path / "before").rename(run / f"{name}.own")  # a link within the folder, which is reached through a link, is
    (run / name).symlink_to(run / f"{name}.own")
    (tmp_path / "linked").symlink_to(run)
    assert (report(tmp_path / "linked")[0], sections(page_of(run))) == (0, ALL)


def test_a_loop_of_links_and_a_log_of_elsewhere_are_no_traceback(tmp_path, report):
    run = write_run(tmp_path / "run", log_file="/dev/zero")
    (run / "passport.json").unlink()
    (run / "passport.json").symlink_to("passport.json")
    status, _, err = report(run)
    assert status == 1 and "passport.json" in err and "zero" not in err


def test_paths_of_a_run_cannot_steer_the_terminal(tmp_path, small_dataset, report):
    """A run that someone sent could clear the screen, or show lines that the command did not write."""
    run = write_run(tmp_path / "run", dataset=str(tmp_path / "data"))
    write_evaluation(run, ["clap", "jump"], worst=[worst_row(small_dataset, path="/x\x1b[2J\x9b2J")])
    _, out, err = report(run)
    assert "\\x1b[2J" in err and not {"\x1b", "\x9b"} & set(out + err)


def test_a_run_that_has_only_its_options(tmp_path, report):
    run = write_run(tmp_path / "run", epochs=0)
    (run / "passport.json").unlink()
    status, _, err = report(run)
    assert status == 0 and "videos" in err
    page = page_of(run)
    assert sections(page) == ["command"] and "srtg_r3d_10" in page.text()


def test_a_run_in_training_says_how_far_it_is(tmp_path, report):
    run = write_run(tmp_path / "run", epochs=3)
    assert report(run)[0] == 0
    page = page_of(run)
    assert "3 of 6 so far" in page.text() and "evaluation1" not in sections(page) and "30.0" in page.text()


def test_the_best_epoch_is_of_the_newest_validation(tmp_path, report):
    """Scores on other videos cannot be compared: an old best on an easier set is no best."""
    run = write_run(tmp_path / "run")
    rows = [(1, 95.0, 20, "v1"), (2, 40.0, 30, "v2"), (3, 38.0, 30, "v2")]
    write_csv(run / "scores_val.csv", ("epoch", "top1", "videos", "video_list"), rows)
    report(run)
    page = page_of(run)
    assert re.search(r"best epoch in training: 2 40\.0", page.text()) and "from epoch 2 on" in page.text("curves")


def test_the_newest_evaluation_comes_first(tmp_path, report):
    """A copy of the folder changes the files' times: the date in the summary counts."""
    run = write_run(tmp_path / "run")
    write_evaluation(run, ["a", "b"], name="evaluation_test_2x1", date="2026-05-01T00:00:00+00:00", top1=71.5)
    write_evaluation(run, ["a", "b"], date="2026-04-01T00:00:00+00:00")
    report(run)
    page = page_of(run)
    assert "test, 2" in page.text("evaluation1") and "val, 5" in page.text("evaluation2") and "71.5" in page.text()


def test_scores_that_the_newest_checkpoint_has_otherwise_are_told(tmp_path, report, capsys, monkeypatch):
    """An accuracy that was edited, or is of a copy of the run, was drawn and headed the page as the run's."""
    run = write_run(tmp_path / "run")
    reported = [[n, 5 / n, 6 / n, {"top1": 12.0 * n}, {"top1": 10.0 * n}] for n in (1, 2, 3)]
    progress = Progress(epoch=4, global_step=30, reported=reported).state_dict()
    torch.save({"position": {"epoch": 4, "step": 0}, "progress": progress}, run / "srtg_r3d_10_last.pth")
    assert "other scores" not in report(run)[2]
    text = (run / "scores_val.csv").read_text()
    (run / "scores_val.csv").write_text(text.replace("3,30,2.0,30,", "3,30,2.0,38.5,"))
    status, _, err = report(run)
    line = "scores_val.csv has other scores than the newest checkpoint, as if edited or of another run: top1 of epoch 3"
    assert status == 0 and line in err and line in page_of(run).text("curves")
    assert main_of_curves_says(run, monkeypatch, capsys)


def test_the_newest_checkpoint_is_that_of_the_last_epoch(tmp_path, report):
    """A copy of the folder changes the files' times: scores of an earlier epoch would be those that count."""
    run = write_run(tmp_path / "run")
    for epoch, name, changed in ((3, "ep-0002", 2e9), (4, "ep-0003", 1e9)):
        reported = [[n, 5 / n, 6 / n, {"top1": 12.0 * n}, {"top1": 10.0 * n}] for n in range(1, epoch)]
        reported[-1][-1]["top1"] = 99.0
        progress = Progress(epoch=epoch, global_step=10 * epoch, reported=reported).state_dict()
        path = run / f"srtg_r3d_10_{name}.pth"
        torch.save({"position": {"epoch": epoch, "step": 0}, "progress": progress}, path)
        os.utime(path, (changed, changed))
    assert "other scores than the newest checkpoint, as if edited or of another run: top1 of epoch 3" in report(run)[2]


def with_checkpoint(run, key, **changes):
    """The folder of a run whose files name the run "this", with a checkpoint of the run `key`."""
    for name in ("options.json", "passport.json"):
        facts = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps(facts | {"run_key": "this"}))
    options = json.loads((run / "options.json").read_text())["options"] | changes
    checkpoint = {"position": {"epoch": 4, "step": 0}, "progress": Progress(epoch=4, global_step=30).state_dict()}
    facts = {"options": options, "run_key": key, "num_videos": 24, "versions": {"torch": "9.8.7"}}
    torch.save(checkpoint | facts, run / "srtg_r3d_10_last.pth")
    return run


def test_options_and_passport_of_another_run_are_not_shown_as_this_run_s(tmp_path, report):
    """A page said that a run was trained with an average and 84 videos that are those of the folder next to it."""
    run = with_checkpoint(write_run(tmp_path / "run"), "other", lr_base=0.625, ema=0.75)
    status, _, err = report(run)
    page = page_of(run)
    assert status == 0 and err.count("is of another run than srtg_r3d_10_last.pth") == 2
    shown = page.text("command")
    assert "options.json is of another run" in shown and "0.625" in shown and "0.75" in shown and "9.8.7" in shown
    assert "data" not in page.texts and "passport.json is of another run" in shown


def test_options_that_the_checkpoint_has_otherwise_are_told(tmp_path, report):
    """Rates and mixing that nobody had trained with stood on the page."""
    odd = {"workers": 3, "resume_epoch": "auto", "given": ["lr_base"], "lr_steps": (2, 4), "new_flag": 1}
    run = with_checkpoint(write_run(tmp_path / "run", mixup=0.8), "this", **odd)
    assert "other values" not in report(run)[2]
    run = with_checkpoint(write_run(tmp_path / "edited", mixup=0.8), "this", mixup=0.0, lr_base=0.02)
    status, _, err = report(run)
    line = "options.json has other values than srtg_r3d_10_last.pth"
    assert status == 0 and line in err and line in page_of(run).text("command")
    assert "not saved yet: --lr-base, --mixup" in err or "not saved yet: --mixup, --lr-base" in err
    assert "48x40" in page_of(run).text("data")


def test_files_of_older_versions_without_a_key_are_taken_for_the_run_s(tmp_path, report):
    run = with_checkpoint(write_run(tmp_path / "run"), None)
    assert "another run" not in report(run)[2] and "48x40" in page_of(run).text("data")


def main_of_curves_says(run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.plot_scores", str(run)])
    curves.main()
    return "run: scores_val.csv has other scores than srtg_r3d_10_last.pth" in capsys.readouterr().out


def test_weights_that_were_trained_further_are_not_those_of_the_scores(tmp_path, monkeypatch, report):
    """The page would head a run by the scores of weights that are gone."""
    monkeypatch.setitem(registry._builders, "srtg_tiny", BUILDERS["srtg_tiny"])
    run = write_run(tmp_path / "run")
    path = run / "srtg_r3d_10_best.pth"
    write_checkpoint(path)
    os.utime(path, (2e9, 2e9))
    folder = write_evaluation(run, ["a", "b"])
    summary = json.loads((folder / "summary.json").read_text())
    for digest, is_told in ((load_model(path).weights_digest(), False), ("0badc0de", True)):
        (folder / "summary.json").write_text(json.dumps(summary | {"weights_digest": digest}))
        assert report(run)[0] == 0
        page = page_of(run)
        told = ["other weights now" in text for text in (page.text(), page.text("evaluation1"))]
        assert told == [is_told] * 2
    os.utime(path, (0, 0))  # older than the evaluation: not read
    report(run)
    assert "other weights now" not in page_of(run).text()


def test_the_headline_says_on_what_and_what_the_evaluation_warns_of(tmp_path, report):
    """A score on a training set, or on another dataset, would be read as that of the run."""
    run = write_run(tmp_path / "run", dataset="../data/own")
    folder = write_evaluation(run, ["a", "b"])
    summary = json.loads((folder / "summary.json").read_text()) | {"videos": 33}
    for dataset, shown in (("data/own", ""), ("/x/data/own", ""), ("/x/other/", "run's: other"), ("/y/own", "/y/own")):
        (folder / "summary.json").write_text(json.dumps(summary | {"dataset": dataset, "warnings": ["on its own <b>"]}))
        report(run)
        head, section = (page_of(run).text(name) for name in ("", "evaluation1"))
        assert "33 videos" in head and shown in head and ("another dataset" in head) == bool(shown)
        assert "on its own <b>" in head and "on its own <b>" in section


def test_a_list_of_no_worst_videos_is_not_a_missing_one(tmp_path, report):
    """All videos right reads like a lost file, and the reverse."""
    run = write_run(tmp_path / "run")
    (run / "srtg_r3d_10_best.pth").write_bytes(b"weights")
    folder = write_evaluation(run, ["a", "b"], top1=100.0)
    report(run)
    assert "Every video is classified correctly" in page_of(run).text("evaluation1")
    assert "1 file," in page_of(run).text("checkpoints")
    (folder / "worst.csv").unlink()
    report(run)
    assert "worst.csv is not there" in page_of(run).text("evaluation1")


def test_700_classes_and_200_epochs_are_a_small_page(tmp_path, report):
    """A page that a mail takes and a browser opens at once."""
    run = write_run(tmp_path / "run", epochs=200, end_epoch=200)
    worst = [(f"a/{i}", "a", 0.1, "b", 0.9, f"/gone/{i}") for i in range(1000)]
    write_evaluation(run, [f"playing a long instrument {i}" for i in range(700)], worst=worst)
    assert report(run)[0] == 0
    assert (run / "report.html").stat().st_size < 3e6
    page = page_of(run)
    assert page.text("evaluation1").count("playing a long instrument") >= 2 * 700
    assert any(each.get("class") == "filter" for each in page.of("input"))


def test_a_second_run_replaces_the_page_and_nothing_else_is_written(tmp_path, report):
    run = write_run(tmp_path / "run")
    before = {path.name for path in run.iterdir()}
    assert report(run)[0] == report(run)[0] == 0
    assert {path.name for path in run.iterdir()} == before | {"report.html"}
    assert report(run, "--output", tmp_path / "new" / "page.html")[0] == 0
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["page.html"]


DAMAGED = {
    "options.json": b"{",
    "scores_train.csv": b"epoch,loss\n1,x\n",
    "scores_val.csv": b"\xff\xfe",
    "passport.json": b"[1]",
    "tensorboard": b"",
    "evaluation_val_5x3/summary.json": b"nothing",
    "evaluation_val_5x3/per_class.csv": b"class,videos\na,1\n",
    "evaluation_val_5x3/confusion.png": b"<svg onload=alert(1)>",
    "evaluation_val_5x3/worst.csv": b'id,label,probability,predicted,predicted_probability,path\n"a',
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_costs_its_part_and_is_named(tmp_path, report, name):
    """One file that a full disk has cut must not cost the page, nor be passed over."""
    run = write_run(tmp_path / "run")
    write_evaluation(run, ["a", "b"])
    path = next((run / name).iterdir()) if (run / name).is_dir() else run / name
    path.write_bytes(DAMAGED[name] or os.urandom(500))
    status, _, err = report(run)
    assert status == 1 and path.name in err and "Traceback" not in err
    page = page_of(run)
    assert path.name in page.text() and len(sections(page)) >= 4


def test_values_of_odd_kinds_are_no_traceback(tmp_path, report):
    """options.json and summary.json may be of any version, or edited."""
    run = write_run(tmp_path / "run", lr_steps=[{"a": 1}], end_epoch="many", gates=[], best_by=3)
    folder = write_evaluation(run, ["a", "b"])
    odd = {"scores": {"top1": {"value": [1]}, "5": {"top1": 1e308}}, "by_clips": [[[]]], "passport": {"val": {"frames": {"min": None, "median": "x", "max": []}}}, "checkpoint": {"path": 3}, "date": 7}  # fmt: skip # noqa: E501
    (folder / "summary.json").write_text(json.dumps(odd))
    write_csv(run / "scores_train.csv", ("epoch", "step", "loss", "clips", "seconds"), [(1, "", "inf", 1e308, 0), (2, 3, "nan", "", 1e-320)])  # fmt: skip # noqa: E501
    status, _, err = report(run)
    assert status == 0 and "options.json" in err and {"curves", "evaluation1"} <= set(sections(page_of(run)))


BAD = {
    "no such folder": ("none",),
    "a file": ("run/options.json",),
    "an empty folder": ("empty",),
    "another folder": ("other",),
    "a path that is too long": ("x" * 300,),
    "nothing but a damaged file": ("damaged",),
    "another suffix": ("run", "--output", "run/options.json"),
    "a folder as output": ("run", "--output", "folder.html"),
    "a page of others": ("run", "--output", "mine.html"),
    "a link": ("run", "--output", "link.html"),
    "below a file": ("run", "--output", "mine.html/x.html"),
    "a device's folder": ("run", "--output", "/proc/x.html"),
    "an unknown flag": ("run", "--out", "x.html"),
    "no run": (),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path, monkeypatch, report, name):
    write_run(tmp_path / "run")
    for folder in ("empty", "other/jpg", "folder.html", "damaged"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "damaged" / "options.json").write_text("{")
    (tmp_path / "mine.html").write_text("<html>mine</html>")
    (tmp_path / "link.html").symlink_to("mine.html")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    monkeypatch.chdir(tmp_path)
    status, out, err = report(*BAD[name])
    assert (status, out, len(err.splitlines())) == (2, "", 1) and "error: " in err
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_real_run_by_its_own_files(tmp_path, small_dataset, server):
    """The formats of the run's own writers: the plan needs a checkpoint, the map of gates TensorBoard's files."""
    flags = ("--gates", "--model-dir", tmp_path, "--workers", 0, "--end-epoch", 2, "--lr-steps", 1)
    process = server.start(TINY, "--dataset", small_dataset, *TINY_FLAGS, *flags, folder=tmp_path)
    assert process.wait() == 0, process.output()
    run = tmp_path / RUN.replace("False", "True")
    process = server.start("-m", "evaluate.report", run, folder=tmp_path)
    assert process.wait() == 0 and not process.stderr, process.output()
    page = page_of(run)
    assert sections(page) == ["plan", "curves", "gates", "data", "command", "checkpoints"]
    assert "16 steps" in page.text("plan") and "srtg_tiny_last.pth" in page.text("checkpoints")
    assert "classes 4" in page.text() and re.search(r"step 16, epoch 2: \d+ %", page.text("gates"))
