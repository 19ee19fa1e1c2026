"""The direction of imports: scripts -> train -> evaluate -> {data, network} -> common, and within the packages.

Who uses the networks must not need the training, nor the data the networks; and who reads one file should not have to
read two that need each other.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "common": set(),
    "data": {"common"},
    "network": {"common"},
    "evaluate": {"data", "network", "common"},
    "train": {"evaluate", "data", "network", "common"},
}
# Of the sub-packages of one package, and of its modules beside them (each by its own name).
WITHIN = {
    "data": {
        "store": set(),
        "augment": {"store"},
        "labels": {"store"},
        "clips": {"labels", "augment", "store"},
        "loading": {"clips", "labels", "augment", "store"},
        "open": {"augment", "clips", "labels"},
        "preview": {"clips", "labels", "augment", "store"},
        "prepare": {"clips", "labels", "augment", "store"},
    },
    "evaluate": {
        "results": {"evaluation", "metrics", "preprocessing"},
        "comparison": {"results", "metrics", "model"},
        "prediction": {"exported", "left_out", "model", "preprocessing", "view_scores", "views"},
        "layer_features": {"exported", "left_out", "model", "preprocessing", "view_scores", "views"},
        "explanation": {"exported", "model", "preprocessing", "view_scores", "views"},
        "probing": {"evaluation", "metrics", "model", "preprocessing", "results", "comparison"},
    },
    "network": {
        "kernels": set(),
        "weights": {"registry", "base", "srtg", "resnet3d", "csn", "convs", "sub_batch_norm"},
    },
    "train": {
        "schedule": set(),
        "distributed": set(),
        "monitor": set(),
        "checkpoint": {
            "schedule",
            "monitor",
            "optimizer_state",
            "optimizer_step",
            "parameter_groups",
            "optim",
            "averaging",
        },
        "report": {"schedule", "monitor", "checkpoint", "run_folder"},
    },
}
# Other names of commands: two lines that import the command upwards.
ALIASES = {"data/augment/__main__.py", "evaluate/report.py", "train/multigrid.py", "train/plot_scores.py"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for package in MAY_IMPORT
    for path in sorted((ROOT / package).rglob("*.py"))
}


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it; a package's own names count as the package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            yield from (
                f"{node.module}.{alias.name}" for alias in node.names if f"{node.module}.{alias.name}" in MODULES
            )


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_downwards_alone(package):
    own = {"tests", "benchmarks", "figures", *MAY_IMPORT, *(path.stem for path in ROOT.glob("*.py"))}
    paths = [path for name, path in MODULES.items() if name.split(".")[0] == package]
    assert paths
    for path in paths:
        if path.relative_to(ROOT).as_posix() in ALIASES:
            continue
        for module in imported(path):
            top = module.split(".")[0]
            allowed = top not in own or top == package or top in MAY_IMPORT[package]
            assert allowed, f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("package", WITHIN)
def test_sub_packages_import_downwards_alone(package):
    for name, path in MODULES.items():
        parts = name.split(".")
        if parts[0] != package or len(parts) < 2 or parts[1] not in WITHIN[package]:
            continue
        if str(path.relative_to(ROOT)) in ALIASES:
            continue
        for module in imported(path):
            other = module.split(".")
            if other[0] == package and len(other) > 1 and other[1] != parts[1]:
                assert other[1] in WITHIN[package][parts[1]], f"{path.relative_to(ROOT)} imports {module}"


def test_no_two_files_import_each_other():
    graph = {name: {module for module in imported(path) if module in MODULES} for name, path in MODULES.items()}
    both = [(one, other) for one in graph for other in graph[one] if one < other and one in graph[other]]
    assert not both


@pytest.mark.parametrize("package", sorted({path.parent for path in MODULES.values()}), ids=lambda path: path.name)
def test_each_package_says_what_it_is_for(package):
    tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
    assert len((ast.get_docstring(tree) or "").splitlines()) > 1


def test_only_main_knows_options_dataset_and_network():
    """Options are parsed once and not passed below the three files that each run one kind of command."""
    for name, path in MODULES.items():
        if name.startswith("train.") and name not in ("train.main", "train.evaluating", "train.estimate.set_up"):
            assert not {"train.options", "data.labels.splits"} & set(imported(path)), name


@pytest.mark.parametrize("path", sorted(ROOT.glob("train_*.py")), ids=lambda path: path.name)
def test_scripts_state_a_dataset_and_nothing_else(path):
    assert {module.split(".")[0] for module in imported(path)} <= {"data", "train"}
