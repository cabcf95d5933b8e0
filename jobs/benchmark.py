"""Measure the engine in one run on one machine: `python jobs/benchmark.py engine`, `memory` or `rules`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import click
from benchmarks.engine import engine
from benchmarks.memory import memory
from benchmarks.rules import rules


@click.group()
def main() -> None:
    """Benchmarks of igcam-batch: its speed, its memory, and what each quadrature rule gives for its price."""


main.add_command(engine)
main.add_command(memory)
main.add_command(rules)

if __name__ == "__main__":
    main()
