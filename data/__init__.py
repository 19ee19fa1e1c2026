"""Videos on disk in, batches of clips on the device out. It may import `common` only.

store     the frames of one video: read, decoded, cropped, written (frames.db)
labels    which videos a dataset has, and of which class
clips     one clip of a video: which frames (sampling), which crop (crop), read by ClipDataset (dataset)
loading   clips to batches, read by worker processes and copied to the device
augment   a batch of clips augmented and normalised, on the device
prepare   videos to frames.db, official annotations to label files, downloads
preview   python -m data.preview: a picture of original and augmented clips
"""

from common.interrupt import end_quietly_until_run

end_quietly_until_run("data")
