"""How an image becomes a model's input, and where that takes its boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from PIL import Image

from igcam_batch.images.decode import DecodeError
from igcam_batch.names import ChannelOrder, InterpolationName, PixelRange, ResizeName

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

LARGEST_RESIZE = 2**27  # pixels

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Recipe:
    """Resize, crop the centre, bring to range and channel order, subtract the mean, divide by the standard deviation.

    Attributes:
        size: side of the model's square input.
        resize: `crop` keeps the aspect ratio and brings the shorter side to `resize_size`; `stretch` brings both.
        resize_size: side before the centre is cropped to `size`; 0: `size` itself. A smaller one leaves a black border.
        interpolation: PIL's name of the filter, anti-aliased.
        mean, std: of each channel, in the order and the range that the model takes.
        channel_order: in which the model takes the channels; Caffe's models take `bgr`.
        pixel_range: what white is to the model, before the mean is subtracted: 1, or Caffe's 255.
    """

    size: int = 224
    resize: ResizeName = "stretch"
    resize_size: int = 0
    interpolation: InterpolationName = "bilinear"
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    channel_order: ChannelOrder = "rgb"
    pixel_range: PixelRange = 1

    def __post_init__(self) -> None:
        if not self.resize_size:
            object.__setattr__(self, "resize_size", self.size)

    def override(
        self,
        *,
        size: int | None = None,
        resize: ResizeName | None = None,
        resize_size: int | None = None,
        interpolation: InterpolationName | None = None,
        mean: Channels | None = None,
        std: Channels | None = None,
        channel_order: ChannelOrder | None = None,
        pixel_range: PixelRange | None = None,
    ) -> Self:
        """This recipe with what is not None put in its place.

        Another size keeps the share that is cropped away; another way to resize crops nothing for `stretch`, and a
        224/256 centre, as ImageNet models are commonly tested, for `crop`. Another channel order or pixel range takes
        the recipe's own mean and standard deviation along.
        """
        new_size = size or self.size
        if resize_size is not None:
            pass
        elif resize is not None and resize != self.resize:
            resize_size = new_size if resize == "stretch" else round(new_size * 256 / 224)
        else:
            resize_size = round(new_size * self.resize_size / self.size)
        return replace(
            self,
            size=new_size,
            resize=resize or self.resize,
            resize_size=resize_size,
            interpolation=interpolation or self.interpolation,
            mean=mean or self._converted(self.mean, channel_order, pixel_range),
            std=std or self._converted(self.std, channel_order, pixel_range),
            channel_order=channel_order or self.channel_order,
            pixel_range=pixel_range or self.pixel_range,
        )

    def pixels(self, image: Image.Image) -> np.ndarray:
        """RGB image -> (3, size, size) uint8 in R, G, B, before range, channel order and normalisation.

        Raises:
            DecodeError: so long and thin that its shorter side cannot be brought to `resize_size`.
        """
        width, height = self._resized(image.size)
        if width * height > LARGEST_RESIZE:
            raise DecodeError(
                f"{image.width} x {image.height} pixels would become {width} x {height} before the centre is cropped; "
                "--resize stretch takes it"
            )
        left, top = self._corner(width, height)
        resized = image.resize((width, height), Image.Resampling[self.interpolation.upper()])
        cropped = resized.crop((left, top, left + self.size, top + self.size))
        return np.ascontiguousarray(np.asarray(cropped).transpose(2, 0, 1))

    def box(self, box: Sequence[float], image_size: tuple[int, int]) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) in an image of (width, height) -> the same in the model's input, clipped to it.

        A box that is cropped away comes back with no area.
        """
        scale_x, scale_y, left, top = self.geometry(image_size)
        x0, x1 = (min(max(x * scale_x - left, 0.0), float(self.size)) for x in (box[0], box[2]))
        y0, y1 = (min(max(y * scale_y - top, 0.0), float(self.size)) for y in (box[1], box[3]))
        return x0, y0, x1, y1

    def original_box(self, box: Sequence[float], image_size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The other way: a box in the model's input -> the same in an image of (width, height), clipped to it.

        One that lies in a black border comes back with no area.
        """
        scale_x, scale_y, left, top = self.geometry(image_size)
        x0, x1 = (min(max((x + left) / scale_x, 0.0), float(image_size[0])) for x in (box[0], box[2]))
        y0, y1 = (min(max((y + top) / scale_y, 0.0), float(image_size[1])) for y in (box[1], box[3]))
        return x0, y0, x1, y1

    def geometry(self, image_size: tuple[int, int]) -> tuple[float, float, int, int]:
        """(scale_x, scale_y, left, top) for images of (width, height): x there is x · scale_x - left in the input."""
        width, height = self._resized(image_size)
        return width / image_size[0], height / image_size[1], *self._corner(width, height)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask of an image, (H, W) bool -> (size, size) bool, by the nearest pixel; False beyond the image."""
        width, height = self._resized((mask.shape[1], mask.shape[0]))
        left, top = self._corner(width, height)
        resized = Image.fromarray(mask.astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
        return np.asarray(resized.crop((left, top, left + self.size, top + self.size)), dtype=bool)

    def colour(self, red: float, green: float, blue: float) -> Channels:
        """A colour, each channel in 0..1, as the model takes it after normalisation."""
        channels = (red, green, blue) if self.channel_order == "rgb" else (blue, green, red)
        first, second, third = (
            (channel * self.pixel_range - mean) / std
            for channel, mean, std in zip(channels, self.mean, self.std, strict=True)
        )
        return first, second, third

    def _converted(self, channels: Channels, order: ChannelOrder | None, value_range: PixelRange | None) -> Channels:
        """Statistics of each channel in another order and range; None: as they are."""
        factor = (value_range or self.pixel_range) / self.pixel_range
        first, second, third = (channel * factor for channel in channels)
        flipped = order is not None and order != self.channel_order
        return (third, second, first) if flipped else (first, second, third)

    def _resized(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) after the resize: the rounding of torchvision and timm, so that pixels equal theirs."""
        if self.resize == "stretch":
            return self.resize_size, self.resize_size
        width, height = image_size
        if width <= height:
            return self.resize_size, int(self.resize_size * height / width)
        return int(self.resize_size * width / height), self.resize_size

    def _corner(self, width: int, height: int) -> tuple[int, int]:
        """(left, top) of the centre crop, rounded as torchvision rounds it; negative where the image is smaller."""

        def start(side: int) -> int:
            return round((side - self.size) / 2) if side >= self.size else -((self.size - side) // 2)

        return start(width), start(height)
