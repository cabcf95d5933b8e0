"""The words of the vocabulary: what settings accept by name, and what each room implements under that name.

They stand apart from `config` so that the engine needs torch alone, without the libraries that validate settings.
"""

from typing import Literal, get_args

MethodName = Literal[
    "integrated-grad-cam",
    "grad-cam",
    "grad-cam++",
    "xgrad-cam",
    "smooth-grad-cam++",
    "score-cam",
    "ablation-cam",
    "cam",
    "layer-cam",
    "averaged-grad-cam",
    "integrated-gradients",
]
RuleName = Literal["riemann", "trapezoid", "gauss-legendre", "gauss-lobatto"]
MetricName = Literal[
    "ebpg",
    "bbox",
    "drop",
    "increase",
    "pointing-game",
    "insertion",
    "deletion",
    "average-gain",
    "sparsity",
    "sensitivity",
]
ScoreName = Literal["logit", "probability"]
ConfidenceName = Literal["softmax", "sigmoid"]
LayoutName = Literal["auto", "folder", "imagefolder", "voc", "coco", "manifest", "parquet", "webdataset"]
ObjectsName = Literal["boxes", "masks"]
DifficultName = Literal["keep", "drop"]
VocabularyName = Literal["imagenet", "voc", "coco"]
ResizeName = Literal["stretch", "crop"]
InterpolationName = Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"]
ChannelOrder = Literal["rgb", "bgr"]
PixelRange = Literal[1, 255]
PrecisionName = Literal["fp32", "tf32", "bf16", "fp16"]
HeatmapDtype = Literal["float32", "float16"]

METHODS: tuple[MethodName, ...] = get_args(MethodName)
METRICS: tuple[MetricName, ...] = get_args(MetricName)
MAIN_METHOD: MethodName = "integrated-grad-cam"
"""The one that is shown first, and compared, where a run has it."""
PAPER_METRICS: tuple[MetricName, ...] = ("ebpg", "bbox", "drop", "increase")


def metric_column(metric: MetricName) -> str:
    """What the column of a metric is called: a name that SQL needs not quote."""
    return metric.replace("-", "_")


METRIC_COLUMNS = tuple(metric_column(metric) for metric in METRICS)
