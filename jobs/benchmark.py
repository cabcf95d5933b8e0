"""Measure on one machine, each in one run: `python jobs/benchmark.py engine`, and others."""

from package import find_package

find_package()

import click
from benchmarks.engine import engine
from benchmarks.job import job
from benchmarks.memory import memory
from benchmarks.planning import plan
from benchmarks.reporting import report
from benchmarks.rules import rules
from benchmarks.soak import soak
from benchmarks.subjects import DEVICE

from igcam_batch.worker.allocator import keep_freed_memory


@click.group()
def main() -> None:
    """Benchmarks of igcam-batch: engine, the job around it, memory, quadrature rules, planning, pages, a long run."""
    if DEVICE.type == "cpu":
        keep_freed_memory()  # as an audit's workers do; peers gain by it too


main.add_command(engine)
main.add_command(job)
main.add_command(memory)
main.add_command(plan)
main.add_command(report)
main.add_command(rules)
main.add_command(soak)

if __name__ == "__main__":
    main()
