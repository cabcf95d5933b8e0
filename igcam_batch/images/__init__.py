"""Bytes to RGB pixels to model input, and boxes through the same geometry. Knows neither models nor Ray."""

from igcam_batch.images.decode import DecodeError, decode
from igcam_batch.images.recipe import IMAGENET_MEAN, IMAGENET_STD, Recipe

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "DecodeError", "Recipe", "decode"]
