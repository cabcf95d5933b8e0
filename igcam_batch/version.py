"""The version of this package, whether it is installed or runs from a clone."""

VERSION = "0.1.0"
