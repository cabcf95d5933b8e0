"""Every setting of an audit. A field `input_size` is the flag `--input-size` and the YAML key `input-size`."""

import math
import re
from collections.abc import Mapping
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.config import JsonDict

from igcam_batch.config.baseline import BaselineImage, BaselineText
from igcam_batch.config.files import read_mapping
from igcam_batch.config.target import Target
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

_MOST_WORKERS = 10_000
_LEAST_OF_A_GPU = 0.01
_PARTS_OF_A_GPU = 10_000  # by which Ray counts, so that what we say is what it gives
_LONGEST_DEADLINE = 10_000  # hours
MODELS = "torchvision:NAME, timm:NAME, torchray:NAME, package.module:factory"


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
    follow_links: bool = _flag(False, "take what symbolic links on disk lead to outside of INPUT")
    objects: ObjectsName = _flag("boxes", "what of an annotation says where an object is")
    difficult: DifficultName = _flag("keep", "objects that VOC calls difficult, and COCO crowds")
    model: str = _flag(..., "the CNN that is explained", metavar=MODELS.replace(", ", " | "))
    weights: str = _flag(
        "DEFAULT",
        "the library's best weights, seeded random ones, or a checkpoint",
        metavar="DEFAULT|none|PATH|s3://...",
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
    confidence: ConfidenceName | None = _flag(
        None, "how logits become a confidence; sigmoid for multi-label heads  [default: the model's own, else softmax]"
    )
    target: str = _flag(
        "predicted",
        "classes explained in each image",
        metavar="predicted|label|labels|predicted+label|top-K|class:ID",
    )
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
        "what the model's outputs are, or a JSON or YAML file, also s3://...: dataset class -> the model's class "
        "index or name, or null to leave it out",
        metavar="imagenet|voc|coco|FILE",
    )
    max_pixels: int = _flag(
        100_000_000, "larger images are recorded as failures unread", metavar="N", ge=1, le=178_956_970
    )
    decode_timeout: float = _flag(
        60,
        "an image that takes longer to decode is recorded as a failure",
        metavar="SECONDS",
        affects_results=False,
        gt=0,
        le=86_400,
    )

    precision: PrecisionName = _flag(
        "tf32", "arithmetic of the network; tf32: fp32, but convolutions round to ten bits on GPUs since Ampere"
    )
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
        "of a GPU for each replica: 1, 0.5 for two to share one, 0 for CPUs  [default: 1 where the cluster has GPUs]",
        metavar="X",
        affects_results=False,
        allow_inf_nan=False,
    )
    decode_cpus: int | None = _flag(
        None,
        "CPUs that decode at a time beside GPUs; a growing cluster may add nodes for them  [default: its nodes']",
        metavar="N",
        affects_results=False,
        ge=1,
        le=1_000_000,
    )
    startup_timeout: float = _flag(
        600,
        "how long GPUs, or CPUs, are waited for that the cluster does not have yet",
        metavar="SECONDS",
        affects_results=False,
        ge=0,
        le=86_400,
    )
    limit: int | None = _flag(None, "take the first N images only", metavar="N", ge=1)
    overwrite: bool = _flag(False, "replace the run that OUTPUT holds", affects_results=False)
    retry_failures: bool = _flag(False, "take up again what failed in the run that OUTPUT holds", affects_results=False)
    deadline: float | None = _flag(
        None,
        "start no further shard after this long; those in progress are committed, and the same command resumes the run",
        metavar="8h|90m|2h30m",
        affects_results=False,
        gt=0,
        allow_inf_nan=False,
    )
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
    def _read_class_map(cls, value: Any, info: ValidationInfo) -> Any:
        """A file is read here, once: workers and a later resume see what it held when the audit began."""
        if value is None or value in get_args(VocabularyName):
            return value
        content = read_mapping(value, **(info.context or {})) if isinstance(value, str) else value
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
        match = re.fullmatch(r"([0-9]{1,9})(?::([0-9]{1,9}))?", str(value))
        if match is None or not 1 <= int(match[1]) <= int(match[2] or match[1]) <= _MOST_WORKERS:
            raise ValueError(f"must be N, or MIN:MAX with 1 <= MIN <= MAX <= {_MOST_WORKERS}")
        return str(value)

    @field_validator("deadline", mode="before")
    @classmethod
    def _deadline_is_a_duration(cls, value: Any) -> Any:
        """Seconds."""
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?", value.strip().lower())
        if match is None or not any(match.groups()):
            raise ValueError("must be a duration, as 8h, 90m or 2h30m")
        seconds = sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True))
        if not seconds:
            raise ValueError("must be longer than 0")
        if seconds > _LONGEST_DEADLINE * 3600:
            raise ValueError(f"can be {_LONGEST_DEADLINE}h at most")
        return seconds

    @field_validator("gpus_per_worker")
    @classmethod
    def _at_most_one_gpu(cls, value: float | None) -> float | None:
        if value is not None and value != 0 and not _LEAST_OF_A_GPU <= value <= 1:
            raise ValueError(f"must be 0, or from {_LEAST_OF_A_GPU} to 1: a replica uses one GPU, or shares it")
        return None if value is None else math.floor(value * _PARTS_OF_A_GPU + 1e-6) / _PARTS_OF_A_GPU

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
