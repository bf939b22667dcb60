import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.simulator.call import BodyKeeper, address_of, model_of
from sluice.simulator.openai import OPENAI
from sluice.simulator.openai_dialects import own_path

SLUGS = frozenset({"openai", "groq"})


@pytest.mark.parametrize(
    "target",
    [
        "/v1/chat/completions",
        "/chat/completions",
        "/openai/v1/chat/completions?a=b",
        "/openai/chat/completions",
        "/groq/openai/v1/chat/completions",
        "/openai/openai/v1/chat/completions/",
        "http://host/v1/chat/completions",
    ],
)
def test_every_way_to_name_a_path_leads_to_the_vendors_own(target: str) -> None:
    _, path = address_of(target, SLUGS)
    assert own_path(path) == "chat/completions"


@given(st.lists(st.binary(max_size=300)), st.integers(0, 600))
def test_a_body_is_measured_whole_and_kept_in_part(pieces: list[bytes], most: int) -> None:
    keeper = BodyKeeper(most)
    for piece in pieces:
        keeper.add(piece)
    body, everything = keeper.body(), b"".join(pieces)
    assert (body.length, body.sha256) == (len(everything), hashlib.sha256(everything).hexdigest())
    assert body.whole == (everything if len(everything) <= most else None)
    assert everything.startswith(body.head)
    assert everything.endswith(body.tail)


def test_a_long_body_takes_bounded_memory() -> None:
    keeper = BodyKeeper()
    for _ in range(1000):
        keeper.add(b"x" * 65_536)
    assert keeper.held <= 3 * 65_536


def test_the_model_is_found_at_either_end_of_a_long_body() -> None:
    keeper = BodyKeeper(1000)
    keeper.add(b'{"messages":[{"role":"user","content":"' + b"x" * 300_000 + b'"}],"model":"gpt-4o~cut-1"}')
    assert model_of("chat/completions", keeper.body()) == "gpt-4o~cut-1"


def test_the_model_is_found_in_a_form_and_in_a_path() -> None:
    keeper = BodyKeeper()
    keeper.add(b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n')
    assert model_of("audio/transcriptions", keeper.body()) == "whisper-1"
    assert model_of("v1/models/gpt-4o", BodyKeeper().body(), OPENAI.model_in_path) == "gpt-4o"
