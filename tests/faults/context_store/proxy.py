"""A TCP proxy with a fixed port, before a server that gets a new one at every start; it can also go deaf."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    def __init__(self) -> None:
        self.target: tuple[str, int] | None = None
        self.deaf = False
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/"

    def cut(self) -> None:
        """Break every connection there is."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        upstream = None
        try:
            if self.target is not None:
                far, upstream = await asyncio.open_connection(*self.target)
                self._writers.add(upstream)
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._pump(reader, upstream))
                    group.create_task(self._pump(far, writer))
        except* OSError:
            pass
        finally:
            self._tasks.discard(task)
            for end in (writer, upstream):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.deaf:
                continue
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async def stop(self) -> None:
        while tasks := list(self._tasks):
            self.cut()
            await asyncio.wait(tasks, timeout=0.05)


@asynccontextmanager
async def running_proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()
        await server.wait_closed()
