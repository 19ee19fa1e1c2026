"""Exported files compute what the network computes in evaluation mode."""

import pytest

from network.weights.exporting import export_onnx, export_program
from tests.network.weights.exported import check_onnx, check_program, network_of

FAMILIES = [
    "r3d_18", "r2plus1d_18", "srtg_r3d_50", "srtg_r2plus1d_50", "srtg_tv_r3d_18", "tv_r2plus1d_18", "resnet3d_50",
    "srtg_resnet3d_18", "r3dxt50_32x4d", "r2plus1dxt50_32x4d", "wide_r3d50_2", "wide_r2plus1d50_2", "ir_csn_50",
    "ip_csn_50", "srtg_ir_csn_26",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_exports(tmp_path, name):
    """A layer that one exporter does not know would be found by the first user of that family."""
    network = network_of(name, gates=name.startswith("srtg_"))
    export_onnx(network, tmp_path / "x.onnx", {})
    check_onnx(network, tmp_path / "x.onnx", [(2, 3, 4, 32, 32), (1, 3, 9, 48, 40)])
    for frames in (4, 9):
        export_program(network, tmp_path / "x.pt2", (frames, 32, 32), {})
        check_program(network, tmp_path / "x.pt2", (frames, 32, 32))
