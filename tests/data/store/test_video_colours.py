"""Colours: networks would see darker, paler or greener frames than those of other videos."""

from pathlib import Path

import av
import numpy as np
import pytest

from data.store.video_container import VideoError
from data.store.video_file import VideoReader
from data.store.video_pixels import Upright

PATCHES = np.array(
    [(255, 255, 255), (0, 0, 0), (128, 128, 128), (200, 100, 50), (30, 60, 90), (20, 180, 40), (220, 30, 200)], np.uint8
)
# ITU-T H.273, table 4: the weights of red and blue.
WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087)}
WEIGHTS |= {9: (0.2627, 0.0593)}
LIMITED, FULL = 1, 2


def picture(height: int) -> np.ndarray:
    return np.repeat(np.repeat(PATCHES[None], height, 0), 32, 1)


def planes(rgb: np.ndarray, matrix: int, full: bool, bits: int) -> list[np.ndarray]:
    """Luma and the two chroma planes (H.273, equations 23 to 40)."""
    red, blue = WEIGHTS[matrix]
    r, g, b = np.moveaxis(rgb / 255.0, 2, 0)
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = [(b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)]
    top, unit = 2**bits - 1, 2 ** (bits - 8)
    if full:
        levels = [luma * top, *(each * top + 128 * unit for each in chroma)]
    else:
        levels = [(219 * luma + 16) * unit, *((224 * each + 128) * unit for each in chroma)]
    return [np.clip(np.rint(level), 0, top).astype(np.uint16 if bits > 8 else np.uint8) for level in levels]


def make_frame(layout: str, matrix: int, full: bool, height: int = 32) -> av.VideoFrame:
    rgb = picture(height)
    frame = av.VideoFrame(rgb.shape[1], height, layout)
    stored = rgb if full else np.rint(rgb * (219 / 255) + 16).astype(np.uint8)
    if layout in ("gbrp", "rgb24", "gray"):
        parts = {"gbrp": [stored[..., c] for c in (1, 2, 0)], "rgb24": [stored.reshape(height, -1)]}
        parts["gray"] = [stored[..., 0]]
        arrays = parts[layout]
    elif layout == "pal8":
        arrays = [np.repeat(np.repeat(np.arange(len(PATCHES), dtype=np.uint8)[None], height, 0), 32, 1)]
        palette = np.zeros((256, 4), np.uint8)
        palette[: len(PATCHES)] = np.concatenate([PATCHES[:, ::-1], np.full((len(PATCHES), 1), 255, np.uint8)], 1)
        frame.planes[1].update(palette)
    else:
        luma, *chroma = planes(rgb, matrix, full, 10 if "10" in layout else 8)
        rows, columns = (1, 1) if "444" in layout else (1, 2) if "422" in layout else (2, 2)
        chroma = [each[::rows, ::columns] for each in chroma]
        arrays = [luma, np.stack(chroma, 2).reshape(chroma[0].shape[0], -1)] if layout == "nv12" else [luma, *chroma]
    for plane, array in zip(frame.planes, arrays, strict=False):
        data = np.zeros((plane.height, plane.line_size), np.uint8)
        data[:, : array.shape[1] * array.itemsize] = np.ascontiguousarray(array).view(np.uint8)
        plane.update(data)
    return frame


def error(pixels: np.ndarray, layout: str) -> int:
    height = pixels.shape[0]
    expected = picture(height)
    if layout == "gray":
        expected = np.repeat(expected[..., :1], 3, 2)
    centres = np.arange(len(PATCHES)) * 32 + 16
    return int(np.abs(pixels[height // 2, centres].astype(int) - expected[height // 2, centres]).max())


@pytest.mark.parametrize(
    "layout",
    ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "gbrp", "gray", "nv12", "rgb24", "pal8"],
)
@pytest.mark.parametrize("levels", [LIMITED, FULL])
def test_colours_are_those_of_the_matrix_and_range(layout: str, levels: int) -> None:
    if levels == LIMITED and layout in ("yuvj420p", "pal8"):
        pytest.skip("of full range by definition")
    for matrix in WEIGHTS:
        frame = make_frame(layout, matrix, levels == FULL)
        frame.colorspace, frame.color_range = matrix, levels
        assert error(Upright(360)(frame), layout) <= 3, matrix


@pytest.mark.parametrize("height", [32, 720])
def test_an_unspecified_matrix_is_that_of_ffmpeg_whatever_the_size(height: int, matrix: int = 6) -> None:
    """So were the frames made that published weights are trained on."""
    for stated in (2, 0, 3):  # unspecified; RGB, which these planes are not; reserved
        frame = make_frame("yuv444p", matrix, False, height)
        frame.colorspace, frame.color_range = stated, 0
        assert error(Upright(720)(frame), "yuv444p") <= 3


@pytest.mark.parametrize(("layout", "full"), [("yuv420p", False), ("yuvj420p", True), ("gbrp", True), ("gray", True)])
def test_an_unspecified_range_is_that_of_the_layout(layout: str, full: bool) -> None:
    frame = make_frame(layout, 6, full)
    frame.colorspace, frame.color_range = 6, 0
    assert error(Upright(360)(frame), layout) <= 3


def test_the_matrix_may_change_from_frame_to_frame() -> None:
    upright = Upright(360)
    for matrix in (1, 5, 7, 6, 9, 5):
        for levels in (FULL, LIMITED):
            frame = make_frame("yuv444p", matrix, levels == FULL)
            frame.colorspace, frame.color_range = matrix, levels
            assert error(upright(frame), "yuv444p") <= 3, (matrix, levels)


@pytest.mark.parametrize("matrix", [8, 14])
def test_a_matrix_that_cannot_be_converted_is_named(matrix: int) -> None:
    frame = make_frame("yuv444p", 6, True)
    frame.colorspace = matrix
    with pytest.raises(VideoError, match=f"matrix {matrix}"):
        Upright(360)(frame)


def write(path: Path, codec: str, frame: av.VideoFrame, transfer: int = 2) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_trc = frame.colorspace, frame.color_range, transfer
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_full_range_bt470bg_files_come_as_they_are(tmp_path: Path) -> None:
    frame = make_frame("yuv444p", 5, True)
    frame.colorspace, frame.color_range = 5, FULL
    (pixels,) = VideoReader(write(tmp_path / "v.mkv", "ffv1", frame), 360)
    assert error(pixels, "yuv444p") <= 3
