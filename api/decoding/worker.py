"""The decoding process: does jobs, one after the other, until its server has gone.

Started by ``api.decoding.process`` as ``python -m api.decoding.worker``, with the number of its
socket, the bytes of memory it may use, and the server's process id.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
import sys
import warnings

from api.decoding import frames, pictures
from api.decoding.job import Job, PictureFault

_PR_SET_PDEATHSIG = 1


def main() -> None:
    descriptor, memory, server = map(int, sys.argv[1:])
    _protect(memory, server)
    # Pillow's remarks about broken files are the clients' business.
    warnings.simplefilter("ignore")
    with socket.socket(fileno=descriptor) as channel:
        frames.send(channel, [frames.header({"ready": True})])
        while (head := frames.receive(channel)) is not None:
            _serve(channel, Job.from_json(json.loads(head)))


def _serve(channel: socket.socket, job: Job) -> None:
    files = [frames.receive(channel) or b""]
    if job.mask is not None:
        files.append(frames.receive(channel) or b"")

    def begin(field: str) -> None:
        frames.send(channel, [frames.header({"begins": field})])

    try:
        decoded = pictures.run(job, files, begin)
    except PictureFault as fault:
        content = {"code": fault.code, "field": fault.field, "template": fault.template}
        frames.send(channel, [frames.header({"fault": content})])
        return
    result = {"width": decoded.width, "height": decoded.height}
    mask = [] if decoded.mask is None else [decoded.mask]
    frames.send(channel, [frames.header({"result": result}), decoded.picture, *mask])


def _protect(memory: int, server: int) -> None:
    """Bound the memory, leave the shutdown to the server, and end with it, however it ends."""
    # A Ctrl-C, and what supervisors send, reach the whole group: jobs in progress go on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        sys.exit()


if __name__ == "__main__":
    main()
