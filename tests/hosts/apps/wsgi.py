"""A Flask application that is not asynchronous: GET /<tier>/<what>.

The executors are made where a program makes what is global, at import, so before a server that
loads the application first forks. Each request brings an event loop of its own.
"""

from __future__ import annotations

import asyncio

import work
from flask import Flask, Response, jsonify

import aionif

EXECUTORS = {
    "thread": aionif.NifExecutor(max_workers=4),
    "process": aionif.NifExecutor(isolation="process", max_workers=2),
}

application = Flask(__name__)


def _answer(tier: str, what: str) -> Response:
    return jsonify(asyncio.run(work.answer(EXECUTORS[tier], what)))


application.add_url_rule("/<tier>/<what>", view_func=_answer)
