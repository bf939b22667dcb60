"""What calls of the API origin become, by the ids of their models."""

import json
from typing import Any

import pytest

from sluice.engine.model_ids import CHAT, MESSAGES, asked_in_shape
from sluice.values.request import DEFAULT_OPTIONS, BytesBody, Step

HELLO = [{"role": "user", "content": "hello"}]


def asked(endpoint: bytes, **body: Any) -> Step:
    data = BytesBody(json.dumps(body).encode())
    return asked_in_shape(Step(0, "", endpoint, b"", b"POST", [], b"", b"", data, DEFAULT_OPTIONS))


@pytest.mark.parametrize(
    ("model_id", "model"),
    [
        ("google-vertex-ai/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("google-vertex-ai/meta/llama-4", "meta/llama-4"),
        ("google/gemini-2.5-flash", "gemini-2.5-flash"),
    ],
)
def test_a_model_has_its_publisher_in_either_shape(model_id: str, model: str):
    for shape in (CHAT, MESSAGES):
        step = asked(shape, model=model_id, max_tokens=9, messages=HELLO)
        assert (step.model, json.loads(step.body.whole or b"")["model"]) == (model, model)
