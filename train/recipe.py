"""Recipes: sets of flags by one name. A recipe has no effect but that of its flags, and a flag that is given wins.

A new recipe is one function here and one entry in RECIPES.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from common.options import flag_name, option, plain
from data.augment.randaugment import NONE as NO_RANDAUGMENT

Options = TypeVar("Options")

PAPER, MODERN = "paper", "modern"
FEW_STEPS = 1000  # of a whole run; with 240 to 900, two small datasets were hardly learnt, and no longer run was tried
WARMUP_SHARE = 1 / 20  # of the epochs, unless the paper's long cycles have a warm-up of their own


def _modern(options: Any) -> dict[str, Any]:
    """What trains the same networks to higher scores since the paper: see docs/recipe.md for the source of each part.

    The rate and the epochs stay those of the script. RandAugment takes the place of `--augment full`, unless the
    command line says how clips are augmented.
    """
    has_own_warmup = options.long_cycles and options.multigrid == "paper"
    return {
        "lr_schedule": "cosine",
        "warmup_epochs": None if has_own_warmup else round(options.end_epoch * WARMUP_SHARE, 2),
        "label_smoothing": 0.1,
        "decay_norms": False,
        "zero_init_residual": True,
        "dropout": 0.5,
        "drop_path": 0.1,
        "ema": 0.9999,
        "precise_bn": 200,
        "mixup": 0.8,
        "cutmix": 1.0,
        "erase": 0.25,
        "randaugment": NO_RANDAUGMENT if "augment" in options.given else "2x9",
        "crop": "jitter",
    }


RECIPES: dict[str, Callable[[Any], dict[str, Any]]] = {PAPER: lambda options: {}, MODERN: _modern}
"""The values of a recipe by option, for the options of a script (a dataclass of flags) with which it is given."""


@dataclass(frozen=True)
class RecipeOptions:
    """The flag of the recipe."""

    recipe: str = option(
        PAPER, "sets several flags, each of which may still be given. paper: none; modern: the schedule, "
        "regularisation, mixing and averages of today, which the log lists", "optimisation", choices=RECIPES,
        is_compared=True,
    )  # fmt: skip


def with_recipe(options: Options) -> Options:
    """The options (a dataclass of flags), with the values of their recipe where the command line gives none.

    What a recipe could set counts as given if it is: on resume its flags have their effect, as if each had been
    written.
    """
    found: Any = options
    values = {name: value for name, value in RECIPES[found.recipe](found).items() if name not in found.given}
    of_recipes = {name for each in RECIPES.values() for name in each(found)} if "recipe" in found.given else {*values}
    return replace(found, **values, given=tuple(sorted({*found.given, *of_recipes})))


def recipe_lines(options: Any) -> list[str]:
    """What to say of a recipe that sets flags: which, and which of them the command line has otherwise."""
    wanted, now = RECIPES[options.recipe](options), plain(options)
    if not wanted:
        return []
    lines = [f"--recipe {options.recipe}: {_shown({name: now[name] for name in wanted if now[name] == wanted[name]})}"]
    if others := {name: now[name] for name in wanted if now[name] != wanted[name]}:
        lines.append(f"--recipe {options.recipe}, but as the command line says: {_shown(others)}")
    return lines


def recipe_warnings(options: Any, steps: int) -> list[str]:
    """What to say of a recipe with which new weights learn little in the whole run's few `steps`."""
    is_new = not (options.pretrained_3d or options.inflate)
    slow = [flag_name(name) for name in ("dropout", "cutmix", "zero_init_residual") if getattr(options, name)]
    if options.recipe != MODERN or steps >= FEW_STEPS or not is_new or not slow:
        return []
    return [
        f"--recipe {MODERN}: the run has only {steps} steps, and with {' and '.join(slow)} new weights learn slowly: "
        "give more epochs, or turn them off (see docs/recipe.md)"
    ]


def _shown(values: dict[str, Any]) -> str:
    given = {flag_name(name): value for name, value in values.items() if value is not None}
    return ", ".join(
        f"{flag} {value:g}" if isinstance(value, float) else f"{flag} {value}" for flag, value in given.items()
    )
