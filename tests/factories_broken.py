"""Models that go wrong in every way a user's own can."""

import errno
import os
from pathlib import Path

import ray
import torch
from factories import CLASSES, SmallCnn, slow, small_cnn
from torch import Tensor, nn

from igcam_batch import Classifier, Recipe


def raises() -> nn.Module:
    """A factory that fails."""
    raise KeyError("no such checkpoint")


def needs_argument(name: str) -> nn.Module:
    """A factory that cannot be called without arguments."""
    return nn.Identity()


class Maps(SmallCnn):
    """Gives maps instead of logits."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :, None, None]


def maps() -> Classifier:
    """`factories_broken:maps`."""
    return Classifier(Maps(), Recipe(size=32))


def two_outputs() -> nn.Module:
    """`factories_broken:two_outputs`: gives a tuple."""

    class Two(SmallCnn):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            return super().forward(x), x

    return Two()


class Deadly(SmallCnn):
    """Ends its process for an image whose first pixel is white."""

    def forward(self, x: Tensor) -> Tensor:
        if (x[:, :, 0, 0] > 2).all(1).any():
            os._exit(1)
        return super().forward(x)


def deadly() -> Classifier:
    """`factories_broken:deadly`."""
    torch.manual_seed(0)
    return Classifier(Deadly(), Recipe(size=32, resize="stretch", resize_size=32), class_names=CLASSES)


class Fickle(SmallCnn):
    """Raises in a batch that holds a white image, though not for a black one."""

    def forward(self, x: Tensor) -> Tensor:
        if (x[:, :, 0, 0] > 2).all(1).any():
            raise ArithmeticError("too bright for me")
        return super().forward(x)


def fickle() -> Classifier:
    """`factories_broken:fickle`."""
    torch.manual_seed(0)
    return Classifier(Fickle(), Recipe(size=32, resize="stretch", resize_size=32), class_names=CLASSES)


def only_in_the_driver() -> Classifier:
    """`factories_broken:only_in_the_driver`: a checkpoint that lies on the driver's machine alone."""
    if "IGCAM_TEST_DRIVER" not in os.environ:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/home/me/best.pth")
    return small_cnn()


def no_device() -> Classifier:
    """`factories_broken:no_device`: what a GPU raises that cannot be used, in every worker."""
    if _is_actor():
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")
    return small_cnn()


def one_device() -> Classifier:
    """`factories_broken:one_device`: the same, but for the first worker of a Ray session, which takes its time."""
    if _is_actor():
        try:
            (Path(ray._private.worker._global_node.get_session_dir_path()) / "igcam-device").touch(exist_ok=False)
        except FileExistsError:
            raise RuntimeError("CUDA error: uncorrectable ECC error encountered") from None
    return slow()


def _is_actor() -> bool:
    return ray.is_initialized() and ray.get_runtime_context().get_actor_id() is not None
