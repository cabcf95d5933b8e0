"""Every setting of an audit, declared and validated once.

The command line, the YAML file and the worker all read the same `AuditConfig`; nothing else in the package holds a
default. Names are the design's: a field `input_size` is the flag `--input-size` and the YAML key `input-size`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.config import JsonDict

from igcam_batch.errors import InputError
from igcam_batch.names import (
    METHODS,
    METRICS,
    PAPER_METRICS,
    ChannelOrder,
    ConfidenceName,
    DifficultName,
    HeatmapDtype,
    InterpolationName,
    LayoutName,
    MethodName,
    MetricName,
    ObjectsName,
    PixelRange,
    PrecisionName,
    ResizeName,
    RuleName,
    ScoreName,
    VocabularyName,
)

TargetKind = Literal["predicted", "label", "labels", "predicted+label", "top", "class"]

TARGETS = "predicted, label, labels, predicted+label, top-K (as top-5), class:ID (as class:281, or class:281,285)"
BASELINES = "black, white, blur, blur:SIGMA (pixels of the model's input), R,G,B (each 0 to 1)"
MODELS = "torchvision:NAME, timm:NAME, package.module:factory"


@dataclass(frozen=True)
class Target:
    """Which classes of an image are explained.

    Attributes:
        kind: `predicted`, `label` (the one class an image is labelled with), `labels` (every class present),
            `predicted+label` (why this and not that), `top` (the `count` best-scored classes), or `class` (the classes
            in `classes`).
        count: for `top`, how many.
        classes: for `class`, the model's class indices.
    """

    kind: TargetKind
    count: int = 1
    classes: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a `--target` value; ValueError says what there is."""
        if text in ("predicted", "label", "labels", "predicted+label"):
            return cls(kind=text)  # type: ignore[arg-type]  # narrowed by the line above
        if match := re.fullmatch(r"top-([1-9]\d{0,4})", text):
            return cls(kind="top", count=int(match[1]))
        if match := re.fullmatch(r"class:(\d{1,6}(?:,\d{1,6})*)", text):
            return cls(kind="class", classes=tuple(dict.fromkeys(int(index) for index in match[1].split(","))))
        raise ValueError(f"no such target; there are: {TARGETS}")

    @property
    def at_most(self) -> int:
        """How many targets an image has at most; of labels, what is common."""
        return {"top": self.count, "class": len(self.classes), "labels": 5, "predicted+label": 2}.get(self.kind, 1)

    @property
    def needs_labels(self) -> bool:
        """Whether the dataset must say which classes an image shows."""
        return self.kind in ("label", "labels", "predicted+label")


@dataclass(frozen=True)
class BaselineImage:
    """An image without what is explained: where paths start, and what hides a pixel.

    Attributes:
        colour: of an image that is one colour everywhere, in 0..1; None for the image itself, blurred.
        sigma: standard deviation of the blur, in pixels of the model's input.
    """

    colour: tuple[float, float, float] | None = None
    sigma: float = 10.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a `--baseline` value; ValueError says what there is."""
        if text in _COLOURS:
            return cls(_COLOURS[text])
        if match := re.fullmatch(r"blur(?::(\d{1,4}(?:\.\d{1,4})?))?", text):
            if match[1] is None or 0 < float(match[1]) <= _MOST_BLUR:
                return cls(sigma=float(match[1] or cls.sigma))
            raise ValueError(f"SIGMA must be above 0 and at most {_MOST_BLUR}")
        try:
            red, green, blue = (float(part) for part in text.split(","))
        except ValueError:
            raise ValueError(f"no such baseline; there are: {BASELINES}") from None
        if not all(0 <= part <= 1 for part in (red, green, blue)):
            raise ValueError("R,G,B must each be 0 to 1")
        return cls((red, green, blue))


def _checked_baseline(text: str) -> str:
    BaselineImage.parse(text)
    return text


BaselineText = Annotated[str, AfterValidator(_checked_baseline)]
_COLOURS = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0)}
_MOST_BLUR = 1000


def _flag(default: Any, text: str, *, metavar: str | None = None, affects_results: bool = True, **limits: Any) -> Any:
    """A setting with its help text; `affects_results=False` for what changes only how fast or where it runs."""
    extra: JsonDict = {"metavar": metavar, "affects_results": affects_results}
    return Field(default=default, description=text, json_schema_extra=extra, **limits)


class AuditConfig(BaseModel):
    """The settings of one audit. Immutable; safe to send to another process as JSON."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        validate_by_name=True,
        validate_by_alias=True,
        protected_namespaces=(),
    )

    input: str = _flag(..., "directory of images, a manifest, an annotation file, or shards", min_length=1)
    output: str = _flag(..., "directory the tables are written to", affects_results=False, min_length=1)

    layout: LayoutName = _flag("auto", "how the dataset is laid out")
    image_set: str | None = _flag(
        None, "part of a dataset: of VOC as test or 2007/test, of COCO as val2017", metavar="NAME", min_length=1
    )
    objects: ObjectsName = _flag("boxes", "what of an annotation says where an object is")
    difficult: DifficultName = _flag("keep", "objects that VOC calls difficult, and COCO crowds")
    model: str = _flag(..., "the CNN that is explained", metavar=MODELS.replace(", ", " | "))
    weights: str = _flag(
        "DEFAULT", "the library's best weights, seeded random ones, or a checkpoint", metavar="DEFAULT|none|PATH"
    )
    layer: str | None = _flag(
        None, "layer whose activations make the map  [default: the last feature map]", metavar="NAME"
    )
    method: tuple[MethodName, ...] = _flag(
        ("integrated-grad-cam",),
        f"attribution method; repeatable; of {', '.join(METHODS)}",
        metavar="NAME",
        min_length=1,
    )
    steps: int = _flag(50, "quadrature nodes m along the path", metavar="N", ge=1, le=10_000)
    rule: RuleName = _flag("riemann", "quadrature rule along the path; riemann is the paper's")
    tolerance: float | None = _flag(
        None,
        "instead of --steps and --rule: integrate each map until its error estimate is this small",
        metavar="X",
        gt=0,
        lt=1,
    )
    baseline: tuple[BaselineText, ...] = _flag(
        ("black",),
        "where paths start; repeatable: the mean over several",
        metavar="black|white|blur[:SIGMA]|R,G,B",
        min_length=1,
    )
    map_size: int | None = _flag(
        None,
        "side at which maps of integrated-gradients alone are stored  [default: the input's]",
        metavar="N",
        ge=1,
        le=8192,
    )
    score: ScoreName = _flag("logit", "what is differentiated: y_c as logit or as probability")
    confidence: ConfidenceName = _flag("softmax", "how logits become a confidence; sigmoid for multi-label heads")
    target: str = _flag("predicted", "classes explained in each image", metavar="predicted|label|labels|top-K|class:ID")
    metric: tuple[MetricName, ...] = _flag(
        PAPER_METRICS, f"metric; repeatable; all, or of {', '.join(METRICS)}", metavar="NAME|all", min_length=1
    )
    kept_share: float = _flag(
        0.15, "share of the pixels that drop, increase and average-gain keep", metavar="X", gt=0, lt=1
    )
    fill: BaselineText = _flag("black", "what hides a pixel in metrics", metavar="black|white|blur[:SIGMA]|R,G,B")
    insertion_start: BaselineText = _flag(
        "blur:5", "image that insertion puts pixels into", metavar="black|white|blur[:SIGMA]|R,G,B"
    )
    curve_steps: int = _flag(32, "steps of the insertion and deletion curves", metavar="N", ge=1, le=10_000)
    pointing_tolerance: int = _flag(
        15, "pixels of the model's input by which the pointing game may miss", metavar="N", ge=0, le=8192
    )
    shift: int = _flag(4, "pixels of the model's input by which sensitivity moves it", metavar="N", ge=1, le=8192)

    input_size: int | None = _flag(
        None, "side of the model's input  [default: the model's own]", metavar="N", ge=8, le=8192
    )
    resize: ResizeName | None = _flag(
        None, "how an image is brought to that size  [default: the model's own, else stretch]"
    )
    resize_size: int | None = _flag(
        None,
        "side it is brought to before its centre is cropped  [default: the model's own]",
        metavar="N",
        ge=8,
        le=8192,
    )
    interpolation: InterpolationName | None = _flag(None, "filter of the resize  [default: the model's own]")
    mean: tuple[float, float, float] | None = _flag(
        None, "channel means, in the model's order and range  [default: the model's own]", metavar="R,G,B"
    )
    std: tuple[float, float, float] | None = _flag(
        None, "channel standard deviations, likewise  [default: the model's own]", metavar="R,G,B"
    )
    channel_order: ChannelOrder | None = _flag(
        None, "in which the model takes the channels  [default: the model's own, else rgb]"
    )
    pixel_range: PixelRange | None = _flag(
        None, "what white is to the model, before normalisation  [default: the model's own, else 1]", metavar="1|255"
    )
    class_map: VocabularyName | dict[str, int | str | None] | None = _flag(
        None,
        "what the model's outputs are, or a JSON or YAML file: dataset class -> the model's class index or name, or "
        "null to leave it out",
        metavar="imagenet|voc|coco|FILE",
    )
    max_pixels: int = _flag(
        100_000_000, "larger images are recorded as failures unread", metavar="N", ge=1, le=178_956_970
    )

    precision: PrecisionName = _flag("fp32", "arithmetic of the network")
    heatmap_dtype: HeatmapDtype = _flag("float32", "how maps are stored")
    batch_size: int | None = _flag(
        None,
        "images x steps in one forward pass  [default: 8 on CPUs, what a GPU's memory holds]",
        metavar="N",
        affects_results=False,
        ge=1,
        le=65_536,
    )
    shard_size: int | None = _flag(
        None, "images in one shard  [default: from the images and workers there are]", metavar="N", ge=1, le=100_000
    )
    workers: str | None = _flag(
        None,
        "model replicas  [default: one for each GPU, or as many as the CPUs carry]",
        metavar="N|MIN:MAX",
        affects_results=False,
    )
    gpus_per_worker: float | None = _flag(
        None,
        "GPUs each replica is pinned to; 0 for CPU, 0.5 to share one  [default: 1 where the cluster has GPUs]",
        metavar="X",
        affects_results=False,
        ge=0,
        le=64,
    )
    limit: int | None = _flag(None, "take the first N images only", metavar="N", ge=1)
    overwrite: bool = _flag(False, "replace the run that OUTPUT holds", affects_results=False)
    fail_on_error: bool = _flag(False, "exit 1 when an image could not be explained", affects_results=False)

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _three_numbers(cls, value: Any) -> Any:
        if value is None:
            return None
        try:
            numbers = tuple(float(part) for part in (value.split(",") if isinstance(value, str) else value))
        except (TypeError, ValueError):
            numbers = ()
        if len(numbers) != 3 or not all(math.isfinite(number) for number in numbers):
            raise ValueError("must be three numbers R,G,B, as in 0.485,0.456,0.406")
        return numbers

    @field_validator("class_map", mode="before")
    @classmethod
    def _read_class_map(cls, value: Any) -> Any:
        """A file is read here, once: workers and a later resume see what it held when the audit began."""
        if value is None or value in get_args(VocabularyName):
            return value
        content = read_mapping(value) if isinstance(value, str) else value
        targets = content.values() if isinstance(content, dict) else [True]
        if not all(isinstance(target, int | str | None) and not isinstance(target, bool) for target in targets):
            raise ValueError("must map each class name to an index, a name, or null, as in 'cat: 281'")
        return content

    @field_validator("pixel_range", mode="before")
    @classmethod
    def _range_is_a_number(cls, value: Any) -> Any:
        return int(value) if isinstance(value, str) and value.isdecimal() else value

    @field_validator("metric", mode="before")
    @classmethod
    def _all_metrics(cls, value: Any) -> Any:
        return METRICS if value == "all" or (isinstance(value, list | tuple) and "all" in value) else value

    @field_validator("std")
    @classmethod
    def _std_is_positive(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and min(value) <= 0:
            raise ValueError("must be three numbers above 0")
        return value

    @field_validator("method", "metric", "baseline", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("method", "metric", "baseline")
    @classmethod
    def _once_each(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("target")
    @classmethod
    def _target_parses(cls, value: str) -> str:
        Target.parse(value)
        return value

    @field_validator("model")
    @classmethod
    def _model_parses(cls, value: str) -> str:
        if not re.fullmatch(r"[\w.\-]+:[\w.\-/]+", value):
            raise ValueError(f"not a model reference; there are: {MODELS}")
        return value

    @field_validator("workers", mode="before")
    @classmethod
    def _workers_parse(cls, value: Any) -> Any:
        if value is None:
            return None
        match = re.fullmatch(r"(\d+)(?::(\d+))?", str(value))
        if match is None or int(match[1]) < 1 or int(match[2] or match[1]) < int(match[1]):
            raise ValueError("must be N, or MIN:MAX with 1 <= MIN <= MAX")
        return str(value)

    @field_validator("gpus_per_worker")
    @classmethod
    def _whole_gpus_above_one(cls, value: float | None) -> float | None:
        if value is not None and value > 1 and not float(value).is_integer():
            raise ValueError("above 1 it must be a whole number")
        return value

    @model_validator(mode="after")
    def _rule_has_enough_nodes(self) -> Self:
        if self.rule in ("trapezoid", "gauss-lobatto") and self.steps < 2:
            raise ValueError(f"--steps {self.steps}: --rule {self.rule} needs at least 2 nodes, one at each end")
        return self

    @model_validator(mode="after")
    def _map_size_has_a_use(self) -> Self:
        if self.map_size is not None and self.method != ("integrated-gradients",):
            raise ValueError(
                f"--map-size {self.map_size}: is for --method integrated-gradients alone; class activation maps are "
                "stored at the layer's resolution, and whatever stands beside them too"
            )
        return self

    @property
    def baselines(self) -> tuple[BaselineImage, ...]:
        """The parsed `--baseline`s."""
        return tuple(BaselineImage.parse(text) for text in self.baseline)

    @property
    def targets(self) -> Target:
        """The parsed `--target`."""
        return Target.parse(self.target)

    @property
    def worker_range(self) -> tuple[int, int] | None:
        """(minimum, maximum) number of workers, or None where the cluster decides."""
        if self.workers is None:
            return None
        least, _, most = self.workers.partition(":")
        return int(least), int(most or least)

    def result_settings(self) -> dict[str, Any]:
        """The settings that decide what the tables hold, as JSON values by flag name."""
        return {
            name: value
            for name, value in self.model_dump(mode="json", by_alias=True).items()
            if flag_details(name)["affects_results"]
        }


def flag_details(name: str) -> dict[str, Any]:
    """What `_flag` recorded about a setting: its `metavar`, and whether it `affects_results`."""
    extra = AuditConfig.model_fields[name.replace("-", "_")].json_schema_extra
    return dict(extra) if isinstance(extra, Mapping) else {}


def load_config(flags: Mapping[str, Any], file: str | None = None) -> AuditConfig:
    """Merge a YAML file and the flags that were given, flags winning, into a validated config.

    Args:
        flags: setting name -> value, only for what the person typed.
        file: path of a YAML mapping of settings, or None.

    Raises:
        InputError: the file cannot be read, or a setting is unknown or out of range.
    """
    try:
        settings = read_mapping(file) if file else {}
    except ValueError as error:
        raise InputError(f"--config {file}: {error}") from None
    settings = _by_flag_name(settings) | _by_flag_name(flags)
    both = [name for name in ("steps", "rule") if settings.get("tolerance") is not None and name in settings]
    if both:
        raise InputError(
            f"--tolerance {settings['tolerance']}: chooses the nodes itself; leave --{both[0]} {settings[both[0]]} out"
        )
    try:
        return AuditConfig.model_validate(settings)
    except ValidationError as error:
        raise InputError(_describe(error, file)) from None


def _by_flag_name(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "-"): value for name, value in settings.items()}


class _AsWritten(yaml.SafeLoader):
    """YAML in which names stay the text they are, and `1:4` is no number in base 60.

    As YAML 1.1 has it, `no: 3` would name the class False, `007: 3` the class 7, and `workers: 1:4` be 64.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode) and not name.tag.endswith(":merge"):
                name.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        return node.value if ":" in node.value else super().construct_yaml_int(node)


_AsWritten.add_constructor("tag:yaml.org,2002:int", _AsWritten.construct_yaml_int)


def read_mapping(file: str) -> dict[str, Any]:
    """A YAML file (JSON is YAML) that holds values by name; ValueError says what is wrong with it."""
    try:
        content = yaml.load(Path(file).read_text(encoding="utf-8"), Loader=_AsWritten)  # noqa: S506  # a SafeLoader
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"neither YAML nor JSON: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError("must hold values by name, as in 'name: value'")
    return {str(name): value for name, value in content.items()}


def _describe(error: ValidationError, file: str | None) -> str:
    """One line for the first thing that is wrong, in the words of the flags."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    name = str(first["loc"][0])
    label = name.upper() if name in ("input", "output") else f"--{name}"
    match first["type"]:
        case "missing":
            return f"{label}: is required" + (" (MODEL is one of " + MODELS + ")" if name == "model" else "")
        case "extra_forbidden":
            origin = f"--config {file}: " if file else ""
            known = ", ".join(field.replace("_", "-") for field in AuditConfig.model_fields)
            return f"{origin}{name}: no such setting; there are: {known}"
        case "literal_error":
            return f"{label} {first['input']}: no such {name}; there are: {_choices(first['ctx']['expected'])}"
        case "value_error":
            return f"{label} {first['input']}: {message}"
        case _:
            return f"{label} {first['input']}: {message[0].lower()}{message[1:]}"


def _choices(expected: str) -> str:
    return expected.replace("'", "").replace(" or ", ", ")
