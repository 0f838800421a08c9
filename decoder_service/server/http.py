"""A few pages over HTTP, on loopback only: metrics, status as JSON, and the status page. Only GET."""

from __future__ import annotations

import asyncio
import contextlib
import json
from importlib import resources

from decoder_service.server import status

HOST = "127.0.0.1"
TIMEOUT = 5.0
"""Seconds for a request to arrive and its answer to leave."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"


async def start_http(front_end: status.Observed, port: int) -> asyncio.Server:
    """Serves the pages of a front end on this loopback port; 0 for any free one."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(TIMEOUT):
                request = await reader.readuntil(b"\r\n\r\n")
                writer.write(_respond(front_end, request))
                await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, HOST, port, limit=1 << 14)


def _respond(front_end: status.Observed, request: bytes) -> bytes:
    line, *headers = request.split(b"\r\n")
    # A page of another origin that resolves its own name to loopback must not read the status.
    hosts = [header[5:].strip() for header in headers if header.lower().startswith(b"host:")]
    if not all(host.split(b":")[0] in (b"127.0.0.1", b"localhost") for host in hosts):
        return _message(403, "text/plain", b"this page is for 127.0.0.1\n")
    method, _, rest = line.partition(b" ")
    if method != b"GET":
        return _message(405, "text/plain", b"only GET\n")
    path = rest.split(b" ")[0].split(b"?")[0]
    if path == b"/metrics":
        return _message(200, status.CONTENT_TYPE, status.prometheus_text(front_end))
    if path == b"/status.json":
        return _message(200, "application/json", json.dumps(status.status(front_end)).encode())
    if path == b"/":
        page = resources.files("decoder_service.server").joinpath("status.html").read_bytes()
        return _message(200, "text/html; charset=utf-8", page)
    return _message(404, "text/plain", b"pages: / /status.json /metrics\n")


def _message(code: int, kind: str, body: bytes) -> bytes:
    reasons = {200: "OK", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}
    head = (
        f"HTTP/1.1 {code} {reasons[code]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nContent-Security-Policy: {_POLICY}\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
