"""What KubeRay 1.5.1 takes as a RayJob, as a JSON schema: the names and types of the fields in its API reference.

Our own words: KubeRay's own definition is no part of any package. Pods are left to Kubernetes' schemas.
"""

from typing import Any

Schema = dict[str, Any]

INT32: Schema = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
COUNT: Schema = INT32 | {"minimum": 0}
TEXT: Schema = {"type": "string"}
YES_NO: Schema = {"type": "boolean"}
NUMBER: Schema = {"type": "number"}
OBJECT: Schema = {"type": "object"}
TEXTS: Schema = {"type": "object", "additionalProperties": TEXT}


def one_of(*values: str) -> Schema:
    """One of some words."""
    return {"enum": list(values)}


def list_of(schema: Schema) -> Schema:
    """Any number of them."""
    return {"type": "array", "items": schema}


def fields(*required: str, **known: Schema) -> Schema:
    """An object of these fields and no other."""
    return {"type": "object", "properties": known, "required": list(required), "additionalProperties": False}


POD = fields("spec", metadata=OBJECT, spec=OBJECT)

AUTH = fields(mode=one_of("disabled", "token"))

AUTOSCALER = fields(
    resources=OBJECT,
    image=TEXT,
    imagePullPolicy=one_of("Always", "IfNotPresent", "Never"),
    securityContext=OBJECT,
    idleTimeoutSeconds=COUNT,
    upscalingMode=one_of("Default", "Aggressive", "Conservative"),
    version=one_of("v1", "v2"),
    env=list_of(OBJECT),
    envFrom=list_of(OBJECT),
    volumeMounts=list_of(OBJECT),
)

_GROUP: dict[str, Schema] = {"template": POD, "rayStartParams": TEXTS, "resources": TEXTS, "labels": TEXTS}

HEAD = fields(
    "template",
    **_GROUP,
    headService=OBJECT,
    enableIngress=YES_NO,
    serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"),
)

WORKERS = fields(
    "groupName",
    "maxReplicas",
    "minReplicas",
    "template",
    **_GROUP,
    groupName=TEXT,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    numOfHosts=COUNT,
    idleTimeoutSeconds=COUNT,
    suspend=YES_NO,
    scaleStrategy=fields(workersToDelete=list_of(TEXT)),
)

_MANAGER = one_of("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue")

CLUSTER = fields(
    "headGroupSpec",
    rayVersion=TEXT,
    authOptions=AUTH,
    enableInTreeAutoscaling=YES_NO,
    autoscalerOptions=AUTOSCALER,
    headGroupSpec=HEAD,
    workerGroupSpecs=list_of(WORKERS),
    headServiceAnnotations=TEXTS,
    gcsFaultToleranceOptions=OBJECT,
    upgradeStrategy=OBJECT,
    managedBy=_MANAGER,
    suspend=YES_NO,
)

JOB = fields(
    entrypoint=TEXT,
    entrypointNumCpus=NUMBER,
    entrypointNumGpus=NUMBER,
    entrypointResources=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    metadata=TEXTS,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    submitterPodTemplate=POD,
    submitterConfig=fields(backoffLimit=COUNT),
    backoffLimit=COUNT,
    activeDeadlineSeconds=COUNT | {"minimum": 1},
    shutdownAfterJobFinishes=YES_NO,
    ttlSecondsAfterFinished=COUNT,
    deletionStrategy=OBJECT,
    rayClusterSpec=CLUSTER,
    clusterSelector=TEXTS,
    managedBy=_MANAGER,
    suspend=YES_NO,
)

RAY_JOB = fields(
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    apiVersion=one_of("ray.io/v1"),
    kind=one_of("RayJob"),
    metadata=fields(
        "name",
        # the names of a job's services and pods are made of it; KubeRay refuses a longer one
        name={"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 47},
        namespace=TEXT,
        labels=TEXTS,
        annotations=TEXTS,
    ),
    spec=JOB,
)
