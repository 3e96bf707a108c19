"""`python -m bench.estimation` prints the accuracy of the estimates as Markdown; `--train` trains the weights."""

from __future__ import annotations

import argparse

import torch

from . import table, training


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.estimation", description=__doc__)
    parser.add_argument("--train", action="store_true", help="first sample and degrade faces, and train on them")
    parser.add_argument("--cases", type=int, default=800, help="number of degraded portraits in the table")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.train:
        training.main()
    print(table.table(list(table.evaluated(chosen.cases))))


if __name__ == "__main__":
    main()
