"""Values of Arrow columns as plain JSON."""

from __future__ import annotations

import base64
import json
import math
from decimal import Decimal
from typing import Any


def plain(value: Any) -> Any:
    """A value of plain JSON: bytes in base64, times in ISO 8601, what is no number as null.

    >>> plain([1.5, float("nan"), b"hi"])
    [1.5, None, 'aGk=']
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        return plain(float(value))
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def json_line(row: dict[str, Any]) -> str:
    """One row as JSON on one line; half surrogates are escaped, so that it can be written as UTF-8."""
    line = json.dumps(row, ensure_ascii=False, allow_nan=False)
    try:
        line.encode()
    except UnicodeEncodeError:
        return json.dumps(row, ensure_ascii=True, allow_nan=False)
    return line
