"""The functions that a network calls between its modules, watched one by one.

A module's output can be told by a hook. What `torch.cat`, `+` or `F.relu` give has no name; it has a place in the order
in which functions give spatial maps, which is the same in every forward pass of the same network.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode


class Operations(TorchFunctionMode):
    """While entered, calls `after` for every function that gives a spatial map.

    Args:
        after: takes the number of the call, from 1, its result, and whether that is the first argument, changed in
            place; returns what the network gets instead.
    """

    def __init__(self, after: Callable[[int, Tensor, bool], Tensor]) -> None:
        super().__init__()
        self._after = after
        self._number = 0

    def __torch_function__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function."""
        result = function(*args, **(kwargs or {}))
        if not isinstance(result, Tensor) or result.ndim != 4:
            return result
        self._number += 1
        return self._after(self._number, result, bool(args) and result is args[0])
