"""The kept scan: if this fails, a run trains on videos that are gone, misses new ones, or waits for nothing."""

import errno
import json
import multiprocessing
import os
import random
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from torch.utils.data import DataLoader

from common.errors import DataError
from data.clips.dataset import ClipDataset
from data.clips.sampling import UniformClips
from data.clips.types import Clip, ClipRequest, ClipShape
from data.labels import scan_cache
from data.labels import splits as splits_module
from data.labels.dataset_spec import DatasetSpec
from data.labels.scan import Scan
from data.labels.shared_arrays import SharedArrays
from data.labels.splits import Splits, load_splits
from data.labels.video_list import ARRAYS, VideoList
from data.store.frame_store import FrameStore, write_frames
from tests.data.labels.test_shared_arrays import linux, mapped_and_private
from tests.numbered import write_numbered_database
from tests.other_user import without_rights

SPEC = DatasetSpec("Some", "train.csv", "val.csv", class_index="classes.txt")
FRAMES = 4
fork = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def _keep_every_scan(monkeypatch):
    """Also that of a small dataset, and of one that was made just now."""
    monkeypatch.setattr(splits_module, "SMALL", 0)
    monkeypatch.setattr(scan_cache, "SETTLED", 0)


def make_dataset(root: Path) -> Path:
    """Two classes; one video is not on disk, one has no database."""
    sample = write_numbered_database(root / "sample", FRAMES)
    for name in ("wave/a", "wave/b", "wave/c", "playing_guitar/d", "playing_guitar/e"):
        shutil.copytree(sample, root / "data" / "jpg" / name)
    (root / "data/jpg/wave/c/frames.db").unlink()
    labels = root / "data" / "labels"
    labels.mkdir()
    (labels / "train.csv").write_text("label,id\nwave,a\nwave,gone\nplaying guitar,d\n")
    (labels / "val.csv").write_text("label,id\nwave,b\nwave,c\nplaying guitar,e\n")
    return root / "data"


@pytest.fixture
def dataset(tmp_path) -> Path:
    return make_dataset(tmp_path)


@pytest.fixture
def scans(monkeypatch) -> list[Path]:
    """One entry for each scan of the videos."""
    made: list[Path] = []
    scan = splits_module.scan_dataset

    def counted(jpg: Path, *rest: object) -> Scan:
        made.append(jpg)
        return scan(jpg, *rest)

    monkeypatch.setattr(splits_module, "scan_dataset", counted)
    return made


def contents(splits: Splits) -> list[tuple[str, str]]:
    return [
        (str(videos.folder(i)), videos.classes[videos.labels[i]])
        for videos in (splits.train, splits.val)
        for i in range(len(videos))
    ]


def names(splits: Splits) -> list[str]:
    return [Path(folder).name for folder, _ in contents(splits)]


def said(splits: Splits, *words: str) -> bool:
    return any(all(word in line for word in words) for line in splits.report)


def index_of(dataset: Path) -> Path:
    (path,) = (dataset / ".index").glob("*.npz")
    return path


def test_a_scan_of_labels_that_changed_meanwhile_is_not_kept_under_the_old_ones(dataset, scans, monkeypatch):
    """A process waits minutes for another's scan. The videos of the new labels were then kept for the old ones."""
    labels = dataset / "labels" / "train.csv"
    before = labels.read_text() + "playing guitar,f\n"
    shutil.copytree(dataset / "jpg/playing_guitar/d", dataset / "jpg/playing_guitar/f")
    labels.write_text(before)
    scan = splits_module.scan_dataset

    def changed(*arguments: object) -> Scan:
        labels.write_text(before.replace("playing guitar,f\n", ""))
        return scan(*arguments)

    monkeypatch.setattr(splits_module, "scan_dataset", changed)
    first = load_splits(dataset, SPEC)
    assert names(first) == ["a", "d", "b", "e"] and said(first, "label file changed", "not kept")
    labels.write_text(before)
    monkeypatch.setattr(splits_module, "scan_dataset", scan)
    assert names(load_splits(dataset, SPEC)) == ["a", "d", "f", "b", "e"]


def test_the_second_start_gives_the_same_without_a_scan(dataset, scans):
    first, second = load_splits(dataset, SPEC), load_splits(dataset, SPEC)
    assert len(scans) == 1
    assert contents(second) == contents(first) and names(second) == ["a", "d", "b", "e"]
    assert second.train.classes == first.train.classes == ("playing guitar", "wave")
    assert second.report[:-1] == first.report, "what is missing is said at every start"
    assert said(second, "1 of 3 videos of the train labels", "not on disk: wave/gone")
    assert said(second, "1 of 3 videos of the val labels", "cannot be used: wave/c has no frames.db")
    assert str(index_of(dataset)) in second.report[-1]


def test_a_small_dataset_is_scanned_at_each_start_and_not_written_to(dataset, scans, monkeypatch):
    monkeypatch.setattr(splits_module, "SMALL", 1_000_000)
    assert contents(load_splits(dataset, SPEC)) == contents(load_splits(dataset, SPEC))
    assert len(scans) == 2 and not (dataset / ".index").exists()


def copy_video(dataset: Path, name: str) -> None:
    shutil.copytree(dataset / "jpg/wave/a", dataset / "jpg" / name)


def add_with_old_times(dataset: Path) -> None:
    """As copying programs do: they set a folder's time back to that of the original."""
    folder = dataset / "jpg/wave"
    status = folder.stat()
    copy_video(dataset, "wave/gone")
    os.utime(folder, ns=(status.st_atime_ns, status.st_mtime_ns))


def edit_keeping_size_and_time(dataset: Path) -> None:
    path = dataset / "labels/train.csv"
    status = path.stat()
    path.write_text(path.read_text().replace("wave,a", "wave,b"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: copy_video(d, "wave/gone"), ["a", "gone", "d", "b", "e"]),
        (add_with_old_times, ["a", "gone", "d", "b", "e"]),
        (lambda d: copy_video(d, "playing guitar/d"), ["a", "d", "b", "e"]),
        (lambda d: shutil.rmtree(d / "jpg/wave/b"), ["a", "d", "e"]),
        (lambda d: (d / "jpg/wave/b").rename(d / "jpg/wave/gone"), ["a", "gone", "d", "e"]),
        (lambda d: (d / "jpg/playing_guitar").rename(d / "jpg/playing guitar"), ["a", "d", "b", "e"]),
        (lambda d: shutil.copy(d / "jpg/wave/a/frames.db", d / "jpg/wave/c"), ["a", "d", "b", "c", "e"]),
        (edit_keeping_size_and_time, ["b", "d", "b", "e"]),
        (lambda d: (d / "labels/val.csv").write_text("label,id\nwave,b\n"), ["a", "d", "b"]),
        (lambda d: (d / "labels/classes.txt").write_text("wave\nplaying guitar\n"), ["a", "d", "b", "e"]),
    ],
)
def test_any_change_of_what_a_scan_finds_leads_to_a_new_scan(dataset, scans, tmp_path, change, expected):
    load_splits(dataset, SPEC)
    change(dataset)
    after = load_splits(dataset, SPEC)
    assert len(scans) == 2 and said(after, "scanned again")
    assert names(after) == expected
    fresh = splits_module.scan_dataset(dataset / "jpg", splits_module.find_label_files(dataset, SPEC), SPEC)
    assert contents(after) == contents(Splits(fresh.train, fresh.val, ()))
    assert after.train.classes == fresh.train.classes
    again = load_splits(dataset, SPEC)
    assert len(scans) == 3 and contents(again) == contents(after), "the new scan is kept"


def test_another_problem_of_an_unusable_video_is_reported(dataset):
    load_splits(dataset, SPEC)
    shutil.copy(dataset / "jpg/wave/a/frames.db", dataset / "jpg/wave/c")
    (dataset / "jpg/wave/c/n_frames").write_text("many")
    after = load_splits(dataset, SPEC)
    assert said(after, "cannot be used: wave/c has 'many' in its file n_frames")
    assert said(after, "wave/c, which has no frames.db, was changed")


@pytest.mark.parametrize("what", ["format", "spec", "spelling"])
def test_a_scan_of_another_version_or_dataset_is_not_used(dataset, scans, monkeypatch, what):
    load_splits(dataset, SPEC)
    spec = SPEC
    if what == "format":
        monkeypatch.setattr(scan_cache, "FORMAT", scan_cache.FORMAT + 1)
    elif what == "spec":
        spec = DatasetSpec("Some", "train.csv", "val.csv", 99, class_index="classes.txt")
    else:
        monkeypatch.chdir(dataset.parent)
        dataset = Path("data")
    splits = load_splits(dataset, spec)
    assert len(scans) == 2
    assert said(splits, "a complete copy has 99") == (what == "spec")
    assert said(splits, "videos in data/jpg") == (what == "spelling")


def test_a_moved_dataset_is_scanned_again(dataset, scans, tmp_path):
    """The kept paths are those of the old place."""
    load_splits(dataset, SPEC)
    dataset.rename(tmp_path / "moved")
    splits = load_splits(tmp_path / "moved", SPEC)
    assert len(scans) == 2 and all(str(tmp_path / "moved") in folder for folder, _ in contents(splits))


def test_a_video_whose_files_change_is_read_as_it_is_or_reported(dataset, scans, monkeypatch):
    monkeypatch.setattr(VideoList, "SAMPLED", 1)  # the first of each split
    load_splits(dataset, SPEC)
    (dataset / "jpg/wave/a/frames.db").unlink()
    frame = FrameStore(dataset / "jpg/playing_guitar/d").read([0])[0]
    write_frames(dataset / "jpg/playing_guitar/d", [simplejpeg.encode_jpeg(frame)] * 9)
    splits = load_splits(dataset, SPEC)
    assert len(scans) == 1, "the class folders have not changed"
    clips = ClipDataset(splits.train, UniformClips(interval=2), seed=0)
    shape = ClipShape(4, 8, 8)
    (bad,) = clips[ClipRequest(0, shape, 0)].bad_videos
    assert str(dataset / "jpg/wave/a/frames.db") in bad.reason and "cannot be read" in bad.reason
    clip = clips[ClipRequest(1, shape, 0)]
    assert not clip.bad_videos and clip.repeated_frames == 0, "9 frames now: 4 with interval 2 need 7"


def test_videos_that_were_all_converted_again_are_scanned_again(dataset, scans):
    """Their old numbers of frames went into checkpoints, and a resume with a new index was refused."""
    first = load_splits(dataset, SPEC)
    assert first.train.frame_counts.tolist() == [FRAMES, FRAMES]
    for folder, _ in contents(first):
        write_frames(Path(folder), [simplejpeg.encode_jpeg(FrameStore(folder).read([0])[0])] * 9)
    second = load_splits(dataset, SPEC)
    assert len(scans) == 2 and said(second, "out of date", f"has 9 frames and had {FRAMES}")
    assert second.train.frame_counts.tolist() == second.val.frame_counts.tolist() == [9, 9]
    assert load_splits(dataset, SPEC).val.frame_counts.tolist() == [9, 9] and len(scans) == 2


def test_the_scan_of_a_dataset_that_was_just_changed_is_not_kept(dataset, scans, monkeypatch):
    """A video added in the same tick of the file system's clock would not be noticed later."""
    monkeypatch.setattr(scan_cache, "SETTLED", 60_000_000_000)
    splits = load_splits(dataset, SPEC)
    assert said(splits, str(dataset / "jpg"), "not kept") and not list((dataset / ".index").glob("*.npz"))
    load_splits(dataset, SPEC)
    assert len(scans) == 2


def test_a_class_folder_dated_in_the_future_does_not_keep_the_scan_from_being_kept(dataset, scans):
    """Programs that copy folders set their dates. When a folder is changed, the system dates its ctime itself."""
    ahead = time.time() + 10**6
    os.utime(dataset / "jpg/wave", (ahead, ahead))
    load_splits(dataset, SPEC)
    load_splits(dataset, SPEC)
    assert len(scans) == 1
    copy_video(dataset, "wave/gone")
    os.utime(dataset / "jpg/wave", (ahead, ahead))
    assert names(load_splits(dataset, SPEC)) == ["a", "gone", "d", "b", "e"]


def test_a_clock_that_is_wrong_is_said_as_the_reason(dataset, monkeypatch):
    now = time.time_ns() - 10**15
    monkeypatch.setattr(scan_cache.time, "time_ns", lambda: now)
    assert said(load_splits(dataset, SPEC), "not kept", "future", "clock")


# Damage, and folders that cannot be written.


def damaged(content: bytes, rng: random.Random) -> bytes:
    kind, place = rng.randrange(4), rng.randrange(len(content))
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + rng.randbytes(rng.randint(1, 40)) + content[place:]
    changed = bytearray(content)
    if kind == 2:
        changed[place] ^= 1 << rng.randrange(8)
    else:
        part = rng.randbytes(min(rng.randint(1, 400), len(content) - place))
        changed[place : place + len(part)] = part
    return bytes(changed)


def check_damage(dataset: Path, scans: list[Path], number: int) -> None:
    load_splits(dataset, SPEC)
    path, whole = index_of(dataset), index_of(dataset).read_bytes()
    right = load_splits(dataset, SPEC)
    for seed in range(number):
        path.write_bytes(damaged(whole, random.Random(seed)))
        scans.clear()
        splits = load_splits(dataset, SPEC)
        assert contents(splits) == contents(right), seed
        assert [line for line in splits.report if ".index" not in line] == list(right.report[:-1]), seed
        assert bool(scans) == said(splits, "scanned again"), seed


def test_a_damaged_file_is_replaced_and_reported(dataset, scans):
    check_damage(dataset, scans, 120)
    index_of(dataset).write_bytes(b"")
    splits = load_splits(dataset, SPEC)
    assert said(splits, str(index_of(dataset)), "cannot be used", "scanned again")
    assert names(splits) == ["a", "d", "b", "e"]


@pytest.mark.parametrize(("whole", "part"), [(b"'<i4'", b"'<i2'"), (b"'shape': (2,)", b"'shape': (1,)")])
def test_damage_that_shortens_an_array_is_found(dataset, scans, whole, part):
    load_splits(dataset, SPEC)
    path = index_of(dataset)
    assert whole in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(whole, part))
    splits = load_splits(dataset, SPEC)
    assert len(scans) == 2 and said(splits, "cannot be used") and names(splits) == ["a", "d", "b", "e"]


@pytest.mark.slow
def test_a_file_damaged_in_many_ways(dataset, scans):
    check_damage(dataset, scans, 5000)


def rewritten(path: Path, change: Callable[[dict, dict], object], sign: bool = True, **options: bool) -> None:
    """Change the header and the arrays of a kept scan; its checksums hold, and its digest if `sign`."""
    with np.load(path) as stored:
        arrays = dict(stored)
    header = json.loads(arrays["header"].tobytes())
    change(header, arrays)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    if sign:
        packed = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        splits = ({name: packed[f"{split}_{name}"] for name in ARRAYS} for split in ("train", "val"))
        arrays["digest"] = np.frombuffer(scan_cache._digest(arrays["header"], *splits), np.uint8)
    (np.savez_compressed if options else np.savez)(path, **arrays)


@pytest.mark.parametrize(
    "change",
    [
        lambda header, arrays: header.update(class_folders=[["../../etc", "../../etc"], header["class_folders"][1]]),
        lambda header, arrays: header.update(class_folders=[["playing_guitar", "/etc"], header["class_folders"][1]]),
        lambda header, arrays: header.update(classes=header["classes"][::-1]),
        lambda header, arrays: arrays.update(train_labels=arrays["train_labels"][::-1]),
        lambda header, arrays: arrays.update(train_labels=arrays["train_labels"] + 100),
        lambda header, arrays: arrays.update(train_folder_indices=arrays["train_folder_indices"][::-1]),
        lambda header, arrays: arrays.update(train_name_ends=arrays["train_name_ends"][::-1]),
        lambda header, arrays: arrays.update(train_name_ends=np.array([1, 900], np.uint32)),
        lambda header, arrays: arrays.update(train_names=np.frombuffer(b"a/", np.uint8)),
        lambda header, arrays: arrays.update(
            train_names=np.frombuffer(b"..d", np.uint8), train_name_ends=np.array([2, 3], np.uint32)
        ),
        lambda header, arrays: arrays.update(train_labels=arrays["train_labels"].astype(np.float64)),
        lambda header, arrays: arrays.update(train_labels=arrays["train_labels"][:1]),
        lambda header, arrays: arrays.update(train_frame_counts=np.array([1, 0], np.int32)),
        lambda header, arrays: arrays.update(train_frame_counts=np.array([1], np.int32)),
    ],
)
def test_a_file_that_no_scan_can_have_made_is_not_used(dataset, scans, change):
    """It would train on other folders, or on other labels, without a word."""
    first = load_splits(dataset, SPEC)
    rewritten(index_of(dataset), change)
    second = load_splits(dataset, SPEC)
    assert contents(second) == contents(first)
    assert len(scans) == 2 and said(second, "cannot be used", "scanned again")


def classes_rotated(header: dict, arrays: dict) -> None:
    """The class of each video stays that of its folder; only the order of the classes is another."""
    header["classes"] = header["classes"][1:] + header["classes"][:1]
    for split in ("train", "val"):
        arrays[f"{split}_labels"] = (arrays[f"{split}_labels"] - 1) % len(header["classes"])


def class_added(header: dict, arrays: dict) -> None:
    header["classes"].append("zoom")


def train_is_val(header: dict, arrays: dict) -> None:
    arrays.update({f"train_{name}": arrays[f"val_{name}"] for name in ARRAYS})
    header["class_folders"][0] = header["class_folders"][1]


def splits_swapped(header: dict, arrays: dict) -> None:
    train = {name: arrays[f"train_{name}"] for name in ARRAYS}
    train_is_val(header, arrays)
    arrays.update({f"val_{name}": array for name, array in train.items()})


def report_changed(header: dict, arrays: dict) -> None:
    header["report"] = []


@pytest.mark.parametrize("index", ["", "wave\nplaying guitar\n"])
@pytest.mark.parametrize(
    ("change", "sign"),
    [
        (classes_rotated, True),
        (class_added, True),
        (classes_rotated, False),
        (train_is_val, False),
        (splits_swapped, False),
        (report_changed, False),
        (lambda header, arrays: arrays.pop("digest"), False),
    ],
)
def test_a_file_with_another_class_order_or_other_splits_is_not_used(dataset, scans, change, sign, index):
    """A network would learn the classes in another order, or train on the validation videos, without a word."""
    if index:
        (dataset / "labels/classes.txt").write_text(index)
    first = load_splits(dataset, SPEC)
    rewritten(index_of(dataset), change, sign)
    second = load_splits(dataset, SPEC)
    assert contents(second) == contents(first) and second.train.classes == first.train.classes
    assert len(scans) == 2 and said(second, "cannot be used", "scanned again")


def test_a_compressed_file_is_not_used(dataset, scans):
    """A small file may hold more than the memory."""
    load_splits(dataset, SPEC)
    rewritten(index_of(dataset), lambda header, arrays: None, compressed=True)
    assert said(load_splits(dataset, SPEC), "compressed", "scanned again") and len(scans) == 2


@pytest.mark.parametrize("suffix", [".npz", ".lock"])
def test_a_pipe_in_place_of_a_file_of_the_index_is_not_waited_for(dataset, scans, suffix):
    """The run would hang without a word."""
    load_splits(dataset, SPEC)
    path = index_of(dataset)
    for file in (path, path.with_suffix(suffix)):
        file.unlink(missing_ok=True)
    os.mkfifo(path.with_suffix(suffix))
    process, result = in_process(lambda: load_splits(dataset, SPEC).report)
    try:
        report = result()
    finally:
        process.kill()
        process.join()
    assert suffix == ".lock" or any("is a pipe" in line and "scanned again" in line for line in report)
    assert names(load_splits(dataset, SPEC)) == ["a", "d", "b", "e"] and not scans[1:], "the new scan is kept"


@pytest.mark.parametrize("name", [".index", ".index/{}.lock"])
def test_nothing_is_written_through_a_link_in_a_dataset(dataset, scans, tmp_path, name):
    """Who gave the dataset would have a file of the user's replaced, emptied or made. The scan is kept elsewhere."""
    load_splits(dataset, SPEC)
    kept, elsewhere = index_of(dataset), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / kept.name).write_text("mine")
    (elsewhere / "lock").write_text("mine")
    link = dataset / name.format(kept.stem)
    shutil.rmtree(dataset / ".index")
    if link.suffix:
        link.parent.mkdir()
    link.symlink_to(elsewhere / "lock" if link.suffix else elsewhere)
    assert said(load_splits(dataset, SPEC), str(link), f"is a link to {elsewhere}") and len(scans) == 2
    assert {path.read_text() for path in elsewhere.iterdir()} == {"mine"}
    again = load_splits(dataset, SPEC)
    assert len(scans) == 2 and not said(again, "is a link") and index_of(dataset / "labels").exists()


def test_a_dataset_of_which_a_snapshot_was_made_by_hard_links_keeps_its_scans(dataset, scans, tmp_path):
    """`cp -al` gives the lock a second name: the scan was kept elsewhere, or nowhere, with a false reason."""
    load_splits(dataset, SPEC)
    kept = index_of(dataset)
    os.link(kept.with_suffix(".lock"), tmp_path / "snapshot")
    kept.unlink()
    assert not said(load_splits(dataset, SPEC), "not used") and index_of(dataset).exists()


@pytest.mark.parametrize("small", [0, 1_000_000])
def test_a_pipe_in_place_of_the_class_index_is_an_error(dataset, monkeypatch, small):
    monkeypatch.setattr(splits_module, "SMALL", small)
    os.mkfifo(dataset / "labels/classes.txt")

    def message() -> str:
        with pytest.raises(DataError) as error:
            load_splits(dataset, SPEC)
        return str(error.value)

    process, result = in_process(message)
    try:
        assert f"{dataset / 'labels/classes.txt'} is a pipe" in str(result())
    finally:
        process.kill()
        process.join()


def test_if_the_dataset_cannot_be_written_the_scan_is_kept_beside_the_labels(dataset, scans, tmp_path):
    (dataset / ".index").write_text("in the way")
    shutil.move(dataset / "labels", tmp_path / "mine")
    first = load_splits(dataset, SPEC, tmp_path / "mine")
    second = load_splits(dataset, SPEC, tmp_path / "mine")
    assert len(scans) == 1 and contents(first) == contents(second)
    assert index_of(tmp_path / "mine").exists()


@pytest.fixture
def outside() -> Iterator[Path]:
    """A folder that any user may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_read_only_dataset_is_scanned_at_each_start_which_is_reported(outside, scans):
    dataset = make_dataset(outside)
    folders = [dataset, dataset / "labels"]
    for folder in folders:
        folder.chmod(0o555)
    try:
        with without_rights():
            splits = [load_splits(dataset, SPEC) for _ in range(2)]
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert len(scans) == 2
    for each in splits:
        assert names(each) == ["a", "d", "b", "e"]
        assert sum("cannot be written" in line for line in each.report) == 1
        assert said(each, "every start scans", str(dataset / ".index"))


def test_a_scan_kept_by_another_user_is_used_although_it_cannot_be_written(outside, scans):
    dataset = make_dataset(outside)
    load_splits(dataset, SPEC)
    (dataset / ".index").chmod(0o555)
    try:
        with without_rights():
            splits = load_splits(dataset, SPEC)
    finally:
        (dataset / ".index").chmod(0o755)
    assert len(scans) == 1 and names(splits) == ["a", "d", "b", "e"]


def test_a_full_disk_costs_the_kept_scan_and_nothing_else(dataset, monkeypatch):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, limits[1]))
    try:
        splits = load_splits(dataset, SPEC)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(splits) == ["a", "d", "b", "e"] and said(splits, ".index", "could not be written", "ulimit -f")
    assert {path.suffix for path in (dataset / ".index").iterdir()} <= {".lock"}, "no half-written file"


@pytest.mark.parametrize("error", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_used_without(dataset, scans, monkeypatch, error):
    def flock(*_: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("fcntl.flock", flock)
    assert contents(load_splits(dataset, SPEC)) == contents(load_splits(dataset, SPEC))
    assert len(scans) == 1


def as_of_format_1(header: dict, arrays: dict) -> None:
    """With the numbers of frames and without a digest."""
    header["key"]["format"] = 1
    header["lengths"] = [{"names": 2, "frame_counts": 2}] * 2
    del arrays["digest"]


def as_of_format_3(header: dict, arrays: dict) -> None:
    """Without the numbers of frames."""
    header["key"]["format"] = 3
    for split in ("train", "val"):
        del arrays[f"{split}_frame_counts"]


@pytest.mark.parametrize("earlier", [as_of_format_1, as_of_format_3])
def test_a_file_of_an_earlier_version_is_replaced(dataset, scans, earlier):
    first = load_splits(dataset, SPEC)
    rewritten(index_of(dataset), earlier, sign=False)
    second = load_splits(dataset, SPEC)
    assert contents(second) == contents(first) and said(second, "another version", "scanned again")
    assert contents(load_splits(dataset, SPEC)) == contents(first) and len(scans) == 2


# Several processes.


def in_process(function: Callable[[], object]) -> tuple[multiprocessing.process.BaseProcess, Callable[[], object]]:
    """Call a function in a forked process; the second result waits for its value."""
    ours, theirs = fork.Pipe(duplex=False)
    process = fork.Process(target=lambda: theirs.send(function()))
    process.start()

    def result() -> object:
        assert ours.poll(30)
        return ours.recv()

    return process, result


def slow_scans(monkeypatch, log: Path, seconds: float) -> None:
    scan = splits_module.scan_dataset

    def slow(*arguments: object) -> Scan:
        with log.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(seconds)
        return scan(*arguments)

    monkeypatch.setattr(splits_module, "scan_dataset", slow)


def test_of_several_processes_one_scans_and_the_others_wait_for_it(dataset, tmp_path, monkeypatch):
    slow_scans(monkeypatch, tmp_path / "log", 1.0)
    started = [in_process(lambda: contents(load_splits(dataset, SPEC))) for _ in range(4)]
    results = [result() for _, result in started]
    assert all(result == results[0] for result in results) and len(results[0]) == 4
    assert len((tmp_path / "log").read_text().split()) == 1


def test_processes_that_waited_for_nothing_scan_at_the_same_time(dataset, monkeypatch):
    """As when videos are still being added, so that no scan is kept: eight ranks must not scan one after the other."""
    monkeypatch.setattr(scan_cache, "SETTLED", 60_000_000_000)
    first, waiting, together = fork.Lock(), fork.Semaphore(0), fork.Barrier(3)
    scan = splits_module.scan_dataset

    def info(message: str, *_: object) -> None:
        if "waiting" in message:
            waiting.release()

    def observed(*arguments: object) -> Scan:
        if first.acquire(block=False):
            assert all(waiting.acquire(timeout=50) for _ in range(3)), "the other processes wait for this one"
        else:
            together.wait(50)
        return scan(*arguments)

    monkeypatch.setattr(splits_module, "scan_dataset", observed)
    monkeypatch.setattr(scan_cache.LOG, "info", info)
    started = [in_process(lambda: contents(load_splits(dataset, SPEC))) for _ in range(4)]
    assert all(len(result()) == 4 for _, result in started)


def test_a_killed_process_keeps_nobody_waiting(dataset, tmp_path, monkeypatch, scans):
    with monkeypatch.context() as patch:
        slow_scans(patch, tmp_path / "log", 600)
        process, _ = in_process(lambda: load_splits(dataset, SPEC))
    while not (tmp_path / "log").exists():
        time.sleep(0.01)
    process.kill()
    process.join()
    path = next((dataset / ".index").glob("*.lock")).with_suffix(".npz")
    leftover = path.with_name(f".{path.name}.12345.tmp")
    leftover.write_text("half of a scan")
    assert names(load_splits(dataset, SPEC)) == ["a", "d", "b", "e"]
    assert len(scans) == 1 and index_of(dataset) == path and not leftover.exists()


def test_a_process_that_hangs_is_not_waited_for_longer_than_the_limit(dataset, tmp_path, monkeypatch, scans):
    monkeypatch.setattr(scan_cache, "WAIT", 0.5)
    with monkeypatch.context() as patch:
        slow_scans(patch, tmp_path / "log", 600)
        process, _ = in_process(lambda: load_splits(dataset, SPEC))
    while not (tmp_path / "log").exists():
        time.sleep(0.01)
    try:
        assert names(load_splits(dataset, SPEC)) == ["a", "d", "b", "e"] and len(scans) == 1
    finally:
        process.kill()
        process.join()


def test_a_mistake_in_the_labels_is_every_process_s_error(dataset):
    (dataset / "labels/val.csv").write_text("label,id\nwave,\n")

    def message() -> str:
        with pytest.raises(DataError) as error:
            load_splits(dataset, SPEC)
        return str(error.value)

    messages = [result() for _, result in [in_process(message) for _ in range(3)]]
    assert len(set(messages)) == 1 and "line 2: the id is empty" in str(messages[0])


# Workers.


class Reporting(ClipDataset):
    """Reads a clip, and reports what memory the list of videos takes in its process."""

    def __getitem__(self, request: ClipRequest) -> tuple[Clip, tuple[int, int]]:  # type: ignore[override]
        for name in ARRAYS:
            self.videos.arrays[name].max()  # touches every page
        return super().__getitem__(request), mapped_and_private()


def long_list(dataset: Path, rows: int) -> VideoList:
    """`rows` times the same video."""
    arrays = {
        "folder_indices": np.zeros(rows),
        "names": np.full(rows, ord("a")),
        "name_ends": np.arange(1, rows + 1),
        "labels": np.full(rows, 3),
        "frame_counts": np.full(rows, FRAMES),
    }
    shared = SharedArrays({name: array.astype(ARRAYS[name]) for name, array in arrays.items()})
    return VideoList(str(dataset / "jpg"), ("a", "b", "c", "wave"), ("wave",), shared)


@linux
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_reads_its_videos_without_a_copy_of_the_list(dataset, method):
    """1.5 million rows take 25 MB, which each of a dozen workers would have."""
    rows = 1_500_000
    videos = Reporting(long_list(dataset, rows), UniformClips(1), seed=0)
    requests = [[ClipRequest(index, ClipShape(2, 8, 8), 0)] for index in (0, rows - 1)]
    loader = DataLoader(
        videos,  # type: ignore[arg-type]
        batch_sampler=requests, num_workers=1, collate_fn=list, multiprocessing_context=method,
    )  # fmt: skip
    for ((clip, (mapped, private)),), ((request,),) in zip(loader, zip(requests, strict=True), strict=True):
        assert clip.frames.shape == (1, 2, 8, 8, 3) and clip.label == 3 and clip.video == request.index
        assert mapped >= rows * 17 // 1024 and private < 1024
