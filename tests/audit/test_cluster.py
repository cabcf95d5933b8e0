"""What replicas are planned on which nodes.

The nodes are only told of; `test_kills.py` and `jobs/test_submit.py` have real ones.
"""

from collections.abc import Callable

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from igcam_batch.audit.cluster import Replicas, connect, plan_replicas, that_fit
from igcam_batch.config import load_config
from igcam_batch.errors import InputError

Nodes = Callable[..., None]


def plan(**settings: object) -> Replicas:
    return plan_replicas(load_config({"input": "in", "output": "out", "model": "torchvision:resnet18"} | settings))


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    """Have a cluster of these nodes: `nodes({"CPU": 8}, {"CPU": 8, "GPU": 2})`."""

    def there(*resources: dict[str, float]) -> None:
        monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": each} for each in resources])

    return there


def test_every_gpu_has_a_replica(nodes: Nodes) -> None:
    nodes({"CPU": 4.0}, {"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 3.0})
    replicas = plan()
    assert (replicas.least, replicas.most, replicas.gpus, replicas.cpus) == (5, 5, 1.0, 0)
    assert str(replicas) == "5 workers, 1 GPU each"


def test_every_cpu_beside_gpus_decodes_and_those_that_come_with_further_gpus(nodes: Nodes) -> None:
    nodes({"CPU": 4.0}, {"CPU": 8.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 2.0})
    assert plan().decoders == 20
    assert plan(workers="1:10").decoders == 20 + 6 * 4
    assert plan(workers="1:10", gpus_per_worker=0.5).decoders == 20 + 1 * 4
    assert plan(workers=1).decoders == 20  # no node more is asked for than for the GPUs themselves
    assert plan(workers=1, decode_cpus=64).decoders == 64
    nodes({"CPU": 0.5, "GPU": 1.0})
    assert plan().decoders == 1


def test_gpus_without_any_cpu_to_decode_beside_are_refused(nodes: Nodes) -> None:
    nodes({"CPU": 0.0, "GPU": 2.0})
    with pytest.raises(InputError, match=r"^the cluster has 2 GPUs and no CPU, which decoding needs; start a node"):
        plan()


def test_gpus_that_are_not_there_are_refused_with_what_there_is(nodes: Nodes) -> None:
    nodes({"CPU": 8.0, "GPU": 2.0})
    with pytest.raises(InputError, match=r"--workers 3: needs 3 GPUs; the cluster has 2 GPUs on 1 node and 8 CPUs"):
        plan(workers=3)


def test_a_node_of_cpus_has_one_replica_of_at_most_eight_threads_for_each_eight(nodes: Nodes) -> None:
    nodes({"CPU": 2.0}, {"CPU": 2.0})
    assert (plan().least, plan().threads) == (2, 2)
    nodes({"CPU": 32.0})
    assert (plan().least, plan().threads) == (4, 8)


def test_more_workers_than_cpus_can_share_are_refused_with_how_many_can(nodes: Nodes) -> None:
    nodes({"CPU": 2.0})
    with pytest.raises(InputError, match=r"--workers 8: the cluster has 2 CPUs; 7 at most"):
        plan(workers=8)
    assert plan(workers=7).least == 7


@given(st.integers(1, 128), st.integers(1, 128))
def test_a_node_that_is_full_of_replicas_still_decodes(cpus: int, workers: int) -> None:
    """As where the replicas of a lost node are started on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": float(cpus)}}])
        try:
            replicas = plan(workers=workers)
        except InputError:
            return
        full = cpus // replicas.cpus
        assert full >= workers
        assert cpus - full * replicas.cpus >= replicas.decode_cpus - 1e-9


def test_a_cluster_that_lost_nodes_is_asked_for_what_it_can_carry(nodes: Nodes) -> None:
    nodes(*[{"CPU": 8.0, "GPU": 2.0}] * 3)
    replicas = plan(workers=6)
    nodes({"CPU": 8.0, "GPU": 2.0})
    assert that_fit(replicas, 100).least == 2
    nodes({"CPU": 8.0})
    assert that_fit(replicas, 100).least == 1  # waits for a GPU, which a cluster that grows brings


def test_few_pieces_need_few_replicas(nodes: Nodes) -> None:
    nodes(*[{"CPU": 8.0, "GPU": 2.0}] * 3)
    few = that_fit(plan(), 2)
    assert (few.least, few.most) == (2, 2)


def test_a_gpu_is_shared_by_replicas_that_take_a_part_of_it(nodes: Nodes) -> None:
    nodes({"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 2.0})
    replicas = plan(gpus_per_worker=0.5)
    assert (replicas.least, replicas.most, replicas.gpus) == (6, 6, 0.5)
    assert str(replicas) == "6 workers, 0.5 GPUs each"
    assert plan(workers="2:4", gpus_per_worker=0.5).most == 4


def test_a_gpu_is_shared_only_by_as_many_as_fit_on_it_alone(nodes: Nodes) -> None:
    nodes({"CPU": 8.0, "GPU": 2.0})
    assert plan(gpus_per_worker=0.4).most == 4  # not five, of which one would take from both
    assert that_fit(plan(gpus_per_worker=0.4), 100).least == 4


@pytest.mark.parametrize(
    ("cpus", "replicas", "threads"),
    [
        ([2, 64], 8, 8),  # the small one decodes
        ([4, 4, 8], 4, 4),
        ([12], 2, 6),
        ([7], 1, 7),
        ([16, 16], 4, 8),
        ([1], 1, 1),
    ],
)
def test_replicas_on_unequal_nodes_leave_few_cpus_idle(
    nodes: Nodes, cpus: list[int], replicas: int, threads: int
) -> None:
    nodes(*({"CPU": float(count)} for count in cpus))
    planned = plan()
    assert (planned.least, planned.most, planned.threads) == (replicas, replicas, threads)
    assert that_fit(planned, 1000).least == replicas


def test_a_range_on_cpus_begins_with_what_is_there_and_may_find_room_on_nodes_that_join(nodes: Nodes) -> None:
    nodes({"CPU": 2.0})
    planned = plan(workers="1:64")
    assert (planned.least, planned.most, planned.threads) == (1, 64, 2)
    nodes({"CPU": 16.0})
    assert (plan(workers="4:64").threads, plan(workers="1:1").threads) == (4, 8)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ValueError("Malformed address: 127.0.0.1"),
            r"RAY_ADDRESS is none that Ray knows \(Malformed .*\); RAY",
        ),
        (Exception("The current node timed out"), r"Ray could not be started or joined \(Exception: The current .*\)$"),
    ],
)
def test_what_keeps_ray_from_starting_is_told_in_a_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def init(**_: object) -> None:
        raise error

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(InputError, match=said):
        connect()
