"""One clip of a video: a ClipRequest in, T cropped frames and their label out (Clip).

sampling.py chooses the frames, crop.py the crop, dataset.py reads both. It may import data.labels, data.augment (the
parameters, not the operations), data.store and `common`.
"""
