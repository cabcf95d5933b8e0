"""From a dataset's name for a class to the model's index for it."""

from collections.abc import Iterable, Mapping

from igcam_batch.errors import InputError
from igcam_batch.models.classifier import Classifier
from igcam_batch.models.imagenet import imagenet_names, imagenet_wordnet_ids
from igcam_batch.names import VocabularyName
from igcam_batch.vocabularies import COCO, SYNONYMS, VOC


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


_OTHER_NAMES = {_plain(one): _plain(other) for pair in SYNONYMS.items() for one, other in (pair, pair[::-1])}


def _vocabulary(name: VocabularyName) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """The names of a dataset's classes in the order of a model's outputs, and their ids where they have others."""
    if name == "imagenet":
        return imagenet_names(), imagenet_wordnet_ids()
    return {"voc": VOC, "coco": COCO}[name], None


def _unshared(names: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Name -> index, without the names that stand for several."""
    found: dict[str, set[int]] = {}
    for name, index in names:
        found.setdefault(name, set()).add(index)
    return {name: indices.pop() for name, indices in found.items() if len(indices) == 1}


def _as_index(name: str, classes: int) -> int | None:
    """What digits say, where the model has so many classes."""
    digits = name.lstrip("0") or "0"
    short = name.isascii() and name.isdigit() and len(digits) <= len(str(classes))  # Python reads 4300 at most
    return int(digits) if short and int(digits) < classes else None


class ClassNames:
    """The classes of a model, and every name a dataset may use for them.

    A label is looked up in the class map first, then among the model's names and ids, as written and then with case,
    `_` and `-` aside, then under the other name that VOC or COCO has for it, and then read as an index. A name that two
    classes share means neither.

    Args:
        classes: number of the model's outputs.
        names: what they are called, by index.
        ids: further identifiers, by index.
        class_map: dataset name -> index or name, or None for a class that is to be left out.

    Raises:
        InputError: the class map names a class that the model does not have.
    """

    def __init__(
        self,
        classes: int,
        names: tuple[str, ...] | None = None,
        ids: tuple[str, ...] | None = None,
        class_map: Mapping[str, int | str | None] | None = None,
    ) -> None:
        self.count = classes
        self._names = names if names is not None and len(names) == classes else None
        known = [*enumerate(self._names or ()), *enumerate(ids if ids is not None and len(ids) == classes else ())]
        self._exact = _unshared((name, index) for index, name in known)
        self._folded = _unshared((_plain(name), index) for index, name in known)
        wanted = class_map or {}
        self._left_out = frozenset(name for name, target in wanted.items() if target is None)
        self._map = {name: self._resolve(name, target) for name, target in wanted.items() if target is not None}

    @classmethod
    def of(
        cls, classifier: Classifier, classes: int, class_map: VocabularyName | Mapping[str, int | str | None] | None
    ) -> "ClassNames":
        """The `classes` classes of `classifier`, or of a vocabulary; InputError where that has another number."""
        if isinstance(class_map, str):
            names, ids = _vocabulary(class_map)
            if len(names) != classes:
                raise InputError(
                    f"--class-map {class_map}: names {len(names)} classes; the model gives {classes} scores"
                )
            return cls(classes, names, ids)
        if classifier.class_names is not None and len(classifier.class_names) != classes:
            raise InputError(f"--model: gives {classes} scores and names {len(classifier.class_names)} classes")
        return cls(classes, classifier.class_names, classifier.class_ids, class_map)

    def name(self, index: int) -> str | None:
        """What class `index` is called, or None where that is not known."""
        return self._names[index] if self._names is not None else None

    def leaves_out(self, label: str) -> bool:
        """Whether the class map says that a dataset's label is not to be explained."""
        return label in self._left_out

    def index(self, label: str) -> int | None:
        """The model's index for a dataset's label, or None where the model has no such class."""
        if label in self._left_out:
            return None
        if label in self._map:
            return self._map[label]
        return self._named(label)

    def with_directory_order(self, labels: Iterable[str]) -> "ClassNames":
        """These classes named by a dataset's sorted labels, as torchvision's ImageFolder numbers them.

        Applies where the model has no names of its own and just as many outputs as there are labels.
        """
        ordered = sorted(set(labels))
        if self._names is not None or self._map or len(ordered) != self.count:
            return self
        return ClassNames(self.count, tuple(ordered), class_map=dict.fromkeys(self._left_out))

    def _named(self, name: str) -> int | None:
        if name in self._exact:
            return self._exact[name]
        plain = _plain(name)
        known = self._folded.get(plain, self._folded.get(_OTHER_NAMES.get(plain, plain)))
        return _as_index(name, self.count) if known is None else known

    def _resolve(self, name: str, target: int | str) -> int:
        index = target if isinstance(target, int) else self._named(target)
        if index is None or not 0 <= index < self.count:
            raise InputError(f"--class-map: '{name}' -> {target!r}: the model has no such class, of {self.count}")
        return index
