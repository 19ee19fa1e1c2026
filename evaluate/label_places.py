"""Which label file of a dataset has the videos of a split, for commands that are of no certain dataset."""

import re
from pathlib import Path

from common.errors import DataError
from common.files import what_is_at
from data.labels.dataset_spec import DatasetSpec
from data.labels.locate import csv_files
from data.labels.text import some

SPLITS = ("val", "test")
TRAIN = "train"


def spec_of_split(dataset: Path, labels: Path | None, split: str) -> DatasetSpec:
    """The dataset whose label files are in the folder `labels`, or in DATASET/labels, for the split "val" or "test".

    `<split>.csv`, else the one file with the split in its name, such as kinetics-400_val.csv. DataError if there are
    several: which is meant, is for --labels to say.
    """
    place = labels if labels is not None else (dataset.parent if dataset.name == "jpg" else dataset) / "labels"
    name = f"{split}.csv"
    names = csv_files(place) if what_is_at(place) == "folder" else []
    if name in names or not names:
        return DatasetSpec("the dataset", f"{TRAIN}.csv", name)
    found = [each for each in names if re.search(rf"(?<![a-z]){split}(idation|ing)?(?![a-z])", each.lower())]
    if len(found) > 1:
        raise DataError(f"{place} holds {some(found, 'label file')} for the split {split}: name one with --labels")
    other = next(each for each in SPLITS if each != split)
    if not found and f"{other}.csv" in names:
        raise DataError(f"{place} has no {name}, but {other}.csv: give --split {other}, or the label file by --labels")
    if not found:
        return DatasetSpec("the dataset", f"{TRAIN}.csv", name)
    return DatasetSpec("the dataset", re.sub(split, TRAIN, found[0]), found[0])
