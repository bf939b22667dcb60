"""Builds Sluice as it is, or, where SLUICE_COMPILE=1, with its request path compiled ahead of time by mypyc.

The sources are the same; docs/performance.md tells how to do it and what it gives.
"""

import os
import sys
from typing import Final

from setuptools import Extension, setup

COMPILED: Final = (
    "sluice/deadlines.py",
    "sluice/outbox.py",
    "sluice/edge/api_origin.py",
    "sluice/edge/auth.py",
    "sluice/edge/body.py",
    "sluice/edge/compat.py",
    "sluice/edge/connection.py",
    "sluice/edge/envelopes.py",
    "sluice/edge/events.py",
    "sluice/edge/native.py",
    "sluice/edge/options.py",
    "sluice/edge/paths.py",
    "sluice/edge/render.py",
    "sluice/edge/room.py",
    "sluice/edge/session.py",
    "sluice/edge/steps.py",
    "sluice/edge/universal.py",
    "sluice/edge/websocket.py",
    "sluice/edge/whole.py",
    "sluice/engine/attempt.py",
    "sluice/engine/cache_key.py",
    "sluice/engine/caching.py",
    "sluice/engine/collected.py",
    "sluice/engine/credentials.py",
    "sluice/engine/directory.py",
    "sluice/engine/engine.py",
    "sluice/engine/flights.py",
    "sluice/engine/heard.py",
    "sluice/engine/held.py",
    "sluice/engine/known_keys.py",
    "sluice/engine/limits.py",
    "sluice/engine/planning.py",
    "sluice/engine/recorder.py",
    "sluice/engine/remarks.py",
    "sluice/engine/retry.py",
    "sluice/engine/terminal_line.py",
    "sluice/engine/watch.py",
    "sluice/engine/workflow.py",
    "sluice/formats/metadata.py",
    "sluice/formats/sse.py",
    "sluice/keeper/frame_logs.py",
    "sluice/keeper/intake.py",
    "sluice/keeper/metering.py",
    "sluice/providers/endpoints.py",
    "sluice/spool/frames.py",
    "sluice/spool/reader.py",
    "sluice/spool/tape.py",
    "sluice/spool/writer.py",
    "sluice/storage/embedded/packs.py",
    "sluice/storage/embedded/segment.py",
    "sluice/storage/embedded/shard.py",
    "sluice/storage/shelf.py",
    "sluice/upstream/connection.py",
    "sluice/upstream/http.py",
    "sluice/upstream/pool.py",
    "sluice/values/ids.py",
    "sluice/wire/http1.py",
    "sluice/wire/lines.py",
    "sluice/wire/utf8.py",
    "sluice/wire/websocket.py",
)
"""What a worker runs for every request: 43 us of its own time compiled, 60 us not (docs/performance.md). And most of
what the keeper runs for every log.

A class with a `__del__` cannot be here: mypyc never calls it.
A module with a msgspec.Struct cannot be here either, for mypyc drops the keywords of a class (`frozen`, `array_like`);
tests/test_compiled.py watches over that.
"""


extensions: list[Extension] = []
if os.environ.get("SLUICE_COMPILE") == "1":
    if {"editable_wheel", "develop", "build_ext"} & set(sys.argv):
        # They would lie beside the sources, and be imported in their place however those change.
        sys.exit("SLUICE_COMPILE=1 makes wheels only: `scripts/compile`.")
    if "bdist_wheel" in sys.argv:  # the steps before it ask what there is to be known of the wheel, which takes no C
        from mypyc.build import mypycify

        extensions += mypycify(list(COMPILED), group_name="sluice", opt_level="3", debug_level="0")

setup(ext_modules=extensions)
