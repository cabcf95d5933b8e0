"""Memory that the C library would hand back to the system after every layer, and fetch again page by page for the next.

On a CPU a layer's activations are megabytes, which glibc maps afresh each time: a third of the time of a small network.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_NEVER, _AT_ONCE = 2**31 - 1, 2**28  # bytes


def keep_freed_memory() -> bool:
    """Let this process reuse what it frees; whether its C library can be told to, which only glibc can."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = ((_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, _NEVER), (_M_TOP_PAD, _AT_ONCE))
    return all(mallopt(name, value) for name, value in settings)
