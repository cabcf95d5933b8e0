"""From an image to a model's input: the pixels of the libraries' own pipelines, and boxes through the same geometry."""

import numpy as np
import pytest
import timm
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform
from timm.data.config import resolve_model_data_config
from torchvision import models, transforms
from torchvision.transforms._presets import ImageClassification

from igcam_batch.images import IMAGENET_MEAN, IMAGENET_STD, DecodeError, Recipe
from igcam_batch.models import from_timm, from_torchvision

SIZES = [(640, 480), (375, 500), (300, 300), (257, 256), (91, 64), (1000, 33), (500, 333)]


def photograph(size: tuple[int, int]) -> Image.Image:
    generator = np.random.default_rng(size)
    return Image.fromarray(generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def normalised(recipe: Recipe, image: Image.Image) -> torch.Tensor:
    pixels = torch.from_numpy(recipe.pixels(image)).float() / 255
    return (pixels - torch.tensor(recipe.mean)[:, None, None]) / torch.tensor(recipe.std)[:, None, None]


class TestAgainstTorchvision:
    @pytest.mark.parametrize(
        "name", ["resnet18", "efficientnet_b0", "inception_v3", "convnext_tiny", "regnet_y_400mf", "mobilenet_v3_small"]
    )
    def test_pixels_and_normalisation_are_those_of_the_weights_transforms(self, name):
        recipe = from_torchvision.build(name, pretrained=False).recipe
        theirs = models.get_model_weights(name).DEFAULT.transforms()
        unnormalised = models.get_model_weights(name).DEFAULT.transforms(mean=(0.0,) * 3, std=(1.0,) * 3)
        for size in SIZES:
            image = photograph(size)
            expected = (unnormalised(image) * 255).round().to(torch.uint8).numpy()
            assert (recipe.pixels(image) == expected).all(), size
            torch.testing.assert_close(normalised(recipe, image), theirs(image))

    @settings(max_examples=60, deadline=None)
    @example(width=30, height=31, size=33, resize_size=24)
    @given(
        width=st.integers(1, 300),
        height=st.integers(1, 300),
        size=st.integers(8, 64),
        resize_size=st.integers(8, 96),
    )
    def test_every_rounding_is_torchvisions(self, width, height, size, resize_size):
        recipe = Recipe(size=size, resize="crop", resize_size=resize_size)
        preset = ImageClassification(crop_size=size, resize_size=resize_size, mean=(0.0,) * 3, std=(1.0,) * 3)
        image = photograph((width, height))
        assert (recipe.pixels(image) == (preset(image) * 255).round().to(torch.uint8).numpy()).all()

    def test_stretch_is_a_resize_to_both_sides(self):
        recipe = Recipe(size=96, resize="stretch")
        for size in SIZES:
            image = photograph(size)
            expected = transforms.functional.pil_to_tensor(transforms.Resize((96, 96))(image)).numpy()
            assert (recipe.pixels(image) == expected).all(), size


class TestAgainstTimm:
    @pytest.mark.parametrize(
        "name",
        [
            "resnet18.a1_in1k",  # 0.95, bicubic
            "test_resnet.r160_in1k",  # 160 pixels
            "mobilenetv3_small_050.lamb_in1k",  # 0.875
            "tf_efficientnetv2_b3.in21k_ft_in1k",  # stretched, then cropped
        ],
    )
    def test_pixels_and_normalisation_are_those_of_its_evaluation_transform(self, name):
        recipe = from_timm.build(name, pretrained=False).recipe
        config = resolve_model_data_config(timm.create_model(name))
        theirs = create_transform(**config)
        unnormalised = create_transform(**config | {"mean": (0.0,) * 3, "std": (1.0,) * 3})
        for size in SIZES:
            image = photograph(size)
            expected = (unnormalised(image) * 255).round().to(torch.uint8).numpy()
            assert (recipe.pixels(image) == expected).all(), size
            torch.testing.assert_close(normalised(recipe, image), theirs(image))


def painted(recipe: Recipe, size: tuple[int, int], box: tuple[int, int, int, int]) -> np.ndarray:
    """The mask (size, size) of where a filled box of an image goes."""
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), box)
    return recipe.pixels(image)[0] > 127


RECIPES = [
    Recipe(size=96, resize="stretch"),
    Recipe(size=96, resize="stretch", resize_size=110),
    Recipe(size=96, resize="crop", resize_size=96),
    Recipe(size=96, resize="crop", resize_size=128),
    Recipe(size=95, resize="crop", resize_size=128, interpolation="bicubic"),
]


class TestBox:
    @settings(max_examples=150, deadline=None)
    @given(
        recipe=st.sampled_from(RECIPES),
        size=st.tuples(st.integers(60, 400), st.integers(60, 400)),
        corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
        opposite=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    )
    def test_a_box_goes_where_its_painted_pixels_go(self, recipe, size, corner, opposite):
        left, right = sorted(round(share * size[0]) for share in (corner[0], opposite[0]))
        top, bottom = sorted(round(share * size[1]) for share in (corner[1], opposite[1]))
        x0, y0, x1, y1 = recipe.box((left, top, right, bottom), size)
        assume(x1 - x0 >= 4 or x1 == x0)
        assume(y1 - y0 >= 4 or y1 == y0)
        mask = painted(recipe, size, (left, top, right, bottom))
        if x1 == x0 or y1 == y0:
            assert not mask.any()
            return
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        seen = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
        assert np.abs(seen - (x0, y0, x1, y1)).max() <= 0.75

    @pytest.mark.parametrize("size", [(640, 480), (480, 640), (100, 100)])
    @pytest.mark.parametrize("recipe", RECIPES)
    def test_the_whole_image_fills_the_input(self, recipe, size):
        assert recipe.box((0, 0, *size), size) == (0, 0, recipe.size, recipe.size)

    def test_in_numbers_a_landscape_cropped_in_the_centre(self):
        recipe = Recipe(size=224, resize="crop", resize_size=256)  # 1000 x 500 -> 512 x 256, less 144 and 16
        assert recipe.box((400, 100, 600, 300), (1000, 500)) == pytest.approx((60.8, 35.2, 163.2, 137.6))
        assert recipe.box((0, 0, 300, 500), (1000, 500)) == pytest.approx((0, 0, 9.6, 224))

    def test_in_numbers_a_portrait_stretched(self):
        recipe = Recipe(size=200, resize="stretch")
        assert recipe.box((10, 20, 30, 400), (100, 400)) == pytest.approx((20, 10, 60, 200))

    def test_a_box_that_is_cropped_away_has_no_area(self):
        x0, y0, x1, y1 = Recipe(size=224, resize="crop", resize_size=256).box((0, 0, 100, 500), (1000, 500))
        assert (x1 - x0) * (y1 - y0) == 0

    def test_a_box_beyond_the_image_is_clipped(self):
        assert Recipe(size=100, resize="stretch").box((-50, -1, 500, 201), (200, 200)) == (0, 0, 100, 100)


class TestOverride:
    CROP = Recipe(size=224, resize="crop", resize_size=256, interpolation="bicubic")

    def test_of_nothing_changes_nothing(self):
        assert self.CROP.override() == self.CROP

    def test_of_the_size_keeps_the_share_that_is_cropped_away(self):
        assert self.CROP.override(size=448).resize_size == 512
        assert self.CROP.override(size=112).resize_size == 128

    def test_of_the_resize_to_stretch_crops_nothing(self):
        stretched = self.CROP.override(resize="stretch")
        assert (stretched.size, stretched.resize, stretched.resize_size) == (224, "stretch", 224)
        assert self.CROP.override(resize="stretch", size=320).resize_size == 320

    def test_of_the_resize_to_crop_takes_the_usual_share(self):
        cropped = Recipe(size=224, resize="stretch").override(resize="crop")
        assert (cropped.resize, cropped.resize_size) == ("crop", 256)

    def test_with_the_way_it_already_has_keeps_its_share(self):
        own = Recipe(size=224, resize="crop", resize_size=235)
        assert own.override(resize="crop") == own

    def test_of_mean_and_standard_deviation(self):
        changed = self.CROP.override(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        assert (changed.mean, changed.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
        assert self.CROP.override(mean=(0.1, 0.1, 0.1)).std == IMAGENET_STD


class TestRecipe:
    def test_a_size_alone_leaves_no_border(self):
        recipe = Recipe(size=64)
        assert recipe.resize_size == 64
        assert (recipe.pixels(Image.new("RGB", (30, 20), "white")) == 255).all()

    def test_the_default_is_stretched_with_imagenets_channels(self):
        assert Recipe() == Recipe(224, "stretch", 224, "bilinear", IMAGENET_MEAN, IMAGENET_STD)

    @pytest.mark.parametrize("size", [(2500, 1), (1, 2500)])
    def test_an_image_too_long_to_crop_is_refused_and_can_be_stretched(self, size):
        image = Image.new("RGB", size)
        with pytest.raises(DecodeError, match=f"^{size[0]} x {size[1]} pixels .* --resize stretch takes it"):
            Recipe(size=224, resize="crop", resize_size=256).pixels(image)
        assert Recipe(size=224, resize="stretch").pixels(image).shape == (3, 224, 224)

    def test_pixels_are_bytes_in_planes(self):
        pixels = Recipe(size=8).pixels(Image.new("RGB", (8, 8), (1, 2, 3)))
        assert pixels.dtype == np.uint8
        assert pixels.flags["C_CONTIGUOUS"]
        assert pixels.reshape(3, -1).T.tolist() == [[1, 2, 3]] * 64


class TestChannelsAndRange:
    CAFFE = Recipe(
        size=32,
        mean=(103.939, 116.779, 123.68),
        std=(1.0, 2.0, 4.0),
        channel_order="bgr",
        pixel_range=255,
    )

    def test_a_colour_reaches_the_model_in_its_own_order_and_range(self):
        assert self.CAFFE.colour(1, 0.5, 0) == pytest.approx((0 - 103.939, (127.5 - 116.779) / 2, (255 - 123.68) / 4))
        assert Recipe().colour(*IMAGENET_MEAN) == pytest.approx((0, 0, 0))

    @settings(max_examples=50, deadline=None)
    @given(colour=st.tuples(*[st.floats(0, 1)] * 3))
    def test_another_order_and_range_take_mean_and_std_along(self, colour):
        """What the model sees is the same colour, with its channels the other way round."""
        converted = Recipe().override(channel_order="bgr", pixel_range=255)
        assert converted.colour(*colour) == pytest.approx(Recipe().colour(*colour)[::-1], abs=1e-5)
        assert converted.override(channel_order="rgb", pixel_range=1).mean == pytest.approx(IMAGENET_MEAN)

    def test_statistics_that_are_given_are_taken_as_they_are(self):
        given = Recipe().override(mean=(1, 2, 3), std=(4, 5, 6), channel_order="bgr", pixel_range=255)
        assert (given.mean, given.std) == ((1, 2, 3), (4, 5, 6))

    def test_pixels_are_red_green_blue_whatever_the_model_takes(self):
        image = photograph((64, 48))
        assert (self.CAFFE.pixels(image) == Recipe(size=32).pixels(image)).all()


class TestMask:
    @pytest.mark.parametrize("recipe", RECIPES)
    @settings(max_examples=40, deadline=None)
    @given(
        size=st.tuples(st.integers(60, 400), st.integers(60, 400)),
        corner=st.tuples(st.floats(0, 1), st.floats(0, 1)),
        opposite=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    )
    def test_a_mask_goes_where_the_box_goes_that_it_fills(self, recipe, size, corner, opposite):
        left, right = sorted(round(share * size[0]) for share in (corner[0], opposite[0]))
        top, bottom = sorted(round(share * size[1]) for share in (corner[1], opposite[1]))
        mask = np.zeros(size[::-1], dtype=bool)
        mask[top:bottom, left:right] = True
        from igcam_batch.metrics.localisation import box_mask

        boxed = box_mask([recipe.box((left, top, right, bottom), size)], (recipe.size,) * 2).numpy()
        found = recipe.mask(mask)
        assert found.shape == boxed.shape
        grown = box_mask(
            [tuple(np.add(recipe.box((left, top, right, bottom), size), (-1, -1, 1, 1)))], (recipe.size,) * 2
        )
        assert not (found & ~grown.numpy()).any()  # at most the pixel on the border differs
        rows, columns = boxed.any(1).sum(), boxed.any(0).sum()
        if min(rows, columns) > 1:
            assert abs(int(found.any(1).sum()) - int(rows)) <= 1
            assert abs(int(found.any(0).sum()) - int(columns)) <= 1

    def test_beyond_the_image_nothing_is_masked(self):
        recipe = Recipe(size=96, resize="crop", resize_size=48)
        found = recipe.mask(np.ones((48, 48), dtype=bool))
        assert found.sum() == 48 * 48
        assert found[24:72, 24:72].all()


class TestOverrideOfTheResize:
    def test_size_and_filter_can_be_given(self):
        recipe = Recipe(size=64, resize="crop", resize_size=80).override(resize_size=72, interpolation="bicubic")
        assert (recipe.resize_size, recipe.interpolation, recipe.size) == (72, "bicubic", 64)
