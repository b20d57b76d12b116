"""`lefusion app`: what is needed is there, the address is told, the server runs until it is stopped."""

import importlib.util
import os
import secrets
import sys
from collections.abc import Callable

from ..errors import LeFusionError
from .options import AppOptions

NEEDED = ("trame_slicer", "slicer", "vtk", "aiohttp", "torch")


def run(options: AppOptions, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C. `say` is told the address. Raises `LeFusionError` where something is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise LeFusionError(
            f"The browser app needs packages that are not installed ({', '.join(missing)}). "
            "Install them with: pip install 'lefusion[app]'"
        )
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")  # no search for a display in vain
    os.environ.setdefault("WSLINK_READY_MSG", "")
    os.environ.setdefault("WSLINK_WS_COMPRESS", "0")  # the pictures are compressed already
    sys.argv = sys.argv[:1]  # trame reads them, too
    from .browser_app import BrowserApp

    app = BrowserApp(options)
    app.server.controller.on_server_ready.add(lambda **_: say(address(options, app.server.port)))
    try:
        app.server.start(
            port=options.port,
            host=options.host,
            open_browser=False,
            show_connection_info=False,
            disable_logging=True,
            timeout=0,
        )
    except OSError as error:
        raise LeFusionError(
            f"The app cannot listen on {options.host}:{options.port}: {error.strerror}. Choose another --port."
        ) from error
    finally:
        app.close()


def address(options: AppOptions, port: int) -> str:
    """What to open in a browser."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    return f"http://{host}:{port}/" + (f"?token={options.token}" if options.token else "")


def new_token() -> str:
    return secrets.token_urlsafe(24)
