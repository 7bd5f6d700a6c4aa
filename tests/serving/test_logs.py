"""Every line of the log is JSON, those of libraries too."""

import asyncio
import io
import json
import logging

import pytest

from facula.serving.logs import Heard, JsonLog


@pytest.fixture
def file():
    names = ("uvicorn", "asyncio", "grpc")
    before = {name: ([*logging.getLogger(name).handlers], logging.getLogger(name).propagate) for name in names}
    heard = io.StringIO()
    Heard.listen(JsonLog(heard))
    yield heard
    for name, (handlers, propagate) in before.items():
        logging.getLogger(name).handlers[:], logging.getLogger(name).propagate = handlers, propagate


def test_what_libraries_say(file):
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("uvicorn.error").info("not a warning")
    try:
        raise ValueError("of a task")
    except ValueError:
        logging.getLogger("asyncio").exception("never\nretrieved")
    first, second = map(json.loads, file.getvalue().splitlines())
    assert (first["event"], first["name"], first["level"]) == ("library", "uvicorn.error", "warning")
    assert first["message"] == "Invalid HTTP request received." and "error" not in first
    assert (second["level"], second["message"]) == ("error", "never\nretrieved")
    assert second["error"] == "ValueError: of a task"


def test_a_loop_that_is_told_of_an_exception(file):
    async def fail():
        asyncio.get_running_loop().call_exception_handler({"message": "callback failed", "exception": OSError("gone")})
    asyncio.run(fail())
    said = json.loads(file.getvalue())
    assert said["event"] == "library" and "callback failed" in said["message"] and said["error"] == "OSError: gone"
