"""A headless Chromium, where the machine has one: what a page became, said and asked for."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ("PROGRAM", "Visit", "visit")

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")

# What Chromium asks for by itself, whatever the page is.
_ITS_OWN = (".google.com", ".googleapis.com", ".gvt1.com")
_PATIENCE = 120.0  # seconds


@dataclass(frozen=True)
class Visit:
    """html: the document in the end. said: on the console. hosts: asked for over the network."""

    html: str
    said: tuple[str, ...]
    hosts: frozenset[str]


def visit(page: Path, room: Path, *, dark: bool = False) -> Visit:
    """Open a file and let its scripts run to their end. room: an empty directory.

    dark: the reader prefers dark pages.
    """
    log = room / "net.json"
    arguments = (
        "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update",
        f"--user-data-dir={room / 'profile'}", f"--log-net-log={log}",
        "--enable-logging=stderr",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        "--virtual-time-budget=60000", "--dump-dom", page.as_uri(),
    )  # fmt: skip
    browser = subprocess.Popen(
        [PROGRAM or "", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        html, words = browser.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(browser.pid, signal.SIGKILL)  # its helpers too
        browser.communicate()
        raise
    said = tuple(line for line in words.splitlines() if ":CONSOLE" in line)
    return Visit(html, said, frozenset(_hosts(log)))


def _hosts(log: Path) -> set[str]:
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    urls = (event.get("params", {}).get("url", "") for event in events)
    hosts = {urlsplit(url).hostname or "" for url in urls if url.startswith("http")}
    return {host for host in hosts if not f".{host}".endswith(_ITS_OWN)}
