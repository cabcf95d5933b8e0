"""Settings: where they come from, which are refused and in what words, and which decide the results."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from igcam_batch.config import AuditConfig, Target, load_config
from igcam_batch.errors import InputError

NEEDED = {"input": "images", "output": "tables", "model": "torchvision:resnet18"}


def config(**settings: Any) -> AuditConfig:
    return load_config(NEEDED | settings)


def refusal(flags: dict[str, Any], file: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load_config(flags, file)
    return str(caught.value)


@pytest.fixture
def yaml_file(tmp_path: Path):
    def write(text: str) -> str:
        path = tmp_path / "settings.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


class TestWhereSettingsComeFrom:
    def test_a_file_gives_what_flags_would(self, yaml_file):
        file = yaml_file("input: a\noutput: b\nmodel: timm:resnet18\nsteps: 20\nmethod: [grad-cam, grad-cam++]\n")
        assert load_config({}, file) == load_config(
            {"input": "a", "output": "b", "model": "timm:resnet18", "steps": "20", "method": ("grad-cam", "grad-cam++")}
        )

    @pytest.mark.parametrize(
        "tag", ["python/object/apply:os.mkdir", "python/object/new:os.mkdir", "python/name:os.mkdir"]
    )
    def test_a_file_that_would_run_code_does_not(self, yaml_file, tmp_path, tag):
        file = yaml_file(f"model: !!{tag} [{tmp_path}/ran]\n")
        for settings, named in ((NEEDED | {"class-map": file}, None), (NEEDED, file)):
            with pytest.raises(InputError, match="neither YAML nor JSON"):
                load_config(settings, named)
        assert not (tmp_path / "ran").exists()

    def test_a_file_that_is_nested_without_end_is_refused(self, yaml_file):
        with pytest.raises(InputError, match="neither YAML nor JSON"):
            load_config(NEEDED, yaml_file("a: " + "[" * 100_000))

    def test_a_flag_wins_over_the_file_and_leaves_the_rest_of_it(self, yaml_file):
        merged = load_config(NEEDED | {"steps": "7"}, yaml_file("steps: 20\nrule: trapezoid\n"))
        assert (merged.steps, merged.rule) == (7, "trapezoid")

    @pytest.mark.parametrize("key", ["input-size", "input_size"])
    def test_a_key_may_be_written_as_the_flag_or_as_the_field(self, yaml_file, key):
        assert load_config(NEEDED, yaml_file(f"{key}: 320\n")).input_size == 320
        assert load_config(NEEDED | {key: 320}).input_size == 320

    def test_a_flag_wins_whichever_way_the_file_writes_its_name(self, yaml_file):
        assert load_config(NEEDED | {"input_size": 96}, yaml_file("input-size: 320\n")).input_size == 96
        assert load_config(NEEDED | {"input-size": 96}, yaml_file("input_size: 320\n")).input_size == 96

    @pytest.mark.parametrize("written", ["0.5, 0.25, 1", "[0.5, 0.25, 1]", "\n  - 0.5\n  - 0.25\n  - 1"])
    def test_channels_may_be_a_list_or_separated_by_commas(self, yaml_file, written):
        assert load_config(NEEDED, yaml_file(f"mean: {written}\n")).mean == (0.5, 0.25, 1.0)

    def test_a_range_of_workers_in_yaml_is_no_number_in_base_60(self, yaml_file):
        assert load_config(NEEDED, yaml_file("workers: 1:4\n")).worker_range == (1, 4)

    def test_a_file_that_does_not_exist_is_named(self, tmp_path):
        message = refusal(NEEDED, str(tmp_path / "none.yaml"))
        assert message == f"--config {tmp_path}/none.yaml: No such file or directory"

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("- steps\n", "must hold values by name"),
            ("steps: [1\n", "neither YAML nor JSON"),
            ("", "must hold values by name"),
            ("a: !!python/object/apply:os.system ['true']\n", "neither YAML nor JSON"),
        ],
    )
    def test_a_file_that_is_no_mapping_is_refused_in_one_line(self, yaml_file, text, reason):
        file = yaml_file(text)
        message = refusal(NEEDED, file)
        assert message.startswith(f"--config {file}: ")
        assert reason in message
        assert "\n" not in message

    def test_an_unknown_key_is_refused_and_the_known_ones_are_listed(self, yaml_file):
        file = yaml_file("verbosity: 20\n")
        message = refusal(NEEDED, file)
        assert message.startswith(f"--config {file}: verbosity: no such setting; there are: input, output, ")
        assert {"steps", "input-size", "gpus-per-worker"} <= set(re.split(r"[:,] ", message))

    @pytest.mark.parametrize(
        ("key", "meant"),
        [("stpes", "steps"), ("Model", "model"), ("metrics", "metric"), ("input_sise", "input-size")],
    )
    def test_of_a_key_that_is_mistyped_the_closest_is_named(self, yaml_file, key, meant):
        file = yaml_file(f"{key}: 20\n")
        assert refusal(NEEDED, file) == f"--config {file}: {key}: no such setting; did you mean {meant}?"
        assert refusal(NEEDED | {key: 20}) == f"{key}: no such setting; did you mean {meant}?"

    def test_a_key_that_is_mistyped_is_told_before_what_it_leaves_out_or_what_else_is_wrong(self, yaml_file):
        file = yaml_file("steps: 0\nmodle: torchvision:resnet18\n")
        message = refusal({"input": "images", "output": "tables"}, file)
        assert message == f"--config {file}: modle: no such setting; did you mean model?"


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("flag", "value", "says"),
        [
            ("method", "gradcam", ["there are", "integrated-grad-cam", "grad-cam", "grad-cam++"]),
            ("metric", "accuracy", ["there are", "ebpg", "bbox", "drop", "increase"]),
            ("layout", "kitti", ["there are", "auto", "folder", "imagefolder", "voc"]),
            ("rule", "simpson", ["there are", "riemann", "trapezoid", "gauss-legendre", "gauss-lobatto"]),
            ("score", "loss", ["there are", "logit", "probability"]),
            ("confidence", "relu", ["there are", "softmax", "sigmoid"]),
            ("resize", "pad", ["there are", "stretch", "crop"]),
            ("precision", "fp8", ["there are", "fp32", "tf32", "bf16", "fp16"]),
            ("heatmap-dtype", "float64", ["there are", "float32", "float16"]),
            ("target", "best", ["there are", "predicted", "label", "labels", "top-K", "class:ID"]),
            ("model", "resnet18", ["there are", "torchvision:NAME", "timm:NAME", "package.module:factory"]),
            ("steps", "0", ["greater than or equal to 1"]),
            ("steps", "10001", ["less than or equal to 10000"]),
            ("steps", "many", ["integer"]),
            ("steps", "1.5", ["integer"]),
            ("tolerance", "0", ["greater than 0"]),
            ("tolerance", "1", ["less than 1"]),
            ("tolerance", "nan", []),
            ("baseline", "grey", ["there are", "black", "white", "blur", "R,G,B"]),
            ("baseline", "blur:0", ["SIGMA must be above 0"]),
            ("baseline", "blur:-1", ["there are", "blur:SIGMA"]),
            ("baseline", "0,0,255", ["each be 0 to 1"]),
            ("baseline", "0,0", ["there are"]),
            ("map-size", "0", ["greater than or equal to 1"]),
            ("map-size", "7", ["--method integrated-gradients alone"]),
            ("input-size", "7", ["greater than or equal to 8"]),
            ("batch-size", "0", ["greater than or equal to 1"]),
            ("shard-size", "-3", ["greater than or equal to 1"]),
            ("limit", "0", ["greater than or equal to 1"]),
            ("max-pixels", "178956971", ["less than or equal to 178956970"]),
            ("decode-timeout", "0", ["greater than 0"]),
            ("decode-timeout", "nan", []),
            ("decode-timeout", "soon", ["number"]),
            ("mean", "0.5,0.5", ["three numbers", "0.485,0.456,0.406"]),
            ("mean", "a,b,c", ["three numbers"]),
            ("mean", "nan,0,0", ["three numbers"]),
            ("mean", 0.5, ["three numbers"]),
            ("std", "1,1,1,1", ["three numbers"]),
            ("std", "1,0,1", ["three numbers above 0"]),
            ("std", "inf,1,1", ["three numbers"]),
            ("workers", "0", ["N, or MIN:MAX"]),
            ("workers", "3:2", ["N, or MIN:MAX", "MIN <= MAX"]),
            ("workers", "x", ["N, or MIN:MAX"]),
            ("workers", "2:", ["N, or MIN:MAX"]),
            ("workers", "٣", ["N, or MIN:MAX"]),
            ("workers", "99999999999999999999", ["MAX <= 10000"]),
            ("workers", "1:10001", ["MAX <= 10000"]),
            ("gpus-per-worker", "2", ["0, or from 0.01 to 1", "uses one GPU"]),
            ("gpus-per-worker", "-1", ["0, or from 0.01 to 1"]),
            ("gpus-per-worker", "1e-9", ["0, or from 0.01 to 1"]),
            ("gpus-per-worker", "nan", ["finite"]),
            ("deadline", "99999999h", ["can be 10000h at most"]),
            ("overwrite", "maybe", ["boolean"]),
        ],
    )
    def test_a_wrong_value_gives_one_line_that_names_flag_value_and_what_there_is(self, flag, value, says):
        message = refusal(NEEDED | {flag: value})
        assert message.startswith(f"--{flag} {value}: ")
        assert "\n" not in message
        assert [text for text in says if text not in message] == []

    def test_the_wrong_one_among_several_methods_is_named(self):
        assert refusal(NEEDED | {"method": ("grad-cam", "gradcam")}).startswith("--method gradcam: no such method")

    @pytest.mark.parametrize("other", ["steps", "rule"])
    def test_a_tolerance_leaves_no_nodes_to_choose(self, other, yaml_file):
        value = {"steps": 20, "rule": "trapezoid"}[other]
        says = f"--tolerance 0.1: chooses the nodes itself; leave --{other} {value} out"
        assert refusal(NEEDED | {"tolerance": 0.1, other: value}) == says
        with pytest.raises(InputError, match="chooses the nodes itself"):
            load_config(NEEDED | {"tolerance": 0.1}, yaml_file(f"{other}: {value}\n"))

    @pytest.mark.parametrize("missing", ["input", "output"])
    def test_a_missing_argument_is_named(self, missing):
        assert refusal({name: value for name, value in NEEDED.items() if name != missing}) == (
            f"{missing.upper()}: is required"
        )

    def test_a_missing_model_is_named_with_what_there_is(self):
        message = refusal({"input": "a", "output": "b"})
        assert message.startswith("--model: is required")
        assert "torchvision:NAME, timm:NAME, torchray:NAME, package.module:factory" in message

    @pytest.mark.parametrize("argument", ["input", "output"])
    def test_an_empty_place_is_not_the_working_directory(self, argument):
        assert refusal(NEEDED | {argument: ""}).startswith(argument.upper())

    @pytest.mark.parametrize("rule", ["trapezoid", "gauss-lobatto"])
    def test_a_closed_rule_needs_two_nodes(self, rule):
        message = refusal(NEEDED | {"rule": rule, "steps": "1"})
        assert message.startswith("--steps 1: ")
        assert f"--rule {rule}" in message
        assert config(rule=rule, steps=2).steps == 2

    @pytest.mark.parametrize("rule", ["riemann", "gauss-legendre"])
    def test_an_open_rule_takes_one_node(self, rule):
        assert config(rule=rule, steps=1).steps == 1


class TestClassMap:
    @pytest.mark.parametrize(
        ("name", "text"),
        [("map.json", '{"cat": 281, "dog": "beagle"}'), ("map.yaml", "cat: 281\ndog: beagle\n")],
    )
    def test_is_read_from_json_and_from_yaml(self, tmp_path, name, text):
        (tmp_path / name).write_text(text)
        assert config(class_map=str(tmp_path / name)).class_map == {"cat": 281, "dog": "beagle"}

    def test_names_stay_as_they_are_written(self, tmp_path):
        (tmp_path / "map.yaml").write_text("no: 1\n007: 2\n1_0: 3\nnull: 4\n1:30: 5\n")
        assert config(class_map=str(tmp_path / "map.yaml")).class_map == {
            "no": 1,
            "007": 2,
            "1_0": 3,
            "null": 4,
            "1:30": 5,
        }

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (None, "No such file or directory"),
            ("[281, 282]", "must hold values by name"),
            ("cat: [281", "neither YAML nor JSON"),
            ("cat: 281.5", "must map each class name to an index, a name, or null"),
            ("cat: yes", "must map each class name to an index, a name, or null"),
        ],
    )
    def test_a_file_that_is_none_is_refused_in_one_line(self, tmp_path, text, reason):
        path = tmp_path / "map.yaml"
        if text is not None:
            path.write_text(text)
        message = refusal(NEEDED | {"class-map": str(path)})
        assert message.startswith(f"--class-map {path}: ")
        assert reason in message
        assert "\n" not in message

    def test_bytes_that_are_no_text_are_refused(self, tmp_path):
        (tmp_path / "map.yaml").write_bytes(b"\xff\xfe\x00\x81")
        assert "neither YAML nor JSON" in refusal(NEEDED | {"class-map": str(tmp_path / "map.yaml")})

    def test_null_leaves_a_class_out(self, tmp_path):
        (tmp_path / "map.yaml").write_text("cat: 281\ndog: null\ncow:\n")
        assert config(class_map=str(tmp_path / "map.yaml")).class_map == {"cat": 281, "dog": None, "cow": None}

    @pytest.mark.parametrize("name", ["imagenet", "voc", "coco"])
    def test_a_known_dataset_needs_no_file(self, name, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert config(class_map=name).class_map == name

    @pytest.mark.parametrize("target", ["yes", "281.5", "[1]"])
    def test_in_a_settings_file_it_is_held_to_the_same(self, yaml_file, target):
        message = refusal(NEEDED, yaml_file(f"class-map: {{cat: {target}}}\n"))
        assert "must map each class name to an index, a name, or null" in message

    def test_what_the_file_held_when_the_audit_began_travels_with_the_settings(self, tmp_path):
        path = tmp_path / "map.yaml"
        path.write_text("cat: 281\n")
        sent = config(class_map=str(path)).model_dump_json(by_alias=True)
        path.unlink()
        assert AuditConfig.model_validate_json(sent).class_map == {"cat": 281}


class TestTarget:
    @pytest.mark.parametrize(
        ("text", "target", "needs_labels"),
        [
            ("predicted", Target("predicted"), False),
            ("label", Target("label"), True),
            ("labels", Target("labels"), True),
            ("top-1", Target("top", count=1), False),
            ("top-12", Target("top", count=12), False),
            ("class:0", Target("class", classes=(0,)), False),
            ("class:281,5", Target("class", classes=(281, 5)), False),
            ("class:281,5,281", Target("class", classes=(281, 5)), False),
        ],
    )
    def test_parses(self, text, target, needs_labels):
        assert config(target=text).targets == target
        assert config(target=text).targets.needs_labels is needs_labels

    @pytest.mark.parametrize(
        "text", ["", "top", "top-", "top-0", "top-1.5", "top--1", "class:", "class:-1", "class:a", "class:1,", "Label"]
    )
    def test_anything_else_is_refused(self, text):
        with pytest.raises(ValueError, match="no such target"):
            Target.parse(text)


class TestWorkers:
    @pytest.mark.parametrize(
        ("value", "bounds"), [("3", (3, 3)), (3, (3, 3)), ("2:8", (2, 8)), ("4:4", (4, 4)), (None, None)]
    )
    def test_are_a_number_or_a_range(self, value, bounds):
        assert config(workers=value).worker_range == bounds


ANOTHER: dict[str, Any] = {
    "input": "other",
    "layout": "voc",
    "model": "timm:resnet18",
    "weights": "none",
    "layer": "layer3",
    "method": ("grad-cam",),
    "steps": 49,
    "rule": "trapezoid",
    "baseline": ("white", "blur"),
    "score": "probability",
    "confidence": "sigmoid",
    "target": "top-2",
    "metric": ("drop",),
    "input-size": 320,
    "resize": "crop",
    "mean": "0,0,0",
    "std": "1,1,1",
    "class-map": {"cat": 281},
    "max-pixels": 1000,
    "image-set": "2007/test",
    "objects": "masks",
    "difficult": "drop",
    "kept-share": 0.2,
    "fill": "blur:3",
    "insertion-start": "black",
    "curve-steps": 16,
    "pointing-tolerance": 0,
    "shift": 2,
    "resize-size": 400,
    "interpolation": "bicubic",
    "channel-order": "bgr",
    "pixel-range": "255",
    "precision": "bf16",
    "heatmap-dtype": "float16",
    "shard-size": 5,
    "limit": 10,
    "follow-links": True,
}
# These two do not go with those above: each stands with what it needs.
ANOTHER_ALONE: dict[str, dict[str, Any]] = {
    "tolerance": {"tolerance": 0.1},
    "map-size": {"map-size": 56, "method": ("integrated-gradients",)},
}
HOW_FAST_OR_WHERE: dict[str, Any] = {
    "output": "other",
    "batch-size": 3,
    "workers": "7",
    "gpus-per-worker": 0.5,
    "overwrite": True,
    "fail-on-error": True,
    "retry-failures": True,
    "decode-timeout": 5,
    "decode-cpus": 5,
    "deadline": 60.0,
    "startup-timeout": 5,
}


class TestFingerprint:
    def test_every_setting_is_one_or_the_other(self):
        assert ANOTHER.keys() | ANOTHER_ALONE.keys() | HOW_FAST_OR_WHERE.keys() == {
            name.replace("_", "-") for name in AuditConfig.model_fields
        }
        assert not ANOTHER.keys() & HOW_FAST_OR_WHERE.keys()

    @pytest.mark.parametrize("name", ANOTHER)
    def test_changes_with_what_decides_the_tables(self, name):
        assert config(**{name: ANOTHER[name]}).result_settings() != config().result_settings()

    @pytest.mark.parametrize("name", ANOTHER_ALONE)
    def test_changes_with_what_decides_the_tables_and_stands_alone(self, name):
        settings = ANOTHER_ALONE[name]
        without = {other: value for other, value in settings.items() if other != name}
        assert config(**settings).result_settings() != config(**without).result_settings()

    @pytest.mark.parametrize("name", HOW_FAST_OR_WHERE)
    def test_does_not_change_with_how_fast_or_where_it_runs(self, name):
        assert config(**{name: HOW_FAST_OR_WHERE[name]}).result_settings() == config().result_settings()

    def test_is_the_same_for_a_default_that_is_written_out(self):
        assert config(steps="50", rule="riemann").result_settings() == config().result_settings()


class TestJson:
    def test_settings_come_back_from_json_as_they_were(self):
        everything = load_config(NEEDED | ANOTHER | HOW_FAST_OR_WHERE)
        again = AuditConfig.model_validate_json(everything.model_dump_json(by_alias=True))
        assert again == everything
        assert again.result_settings() == everything.result_settings()

    def test_result_settings_are_plain_json_by_flag_name(self):
        settings = load_config(NEEDED | ANOTHER).result_settings()
        assert settings == json.loads(json.dumps(settings))
        assert settings.keys() == ANOTHER.keys() | ANOTHER_ALONE.keys()

    def test_settings_cannot_be_changed(self):
        with pytest.raises(ValueError, match="frozen"):
            config().steps = 3


@pytest.mark.parametrize(
    ("text", "share"), [("1", 1), ("0", 0), ("0.5", 0.5), ("0.33333", 0.3333), ("0.29", 0.29), (0.2999, 0.2999)]
)
def test_a_part_of_a_gpu_is_brought_to_what_ray_counts_by(text: str | float, share: float) -> None:
    found = config(gpus_per_worker=text)
    assert found.gpus_per_worker == share
    assert AuditConfig.model_validate_json(found.model_dump_json(by_alias=True)) == found


@pytest.mark.parametrize("digits", [5, 6, 16])
def test_as_many_share_a_gpu_as_were_meant_to(digits: int) -> None:
    """Ray counts by ten-thousandths: of three that have 0.3334 each one would wait for ever."""
    for count in range(1, 101):
        share = config(gpus_per_worker=math.floor(10**digits / count) / 10**digits).gpus_per_worker
        assert share is not None
        assert count * round(10_000 * share) <= 10_000


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("8h", 28_800), ("90m", 5_400), ("2h30m", 9_000), ("45s", 45), ("1.5h", 5_400), ("1H", 3_600), (3600, 3_600)],
)
def test_a_deadline_is_a_duration(text: str | int, seconds: float) -> None:
    found = config(deadline=text)
    assert found.deadline == seconds
    assert "deadline" not in found.result_settings()
    assert AuditConfig.model_validate_json(found.model_dump_json(by_alias=True)) == found


@pytest.mark.parametrize("text", ["tomorrow", "8", "", "h", "-1h", "0h", "8h30", "1h1h", "inf"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"--deadline .*(must be a duration, as 8h, 90m or 2h30m|longer than 0)"):
        config(deadline=text)
