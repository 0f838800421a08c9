"""What a worker does for its sessions: decoders and models made, texts stored, journals restored."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from decoder_service.building import (
    Build,
    BuiltSources,
    ServedDecoder,
    build_of,
    decoder_from,
    reload_from,
    stored_tables,
)
from decoder_service.protocol import (
    ErrorCode,
    Frame,
    FrameType,
    Open,
    PayloadError,
    Reload,
    UploadPayload,
    decode_upload,
    encode_upload,
    error_frame,
)
from decoder_service.server import control
from decoder_service.server.config import WorkerConfig
from decoder_service.server.metrics import Samples, WorkerMetrics, resident_bytes
from decoder_service.store import (
    ModelLimitError,
    ModelStore,
    RestoredStream,
    StreamHead,
    Upload,
    UploadBudget,
    restore,
    segments,
)
from decoder_service.streaming import StreamModel
from decoder_service.tasks import Tasks

T = TypeVar("T")
LOADERS = 2
"""Threads that load tables and store models."""


class Jobs:
    """For the sessions of one worker; they ask in their threads, and are answered in the worker's loop.

    Args:
        config: of the worker.
        tell: sends a message to the server, in the loop.
    """

    def __init__(self, config: WorkerConfig, tell: Callable[[control.FromWorker], None]) -> None:
        self.config = config
        self.metrics = WorkerMetrics()
        self.samples = Samples(self.metrics)
        self.uploads = UploadBudget(max_bytes=config.model_bytes)
        self.tasks = Tasks(self.fault)
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._models = ModelStore(config.folder, max_bytes=config.model_bytes, max_models=config.models)
        self._loaders = ThreadPoolExecutor(LOADERS, thread_name_prefix="loader")
        self._builds: dict[str, asyncio.Future[str]] = {}
        self._taken = 0
        """Bytes of tables that are being loaded."""

    # From any thread.

    def decoder(
        self, session: str, options: Open, answer: Callable[[ServedDecoder | Exception], None]
    ) -> None:
        """Has the decoder of a stream made."""

        async def made() -> ServedDecoder:
            await self.load(self._models.text, options.model)
            build = build_of(options)
            tables = await self._tables(build)
            make = functools.partial(decoder_from, device=self.config.device)
            with self._room(len(tables)):
                return await self.load(make, tables, build, self._models.text)

        self._for(session, made, answer)

    def model(
        self,
        session: str,
        head: StreamHead,
        reload: Reload,
        decoder: ServedDecoder,
        answer: Callable[[StreamModel | Exception], None],
    ) -> None:
        """Has the model made that is to take over from that of a stream."""

        async def made() -> StreamModel:
            await self.load(self._models.text, reload.model)
            build = build_of(head.options, current=head.reloaded, reload=reload)
            tables = await self._tables(build)
            with self._room(len(tables)):
                return await self.load(reload_from, tables, build, decoder, self._models.text)

        self._for(session, made, answer)

    def store(
        self, session: str, part: UploadPayload, text: bytes, answer: Callable[[str | Exception], None]
    ) -> None:
        """Has a text stored, which `uploads` gave; the answer is its digest."""

        async def stored() -> str:
            try:
                return await self.load(lambda: self._models.put(text, digest=part.digest))
            finally:
                self.uploads.stored(text)

        self._for(session, stored, answer)

    def event(self, event: str, **fields: str | int | float) -> None:
        """Writes a line to the server's log."""
        self.soon(lambda: self._tell(control.Event(event, fields)))

    def fault(self, error: BaseException) -> None:
        """Writes an exception to the server's log that nobody reckoned with."""
        self.event("worker fault", reason="".join(traceback.format_exception(error))[-4000:])

    def soon(self, action: Callable[[], object]) -> None:
        """Does this in the loop."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(action)

    # In the loop.

    def load(self, action: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Does what may wait for the disk in a thread for that."""
        return self._loop.run_in_executor(self._loaders, action, *args)

    def built(self, message: control.Built) -> None:
        """Takes the server's answer to a Build."""
        future = self._builds.pop(message.key, None)
        if future is not None:
            future.set_result(message.error)

    async def restored(self, session: str) -> list[RestoredStream[ServedDecoder]]:
        """The streams that the journals of a session lead to."""
        return await asyncio.to_thread(self._restored, session)  # its thread may wait for loaders

    def touch(self, digests: Iterable[str]) -> None:
        """Says that these texts are in use; for `load`."""
        for digest in digests:
            self._models.touch(digest)

    def close(self) -> None:
        """Waits for what is being loaded."""
        self._loaders.shutdown(cancel_futures=True)

    def _for(
        self, session: str, made: Callable[[], Awaitable[T]], answer: Callable[[T | Exception], None]
    ) -> None:
        """One job of a session at a time."""

        async def job() -> None:
            result: T | Exception
            try:
                result = await made()
            except Exception as error:  # noqa: BLE001 - the client waits for an answer, whatever it was
                if not isinstance(error, ValueError | OSError):  # no fault of the client's or the disk's
                    self.fault(error)
                result = error
            answer(result)

        self.soon(lambda: self.tasks.start(job, line=("jobs", session)))

    async def _tables(self, build: Build) -> bytes:
        """What was built, by now. Raises ValueError where it cannot be."""
        folder = self.config.folder
        tables = await self.load(stored_tables, folder, build)
        if tables is not None:
            return tables
        future = self._builds.get(build.key)
        if future is None:
            future = self._builds[build.key] = self._loop.create_future()
            self._tell(build)
        error = await asyncio.shield(future)
        if error:
            raise ValueError(error)
        tables = await self.load(stored_tables, folder, build)
        if tables is None:
            raise ValueError("the tables of the model were deleted; try again")
        return tables

    @contextlib.contextmanager
    def _room(self, more: int) -> Iterator[None]:
        """Holds room for tables of so many bytes while they are loaded; ModelLimitError if there is none."""
        limit, used = self.config.memory_bytes, resident_bytes() + self._taken
        if used + more > limit:
            raise ModelLimitError(
                f"the worker has {used >> 20} MiB, and the tables would take {more >> 20} more; "
                f"the limit is {limit >> 20} MiB"
            )
        self._taken += more
        try:
            yield
        finally:
            self._taken -= more

    # In the thread of `restored`.

    def _restored(self, session: str) -> list[RestoredStream[ServedDecoder]]:
        folder = self.config.folder
        found: list[RestoredStream[ServedDecoder]] = []
        for stream in sorted({segment.stream for segment in segments(folder.journals, session)}):
            try:
                restored = restore(
                    folder,
                    session,
                    stream,
                    sources=BuiltSources(self._models.text, self._tables_now, self.config.device),
                    gap_deadline=round(self.config.gap_deadline * 1e9),
                    keep=not self.config.prune,
                )
            except (ValueError, OSError) as error:
                self.event("stream lost", session=session[:8], stream=stream, reason=str(error))
                continue
            for damage in restored.damage:
                self.event("journal damaged", session=session[:8], stream=stream, damage=damage)
            if restored.stream is not None:
                found.append(restored.stream)
        if found:
            self.event("session restored", session=session[:8], streams=len(found))
        return found

    def _tables_now(self, build: Build) -> bytes:
        tables = stored_tables(self.config.folder, build)
        if tables is None:
            wanted = build.options.model if build.reload is None else build.reload.model
            self._models.text(wanted)  # says that it is unknown, if it is
            tables = asyncio.run_coroutine_threadsafe(self._tables(build), self._loop).result()
        return tables


class SessionUpload:
    """The model that a session sends, in parts; for the session's thread.

    Args:
        session: its name.
        jobs: store it.
        answer: has a function done in the session's thread, with these arguments and what was made.
        send: sends a frame to the client.
    """

    def __init__(
        self,
        session: str,
        jobs: Jobs,
        answer: Callable[..., Callable[[Any], None]],
        send: Callable[[Frame], None],
    ) -> None:
        self._session = session
        self._jobs = jobs
        self._answer = answer
        self._send = send
        self._parts = Upload(jobs.uploads)

    def take(self, frame: Frame) -> None:
        """Takes an UPLOAD; the last one is answered.

        Raises:
            PayloadError, ModelLimitError: as `Upload.add`.
        """
        part = decode_upload(frame.payload)
        text = self._parts.add(part)
        if text is not None:
            self._jobs.store(self._session, part, text, self._answer(self._stored, part))

    def drop(self) -> None:
        """Forgets what came of a model that is not whole."""
        self._parts.drop()

    def _stored(self, part: UploadPayload, stored: str | Exception) -> None:
        if isinstance(stored, str):
            whole = UploadPayload(part.digest, part.total, part.total, b"")
            self._send(Frame(FrameType.UPLOAD, payload=encode_upload(whole)))
            return
        code = ErrorCode.INTERNAL
        if isinstance(stored, PayloadError | ModelLimitError):
            code = ErrorCode.LIMIT if isinstance(stored, ModelLimitError) else ErrorCode.BAD_FRAME
        self._send(error_frame(0, code, "frame", str(stored)))
