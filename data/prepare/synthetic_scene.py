"""Scenes whose classes show the same frames in different orders.

A scene holds everything that varies except the class: background, shape, colour, sizes, places, speeds and pauses. It
has two events (three for more than eight classes), each a list of frames that is played forwards or backwards:

    travel   a shape crosses the picture upwards (rise) or downwards (fall)
    zoom     a shape grows out of a point and fades (grow), or fades in and shrinks to a point (shrink)
    pair     two copies enter from both sides and fade where they meet (meet), or fade in and move apart (part)

A class is the order of the events and the direction of each: `rise_then_grow`, `shrink_then_fall` and so on. All
videos of one scene therefore hold the same frames: neither a single frame nor an unordered set of frames tells two
classes apart. Events begin and end with the empty background, so that no jump reveals the order. A horizontal flip does
not change the class.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from typing import NamedTuple

import cv2
import numpy as np

EVENTS = (("rise", "fall"), ("grow", "shrink"), ("meet", "part"))  # the names of each event: forwards, backwards
TRAVEL, ZOOM = 0, 1  # indices in EVENTS; pair is 2
MAX_CLASSES = 48  # 3! orders of 2^3 directions
MIN_FRAMES = 16
MIN_SIZE = 32
SUBPIXEL_BITS = 8


class Part(NamedTuple):
    """One event of a class: its index in EVENTS and whether its frames are played backwards."""

    event: int
    backwards: bool


def class_table(num_classes: int) -> dict[str, tuple[Part, ...]]:
    """The classes: name -> the events in their order. Two events give eight classes, three give 48."""
    assert 2 <= num_classes <= MAX_CLASSES
    num_events = 2 if num_classes <= 8 else 3
    table = {}
    for order in permutations(range(num_events)):
        for directions in product((False, True), repeat=num_events):
            parts = tuple(Part(event, backwards) for event, backwards in zip(order, directions, strict=True))
            table["_then_".join(EVENTS[event][backwards] for event, backwards in parts)] = parts
    return dict(list(table.items())[:num_classes])


@dataclass(frozen=True)
class Scene:
    """The look of one scene; lengths are in pixels and frames, colours RGB in 0..255."""

    background: np.ndarray  # float32 (H, W, 3)
    outline: np.ndarray  # float64 (points, 2): x, y of the shape at radius 1
    body: np.ndarray  # float32 (3,)
    rim: np.ndarray  # float32 (3,)
    event_lengths: tuple[int, ...]
    pauses: tuple[int, ...]  # empty frames before, between and after the events
    centres: tuple[tuple[float, float], ...]  # x, y of each event's path at half time
    drifts: tuple[tuple[float, float], ...]  # x, y moved in the course of each event
    radii: tuple[float, ...]
    easings: tuple[float, ...]  # exponent of time: 1 is an even speed
    spins: tuple[float, ...]  # radians turned in the course of each event
    noise: float  # standard deviation
    noise_seed: int


def draw_scene(rng: np.random.Generator, num_events: int, frames: int, height: int, width: int) -> Scene:
    """Draw a random scene; it does not depend on a class."""
    background, brightness = _draw_background(rng, height, width)
    body, rim = _draw_colours(rng, brightness)
    pauses, event_lengths = _draw_timing(rng, num_events, frames)
    side = min(height, width)
    radius_ranges = ((0.15, 0.24), (0.32, 0.5), (0.13, 0.2))
    return Scene(
        background=background,
        outline=_draw_outline(rng),
        body=body,
        rim=rim,
        event_lengths=event_lengths,
        pauses=pauses,
        centres=tuple((width * rng.uniform(0.3, 0.7), height * rng.uniform(0.35, 0.65)) for _ in range(num_events)),
        drifts=tuple((side * rng.uniform(-0.15, 0.15), side * rng.uniform(-0.08, 0.08)) for _ in range(num_events)),
        radii=tuple(side * rng.uniform(*radius_ranges[event]) for event in range(num_events)),
        easings=tuple(float(np.exp(rng.uniform(-0.25, 0.25))) for _ in range(num_events)),
        spins=tuple(rng.uniform(-1.5, 1.5) for _ in range(num_events)),
        noise=rng.uniform(1, 4),
        noise_seed=int(rng.integers(2**32)),
    )


def render(scene: Scene, parts: tuple[Part, ...]) -> Iterator[np.ndarray]:
    """The scene's frames in the order of a class, each uint8 RGB (H, W, 3).

    A frame and its noise depend on the event and the position in it, not on when the frame is shown.
    """
    yield from _pause_frames(scene, 0)
    for position, (event, backwards) in enumerate(parts, start=1):
        indices = range(scene.event_lengths[event])
        for index in reversed(indices) if backwards else indices:
            yield _event_frame(scene, event, index)
        yield from _pause_frames(scene, position)


def _draw_background(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, float]:
    """A gradient between two colours under three octaves of noise; returns it and its mean brightness, 0..1."""
    brightness = rng.uniform(0.2, 0.75)
    ends = [_colour(rng, brightness + offset, rng.uniform(0.1, 0.5)) for offset in (-0.1, 0.1)]
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    slope = (x * np.cos(angle) + y * np.sin(angle))[..., None] / 2 + 0.5
    picture = ends[0] * (1 - slope) + ends[1] * slope
    for cells, amplitude in ((4, 0.06), (9, 0.04), (22, 0.025)):
        grid = rng.normal(0, amplitude * 255, (cells, cells, 3)) * 0.4 + rng.normal(
            0, amplitude * 255, (cells, cells, 1)
        )
        picture += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return picture.clip(0, 255).astype(np.float32), brightness


def _draw_colours(rng: np.random.Generator, background: float) -> tuple[np.ndarray, np.ndarray]:
    """A body colour at least 0.35 brighter or darker than the background, and a darker or lighter rim colour."""
    choices = [level for level in (background - 0.35, background + 0.35) if 0.1 <= level <= 0.95]
    level = choices[rng.integers(len(choices))]
    level = rng.uniform(0.08, level) if level < background else rng.uniform(level, 0.97)
    body = _colour(rng, level, rng.uniform(0.3, 0.9))
    return body, body * 0.6 if level > background else body * 0.6 + 255 * 0.15


def _colour(rng: np.random.Generator, brightness: float, saturation: float) -> np.ndarray:
    """A random hue with a brightness (luma) and saturation in 0..1: float32 (3,) in 0..255."""
    hue = np.abs((rng.uniform(0, 6) + np.array([0, 4, 2])) % 6 - 3) - 1
    colour = 1 + saturation * (hue.clip(0, 1) - 1)
    return (colour * 255 * brightness / (colour @ [0.299, 0.587, 0.114])).clip(0, 255).astype(np.float32)


def _draw_outline(rng: np.random.Generator) -> np.ndarray:
    """A disc, a polygon of three to six corners or a star, turned at random."""
    corners, inner = [(48, 1.0), (3, 1.0), (4, 1.0), (5, 1.0), (6, 1.0), (10, 0.5), (8, 0.6)][rng.integers(7)]
    angles = np.arange(corners) * 2 * np.pi / corners + rng.uniform(0, 2 * np.pi)
    reach = np.where(np.arange(corners) % 2 == 0, 1.0, inner)
    return np.stack([np.cos(angles) * reach, np.sin(angles) * reach], axis=1)


def _draw_timing(rng: np.random.Generator, num_events: int, frames: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Pauses (up to an eighth of the frames in all) and event lengths that add up to `frames`."""
    idle = int(rng.integers(frames // 8 + 1))
    pauses = rng.multinomial(idle, np.full(num_events + 1, 1 / (num_events + 1)))
    shares = rng.uniform(0.75, 1.25, num_events)
    ends = np.round(np.cumsum(shares / shares.sum()) * (frames - idle)).astype(int)
    return tuple(pauses.tolist()), tuple(np.diff(ends, prepend=0).tolist())


def _pause_frames(scene: Scene, position: int) -> Iterator[np.ndarray]:
    for index in range(scene.pauses[position]):
        yield _with_noise(scene, scene.background, (len(EVENTS) + position, index))


def _event_frame(scene: Scene, event: int, index: int) -> np.ndarray:
    """Frame `index` of an event, counted in forward order."""
    frame = scene.background.copy()
    height, width = frame.shape[:2]
    time = ((index + 0.5) / scene.event_lengths[event]) ** scene.easings[event]
    centre = np.array(scene.centres[event]) + np.array(scene.drifts[event]) * (time - 0.5)
    radius = scene.radii[event]
    angle = scene.spins[event] * time
    opacity = min(1.0, (1 - time) / 0.2)
    if event == TRAVEL:
        centre[1] = (height + 2 * radius) * (1 - time) - radius
        _paint(frame, scene, centre, radius, angle, 1.0)
    elif event == ZOOM:
        _paint(frame, scene, centre, radius * time, angle, opacity)
    else:
        distance = np.array([(width / 2 + radius) * (1 - time), 0])
        _paint(frame, scene, centre - distance, radius, angle, opacity)
        _paint(frame, scene, centre + distance, radius, -angle, opacity)
    return _with_noise(scene, frame, (event, index))


def _paint(frame: np.ndarray, scene: Scene, centre: np.ndarray, radius: float, angle: float, opacity: float) -> None:
    """Blend the shape with smooth edges into a frame, in place: first the rim, then the body."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    for colour, scale in ((scene.rim, 1.0), (scene.body, 0.8)):
        points = (scene.outline @ turn * radius * scale + centre) * 2**SUBPIXEL_BITS
        mask = np.zeros(frame.shape[:2], np.uint8)
        cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 255, cv2.LINE_AA, SUBPIXEL_BITS)
        weight = mask[..., None] * np.float32(opacity / 255)
        frame += weight * (colour - frame)


def _with_noise(scene: Scene, frame: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng((scene.noise_seed, *key))
    grain = rng.standard_normal(frame.shape, dtype=np.float32) * np.float32(scene.noise)
    return (frame + grain).clip(0, 255).round().astype(np.uint8)
