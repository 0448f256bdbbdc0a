"""The widget that shows the studio in a notebook's cell; the only file that imports anywidget.

The page asks the kernel over the widget's messages for what it would ask a server for over HTTP,
and the same application answers. No port is opened.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from policyscope.studio.inprocess import Answer, ask

Request = Callable[[str, str, Any], Answer]


class StudioWidget(anywidget.AnyWidget):
    """A frame in a cell with the studio's pages, `height` pixels high."""

    _esm = Path(__file__).parent / "widget.js"
    height = traitlets.Int(720).tag(sync=True)

    def __init__(self, app: Any, page: str, end: Callable[[], None], **given: Any) -> None:
        super().__init__(**given)
        self._app = app
        self._page = page
        self._end = end
        # One answer after the other, while the kernel goes on with cells.
        self._pool = ThreadPoolExecutor(1, "policyscope-studio")
        self.on_msg(self._heard)

    def close(self) -> None:
        """Ends what runs in the background."""
        super().close()
        # Widgets are also closed before they are made whole, and twice.
        if hasattr(self, "_pool"):
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._end()

    def _heard(self, widget: Any, message: Any, buffers: Any) -> None:
        if isinstance(message, dict) and {"key", "id", "method", "path"} <= message.keys():
            self._pool.submit(self._answer, message)

    def _answer(self, message: dict[str, Any]) -> None:
        about = {"key": message["key"], "id": message["id"]}
        if message["method"] == "PAGE":
            self.send({**about, "status": 200, "body": self._page})
            return
        answer = ask(self._app, str(message["method"]), str(message["path"]), message.get("body"))
        if answer.is_document:
            self.send({**about, "status": answer.status, "body": answer.document})
        else:
            said = {**about, "status": answer.status, "media": answer.media}
            self.send(said, buffers=[answer.body])
