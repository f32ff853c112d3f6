"""The Hugging Face hub: what a repository holds, and its files, resumed where they stopped.

The requests, tokens and errors are those of ``huggingface_hub``. Only the writing of a file is
done here: the library starts a file of several gigabytes again when its process was killed.
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

from models.errors import DownloadError, GatedModel, NotEnoughDisk
from models.sources import HuggingFaceSource
from models.store import sha256_of

CHUNK = 1024 * 1024
RETRIES = 5
LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token of your account"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository. ``size`` in bytes; ``sha256`` only for files kept in LFS."""

    path: str
    size: int
    blob_id: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A repository at one commit."""

    repo: str
    commit: str
    files: tuple[HubFile, ...]


class Hub:
    """One hub; by default that of ``HF_ENDPOINT``, with the token of ``HF_TOKEN`` or the login."""

    def __init__(self, endpoint: str | None = None) -> None:
        self.endpoint = endpoint or constants.ENDPOINT

    def snapshot(self, source: HuggingFaceSource) -> Snapshot:
        """List a repository. Raises DownloadError, or GatedModel where a token is needed."""
        with self._explained(source):
            info = HfApi(endpoint=self.endpoint).model_info(
                source.repo, revision=source.revision, files_metadata=True
            )
        if info.sha is None:
            raise DownloadError(f"{self.endpoint} names no commit of {source.repo}.")
        files = tuple(
            HubFile(
                path=sibling.rfilename,
                size=sibling.size or 0,
                blob_id=sibling.blob_id or "",
                sha256=sibling.lfs.sha256 if sibling.lfs is not None else None,
            )
            for sibling in info.siblings or ()
        )
        return Snapshot(repo=source.repo, commit=info.sha, files=files)

    def fetch(
        self,
        source: HuggingFaceSource,
        snapshot: Snapshot,
        file: HubFile,
        folder: Path,
        progress: Callable[[int], object],
    ) -> None:
        """Bring ``file`` to its place below ``folder``, unless it is there.

        It grows under the suffix ``.part``, a part that is already there is continued, and it is
        renamed once its hash is right: a file under its own name is whole.

        Args:
            progress: called with the number of bytes that were gained, also those found on disk.
        """
        target = folder / file.path
        if target.exists():
            progress(file.size)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")
        url = hf_hub_url(snapshot.repo, file.path, revision=snapshot.commit, endpoint=self.endpoint)
        with self._explained(source):
            _grow(part, file, url, progress)
        if not _is_intact(part, file):
            part.unlink()
            raise DownloadError(
                f"{file.path} of {snapshot.repo} arrived damaged and was dropped; run the "
                "command again."
            )
        part.rename(target)

    @contextmanager
    def _explained(self, source: HuggingFaceSource) -> Iterator[None]:
        """Turn what ``huggingface_hub`` raises into a sentence about what to do."""
        page = f"{self.endpoint}/{source.repo}"
        try:
            yield
        except GatedRepoError as error:
            if error.response.status_code == 401:
                todo = f"accept its licence at {page} and {LOGIN}"
            else:
                todo = f"the account of your token has not accepted its licence: do so at {page}"
            raise GatedModel(
                f"{source.repo} is gated: {todo}, then run the command again."
            ) from error
        except RevisionNotFoundError as error:
            raise DownloadError(
                f"{source.repo} has no revision '{source.revision}' at {self.endpoint}."
            ) from error
        except RepositoryNotFoundError as error:
            raise DownloadError(
                f"{self.endpoint} has no repository {source.repo} that you may see. If it is "
                f"private, {LOGIN}."
            ) from error
        except HfHubHTTPError as error:
            status = error.response.status_code
            hint = f": your token is not valid; {LOGIN}" if status == 401 else ""
            raise DownloadError(
                f"{self.endpoint} answered {status} for {source.repo}{hint}."
            ) from error
        except OfflineModeIsEnabled as error:
            raise DownloadError("HF_HUB_OFFLINE is set, so nothing can be downloaded.") from error
        except httpx2.HTTPError as error:
            raise DownloadError(
                f"{self.endpoint} cannot be reached ({error}); check the network and the proxy "
                "settings, then run the command again: it continues where it stopped."
            ) from error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise NotEnoughDisk(
                    "The disk is full; free some space and run the command again: it continues "
                    "where it stopped."
                ) from error
            raise


def _grow(part: Path, file: HubFile, url: str, progress: Callable[[int], object]) -> None:
    """Append to ``part`` until it has the size of ``file``, over several requests if need be."""
    have = part.stat().st_size if part.exists() else 0
    if have > file.size:
        part.unlink()
        have = 0
    progress(have)
    failures = 0
    with part.open("ab") as stream:
        while have < file.size:
            start = have
            try:
                for chunk, position in _stream(url, start):
                    if position != have:
                        # The server ignored the range and began at the start.
                        stream.truncate(position)
                        progress(position - have)
                        have = position
                    stream.write(chunk)
                    have += len(chunk)
                    progress(len(chunk))
            except (httpx2.TransportError, httpx2.StreamError):
                failures = 0 if have > start else failures + 1
                if failures >= RETRIES:
                    raise
                time.sleep(min(2**failures, 8))
            else:
                if have == start:
                    raise httpx2.RemoteProtocolError(f"{url} ended before its announced size")


def _stream(url: str, start: int) -> Iterator[tuple[bytes, int]]:
    """The body of ``url`` from byte ``start`` on, in pieces, each with its position."""
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    # It may only repeat what is refused before the body; a body that breaks off is continued.
    with http_stream_backoff(
        "GET",
        url,
        headers=headers,
        timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
        retry_on_exceptions=(),
    ) as response:
        hf_raise_for_status(response)
        position = start if response.status_code == 206 else 0
        for chunk in response.iter_bytes(CHUNK):
            yield chunk, position
            position += len(chunk)


def _is_intact(part: Path, file: HubFile) -> bool:
    """Compare with what the hub announced: SHA-256 for LFS files, git's own hash for others."""
    if file.sha256 is not None:
        return sha256_of(part) == file.sha256
    content = part.read_bytes()
    blob = b"blob %d\0" % len(content) + content
    return hashlib.sha1(blob, usedforsecurity=False).hexdigest() == file.blob_id
