"""Who comes in: every page, file, socket and download is asked for the token; one window at a time has the scene."""

import asyncio
import hmac
import html
import json
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from aiohttp import web

from .options import LOOPBACK

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HEADERS = {  # nothing is fetched from elsewhere, and nobody may put the page into a frame
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' "
    "ws: wss:; frame-ancestors 'none'; form-action 'self'; base-uri 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # without one, our own forms would come from nowhere
    "Cache-Control": "no-store",
}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>LeFusion</title>
<style>body{{background:#14171b;color:#d7dce2;font:16px/1.5 sans-serif;display:grid;place-items:center;height:95vh}}
main{{max-width:34em;padding:2em;background:#1d2127;border-radius:8px}}button{{font:inherit;padding:.4em 1.2em}}</style>
<main><h1>{title}</h1><p>{text}</p>{more}</main></html>"""
TAKE_OVER = """<form method="post" action="take-over"><button>Use it here</button></form>
<script>
setInterval(async () => { if ((await (await fetch("alive")).json()).free) location.replace("./"); }, 1000);
</script>"""


class Doors:
    """What lies between the network and the app.

    `token`: None asks for none, which is for this computer alone. `on_enter()` is called for every new window,
    `on_empty()` when the last one is gone.
    """

    def __init__(self, token: str | None, local: bool, on_enter: Callable[[], None], on_empty: Callable[[], None]):
        self.token, self.local, self.on_enter, self.on_empty = token, local, on_enter, on_empty
        self.boot, self.owner = secrets.token_hex(4), ""
        self.closed = False  # an idle session has ended; a new window opens it again
        self.files: dict[str, Path] = {}
        self._sockets: dict[int, web.Request] = {}

    def bind(self, server: Any) -> None:
        """Before the server starts: our routes and the guard in front of all."""
        app = server.app
        app.middlewares.append(web.middleware(self._guard_method()))
        app.on_response_prepare.append(self._add_headers)
        app.router.add_get("/", self._front)
        app.router.add_post("/take-over", self._take_over)
        app.router.add_get("/alive", self._alive)
        app.router.add_get("/download/{ticket}/{name}", self._download)

    def offer(self, path: Path) -> str:
        """The address at which this file can be downloaded, until `withdraw`; nobody can guess it."""
        ticket = secrets.token_urlsafe(18)
        self.files[ticket] = path
        return f"download/{ticket}/{quote(path.name)}"

    def withdraw(self) -> None:
        """Offer nothing any more."""
        self.files.clear()

    def windows(self) -> int:
        """Open sockets."""
        return len(self._sockets)

    def turn_out(self) -> None:
        """Close every window's socket; its page says why."""
        self.owner = ""
        for request in list(self._sockets.values()):
            if request.transport is not None:
                request.transport.close()

    def refusal(self, request: web.Request) -> str | None:
        """Why a request may not come in; None lets it in."""
        host = urlsplit(f"//{request.host}").hostname or ""
        if self.local and host not in LOOPBACK:  # a page elsewhere whose name was turned to this computer
            return "This app answers only as 127.0.0.1 or localhost."
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            return "This request comes from another page."
        if self.token is not None:
            brought = request.query.get("token") or request.cookies.get(self._cookie(request), "")
            if not hmac.compare_digest(brought.encode(), self.token.encode()):
                return "This address needs its token: open the whole address that `lefusion app` printed."
        return None

    def _guard_method(self) -> Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]:
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            reason = self.refusal(request)
            if reason is not None:
                return web.Response(status=403, text=_page("Not let in", reason), content_type="text/html")
            if request.path == "/index.html" and request.query.get("tab", "") != self.owner:
                return web.HTTPFound("./")
            if request.path != "/ws":
                response = await handler(request)
                if self.token is not None and request.query.get("token") == self.token:
                    response.set_cookie(self._cookie(request), self.token, httponly=True, samesite="Strict")
                return response
            if request.headers.get("Upgrade", "").lower() != "websocket":
                return web.Response(status=400, text="This address is for the page's socket.")
            self._sockets[id(request)] = request
            self.on_enter()
            try:
                return await handler(request)
            finally:
                self._sockets.pop(id(request), None)
                if not self._sockets:
                    self.on_empty()

        return guard

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)

    def _cookie(self, request: web.Request) -> str:
        """Cookies do not know ports; several apps on one computer each need their own."""
        return f"lefusion_{urlsplit(f'//{request.host}').port or 80}"

    async def _front(self, request: web.Request) -> web.StreamResponse:
        if self.owner and self._sockets:
            text = "This scene is open in another window. Close that one, or go on here; the other window will say so."
            return web.Response(text=_page("In use", text, TAKE_OVER), content_type="text/html")
        return self._give()

    async def _take_over(self, request: web.Request) -> web.StreamResponse:
        self.turn_out()
        await asyncio.sleep(0.1)  # the other socket's end is heard
        return self._give()

    def _give(self) -> web.StreamResponse:
        self.owner, self.closed = secrets.token_hex(6), False
        return web.Response(status=303, headers={"Location": f"index.html?tab={self.owner}"})

    async def _alive(self, request: web.Request) -> web.StreamResponse:
        mine = bool(self.owner) and request.query.get("tab") == self.owner
        facts = {"boot": self.boot, "mine": mine, "free": not self._sockets, "ended": self.closed}
        return web.Response(text=json.dumps(facts), content_type="application/json")

    async def _download(self, request: web.Request) -> web.StreamResponse:
        path = self.files.get(request.match_info["ticket"])
        if path is None or not path.is_file() or request.match_info["name"] != path.name:
            return web.Response(
                status=404,
                text=_page("Not there", "This download is not there any more. Save the result once more."),
                content_type="text/html",
            )
        return web.FileResponse(
            path, headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quote(path.name)}"}
        )


def _page(title: str, text: str, more: str = "") -> str:
    return PAGE.format(title=html.escape(title), text=html.escape(text), more=more)
