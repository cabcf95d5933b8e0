"""What `igcam-batch plan` prints."""

from collections.abc import Iterator

from igcam_batch.audit.estimate import Estimate, Sample, decoding_cpus, seconds, size_of_tables
from igcam_batch.config import AuditConfig
from igcam_batch.words import amount_in_words, duration_in_words, size_in_words


def lines_of(config: AuditConfig, found: Estimate, price: float | None) -> Iterator[str]:
    """The lines for a person.

    Args:
        config: the settings.
        found: what came out.
        price: of a worker for an hour, if it is known.
    """
    shards = amount_in_words(found.shards, "shard")
    yield f"{amount_in_words(found.images, 'image')} in {shards} of {found.shard_size:,}, --layout {found.layout}"
    if found.remaining < found.images:
        yield f"{config.output} holds this run; {found.remaining:,} of the images remain"
    along = f"--tolerance {config.tolerance:g}" if config.tolerance else f"--rule {config.rule} --steps {config.steps}"
    precision = "fp32" if config.precision == "tf32" and not found.replicas.gpus else config.precision  # on CPUs
    yield f"{config.model}, layer {found.layer}: {', '.join(config.method)}, {along}, {precision}"
    if found.sample is None:
        yield f"{found.replicas}; nothing was explained"
    else:
        yield from _of_sample(found, found.sample, price)
    if found.replicas.gpus and (config.decode_cpus or 0) > found.cpus:
        there = amount_in_words(found.cpus, "CPU")
        yield f"--decode-cpus {config.decode_cpus}: the cluster has {there} now, and uses no more unless nodes join"


def _of_sample(found: Estimate, sample: Sample, price: float | None) -> Iterator[str]:
    if sample.failed == sample.images:
        yield f"none of the {amount_in_words(sample.images, 'image')} tried could be explained: {sample.reason}"
        return
    failed = f", {sample.failed} of which failed ({sample.reason})" if sample.failed else ""
    yield (
        f"measured on {amount_in_words(sample.images, 'image')}{failed}: {_pace(sample.explaining)} on a worker, "
        f"{_pace(sample.decoding)} decoded on a CPU"
    )
    replicas = found.replicas
    some = dict.fromkeys((replicas.most, replicas.least))  # the same, mostly
    lasting = " to ".join(duration_in_words(seconds(sample, found.remaining, count)) for count in some)
    hours = found.remaining * sample.explaining / 3600
    yield f"{replicas}: about {lasting}; {hours:.3g} worker-hours"
    if price is not None:
        cost = price * hours
        yield f"at {price:g} for a worker-hour: about {cost:{'.2f' if cost >= 1 else '.2g'}}"
    yield f"tables: about {size_in_words(size_of_tables(sample, found.remaining, found.shard_size))}"
    needed = decoding_cpus(sample, replicas.most)
    if replicas.gpus and needed > replicas.decoders:
        yield (
            f"decoding would need {needed} CPUs to keep up with them, and has {replicas.decoders}; of a cluster that "
            f"grows, --decode-cpus {needed} asks for them"
        )


def _pace(of_each: float) -> str:
    """Seconds for an image, or images per second."""
    return f"{of_each:.2f} s an image" if of_each >= 0.5 else f"{1 / max(of_each, 1e-9):.1f} images/s"
