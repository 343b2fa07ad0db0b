"""Turns a path or URI that a person wrote into a URI."""

from __future__ import annotations

import os
import re
from pathlib import Path


def photo_uri(text: str) -> str:
    """Return a person's argument as an absolute URI: a path becomes ``file:///...`` with links resolved."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|file:/", text):
        return text
    return Path(os.path.realpath(text)).as_uri()
