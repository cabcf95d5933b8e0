"""Whether a device ran out of memory, whatever its libraries raise then."""

import torch

_SAID = (
    "out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # for want of a workspace
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "unable to find an engine to execute",  # cuDNN, whose every way to compute wants more than there is
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that a device's memory does not suffice; cuDNN and cuBLAS have their own."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _SAID)
