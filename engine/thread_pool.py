"""A thread pool that needs nothing any more once it is there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait


def started_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """A pool whose threads all run already.

    The standard one starts them when work comes, and fails where memory for another is short by
    then, with the work both refused and in its queue.
    """
    pool = ThreadPoolExecutor(threads, name)
    all_started = threading.Barrier(threads)
    wait([pool.submit(all_started.wait) for _ in range(threads)])
    return pool
