"""Data-parallel workers. On a CPU, one single-threaded process per core beats one process with
many threads, which loses most of its time at barriers as soon as another program runs."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

Job = TypeVar("Job")


@dataclass(frozen=True, slots=True)
class Worker:
    """One of `count` processes that train together; number 0 reports and writes checkpoints."""

    rank: int
    count: int
    port: int

    def start(self, device: torch.device) -> None:
        """Join the others."""
        if device.type == "cpu":
            torch.set_num_threads(max(1, torch.get_num_threads() // self.count))
            # Adam's moments fall into the denormal range, where x86 is a hundred times slower.
            torch.set_flush_denormal(True)
        if self.count > 1:
            dist.init_process_group(
                "gloo",
                init_method=f"tcp://127.0.0.1:{self.port}",
                rank=self.rank,
                world_size=self.count,
            )

    def average(self, gradients: list[torch.Tensor]) -> None:
        """Replace each gradient by its mean over the workers."""
        if self.count == 1:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.count
        parts = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def stop(self) -> None:
        """Leave the group."""
        if self.count > 1:
            dist.destroy_process_group()


def run_workers(count: int, task: Callable[[Worker, Job], None], job: Job) -> None:
    """Run a task in `count` processes, the first of which is this one."""
    port, threads = _free_port(), torch.get_num_threads()
    others = [
        mp.get_context("spawn").Process(
            target=task, args=(Worker(rank, count, port), job), daemon=True
        )
        for rank in range(1, count)
    ]
    for process in others:
        process.start()
    try:
        task(Worker(0, count, port), job)
        for process in others:
            process.join()
    finally:
        for process in others:
            process.terminate()
        torch.set_num_threads(threads)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
