"""Celery tasks in forked workers, with files for a broker: no server is needed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import work
from celery import Celery

import aionif

PLACE = Path(os.environ["AIONIF_TASKS"])

EXECUTORS = {
    "thread": aionif.NifExecutor(max_workers=2),
    "process": aionif.NifExecutor(isolation="process", max_workers=2),
}

for name in ("queue", "control", "results"):
    PLACE.joinpath(name).mkdir(exist_ok=True)

app = Celery("tasks", broker="filesystem://", backend=PLACE.joinpath("results").as_uri())
app.conf.update(
    broker_transport_options={
        "data_folder_in": PLACE / "queue",
        "data_folder_out": PLACE / "queue",
        "control_folder": PLACE / "control",
    },
    broker_connection_retry_on_startup=True,
)


def _answer(tier: str, what: str) -> dict[str, Any]:
    return asyncio.run(work.answer(EXECUTORS[tier], what))


answer = app.task(name="answer")(_answer)
