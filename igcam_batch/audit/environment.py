"""The AWS settings that travel from the driver to every worker: where S3 is and how it is spoken to, never who asks.

Credentials stay where they are. A node has its own, by its role, or is given them by Ray's runtime environment.
"""

import os
from collections.abc import Mapping
from pathlib import Path

TRAVELLING = frozenset(
    """
    AWS_ENDPOINT_URL AWS_ENDPOINT_URL_S3 AWS_IGNORE_CONFIGURED_ENDPOINT_URLS AWS_REGION AWS_DEFAULT_REGION AWS_PROFILE
    AWS_CA_BUNDLE AWS_REQUEST_CHECKSUM_CALCULATION AWS_RESPONSE_CHECKSUM_VALIDATION AWS_USE_DUALSTACK_ENDPOINT
    AWS_USE_FIPS_ENDPOINT AWS_S3_USE_ARN_REGION
    """.split()
)


def travelling(environment: Mapping[str, str]) -> dict[str, str]:
    """What of the driver's environment every worker is told; an address that has a password in it stays behind."""
    there = sorted(TRAVELLING & environment.keys())
    return {name: environment[name] for name in there if not ("://" in environment[name] and "@" in environment[name])}


def settle(environment: Mapping[str, str]) -> None:
    """Take over the driver's settings, but for those that this process has of its own, or that mean nothing here."""
    for name, value in environment.items():
        if name in TRAVELLING and _means_something(name, value):
            os.environ.setdefault(name, value)


def _means_something(name: str, value: str) -> bool:
    """Whether a file or a profile of the driver's machine is there on this one too."""
    if name == "AWS_CA_BUNDLE":
        return Path(value).exists()
    if name == "AWS_PROFILE" and name not in os.environ:
        from igcam_batch.storage.s3_client import profiles

        return value in profiles()
    return True
