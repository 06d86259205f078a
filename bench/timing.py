"""Times forms of the same work against each other, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

T = TypeVar("T")

WARM_UP = 3  # rounds that are not counted


def in_turns(forms: Mapping[str, Callable[[], object]], device: torch.device, repeats: int) -> dict[str, float]:
    """Median milliseconds of each form over `repeats` rounds, every form once a round."""
    times: dict[str, list[float]] = {name: [] for name in forms}
    for turn in range(repeats + WARM_UP):
        for name, run in forms.items():
            if device.type == "cuda":
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                torch.cuda.synchronize()
                start.record()
                run()
                end.record()
                torch.cuda.synchronize()
                passed = start.elapsed_time(end)
            else:
                began = time.perf_counter()
                run()
                passed = (time.perf_counter() - began) * 1e3
            if turn >= WARM_UP:
                times[name].append(passed)
    return {name: statistics.median(each) for name, each in times.items()}


def table(work: str, times: Mapping[str, float], notes: Mapping[str, str]) -> list[str]:
    """One line a form: its time, how often it is as fast as the first, and its note."""
    first = next(iter(times.values()))
    return [work] + [
        f"  {name:40s} {ms:9.2f} ms {first / ms:7.1f}x  {notes.get(name, '')}" for name, ms in times.items()
    ]


def captured(run: Callable[[], T]) -> Callable[[], T]:
    """`run` as a CUDA graph; gives what `run` gave, renewed at each replay."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        result = run()

    def replay() -> T:
        graph.replay()
        return result

    return replay
