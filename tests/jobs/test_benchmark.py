"""The benchmark's contenders do what their labels say, and its commands measure what they list."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import Tensor, nn

from igcam_batch import explain

JOBS = Path(__file__).resolve().parents[2] / "jobs"
IMAGES = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(72))
TARGETS = torch.tensor([1, 4])


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """A module of the benchmark: `module("peers")`."""
    monkeypatch.syspath_prepend(str(JOBS))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def network() -> nn.Module:
    torch.manual_seed(71)
    trunk = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.ReLU())
    return nn.Sequential(trunk, nn.Conv2d(6, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(968, 5)).eval()


def scaled(maps: Tensor) -> Tensor:
    """Each map brought to 0..1."""
    maps = maps - maps.amin((1, 2), keepdim=True)
    return maps / maps.amax((1, 2), keepdim=True)


def test_the_authors_algorithm_is_m_times_averaged_grad_cam(module) -> None:
    found = module("peers").authors_algorithm(network(), "0")(IMAGES, TARGETS, 6)
    ours = explain(network(), IMAGES, TARGETS, "0", method="averaged-grad-cam", steps=6)
    assert ours.amax((1, 2)).min() > 0
    torch.testing.assert_close(found, 6 * ours, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("peer", ["pytorch_grad_cam", "captum_grad_cam", "torchcam_grad_cam"])
def test_a_looped_peer_gives_the_mean_of_its_grad_cam_maps_along_the_path(module, peer: str) -> None:
    peers = module("peers")
    found = peers.looped(getattr(peers, peer)(network(), "0"), IMAGES, TARGETS, 4)
    each = [explain(network(), IMAGES * t / 4, TARGETS, "0", method="grad-cam") for t in range(1, 5)]
    if peer == "torchcam_grad_cam":  # it scales every map
        each = [scaled(maps) for maps in each]
    if peer == "pytorch_grad_cam":  # it scales them, brings them to the image's size, and scales them again
        each = [scaled(F.interpolate(scaled(maps)[:, None], (28, 28), mode="bilinear")[:, 0]) for maps in each]
    torch.testing.assert_close(found, torch.stack(each).mean(0), rtol=1e-3, atol=1e-4)


def test_captum_s_integrated_gradients_are_ours(module) -> None:
    found = module("peers").captum_integrated_gradients(network())(IMAGES, TARGETS, 5, 8).sum(1).relu()
    ours = explain(network(), IMAGES, TARGETS, "0", method="integrated-gradients", steps=5)
    torch.testing.assert_close(found.float(), ours, rtol=1e-3, atol=1e-6)


def test_peers_take_a_copy_so_that_their_hooks_slow_nobody_else(module) -> None:
    model, peers = network().requires_grad_(False), module("peers")
    for peer in (peers.pytorch_grad_cam, peers.captum_grad_cam, peers.torchcam_grad_cam):
        maps = peer(model, "0")
        maps(IMAGES, TARGETS)
        assert not any(part._forward_hooks for part in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(("images", "steps"), [(1, 3), (3, 7), (8, 20), (9, 2)])
def test_the_floor_is_a_forward_pass_for_each_image_and_node(module, images: int, steps: int) -> None:
    seen: list[int] = []
    model = nn.Identity()
    model.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    module("contenders").forwards(model, torch.zeros(images, 3, 4, 4), steps)
    assert sum(seen) == images * steps
    assert len({*seen[:-1]}) <= 1


def test_contenders_take_turns_and_a_slow_one_gets_fewer_images_and_rounds(module) -> None:
    timing, order = module("timing"), []

    def contender(label: str, cost: float, *, exact: bool = False) -> object:
        return timing.Contender(label, lambda n: order.append((label, n)), cost, exact=exact)

    some = [contender("quick", 1), contender("middling", 5), contender("slow", 50), contender("exact", 50, exact=True)]
    found = timing.interleaved(some, images=8, rounds=2, longest=10.0, forward=1.0)
    warm = [("quick", 1), ("middling", 1), ("exact", 1)]
    first = [("quick", 8), ("middling", 2), ("slow", 1), ("exact", 1)]
    assert order == warm + first + [run for run in first if run[0] != "slow"]
    assert [len(one.seconds) for one in found.values()] == [2, 2, 1, 2]


def test_a_ratio_is_the_median_of_those_within_a_round(module) -> None:
    timing = module("timing")
    contender = timing.Contender("", print, 1)
    drifting = timing.Timed(contender, 1, [1.0, 2.0, 9.0]), timing.Timed(contender, 1, [2.0, 4.0, 30.0])
    assert drifting[0].ratio(drifting[1]) == 0.5
    once = timing.Timed(contender, 1, [3.0])
    assert once.ratio(drifting[0]) == 3.0
    assert drifting[0].ratio(once) == pytest.approx(1 / 3)


def run(tmp_path: Path, *arguments: str) -> tuple[dict, str]:
    file = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, str(JOBS / "benchmark.py"), *arguments, "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text()), done.stdout


def test_engine_times_every_contender_and_says_which_targets_are_met(tmp_path: Path) -> None:
    toy = ("--images", "1", "--steps", "2", "--steps", "3", "--rounds", "1", "--model", "efficientnet-lite0")
    figures, printed = run(tmp_path, "engine", *toy)
    (found,) = figures["models"].values()
    named = {one["contender"]: one for one in found["contenders"]}
    for label in (
        *("floor: forward x 2", "floor: forward x 3", "plain forward x 2, norms not folded"),
        *("ours: riemann 2", "ours: riemann 3", "ours: riemann 2, bf16", "ours: riemann 3, bf16"),
        *("ours: riemann 2, 5 targets", "ours: riemann 2, 3 methods", "ours: riemann 2, 4 metrics"),
        *("ours: gauss-lobatto 5", "ours: gauss-lobatto 5, bf16", "ours: grad-cam"),
        *("pytorch-grad-cam: grad-cam", "captum: grad-cam", "torchcam: grad-cam"),
        *("pytorch-grad-cam: grad-cam x 2", "captum: grad-cam x 2", "torchcam: grad-cam x 2"),
        *("authors' algorithm, m = 2", "authors' algorithm, m = 3"),
        *("captum: integrated gradients, riemann 2", "ours: integrated-gradients, riemann 2"),
    ):
        assert named.pop(label)["seconds_per_image"] > 0
        assert label in printed
    assert not named
    assert len(found["targets"]) == 13
    for target in found["targets"]:
        largest = target["what"].startswith(("times as fast", "the same in bf16"))
        beyond = target["measured"] >= target["wanted"] if largest else target["measured"] <= target["wanted"]
        assert target["met"] == beyond


def test_rules_compare_each_setting_with_a_fine_integral(tmp_path: Path) -> None:
    settings = ["riemann:2", "gauss-legendre:4", "gauss-legendre:12", "adaptive:0.1", "gauss-lobatto:5:bf16"]
    chosen = [argument for setting in settings for argument in ("--setting", setting)]
    figures, printed = run(tmp_path, "rules", "--reference", "12", "--rounds", "1", "--markdown", *chosen)
    riemann, four, same, adaptive, half = figures["settings"]
    assert figures["photographs"] == figures["with_boxes"] == 6
    assert riemann["relative_error"] > four["relative_error"] > same["relative_error"] == 0
    assert same["overlap"] == 1
    assert set(same["shifts_of_means"].values()) == {0.0}
    assert [riemann["passes"], four["passes"], half["passes"]] == [2, 5, 4]
    assert adaptive["passes"] == adaptive["nodes"] - 1 >= 2
    assert half["precision"] == "bf16"
    assert min(one["milliseconds_per_image"] for one in figures["settings"]) > 0
    assert figures["authors_seconds_per_image"] > 0
    assert "| gauss-legendre | 12 | fp32 | +0.00 | +0.00 | +0.00 | +0.00 | yes |" in printed


@pytest.mark.parametrize("setting", ["simpson:3", "riemann:3:fp16", "riemann:3:bf16:x", "riemann", "adaptive:x"])
def test_a_setting_that_is_none_is_refused(module, setting: str) -> None:
    done = CliRunner().invoke(module("rules").rules, ["--setting", setting])
    assert done.exit_code == 2
    assert f"{setting}: takes RULE:NODES" in done.stderr


def test_a_goal_that_is_just_reached_says_on_which_side_it_is(module) -> None:
    goal = module("goals").Goal
    assert goal.at_least("x", 1.0, 1.0).row == ["x", ">= 1", "1", "met"]
    assert goal.at_most("x", 1.0, 1.5).row == ["x", "<= 1", "1.5", "missed"]


def test_memory_is_measured_batch_by_batch(tmp_path: Path) -> None:
    figures, _ = run(tmp_path, "memory", "--batches", "24", "--images", "1")
    assert len(figures["bytes"]) == 24
    assert min(figures["bytes"]) > 0
    (target,) = figures["targets"]
    assert target["measured"] == figures["bytes"][-1] / figures["bytes"][19]
    assert target["measured"] < 1.1


@pytest.mark.xdist_group("s3")
def test_plan_plans_manifests_resumes_over_shards_and_lists_a_prefix(s3_server, bucket: str, tmp_path: Path) -> None:
    for number in range(3):
        s3_server.client().put_object(Bucket=bucket, Key=f"train/{number}/image.jpg", Body=b"x")
    listing = f"s3://{bucket}/train"
    figures, printed = run(tmp_path, "plan", "--rows", "120000", "--shards", "40", "--listing", listing)
    assert set(figures["planning"]) == {"parquet", "csv"}
    assert min(found["seconds"] for found in figures["planning"].values()) > 0
    assert len(figures["targets"]) == 3
    assert "find what is left" in printed
    assert [(one["at_once"], one["keys"]) for one in figures["listing"]] == [(1, 3), (4, 3), (16, 3)]
    assert f"listing {listing}" in printed


def test_report_writes_both_pages_by_number_of_classes(tmp_path: Path) -> None:
    figures, printed = run(tmp_path, "report", "--rows", "1500", "--classes", "3", "--classes", "20")
    assert [(one["page"], one["classes"]) for one in figures["pages"]] == [
        ("report", 3),
        ("compare", 3),
        ("report", 20),
        ("compare", 20),
    ]
    assert all(min(one["seconds"], one["peak"], one["bytes"]) > 0 for one in figures["pages"])
    assert "seconds, the slowest" in printed


def test_job_runs_the_engine_and_the_whole_audit_on_the_same_images(tmp_path: Path) -> None:
    figures, printed = run(tmp_path, "job", "--images", "2", "--steps", "2", "--seconds", "0.1")
    (found,) = figures["runs"]
    assert found["images"] == 2
    assert min(found["engine"], found["worker"], found["job"], found["bytes"]) > 0
    assert found["seconds"] > found["explaining"] > 0
    methods = ("Grad-CAM", "Grad-CAM++", "Integrated Grad-CAM, gauss-lobatto 2", "Integrated Grad-CAM, riemann 2")
    assert set(figures["images_per_second"]) == {f"{name}, {kind}" for name in methods for kind in ("fp32", "bf16")}
    assert "ImageNet train" in printed
