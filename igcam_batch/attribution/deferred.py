"""Convolutions that are not computed before it is known what becomes of them.

A CNN on a GPU spends half its time in carrying maps to and from memory for a bias, an addition or a ReLU each. cuDNN
does all of these within the convolution, if it is told of them. So a convolution gives a tensor that is only promised;
an addition is noted on it; a ReLU has everything computed in one kernel; anything else has it computed as ever. The
network stays the modules that it is, with their names and hooks, and no graph of it is needed.

A gradient through such a kernel does not exist: where gradients are on, a convolution is computed as ever, at once.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from igcam_batch.attribution.frozen import frozen
from igcam_batch.attribution.fusion import agree
from igcam_batch.attribution.kernels import Kernel, by_torch, convolved
from igcam_batch.attribution.layer_names import LayerName
from igcam_batch.attribution.split import Split
from igcam_batch.errors import one_line

logger = logging.getLogger(__name__)
_REFUSALS = 3  # of a kernel for a shape, one after another, after which it is not asked for that again
_WITHIN = 0.05  # relative, of what another order of additions makes of a sum in half precision


def defer_convolutions(model: nn.Module, layer: str, inputs: Tensor, kernel: Kernel) -> int:
    """Have every convolution that a ReLU follows, with an addition in between or not, computed together with these.

    Args:
        model: a classifier in eval mode, float32; it may be moved to another device and dtype later.
        layer: the layer that is explained; its output stays what it was.
        inputs: (B, 3, H, W), a forward pass of which shows what follows what, and that nothing has changed.
        kernel: computes them, from then on. The pass does without it.

    Returns:
        how many; 0 also where that would change what the network computes.
    """
    if LayerName.parse(layer).at_input:
        return 0  # such a map is found by counting functions
    trial = _Trial()
    waiting = [module for module in model.modules() if isinstance(module, nn.Conv2d) and _can_wait(module)]
    with frozen(model):
        before = Split(model, layer)(inputs, "none")
        for module in waiting:
            module.forward = partial(_promised, module, trial)  # type: ignore[method-assign]
        try:
            after = Split(model, layer)(inputs, "none")
        except Exception as error:  # a user's model may do anything with a tensor
            logger.info("convolutions are not deferred: %s", one_line(error))
            return 0
        finally:
            for module in waiting:
                del module.forward
    if not agree(before, after):
        return 0
    told: set[str] = set()
    helped = trial.helped()
    for module in helped:
        module.forward = partial(_promised, module, _ByKernel(kernel, told))  # type: ignore[method-assign]
    return len(helped)


def _can_wait(convolution: nn.Conv2d) -> bool:
    """Kinds of their own may do more than convolve; depthwise ones have kernels to which nothing can be added."""
    return (
        type(convolution) is nn.Conv2d
        and "forward" not in vars(convolution)
        and convolution.groups == 1
        and convolution.padding_mode == "zeros"
        and not isinstance(convolution.padding, str)
    )


class _Way:
    """How a convolution is computed once it is known what follows."""

    def promised(self, convolution: nn.Conv2d) -> None:
        """It was called."""

    def plain(self, convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> Tensor:
        """conv(x) + z."""
        out = convolved(convolution, x)
        return out if z is None else out.add_(z)

    def rectified(self, convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> Tensor:
        """ReLU(conv(x) + z)."""
        return by_torch(convolution, x, z)


class _Trial(_Way):
    """Counts how often each convolution was called, and how often that had it computed, and how."""

    def __init__(self) -> None:
        self._calls: Counter[nn.Conv2d] = Counter()
        self._plain: Counter[nn.Conv2d] = Counter()
        self._rectified: Counter[nn.Conv2d] = Counter()

    def promised(self, convolution: nn.Conv2d) -> None:
        self._calls[convolution] += 1

    def plain(self, convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> Tensor:
        self._plain[convolution] += 1
        return super().plain(convolution, x, z)

    def rectified(self, convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> Tensor:
        self._rectified[convolution] += 1
        return super().rectified(convolution, x, z)

    def helped(self) -> list[nn.Conv2d]:
        """Those that a kernel does, and that are computed no more often than they are called."""
        return [one for one, times in self._rectified.items() if times + self._plain[one] <= self._calls[one]]


class _ByKernel(_Way):
    """By a kernel; by torch's operations where it refuses, or gives something else.

    Args:
        kernel: of the device.
        told: what was said already, of any convolution.
    """

    def __init__(self, kernel: Kernel, told: set[str]) -> None:
        self._kernel, self._told = kernel, told
        self._refusals: Counter[_Case] = Counter()
        self._sound: dict[_Case, bool] = {}

    def rectified(self, convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> Tensor:
        case = x.shape, z is None
        try:
            if case not in self._sound:
                self._check(case, convolution, x, z)
            if self._sound.get(case):
                found = self._kernel(convolution, x, z)
                self._refusals.pop(case, None)
                return found
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            found = by_torch(convolution, x, z)  # fails, too, where there is no memory, or the device is lost
            self._refusals[case] += 1
            if self._refusals[case] == _REFUSALS:  # before, memory may have been short: cuDNN says the same then
                self._give_up(case, one_line(error))
            return found
        return by_torch(convolution, x, z)

    def _check(self, case: "_Case", convolution: nn.Conv2d, x: Tensor, z: Tensor | None) -> None:
        """The first time with a shape, see on its first image that the kernel does what torch's operations do.

        Its result is given memory that held NaN: where nothing is to be added, torch has cuDNN add 0 times what is
        there. And NaN in the input must come out as NaN, or what overflowed would pass for an image without features.
        """
        other = None if z is None else z[:1]
        expected = by_torch(convolution, x[:1], other).float()
        if not 0 < float(expected.norm()) < torch.inf:
            return  # nothing to tell by, as in an image of zeros: the next one may do
        torch.full((len(x), *expected.shape[1:]), torch.nan, dtype=x.dtype, device=x.device)  # and is freed
        found = self._kernel(convolution, x, z)[:1].clone().float()  # the others' memory is free again
        alike = bool((found - expected).norm() <= _WITHIN * expected.norm())
        with _nan_in(x) as with_nan:
            expected = by_torch(convolution, with_nan[:1], other)
            found = self._kernel(convolution, with_nan, z)[:1]
        if alike and torch.equal(found.isnan(), expected.isnan()):
            self._sound[case] = True
        else:
            self._give_up(case, "its kernel gives something else")

    def _give_up(self, case: "_Case", why: str) -> None:
        if why not in self._told:
            self._told.add(why)
            logger.warning("a convolution and what follows it are computed one after another: %s", why)
        self._sound[case] = False


_Case = tuple[torch.Size, bool]  # shape of the input, and whether nothing is added


@contextmanager
def _nan_in(x: Tensor) -> Iterator[Tensor]:
    """The tensor with NaN in a corner of its first image, which is taken back; a copy where its places are shared."""
    shared = any(stride == 0 and size > 1 for stride, size in zip(x.stride(), x.shape, strict=True))
    own = x.clone() if shared else x.data  # whose changes no version counts
    corner = own[:1, :, 0, 0]
    kept = corner.clone()
    corner.fill_(torch.nan)
    try:
        yield own
    finally:
        corner.copy_(kept)


def _promised(convolution: nn.Conv2d, way: _Way, input: Tensor) -> Tensor:  # noqa: A002  # as it is called elsewhere
    """A convolution's `forward`."""
    if torch.is_grad_enabled() or input.ndim != 4 or input.is_inference() or not _is_cast(convolution.weight, input):
        return nn.Conv2d.forward(convolution, input)
    way.promised(convolution)
    return _Promised(convolution, way, _Operand(_real(input)))


def _is_cast(weight: Tensor, x: Tensor) -> bool:
    """Whether autocast, where it is on, computes in the weights' dtype; where it is off, the input is of that."""
    kind = x.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
    return dtype == weight.dtype


class _Operand:
    """A tensor that stays as it is until it is used."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._version = tensor, tensor._version

    def get(self) -> Tensor:
        """The tensor; RuntimeError where it was changed."""
        if self._tensor._version != self._version:
            raise RuntimeError("what a convolution takes was changed in place between its call and its run")
        return self._tensor


class _Promised(Tensor):
    """conv(x), or conv(x) + z, that is not computed yet.

    It knows its shape and dtype. Whatever function takes it gets the computed tensor in its place.
    """

    _convolution: nn.Conv2d
    _way: _Way
    _x: _Operand | None
    _z: _Operand | None
    _computed: Tensor | None

    @staticmethod
    def __new__(
        cls: type["_Promised"], convolution: nn.Conv2d, way: _Way, x: _Operand, z: _Operand | None = None
    ) -> "_Promised":
        found, dtype = x.get(), convolution.weight.dtype
        shape = _shape(convolution, found)
        made: _Promised = Tensor._make_wrapper_subclass(cls, shape, dtype=dtype, device=found.device)
        made._convolution, made._way, made._x, made._z, made._computed = convolution, way, x, z, None
        return made

    def computed(self) -> Tensor:
        """The tensor itself, computed once."""
        if self._computed is None:
            self._settle(self._by(self._way.plain))
        assert self._computed is not None
        return self._computed

    def plus(self, z: Tensor, *, in_place: bool) -> "_Promised | None":
        """The sum, promised in turn; None where it cannot be."""
        z = _real(z)
        fits = z.shape == self.shape and z.dtype == self.dtype and not (z.requires_grad or z.is_inference())
        if self._x is None or self._z is not None or not fits:
            return None
        if not in_place:
            return _Promised(self._convolution, self._way, self._x, _Operand(z))
        self._z = _Operand(z)
        return self

    def rectified(self, *, in_place: bool) -> Tensor:
        """ReLU of it, by the kernel."""
        if self._computed is not None:
            return self._computed.relu_() if in_place else self._computed.relu()
        result = self._by(self._way.rectified)
        if in_place:
            self._settle(result)
        return result

    def _settle(self, computed: Tensor) -> None:
        self._computed, self._x, self._z = computed, None, None

    def _by(self, kernel: Kernel) -> Tensor:
        """What autocast would compute, as its weights are cast already."""
        assert self._x is not None
        x, z = self._x.get(), self._z.get() if self._z else None
        kind = x.device.type
        uncast = torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
        with torch.no_grad(), uncast:
            return kernel(self._convolution, x.to(self._convolution.weight.dtype), z)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Note what can be computed together with the convolution; else compute it."""
        kwargs = kwargs or {}
        if function in _SHOWN and args[0]._computed is None:
            with torch._C.DisableTorchFunctionSubclass():
                return function(*args, **kwargs)
        if function in _RELUS and args and isinstance(args[0], _Promised):
            return args[0].rectified(in_place=function in _IN_PLACE or kwargs.get("inplace", False))
        if function in _ADDITIONS and len(args) == 2 and not kwargs and isinstance(args[1], Tensor):
            in_place = function in _IN_PLACE
            one, other = args if isinstance(args[0], _Promised) or in_place else args[::-1]
            if isinstance(one, _Promised) and (promised := one.plus(other, in_place=in_place)) is not None:
                return promised
        args, kwargs = _all_real((args, kwargs))
        return function(*args, **kwargs)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's own annotation leaves the function out
        cls, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Where functions of subclasses are off: compute it."""
        args, kwargs = _all_real((args, kwargs or {}))
        return function(*args, **kwargs)


_SHOWN = {
    *(Tensor.shape.__get__, Tensor.ndim.__get__, Tensor.dtype.__get__, Tensor.device.__get__),  # type: ignore[attr-defined]
    *(Tensor.is_cuda.__get__, Tensor.size, Tensor.dim, Tensor.is_inference),  # type: ignore[attr-defined]
}
_RELUS = {F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
_ADDITIONS = {torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__, Tensor.add_, Tensor.__iadd__}
_IN_PLACE = {torch.relu_, Tensor.relu_, Tensor.add_, Tensor.__iadd__}


def _real(tensor: Tensor) -> Tensor:
    return tensor.computed() if isinstance(tensor, _Promised) else tensor


def _all_real(values: Any) -> Any:
    return pytree.tree_map_only(_Promised, _Promised.computed, values)


def _shape(convolution: nn.Conv2d, x: Tensor) -> tuple[int, int, int, int]:
    """Of its output."""
    assert not isinstance(convolution.padding, str)
    rows, columns = (
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for size, padding, dilation, kernel, stride in zip(
            x.shape[2:],
            convolution.padding,
            convolution.dilation,
            convolution.kernel_size,
            convolution.stride,
            strict=True,
        )
    )
    return x.shape[0], convolution.out_channels, rows, columns
