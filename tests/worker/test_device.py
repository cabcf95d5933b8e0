"""What a GPU is asked before it is used, and of whom its memory is. The GPU is only told of: none is needed."""

import subprocess
import sys

import pytest
import torch

from igcam_batch.errors import InputError
from igcam_batch.worker.device import check_precision, crowd, keep_to_share, settle_arithmetic

GPU, CPU = torch.device("cuda"), torch.device("cpu")
GIB = 2**30


def test_a_gpu_without_bfloat16_is_refused_by_name_with_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "Tesla T4")
    with pytest.raises(InputError, match=r"^--precision bf16: the Tesla T4 has no such arithmetic; it has fp16 and"):
        check_precision(GPU, "bf16")
    check_precision(GPU, "fp16")
    check_precision(CPU, "bf16")


@pytest.mark.parametrize(
    ("free", "own", "share", "crowded"),
    [
        (40, 38, 1.0, False),  # what is left is CUDA's own
        (1, 2, 1.0, True),
        (40, 0, 0.5, False),  # another has its half
        (10, 0, 0.5, True),
        (10, 40, 0.5, False),
    ],
)
def test_others_crowd_a_gpu_where_they_have_more_than_a_share_leaves_them(
    monkeypatch: pytest.MonkeyPatch, free: int, own: int, share: float, crowded: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (free * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: own * GIB)
    assert bool(crowd(GPU, share)) == crowded
    assert crowd(CPU, share) == ""


def test_a_process_keeps_to_its_part_of_a_gpu_and_one_that_has_it_alone_to_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", kept.append)
    keep_to_share(GPU, 1.0)
    keep_to_share(CPU, 0.5)
    assert not kept
    keep_to_share(GPU, 0.5)
    assert kept == [0.5]


def test_what_code_of_a_model_has_set_gives_way_to_the_precision_that_was_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cudnn, kept = torch.backends.cudnn, torch.get_float32_matmul_precision()
    monkeypatch.setattr(cudnn, "allow_tf32", True)
    monkeypatch.setattr(cudnn, "benchmark", True)
    settle_arithmetic(CPU, "fp32")
    assert (cudnn.allow_tf32, cudnn.benchmark) == (True, True)
    try:
        torch.set_float32_matmul_precision("high")
        settle_arithmetic(GPU, "fp32")
        assert (cudnn.allow_tf32, cudnn.benchmark, torch.get_float32_matmul_precision()) == (False, False, "highest")
        settle_arithmetic(GPU, "tf32")
        assert (cudnn.allow_tf32, torch.get_float32_matmul_precision()) == (True, "highest")
    finally:
        torch.set_float32_matmul_precision(kept)


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch 2.9 has a second switch")
def test_the_newer_switch_gives_way_too() -> None:
    """In a process of its own, as torch forbids to read the older one after that."""
    code = (
        "import torch; from igcam_batch.worker.device import settle_arithmetic; torch.backends.fp32_precision = 'tf32';"
        "settle_arithmetic(torch.device('cuda'), 'fp32'); print(torch.backends.cudnn.conv.fp32_precision);"
        "settle_arithmetic(torch.device('cuda'), 'tf32'); print(torch.backends.cudnn.conv.fp32_precision)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["ieee", "tf32"]
