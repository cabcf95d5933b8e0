"""The device that explains: what it can do, and its memory, which other processes may share.

On CPUs there is nothing to do but for a device that is lost.
"""

import torch

from igcam_batch.errors import InputError
from igcam_batch.names import PrecisionName
from igcam_batch.words import size_in_words

_OF_CUDA = 0.1  # of a GPU's memory, at most, that the contexts of its processes take beside their tensors


def check_precision(device: torch.device, precision: PrecisionName) -> None:
    """InputError where a GPU cannot compute in a precision: cuDNN has no convolutions in bfloat16 before Ampere."""
    if device.type == "cuda" and precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise InputError(
            f"--precision bf16: the {torch.cuda.get_device_name(device)} has no such arithmetic; it has fp16 and fp32"
        )


def settle_arithmetic(device: torch.device, precision: PrecisionName) -> None:
    """Have this process compute as `precision` says, whatever a model's code set while it was loaded.

    Unless that is fp32, convolutions in float32 may round their factors to TF32's ten bits, as PyTorch lets them: maps
    of Integrated Grad-CAM are then off by 6e-4, relative (EfficientNet-Lite0, H200); without, ResNet-50 takes 3.4 times
    as long there. Matrix products never round so. Algorithms are not chosen by their times, as the same
    images would come out otherwise from run to run.
    """
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = precision != "fp32"
        convolutions, wanted = getattr(torch.backends.cudnn, "conv", None), "ieee" if precision == "fp32" else "tf32"
        if convolutions is not None and convolutions.fp32_precision not in (wanted, "none"):  # torch 2.9 and newer
            convolutions.fp32_precision = wanted
        torch.backends.cudnn.benchmark = False
        torch.set_float32_matmul_precision("highest")


def keep_to_share(device: torch.device, share: float) -> None:
    """Let this process have no more than its share of a GPU's memory, where it has a part of one."""
    if device.type == "cuda" and share < 1:
        torch.cuda.set_per_process_memory_fraction(share)


def is_lost(device: torch.device, error: BaseException) -> bool:
    """Whether an exception leaves the device of no more use to this process: each call to such a GPU fails."""
    if device.type != "cuda":
        return isinstance(error, torch.AcceleratorError)
    try:
        torch.cuda.synchronize(device)
    except RuntimeError:
        return True
    return False


def give_back(device: torch.device) -> None:
    """Let others have the memory that this process only keeps for later. No tensor of what failed must live still."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def crowd(device: torch.device, share: float) -> str:
    """What other processes have of a GPU's memory, where that is more than this one's share leaves them; else ''."""
    if device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device)
    others = total - free - torch.cuda.memory_reserved(device)
    if others <= (1 - share + _OF_CUDA) * total:
        return ""
    return f"other processes have {size_in_words(others)} of the GPU's {size_in_words(total)}"
