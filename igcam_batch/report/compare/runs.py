"""What is compared with what: two runs, and which methods of theirs."""

from dataclasses import dataclass

from igcam_batch.errors import InputError
from igcam_batch.names import MAIN_METHOD
from igcam_batch.storage import open_store
from igcam_batch.tables.record import RunRecord, run_in
from igcam_batch.words import setting_in_words

_NOT_NAMED = ("input", "method", "metric", "layer", "target")
_MOST_NAMED = 3


@dataclass(frozen=True)
class Side:
    """One run of the two.

    Attributes:
        letter: A or B.
        output: its OUTPUT.
        record: its run.json.
        method: whose rows are compared.
    """

    letter: str
    output: str
    record: RunRecord
    method: str

    @property
    def model(self) -> str:
        """The model's name, without where it is from."""
        return str(self.record.config["model"]).rpartition(":")[2]


def sides(output_a: str, output_b: str, method_a: str | None = None, method_b: str | None = None) -> tuple[Side, Side]:
    """The two runs.

    Args:
        output_a: OUTPUT of an audit.
        output_b: OUTPUT of another, or the same one where two of its methods are compared.
        method_a: whose rows; None: Integrated Grad-CAM's where both have it, else the first that both have, else each
            run's own first.
        method_b: the same of the other run.

    Raises:
        InputError: one holds no audit, or not that method; or both sides are the same.
    """
    records = [run_in(open_store(output)) for output in (output_a, output_b)]
    there = [list(record.config["method"]) for record in records]
    common = [method for method in there[0] if method in there[1]]
    default = [MAIN_METHOD if MAIN_METHOD in common else common[0]] * 2 if common else [methods[0] for methods in there]
    chosen = []
    for flag, asked, has, usual, output in zip(
        ("--method-a", "--method-b"), (method_a, method_b), there, default, (output_a, output_b), strict=True
    ):
        if asked is not None and asked not in has:
            raise InputError(f"{flag} {asked}: {output} does not hold it; there are: {', '.join(has)}")
        chosen.append(asked or usual)
    if open_store(output_a).root == open_store(output_b).root and chosen[0] == chosen[1]:
        raise InputError(
            f"{output_a}: both sides are its {chosen[0]}; name another OUTPUT, or two of its methods by --method-a and "
            f"--method-b (there are: {', '.join(there[0])})"
        )
    first, second = zip("AB", (output_a, output_b), records, chosen, strict=True)
    return Side(*first), Side(*second)


def of_one_model(a: Side, b: Side) -> bool:
    """Whether both runs explained the same weights."""
    return a.record.model.sha256 == b.record.model.sha256


def named(a: Side, b: Side) -> tuple[str, str]:
    """What tells the two apart, in as few words as do."""
    if a.model != b.model:
        return a.model, b.model
    if a.method != b.method:
        return a.method, b.method
    if a.record.model.layer != b.record.model.layer:
        return f"layer {a.record.model.layer}", f"layer {b.record.model.layer}"
    settings = a.record.config, b.record.config
    different = [name for name in settings[0] if name not in _NOT_NAMED and settings[0][name] != settings[1].get(name)]
    named = different[:_MOST_NAMED]
    one, other = (", ".join(f"{name} {setting_in_words(of.get(name))}" for name in named) for of in settings)
    return (one, other) if different else (a.output, b.output)
