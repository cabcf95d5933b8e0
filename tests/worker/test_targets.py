"""Which classes of an image are explained."""

import pytest
import torch

from igcam_batch.attribution.explainer import NO_TARGET
from igcam_batch.config import Target
from igcam_batch.models import ClassNames
from igcam_batch.worker.targets import ChosenTarget, NoTargetError, choose_targets, pad_targets

CLASSES = ClassNames(5, ("ant", "bee", "cat", "dog", "eel"), class_map={"Katze": "cat", "Hund": 3})
LOGITS = torch.tensor([0.5, -1.0, 3.0, 2.0, 0.0])


def chosen(target: str, *labels: str) -> list[tuple[int, str]]:
    found = choose_targets(Target.parse(target), LOGITS, labels, CLASSES)
    return [(each.index, each.source) for each in found]


class TestWithoutLabels:
    def test_predicted_is_the_class_of_the_highest_score(self):
        assert chosen("predicted") == [(2, "predicted")]

    def test_top_k_are_the_k_highest_in_their_order(self):
        assert chosen("top-3") == [(2, "top-1"), (3, "top-2"), (0, "top-3")]
        assert chosen("top-1") == [(2, "top-1")]

    def test_top_k_of_fewer_classes_are_all_of_them(self):
        assert [index for index, _ in chosen("top-99")] == [2, 3, 0, 4, 1]

    def test_class_is_the_same_for_every_image_in_the_order_asked_for(self):
        assert chosen("class:4,1", "cat") == [(4, "class"), (1, "class")]

    def test_labels_do_not_matter(self):
        assert chosen("predicted", "unicorn", "ant") == [(2, "predicted")]


class TestWithLabels:
    @pytest.mark.parametrize(("label", "index"), [("ant", 0), ("DOG", 3), ("Katze", 2), ("Hund", 3), ("4", 4)], ids=str)
    @pytest.mark.parametrize("target", ["label", "labels"])
    def test_the_label_is_looked_up_as_the_dataset_writes_it(self, target, label, index):
        assert chosen(target, label) == [(index, "label")]

    def test_labels_explains_each_class_once(self):
        assert chosen("labels", "dog", "ant", "Hund", "Katze", "cat") == [(3, "label"), (0, "label"), (2, "label")]

    def test_label_of_an_image_with_several_is_an_error_that_names_the_way_out(self):
        with pytest.raises(NoTargetError, match=r"^has 2 classes \(dog, ant\); --target labels explains each$"):
            chosen("label", "dog", "ant")

    @pytest.mark.parametrize("target", ["label", "labels"])
    def test_an_image_without_labels_is_an_error(self, target):
        with pytest.raises(NoTargetError, match="the dataset gives it no label"):
            chosen(target)

    @pytest.mark.parametrize("labels", [("unicorn",), ("cat", "unicorn")])
    def test_a_label_that_the_model_does_not_have_is_named(self, labels):
        with pytest.raises(NoTargetError, match=r"^the model has no class unicorn; --class-map"):
            chosen("labels", *labels)


class TestPadding:
    def test_short_lists_are_filled_up(self):
        lists = [[ChosenTarget(4, "label")], [], [ChosenTarget(1, "label"), ChosenTarget(0, "label")]]
        padded = pad_targets(lists)
        assert padded.dtype == torch.int64
        assert padded.tolist() == [[4, NO_TARGET], [NO_TARGET, NO_TARGET], [1, 0]]

    def test_no_target_is_no_class(self):
        assert NO_TARGET < 0

    def test_images_without_any_are_rows_without_columns(self):
        padded = pad_targets([[], []])
        assert (padded.shape, padded.dtype) == ((2, 0), torch.int64)
