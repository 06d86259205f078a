"""Times a study on a Dask cluster of this machine, and computes from the parts what a larger one would cost.

    python bench/cluster.py                     # two local workers, one thread each

A task trains and evaluates one network. Its overhead is what a task costs beyond its work: sending it and bringing its
files back. The costing of many networks on many GPUs follows from measured parts by the formula that is printed.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import pandas as pd
import torch
from distributed import Client, LocalCluster

from lpie.engine.cluster import train_on
from lpie.study.settings import Lists, Photographs, Profile, Schedule
from lpie.study.study_file import find_profile

RUNS = Path(__file__).parents[1] / "results" / "published" / "runs.csv"
"""Networks that one H200 trained, several at once; `seconds` is each one's share, without evaluation."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=60, help="of each network")
    parser.add_argument("--networks", type=int, default=1000, help="of the costing")
    parser.add_argument("--gpus", type=int, default=64, help="of the costing")
    seconds = float(pd.read_csv(RUNS)["seconds"].mean())
    parser.add_argument("--seconds", type=float, default=seconds, help="of one network on one GPU; published mean")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("distributed").setLevel(logging.ERROR)
    say(f"four networks of {options.steps} steps with 1 worker ...")
    alone = train_with(1, profile(options.steps))
    say(f"took {alone[0]:.0f} s; the same with {options.workers} workers ...")
    together = train_with(options.workers, profile(options.steps))
    say(f"took {together[0]:.0f} s; tasks that do nothing ...")
    overhead, start = per_task(), alone[1]
    print(f"{torch.get_num_threads()} thread a worker, networks of {options.steps} steps")
    print(f"1 worker {alone[0]:.1f} s, {options.workers} workers {together[0]:.1f} s", end=": ")
    print(f"efficiency {alone[0] / together[0] / options.workers:.2f}")
    print(f"overhead {1e3 * overhead:.0f} ms a task; a worker's start {start:.1f} s")
    rounds = math.ceil(options.networks / options.gpus)
    seconds = start + rounds * options.seconds + options.networks * overhead
    print(f"{options.networks} networks of {options.seconds:.0f} s on {options.gpus} GPUs:")
    print(
        "  start + ceil(networks / GPUs) x seconds of a network + networks x overhead, which one scheduler bears alone"
    )
    print(
        f"  {start:.0f} + {rounds} x {options.seconds:.0f} + {options.networks} x {overhead:.3f} = {seconds:.0f} s,",
        end=" ",
    )
    used = options.networks * options.seconds
    print(f"{seconds * options.gpus / 3600:.1f} GPU-hours, {used / seconds / options.gpus:.0%} of them at work")


def say(progress: str) -> None:
    """Where it stands, beside the result."""
    print(progress, file=sys.stderr, flush=True)


def profile(steps: int) -> Profile:
    """Four networks of one size that differ in seed, and hardly any evaluation."""
    split = Lists(("astronaut", "chelsea"), ("coffee",), ("china",))
    return replace(
        find_profile("smoke"),
        operators=("tone",),
        fidelities=("l2",),
        critics=(),
        gammas=(),
        judges=(),
        seeds=(0, 1, 2, 3),
        photographs=(Photographs(set="demo", split=split),),
        schedule=Schedule(steps=steps, batch=2, sides=(176,), checkpoint_every=steps, validate_every=steps),
    )


def train_with(workers: int, study: Profile) -> tuple[float, float]:
    """Seconds that four networks take once workers are warm, and that their start and imports took."""
    began = time.perf_counter()
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
        TemporaryDirectory() as folder,
    ):
        client.run(_warm_up)
        start = time.perf_counter() - began
        train_on(cluster.scheduler_address, replace(study, seeds=(8, 9)), Path(folder), threads=1)  # makes scenes too
        began = time.perf_counter()
        train_on(cluster.scheduler_address, study, Path(folder), threads=1)
        return time.perf_counter() - began, start


def per_task(count: int = 200) -> float:
    """Seconds a task that does nothing takes, of many sent at once: what the scheduler bears."""
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        times = []
        for _ in range(3):
            began = time.perf_counter()
            client.gather([client.submit(_nothing, bytes(10_000), pure=False) for _ in range(count)])
            times.append((time.perf_counter() - began) / count)
    return median(times)


def _warm_up() -> None:
    from lpie.judges import available_references
    from lpie.judges.full_reference import cvvdp

    torch.set_num_threads(1)
    if "cvvdp" in available_references():
        cvvdp(torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64))


def _nothing(content: bytes) -> bytes:
    return content


if __name__ == "__main__":
    main()
