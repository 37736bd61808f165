"""Where a Chromium is that tests can drive, and how it is started: headless, with no word to the network."""

from __future__ import annotations

from pathlib import Path

CHROMIUM = Path("/usr/bin/chromium")
NO_CHROMIUM = f"needs Chromium at {CHROMIUM} (Debian: chromium)"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
]
