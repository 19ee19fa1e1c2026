"""HDR videos, as telephones make them, look like other videos: unmapped, they are dark, pale and of other hues."""

import math
from pathlib import Path

import numpy as np
import pytest

from data.store.tone_map import HLG, PQ, Light, tone_map
from data.store.video_file import VideoReader
from tests.data.store.test_video_colours import LIMITED, PATCHES, make_frame, write

# From BT.2020 to BT.709, as BT.2087 rounds it; and back.
TO_BT709 = [(1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)]
TO_BT2020 = np.array([(0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956)])


def pq(nits: float) -> float:
    """BT.2100, table 4."""
    y = (nits / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


def nits_of(value: float, transfer: int) -> float:
    if transfer == PQ:
        root = value ** (1 / 78.84375)
        return 10000 * (max(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    return 12 * value * value / 36 if value <= 0.5 else (math.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12


def expected(values: np.ndarray, transfer: int) -> list[int]:
    """One pixel of values 0 to 1, step by step after the recommendations."""
    light = [nits_of(value, transfer) for value in values]
    if transfer == HLG:
        luminance = 0.2627 * light[0] + 0.6780 * light[1] + 0.0593 * light[2]
        light = [1000 * luminance**0.2 * each if luminance else 0.0 for each in light]
    peak, white = pq(1000), pq(203) / pq(1000)
    largest = max(light)
    signal, knee = min(pq(largest) / peak, 1), 1.5 * white - 0.5
    if signal > knee:
        t = (signal - knee) / (1 - knee)
        signal = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    scale = nits_of(signal * peak, PQ) / largest / 203 if largest else 0.0
    mixed = [sum(a * b * scale for a, b in zip(row, light, strict=True)) for row in TO_BT709]
    return [round(255 * min(max(each, 0), 1) ** (1 / 2.4)) for each in mixed]


def mapped(values: np.ndarray, transfer: int, primaries: int = 9) -> np.ndarray:
    """Pixels (N, 3) of values 0 to 1."""
    return tone_map(np.rint(np.asarray(values) * 65535).astype(np.uint16)[None], Light(transfer, primaries))[0].astype(
        int
    )


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_colours_are_those_of_the_recommendations(transfer: int) -> None:
    values = np.random.default_rng(0).random((400, 3)) * np.linspace(0.1, 1, 400)[:, None]
    values = np.concatenate([values, np.zeros((1, 3)), np.ones((1, 3)), np.eye(3)])
    found = mapped(values, transfer)
    assert np.abs(found - [expected(value, transfer) for value in values]).max() <= 2


def test_white_and_grey_land_where_other_videos_have_them() -> None:
    """BT.2408, table 1: the reference white is 58 % of PQ and 75 % of HLG, and an 18 % grey 38 % of both."""
    for transfer, white in ((PQ, 0.58), (HLG, 0.75)):
        levels = mapped(np.array([(white,) * 3, (0.38,) * 3, (0.0,) * 3, (1.0,) * 3]), transfer)
        assert 220 <= levels[0, 0] <= 240 and 95 <= levels[1, 0] <= 120
        assert levels[2].max() == 0 and levels[3].min() == 255


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_a_grey_ramp_stays_grey_and_in_order(transfer: int) -> None:
    levels = mapped(np.linspace(0, 1, 5000)[:, None].repeat(3, 1), transfer)
    assert (np.diff(levels[:, 0]) >= 0).all() and np.ptp(levels, 1).max() <= 1
    assert np.diff(levels[:, 0]).max() <= 1 and set(levels[:, 0]) == set(range(256))


def test_colours_come_out_of_wide_primaries() -> None:
    """Skin and grass were pale: a red of BT.709 is no pure red in BT.2020."""
    for number in range(3):
        light = 60 * TO_BT2020 @ np.eye(3)[number]
        found = mapped(np.array([[pq(each) for each in light]]), PQ)[0]
        level = 255 * (60 / 203) ** (1 / 2.4)
        assert abs(found[number] - level) <= 2 and np.delete(found, number).max() <= 12
        wide = mapped(np.eye(3)[number : number + 1] * pq(60), PQ)[0]
        assert wide.argmax() == number and np.delete(wide, number).max() <= 25
    same = mapped(np.eye(3)[:1] * pq(60), PQ, primaries=1)[0]
    assert abs(same[0] - level) <= 2 and same[1:].max() == 0


@pytest.mark.parametrize(("transfer", "name"), [(PQ, "PQ"), (HLG, "HLG"), (1, "")])
@pytest.mark.parametrize("codec", ["ffv1", "libx265"])
def test_hdr_files_are_mapped_and_it_is_said(tmp_path: Path, codec: str, transfer: int, name: str) -> None:
    """A remark and no loss: verify and a second convert would call a sound HDR video damaged."""
    frame = make_frame("yuv420p10le", 9, False)
    frame.colorspace, frame.color_range = 9, LIMITED
    reader = VideoReader(write(tmp_path / "v.mkv", codec, frame, transfer), 360, keep_partial=True)
    (pixels,) = reader
    patches = pixels[16, np.arange(len(PATCHES)) * 32 + 16].astype(int)
    plain = PATCHES if not name else [expected(patch / 255, transfer) for patch in PATCHES]
    assert np.abs(patches - plain).max() <= (4 if codec == "ffv1" else 9)
    assert [f"HDR ({name})" in remark for remark in reader.remarks] == ([True] if name else [])
    assert not reader.losses


@pytest.mark.parametrize("layout", ["gbrp10le", "yuv444p12le", "yuv420p"])
def test_hdr_of_other_layouts_is_mapped(tmp_path: Path, layout: str) -> None:
    frame = make_frame("yuv444p", 9, False).reformat(format=layout, src_colorspace=9, dst_colorspace=9)
    frame.colorspace, frame.color_range = (0, 2) if layout.startswith("gbr") else (9, LIMITED)
    (pixels,) = VideoReader(write(tmp_path / "v.mkv", "ffv1", frame, PQ), 360)
    patches = pixels[16, np.arange(len(PATCHES)) * 32 + 16].astype(int)
    assert np.abs(patches - [expected(patch / 255, PQ) for patch in PATCHES]).mean() <= 4
