"""What a compressed folder holds, as a dict that a notebook shows as a page."""

from __future__ import annotations

import html
import json
import os
from typing import Any

from . import _nwc

# Sandboxed, and with a policy of its own: the page may run its script and can reach neither the notebook nor a server.
_FRAME = (
    '<iframe title="{title}" sandbox="allow-scripts" style="width: 100%; height: 720px; border: 0" '
    'srcdoc="{page}"></iframe>'
)


class Inspection(dict[str, Any]):
    """What :func:`nwc.inspect` and :func:`nwc.compress` return: a dict with the keys listed there.

    A notebook shows it as a page with charts, a treemap of the bytes and a table of all tensors. ``title`` is the page's
    heading, at first the folder's name.
    """

    title = "Inspection"

    def to_html(self, title: str | None = None) -> str:
        """The page as one HTML text that loads nothing else, the same that ``nwc-cli inspect --html`` writes.

        ``title`` is its heading, :attr:`title` where it is ``None``. Raises :class:`nwc.JsonError` where the dict was
        changed so that it is no inspection any more.
        """
        return _nwc.inspection_page(self.title if title is None else title, json.dumps(self))

    def _repr_html_(self) -> str:
        return _FRAME.format(title=html.escape(self.title), page=html.escape(self.to_html()))


def read_inspection(text: str, path: str | os.PathLike) -> Inspection:
    """The inspection that the JSON ``text`` is, of the folder ``path``."""
    made = Inspection(json.loads(text))
    made.title = os.path.basename(os.path.realpath(path)) or str(path)
    return made
