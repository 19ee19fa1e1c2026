"""A row that was moved to another class reads the database of that class's own file, which its path does not name."""

from pathlib import Path

from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.prepare import convert
from tests.numbered import encode_numbered_video

SPEC = DatasetSpec("custom", "train.csv", "val.csv")


def test_a_row_of_another_file_than_its_database_is_told(tmp_path: Path) -> None:
    for label in ("run", "jump"):
        for name in ("001", "002"):
            encode_numbered_video(tmp_path / "v" / label / f"{name}.mp4", 3, 32, 32)
    assert convert.main([str(tmp_path / "v"), str(tmp_path / "out"), "--workers", "1"]) == 0

    def said(first: str) -> list[str]:
        rows = [first, "jump,/old/v/jump/001.mp4,train", "run,002.mp4,val", "jump,jump/002.avi,val"]
        path = tmp_path / "all.csv"
        path.write_text("".join(f"{row}\n" for row in ("class,file,split", *rows)))
        return [line for line in load_splits(tmp_path / "out", SPEC, path).report if "sampled" in line]

    assert not said("run,run/001.mp4,train")
    (line,) = said("run,jump/001.mp4,train")
    assert "1 of 2 sampled train videos" in line and "run/001 of run/001.mp4 for jump/001.mp4" in line
