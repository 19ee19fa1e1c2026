"""Maps HDR video (PQ and HLG, ITU-R BT.2100) to the brightness and the colours of other videos (BT.709).

Light is counted in units of the reference white, 203 cd/m2 (BT.2408), which is the white of the result. Brighter light,
up to that of a usual master (1000 cd/m2), is compressed by the curve of BT.2390, section 5.4. It is applied to the
largest of red, green and blue, and the others are scaled with it, so that hues stay.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

PQ, HLG = 16, 18  # transfer characteristics of ITU-T H.273
NAMES = {PQ: "PQ", HLG: "HLG"}
WHITE, PEAK, BRIGHTEST = 203.0, 1000.0, 10_000.0  # cd/m2
GAMMA = 2.4  # of the displays of other videos (BT.1886)
M1, M2, C1, C2, C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128  # of PQ (BT.2100, table 4)
A, B, C = 0.17883277, 0.28466892, 0.55991073  # of HLG (table 5)
LUMINANCE = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020's red, green and blue
# x and y of red, green, blue (H.273, table 2); all have the white D65. Unspecified primaries are taken as those of HDR.
BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
PRIMARIES = {1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)), 12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))}
D65 = (0.3127, 0.3290)
LEVELS = 2**14  # of the tables


class Light(NamedTuple):
    """How the values of a video stand for light: numbers of ITU-T H.273."""

    transfer: int
    primaries: int

    @property
    def name(self) -> str:
        """PQ or HLG."""
        return NAMES[self.transfer]


def hdr_light(context: Any) -> Light | None:
    """The light of a codec context's frames if they are HDR."""
    return Light(context.color_trc, context.color_primaries) if context.color_trc in NAMES else None


def tone_map(values: np.ndarray, light: Light) -> np.ndarray:
    """HDR values, RGB uint16 (H, W, 3) of the full range, as those of a plain video: uint8 (H, W, 3)."""
    linear = _linear_table(light.transfer).take(values)
    if light.transfer == HLG:  # the system's gamma of 1.2 turns the light of the scene into that of the display
        linear *= (np.maximum(linear @ LUMINANCE, 1e-6) ** 0.2)[..., None] * np.float32(PEAK / WHITE)
    largest = np.maximum(np.maximum(linear[..., 0], linear[..., 1]), linear[..., 2])  # max(2) takes 30 times as long
    places = np.sqrt(np.sqrt(np.minimum(largest * (WHITE / BRIGHTEST), 1))) * (LEVELS - 1)
    compressed = _curve_table().take(np.rint(places).astype(np.uint16))
    linear *= (compressed / np.maximum(largest, 1e-9))[..., None]
    linear = linear.reshape(-1, 3) @ _to_bt709(light.primaries).T
    levels = np.rint(np.sqrt(np.clip(linear, 0, 1, out=linear)) * (LEVELS - 1)).astype(np.uint16)
    return _display_table().take(levels).reshape(values.shape)


def pq_to_light(values: np.ndarray) -> np.ndarray:
    """The light in cd/m2 of PQ values 0 to 1."""
    root = np.power(np.clip(values, 0, 1), 1 / M2)
    return BRIGHTEST * np.power(np.maximum(root - C1, 0) / (C2 - C3 * root), 1 / M1)


def light_to_pq(light: np.ndarray) -> np.ndarray:
    """The PQ values 0 to 1 of light in cd/m2."""
    root = np.power(np.clip(light, 0, BRIGHTEST) / BRIGHTEST, M1)
    return np.power((C1 + C2 * root) / (1 + C3 * root), M2)


def hlg_to_scene(values: np.ndarray) -> np.ndarray:
    """The light of the scene, 0 to 1, of HLG values 0 to 1."""
    return np.where(values <= 0.5, values**2 / 3, (np.exp((values - C) / A) + B) / 12)


def compress(light: np.ndarray) -> np.ndarray:
    """The curve of BT.2390 from 0 to PEAK to 0 to WHITE, all in cd/m2; more than PEAK becomes WHITE."""
    top = float(light_to_pq(np.array(PEAK)))
    white = float(light_to_pq(np.array(WHITE))) / top
    knee = 1.5 * white - 0.5
    value = np.minimum(light_to_pq(light) / top, 1)
    t = np.maximum(value - knee, 0) / (1 - knee)
    bent = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    return pq_to_light(np.where(value < knee, value, bent) * top)


@lru_cache
def _linear_table(transfer: int) -> np.ndarray:
    """The light of each 16-bit value: of PQ in reference whites, of HLG that of the scene, 0 to 1."""
    values = np.linspace(0, 1, 2**16)
    return (pq_to_light(values) / WHITE if transfer == PQ else hlg_to_scene(values)).astype(np.float32)


@lru_cache
def _curve_table() -> np.ndarray:
    """What becomes of light, in reference whites, at even steps of its fourth root up to BRIGHTEST."""
    return (compress(BRIGHTEST * np.linspace(0, 1, LEVELS) ** 4) / WHITE).astype(np.float32)


@lru_cache
def _display_table() -> np.ndarray:
    """The 8-bit value at even steps of the square root of light from black to white."""
    return np.rint(255 * np.linspace(0, 1, LEVELS) ** (2 / GAMMA)).astype(np.uint8)


@lru_cache
def _to_bt709(primaries: int) -> np.ndarray:
    """The matrix from light of these primaries to that of BT.709."""
    return (np.linalg.inv(_to_xyz(PRIMARIES[1])) @ _to_xyz(PRIMARIES.get(primaries, BT2020))).astype(np.float32)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in primaries]).T
    x, y = D65
    return columns * np.linalg.solve(columns, [x / y, 1, (1 - x - y) / y])
