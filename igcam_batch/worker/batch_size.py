"""How many images × steps go through the network at once, where nobody says."""

from collections.abc import Callable

import torch

from igcam_batch.attribution.explainer import Explainer, default_batch_size
from igcam_batch.attribution.memory import is_out_of_memory
from igcam_batch.worker.device import crowd

_MOST_ON_GPUS, _USUAL_SIDE = 256, 224  # images, and pixels of their sides
_LONGEST_PAUSE = 64  # shards
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
        for images in _PROBES:  # libraries take workspaces in their first passes, and try their kernels
            peak(images)
        free, total = torch.cuda.mem_get_info(device)
        memory = min(free + torch.cuda.memory_reserved(device), int(total * share))
        return largest_batch(peak, memory, most_at_once(image_shape))
    except RuntimeError as error:
        if not is_out_of_memory(error) or crowd(device, share):  # what others have comes back; a batch of 1 would stay
            raise
        torch.cuda.empty_cache()
        peak(1)  # raises what may be no lack of memory after all
        return 1
    finally:
        torch.cuda.empty_cache()


def most_at_once(image_shape: tuple[int, int, int]) -> int:
    """The largest batch worth having: more keeps a GPU no busier, and may be beyond its libraries' 32-bit indices."""
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


class BatchSize:
    """How many images are explained at a time: as many as memory has room for, and it may have more again later.

    Args:
        most: where memory does not tell.
    """

    def __init__(self, most: int) -> None:
        self.most = self.now = most
        self._pause = self._left = 1  # shards that a smaller one is kept for, and how many of these are left
        self._halved = False  # in this shard

    def begin_shard(self) -> int:
        """The size for a shard: twice the last one after some shards that went well."""
        self._halved = False
        if self.now < self.most:
            self._left -= 1
            if self._left <= 0:
                self.now = min(self.most, 2 * self.now)
        return self.now

    def halve(self) -> int:
        """It was too much; with each further shard for which it was, twice as many pass before more is tried."""
        self.now //= 2
        if not self._halved:
            self._halved, self._left = True, self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        return self.now

    def restore(self) -> int:
        """Others gave memory back."""
        self.now = self.most
        return self.now
