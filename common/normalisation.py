"""What a network expects of the frames it is given: the mean and deviation of their grey levels, by name."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.errors import DataError

LEVELS = 255
AUTO = "auto"


@dataclass(frozen=True)
class Normalisation:
    """Frames are RGB in grey levels 0-255: less `mean`, divided by `std`, both of R, G, B."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def scale(self) -> tuple[float, float, float]:
        """1 / deviation."""
        red, green, blue = self.std
        return 1 / red, 1 / green, 1 / blue

    @property
    def limits(self) -> list[tuple[float, float]]:
        """What the grey levels 0 and 255 become, of R, G, B."""
        pairs = zip(self.mean, self.scale, strict=True)
        return [((0 - mean) * scale, (LEVELS - mean) * scale) for mean, scale in pairs]

    @property
    def factors(self) -> tuple[float, float, float]:
        """The scales of R, G, B relative to that of red: exactly 1 where the deviations are the same."""
        red, green, blue = self.scale
        return 1.0, green / red, blue / red

    @property
    def name(self) -> str:
        """Its name in NORMALISATIONS; empty for one that has none."""
        return next((name for name, each in NORMALISATIONS.items() if each == self), "")

    def show(self) -> str:
        """`torchvision (mean 110.2 100.6 95.99, deviation 58.15 56.47 55.33)`."""
        mean, std = (" ".join(f"{level:.4g}" for level in levels) for levels in (self.mean, self.std))
        values = f"mean {mean}, deviation {std}"
        return f"{self.name} ({values})" if self.name else values

    def plain(self) -> dict[str, list[float]]:
        """As a file has it."""
        return {"mean": list(self.mean), "std": list(self.std)}

    def of_unit_range(self) -> dict[str, list[float]]:
        """Mean and deviation for values of 0 to 1, as other programs have them."""
        return {name: [round(level / LEVELS, 6) for level in levels] for name, levels in self.plain().items()}


def of_levels(mean: Sequence[float], std: Sequence[float]) -> Normalisation:
    """The normalisation of these three means and deviations."""
    red, green, blue = map(float, mean)
    red_std, green_std, blue_std = map(float, std)
    return Normalisation((red, green, blue), (red_std, green_std, blue_std))


def _of_unit_range(mean: Sequence[float], std: Sequence[float]) -> Normalisation:
    return of_levels([value * LEVELS for value in mean], [value * LEVELS for value in std])


SCALE = 0.0167
"""1 / deviation of this project's and the original SRTG's."""
NORMALISATIONS = {
    "srtg": of_levels((124, 117, 104), (1 / SCALE,) * 3),
    # Of frames in BGR, the original subtracts (124, 117, 104).
    "srtg-original": of_levels((104, 117, 124), (1 / SCALE,) * 3),
    "torchvision": _of_unit_range((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
    "imagenet": of_levels((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "pytorchvideo": _of_unit_range((0.45,) * 3, (0.225,) * 3),
    "hara2020": _of_unit_range((0.4345, 0.4051, 0.3775), (0.2768, 0.2713, 0.2737)),
    "hara2018": of_levels((114.7748, 107.7354, 99.4750), (1,) * 3),
}
"""srtg: this project's. torchvision: of its video networks, and VMZ's. imagenet: of torchvision's 2D networks, and
MMAction2's. hara2018, hara2020: 3D-ResNets-PyTorch, before and since April 2020."""
SRTG = NORMALISATIONS["srtg"]


def normalisation_of(name: str) -> Normalisation | None:
    """The normalisation of a `--normalisation`, None for auto; DataError with the names if there is none."""
    if name == AUTO:
        return None
    if name not in NORMALISATIONS:
        raise DataError(f"unknown normalisation {name!r}: choose one of {AUTO}, {', '.join(NORMALISATIONS)}")
    return NORMALISATIONS[name]
