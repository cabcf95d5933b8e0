"""rayjob.yaml against Kubernetes' schema of a pod and the fields KubeRay knows; grafana.json against our series."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from igcam_batch.audit.metrics import SERIES
from igcam_batch.cli.main import commands
from igcam_batch.cli.options import given
from igcam_batch.config import load_config

JOBS = Path(__file__).parents[2] / "jobs"
KUBERNETES = "1.31"
# the fields of ray.io/v1, of which a resource that names another one is refused
RAY_JOB = """entrypoint shutdownAfterJobFinishes ttlSecondsAfterFinished backoffLimit rayClusterSpec submissionMode
    suspend activeDeadlineSeconds runtimeEnvYAML metadata jobId clusterSelector submitterPodTemplate submitterConfig
    managedBy deletionStrategy entrypointNumCpus entrypointNumGpus entrypointResources"""
CLUSTER = """rayVersion authOptions enableInTreeAutoscaling autoscalerOptions headGroupSpec workerGroupSpecs suspend
    managedBy headServiceAnnotations gcsFaultToleranceOptions upgradeStrategy networkPolicy"""
HEAD = "rayStartParams template serviceType headService enableIngress resources labels"
WORKERS = f"{HEAD} groupName replicas minReplicas maxReplicas numOfHosts idleTimeoutSeconds scaleStrategy suspend"


@pytest.fixture
def job() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((JOBS / "rayjob.yaml").read_text())
    return found


def test_every_field_is_one_that_kuberay_knows(job: dict[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    for fields, known in (
        (spec, RAY_JOB),
        (cluster, CLUSTER),
        (cluster["headGroupSpec"], HEAD),
        *((group, WORKERS) for group in cluster["workerGroupSpecs"]),
    ):
        assert not fields.keys() - set(known.split())


def test_every_pod_is_one_that_kubernetes_takes(job: dict[str, Any]) -> None:
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        pod["spec"] = pod["spec"] | {"volumeMount": []}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_its_entrypoint_is_an_audit_that_the_command_line_takes(job: dict[str, Any]) -> None:
    program, name, *arguments = shlex.split(job["spec"]["entrypoint"])
    assert (program, name) == ("igcam-batch", "audit")
    flags = commands.commands["audit"].make_context("audit", arguments).params
    flags.pop("config")
    config = load_config(given(flags))
    assert config.worker_range == (1, job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplicas"])


def test_the_dashboard_draws_every_series_and_no_other() -> None:
    dashboard = json.loads((JOBS / "grafana.json").read_text())
    drawn = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    assert set(re.findall(r"ray_igcam_\w+", drawn)) == set(SERIES)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
