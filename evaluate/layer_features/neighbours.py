"""Which features in a folder are of the train and val rows of label files, and their nearest-neighbour scores."""

import numpy as np

from common.errors import DataError
from common.logs import LOG
from common.text import quoted
from data.labels.split_rows import Recordings, SplitRows
from data.labels.text import canonical_name
from evaluate.layer_features.knn import KnnScores, Vectors, nearest_neighbours
from evaluate.layer_features.store import FeatureFolder
from evaluate.layer_features.videos import FoundVideo, Labels, Root


def score_neighbours(folder: FeatureFolder, videos: list[FoundVideo], root: Root, rows: SplitRows) -> KnnScores:
    """Nearest-neighbour scores of the val rows; DataError if no row of a split has features."""
    all_rows = [*rows.train, *rows.val]
    labels = Labels(videos, root.is_dataset, all_rows)
    numbers = {name: number for number, name in enumerate(dict.fromkeys(canonical_name(row.label) for row in all_rows))}
    recording = Recordings(all_rows)
    in_parts = {recording(row) for row in all_rows if row.is_part}
    identities: dict[object, int] = {}
    vectors = {}
    for split, of_split in (("train", rows.train), ("val", rows.val)):
        features, classes, same = [], [], []
        for row in of_split:
            place = labels.place(row)
            values = None if place is None else folder.load(videos[place])
            if values is None or place is None:
                continue
            features.append(values.mean(axis=(0, *range(2, values.ndim))))
            classes.append(numbers[canonical_name(row.label)])
            # Clips of one video are not neighbours: they may be seconds apart.
            key: object = recording(row) if recording(row) in in_parts else place
            same.append(identities.setdefault(key, len(identities)))
        folder.check_unchanged()
        if not features:
            names = [row.video_id for row in of_split[:1]]
            raise DataError(f"--knn: none of the {len(of_split)} {split} rows has features, such as {quoted(names[0])}")
        if len(features) < len(of_split):
            LOG.warning("%d of %d %s rows have no features", len(of_split) - len(features), len(of_split), split)
        vectors[split] = Vectors(np.stack(features), np.array(classes), np.array(same))
    return nearest_neighbours(vectors["train"], vectors["val"])
