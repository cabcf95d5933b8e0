"""The command line: flags to a config to one call. Exit code 2 for what cannot be done as asked, 1 for what failed."""

from igcam_batch.cli.main import main

__all__ = ["main"]
