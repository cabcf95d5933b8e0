"""From a dataset's word for a class to the model's index."""

import pytest

from igcam_batch.errors import InputError
from igcam_batch.models import Classifier, ClassNames
from igcam_batch.models.imagenet import imagenet_names, imagenet_wordnet_ids

IMAGENET = ClassNames(1000, imagenet_names(), imagenet_wordnet_ids())
ANIMALS = ClassNames(3, ("cat", "Great Dane", "t-shirt"), ("n1", "n2", "n3"))


class TestImageNet:
    @pytest.mark.parametrize(
        ("label", "index"),
        [
            ("tench", 0),
            ("Egyptian cat", 285),
            ("egyptian_cat", 285),
            ("EGYPTIAN-CAT", 285),
            ("n02124075", 285),
            ("N02124075", 285),
            ("wallaby", 104),
            ("toilet tissue", 999),
            ("281", 281),
        ],
    )
    def test_a_class_is_known_by_name_wordnet_id_or_index(self, label, index):
        assert IMAGENET.index(label) == index

    @pytest.mark.parametrize("label", ["", "catt", "1000", "-1", "2.0", "²", "n99999999", "Egyptian"])
    def test_anything_else_is_no_class(self, label):
        assert IMAGENET.index(label) is None

    def test_every_name_and_id_means_its_own_class(self):
        names, ids = imagenet_names(), imagenet_wordnet_ids()
        assert len(set(ids)) == 1000
        assert [IMAGENET.index(name) for name in names] == list(range(1000))
        assert [IMAGENET.index(identifier) for identifier in ids] == list(range(1000))

    def test_the_dog_and_the_garment_are_told_apart_and_neither_is_guessed(self):
        assert (IMAGENET.name(264), IMAGENET.name(474)) == ("Cardigan", "cardigan")
        assert IMAGENET.index("Cardigan") == 264
        assert IMAGENET.index("cardigan") == 474
        assert IMAGENET.index("CARDIGAN") is None

    def test_ids_are_in_the_order_in_which_imagenet_numbers_them(self):
        assert list(imagenet_wordnet_ids()) == sorted(imagenet_wordnet_ids())


class TestLookup:
    @pytest.mark.parametrize("label", ["Great Dane", "great dane", "great_dane", "GREAT-DANE", " great  dane ", "n2"])
    def test_case_underscores_hyphens_and_space_do_not_matter(self, label):
        assert ANIMALS.index(label) == 1

    def test_a_name_goes_before_an_index(self):
        digits = ClassNames(3, ("2", "1", "0"))
        assert [digits.index(label) for label in ("0", "1", "2")] == [2, 1, 0]

    def test_a_name_of_two_classes_means_neither(self):
        cranes = ClassNames(3, ("crane", "crane", "heron"), ("bird", "machine", "wader"))
        assert cranes.index("crane") is None
        assert cranes.index("machine") == 1
        assert cranes.name(0) == cranes.name(1) == "crane"

    def test_names_of_another_number_of_classes_are_not_taken(self):
        two = ClassNames(2, ("cat", "dog", "eel"), ("n1",))
        assert two.name(0) is None
        assert two.index("cat") is two.index("n1") is None
        assert two.index("1") == 1

    def test_a_classifier_brings_its_own(self):
        from torch import nn

        classifier = Classifier(nn.Identity(), class_names=("cat", "dog"), class_ids=("c", "d"))
        classes = ClassNames.of(classifier, 2, {"hound": "dog"})
        assert [classes.index(label) for label in ("cat", "d", "hound")] == [0, 1, 1]


class TestClassMap:
    MAP = ClassNames(
        3,
        ("cat", "Great Dane", "t-shirt"),
        ("n1", "n2", "n3"),
        {"Katze": 0, "Dogge": "great_dane", "cat": "n3", "5": 1},
    )

    def test_leads_to_an_index_a_name_or_an_id(self):
        assert [self.MAP.index(label) for label in ("Katze", "Dogge", "5")] == [0, 1, 1]

    def test_wins_over_the_models_own_names(self):
        assert self.MAP.index("cat") == 2

    def test_leaves_the_other_names_as_they_are(self):
        assert self.MAP.index("t-shirt") == 2
        assert self.MAP.index("0") == 0

    def test_is_taken_to_the_letter(self):
        assert self.MAP.index("katze") is None

    def test_a_number_may_be_written_as_a_text(self):
        assert ClassNames(3, ("a", "b", "c"), class_map={"Maus": "2"}).index("Maus") == 2

    @pytest.mark.parametrize("target", [3, -1, 1000, "mouse", "", "3", "-1"])
    def test_a_class_that_the_model_does_not_have_is_named(self, target):
        with pytest.raises(InputError) as caught:
            ClassNames(3, ("a", "b", "c"), class_map={"Maus": target})
        assert str(caught.value) == f"--class-map: 'Maus' -> {target!r}: the model has no such class, of 3"


class TestDirectoryOrder:
    def test_numbers_sorted_labels_as_imagefolder_does(self, tmp_path):
        from torchvision.datasets import ImageFolder

        labels = ["10", "9", "b", "B", "a b"]
        for label in labels:
            (tmp_path / label).mkdir()
            (tmp_path / label / "1.jpg").touch()
        named = ClassNames(5).with_directory_order(labels)
        assert {label: named.index(label) for label in labels} == ImageFolder(tmp_path).class_to_idx
        assert [named.name(index) for index in range(5)] == ImageFolder(tmp_path).classes

    def test_applies_only_where_the_counts_agree_and_the_model_has_no_names(self):
        assert ClassNames(3).with_directory_order(["a", "b"]).index("a") is None
        assert ANIMALS.with_directory_order(["x", "y", "z"]) is ANIMALS
        mapped = ClassNames(2, class_map={"x": 1})
        assert mapped.with_directory_order(["a", "x"]) is mapped

    def test_takes_a_label_that_comes_often_once(self):
        assert ClassNames(2).with_directory_order(["b", "a", "b", "a"]).index("b") == 1

    def test_keeps_what_the_class_map_leaves_out(self):
        named = ClassNames(3, class_map={"junk": None}).with_directory_order(["cat", "dog", "junk"])
        assert [named.index(label) for label in ("cat", "dog", "junk")] == [0, 1, None]
        assert named.leaves_out("junk")
