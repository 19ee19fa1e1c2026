"""The frames of one video: its file in, cropped RGB frames uint8 (T, H, W, 3) out. It may import `common` only.

A frame is read from frames.db in frame_store.py and decoded in jpeg.py. What clips need of a kind of file is in
video_source.py.
"""
