"""The official SDKs' realtime clients, unmodified, against a real gateway (docs/realtime.md)."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import openai
import pytest
from google import genai
from google.genai import types

CERTIFICATE = Path(__file__).parents[1] / "journeys" / "localhost.pem"
MESSAGE: Any = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}


async def test_the_openai_sdk_converses(gateway: Any, marker: str):
    async with openai.AsyncOpenAI(base_url=gateway.inference_url(), api_key="sk-test") as client:
        headers = {**gateway.auth, "cf-aig-event-id": marker}
        connecting = client.realtime.connect(model="gpt-realtime", extra_headers=headers)
        async with connecting as connection:
            await connection.session.update(session={"type": "realtime", "instructions": "Be brief."})
            await connection.conversation.item.create(item=MESSAGE)
            await connection.response.create()
            said, events = "", []
            async for event in connection:
                events.append(event.type)
                if event.type == "response.output_text.delta":
                    said += event.delta
                if event.type == "response.done":
                    break
    assert events[:2] == ["session.created", "session.updated"]
    assert said.startswith("You said: hello.")
    assert event.response.usage is not None
    log = await asyncio.to_thread(named, gateway, marker)
    assert (log["provider"], log["model"], log["ending"]) == ("openai", "gpt-realtime", "complete")
    assert log["tokens_out"] == event.response.usage.output_tokens


@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")  # the SDK's own
def test_the_openai_sdk_converses_without_asyncio_and_with_the_token_as_its_key(gateway: Any):
    client = openai.OpenAI(base_url=gateway.inference_url() + "/v1", api_key=gateway.token)
    with client, client.realtime.connect(model="gpt-realtime") as connection:
        connection.conversation.item.create(item=MESSAGE)
        connection.response.create(response={"output_modalities": ["text"]})
        kinds: list[str] = []
        while not kinds or kinds[-1] != "response.done":
            kinds.append(connection.recv().type)
    assert kinds[0] == "session.created"


async def test_the_openai_sdk_is_told_of_a_refusal(gateway: Any):
    async with openai.AsyncOpenAI(base_url=gateway.inference_url(), api_key="bad-key") as client:
        with pytest.raises(Exception, match="401"):
            async with client.realtime.connect(model="gpt-realtime", extra_headers=gateway.auth):
                pass


async def test_the_google_sdk_converses_by_way_of_a_proxy_that_speaks_tls(gateway: Any, marker: str):
    """It knows no address without TLS; the gateway stands behind a proxy, as README says."""
    async with tls_proxy(gateway.port) as port:
        options = types.HttpOptions(
            base_url=f"https://localhost:{port}/v1/local/default/google-ai-studio",
            headers={**gateway.auth, "cf-aig-event-id": marker},
            async_client_args={"ssl": ssl.create_default_context(cafile=CERTIFICATE)},
        )
        client = genai.Client(api_key="any", http_options=options)
        config = types.LiveConnectConfig(response_modalities=[types.Modality.TEXT])
        async with client.aio.live.connect(model="gemini-live-2.5-flash", config=config) as session:
            used, said = [], ""
            for text in ("hello", "and again"):
                await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text=text)]))
                async for message in session.receive():
                    said += message.text or ""
                    used += [message.usage_metadata] if message.usage_metadata else []
    assert said.startswith("You said: hello.")
    assert "You said: and again." in said
    log = await asyncio.to_thread(named, gateway, marker)
    assert (log["provider"], log["model"], log["ending"]) == ("google-ai-studio", "gemini-live-2.5-flash", "complete")
    assert log["tokens_in"] == sum(usage.prompt_token_count for usage in used)
    assert log["tokens_out"] == sum(usage.response_token_count for usage in used)
    assert b"setup" in await asyncio.to_thread(gateway.log_body, log["id"], "request")


def named(gateway: Any, event_id: str) -> dict[str, Any]:
    """The log with the client's own name for it."""
    found: dict[str, Any] = gateway.until(
        lambda: next((row for row in gateway.logs() if row["event_id"] == event_id), None), "its log"
    )
    return found


@asynccontextmanager
async def tls_proxy(port: int) -> AsyncIterator[int]:
    """Takes TLS off, as a proxy in front of the gateway does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
