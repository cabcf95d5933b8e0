"""How many images × steps go through the network at once, where nobody says."""

from collections.abc import Callable

import torch

from igcam_batch.attribution.explainer import Explainer, default_batch_size
from igcam_batch.attribution.memory import is_out_of_memory
from igcam_batch.worker.device import crowd

_MOST_ON_GPUS, _USUAL_SIDE = 256, 224  # images, and pixels of their sides
_SHARE = 0.8  # of the memory, for fragments and for images with more targets
_PROBES = (2, 4)


def automatic_batch_size(
    explainer: Explainer, image_shape: tuple[int, int, int], targets: int, device: torch.device, share: float
) -> int:
    """The largest power of two that the device's memory holds, by what two small batches take; on CPUs the default.

    Depends on the model, the settings, the device and the memory that other processes hold on it, never on timing: a
    run that is repeated on an idle device computes the same batches.

    Args:
        explainer: the engine, on the device.
        image_shape: (3, H, W) of the model's input.
        targets: classes explained in an image.
        device: where it runs.
        share: of the device that is this process's own, at most 1.
    """
    if device.type != "cuda":
        return default_batch_size(device)

    def peak(images: int) -> int:
        torch.cuda.reset_peak_memory_stats(device)
        explainer.batch_size = images
        prediction = explainer.predict(torch.zeros(images, *image_shape, device=device))
        explainer.explain(prediction, torch.arange(targets, device=device).expand(images, -1))
        return torch.cuda.max_memory_allocated(device)

    try:
        peak(_PROBES[0])  # libraries take workspaces in their first pass
        free, total = torch.cuda.mem_get_info(device)
        memory = min(free + torch.cuda.memory_reserved(device), int(total * share))
        return largest_batch(peak, memory, most_at_once(image_shape))
    except RuntimeError as error:
        if not is_out_of_memory(error) or crowd(device, share):  # which passes, as a small batch would not
            raise
        return 1
    finally:
        torch.cuda.empty_cache()


def most_at_once(image_shape: tuple[int, int, int]) -> int:
    """Images (3, H, W) in a batch beyond which a GPU is no busier, and its libraries' 32-bit indices may not reach."""
    _, height, width = image_shape
    return max(1, min(_MOST_ON_GPUS, _MOST_ON_GPUS * _USUAL_SIDE**2 // (height * width)))


def largest_batch(peak: Callable[[int], int], memory: int, most: int = _MOST_ON_GPUS) -> int:
    """The largest power of two whose peak fits into 80 % of `memory`, by a line through two probes.

    Args:
        peak: images in a batch -> bytes allocated at its worst moment.
        memory: bytes there are.
        most: that it may be.
    """
    low, high = (peak(images) for images in _PROBES)
    each = max(1, high - low) / (_PROBES[1] - _PROBES[0])
    fixed = max(0.0, low - each * _PROBES[0])
    fitting = (_SHARE * memory - fixed) / each
    size = 1
    while size * 2 <= min(fitting, most):
        size *= 2
    return size
