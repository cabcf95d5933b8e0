"""Ray's worker processes, as the operating system knows them."""

from contextlib import suppress

import psutil


def explainers() -> list[psutil.Process]:
    """The processes that hold a model, of the nodes that this test started."""

    def explains(process: psutil.Process) -> bool:
        with suppress(psutil.Error):  # it has just ended
            return "ExplainShards" in " ".join(process.cmdline())
        return False

    return [each for each in psutil.Process().children(recursive=True) if explains(each)]
