"""The benchmark's contenders do what their labels say, and its commands run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from igcam_batch import explain

JOBS = Path(__file__).resolve().parents[2] / "jobs"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(JOBS))
    from benchmarks import peers

    return peers


def network() -> nn.Module:
    torch.manual_seed(71)
    trunk = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU())
    return nn.Sequential(trunk, nn.Conv2d(6, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(968, 5)).eval()


IMAGES = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(72))
TARGETS = torch.tensor([1, 4])


def test_the_authors_algorithm_is_m_times_averaged_grad_cam(peers) -> None:
    found = peers.authors(network(), "0", 6)(IMAGES, TARGETS)
    ours = explain(network(), IMAGES, TARGETS, "0", method="averaged-grad-cam", steps=6)
    assert ours.max() > 0
    torch.testing.assert_close(found, 6 * ours, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("peer", ["captum_grad_cam", "torchcam_grad_cam"])
def test_a_looped_peer_gives_the_mean_of_its_maps_along_the_path(peers, peer: str) -> None:
    def scaled(maps: Tensor) -> Tensor:  # torchcam brings every map to 0..1 by itself
        maps = maps.reshape(2, 13, 13)
        return (maps - maps.amin((1, 2), True)) / (maps.amax((1, 2), True) - maps.amin((1, 2), True))

    maps = getattr(peers, peer)(network(), "0")
    found = peers.looped(maps, 4)(IMAGES, TARGETS).reshape(2, 13, 13)
    each = [explain(network(), IMAGES * t / 4, TARGETS, "0", method="grad-cam") for t in range(1, 5)]
    expected = torch.stack([scaled(one) if peer.startswith("torchcam") else one for one in each]).mean(0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_captum_s_integrated_gradients_are_ours(peers) -> None:
    found = peers.captum_integrated_gradients(network(), 5)(IMAGES, TARGETS).sum(1).relu()
    ours = explain(network(), IMAGES, TARGETS, "0", method="integrated-gradients", steps=5)
    torch.testing.assert_close(found.float(), ours, rtol=1e-3, atol=1e-6)


def run(tmp_path: Path, *arguments: str) -> dict:
    file = tmp_path / "figures.json"
    subprocess.run(
        [sys.executable, str(JOBS / "benchmark.py"), *arguments, "--json", str(file)], check=True, capture_output=True
    )
    return json.loads(file.read_text())


def test_engine_times_every_contender_and_says_which_targets_are_met(tmp_path: Path) -> None:
    settings = ("--images", "1", "--steps", "2", "--rounds", "1", "--model", "efficientnet-lite0")
    (figures,) = run(tmp_path, "engine", *settings)["results"].values()
    assert len(figures["seconds"]) == 19
    assert min(figures["seconds"].values()) > 0
    for target in figures["targets"]:
        beyond = target["ratio"] >= target["limit"] if target["at_least"] else target["ratio"] <= target["limit"]
        assert target["met"] == beyond
    assert len(figures["targets"]) == 10


def test_rules_compare_each_with_the_integral(tmp_path: Path) -> None:
    riemann, adaptive = run(tmp_path, "rules", "--quick")["rules"]
    assert riemann["nodes"] == 4
    assert 0.05 < riemann["map_error"] < 0.4  # four right-hand steps weigh the input by an eighth too much
    assert 5 <= adaptive["nodes"] < 20
    assert adaptive["map_error"] < riemann["map_error"]
    assert min(riemann["ms"], riemann["speed"], adaptive["ms"]) > 0


def test_memory_is_flat(tmp_path: Path) -> None:
    figures = run(tmp_path, "memory", "--batches", "30")
    assert figures["late_bytes"] < 1.1 * figures["early_bytes"]
