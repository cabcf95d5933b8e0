"""How large a shard is where nobody says."""

import pytest

from igcam_batch.audit.cluster import Replicas
from igcam_batch.audit.planning import size_of_shards
from igcam_batch.config import load_config
from igcam_batch.errors import InputError
from igcam_batch.models import LoadedModel, load_model


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(load_config({"input": "in", "output": "out", "model": "factories:small_cnn", "input-size": 224}))


@pytest.mark.parametrize(
    ("images", "replicas", "gpus", "size"),
    [
        (3, 8, 1, 1),  # all take part
        (4_952, 8, 1, 155),  # four shards for each
        (50_000, 8, 1, 256),
        (1_281_167, 8, 1, 1024),  # many: fewer and larger
        (10_000_000, 64, 1, 1024),
        (37, 1, 0, 10),
        (50_000, 1, 0, 128),
    ],
)
def test_many_images_have_larger_shards_and_few_are_shared_out(
    model: LoadedModel, images: int, replicas: int, gpus: float, size: int
) -> None:
    config = load_config({"input": "in", "output": "out", "model": "factories:small_cnn", "input-size": 224})
    some = Replicas(replicas, replicas, gpus, cpus=0, threads=None, decode_cpus=1, decoders=1)
    assert size_of_shards(config, model, images, some) == size


def test_a_shard_that_is_asked_for_is_taken_unless_ray_cannot_carry_it(model: LoadedModel) -> None:
    settings = {"input": "in", "output": "out", "model": "factories:small_cnn", "input-size": 224}
    some = Replicas(1, 1, 1, cpus=0, threads=None, decode_cpus=1, decoders=1)
    assert size_of_shards(load_config(settings | {"shard-size": 5}), model, 10**6, some) == 5
    with pytest.raises(InputError, match=r"--shard-size 90000: at 224 pixels a side it can be 7133 at most"):
        size_of_shards(load_config(settings | {"shard-size": 90_000}), model, 10**6, some)
