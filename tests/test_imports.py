"""The direction of imports: scripts -> train -> {data, network} -> libraries."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("common", "data", "network", "evaluate", "train")
MAY_IMPORT = {
    "common": {"common"},
    "data": {"data", "common"},
    "network": {"network", "common"},
    "evaluate": {"evaluate", "data", "network", "common"},
    "train": set(PACKAGES),
}


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_downwards_alone(package):
    """Who uses the networks must not need the training, nor the data the networks."""
    own = {"tests", "benchmarks", "figures", *PACKAGES, *(path.stem for path in ROOT.glob("*.py"))}
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        for module in imported(path):
            top = module.split(".")[0]
            assert top not in own or top in MAY_IMPORT[package], f"{path.relative_to(ROOT)} imports {module}"


def test_only_run_knows_options_dataset_and_network():
    """Options are parsed once and not passed below run.py."""
    for path in sorted((ROOT / "train").rglob("*.py")):
        modules = set(imported(path))
        if path.name not in ("main.py",):
            assert "train.options" not in modules, path.name
        if path.name != "main.py":
            assert "data.labels.splits" not in modules, path.name


@pytest.mark.parametrize("path", sorted(ROOT.glob("train_*.py")), ids=lambda path: path.name)
def test_scripts_state_a_dataset_and_nothing_else(path):
    assert {module.split(".")[0] for module in imported(path)} <= {"data", "train"}
