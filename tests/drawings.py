"""Pictures that tests draw."""

import numpy as np
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (96, 80)) -> Image.Image:
    """An RGB image of smooth colour with a bright disc, different for every seed."""
    width, height = size
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 255, (4, 4, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).copy()
    y, x = np.mgrid[:height, :width]
    centre_x, centre_y = generator.uniform(0.2, 0.8, 2) * size
    pixels[(x - centre_x) ** 2 + (y - centre_y) ** 2 < (min(size) / 5) ** 2] = generator.integers(150, 255, 3)
    return Image.fromarray(pixels)
