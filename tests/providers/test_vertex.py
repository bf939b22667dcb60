"""Where a call to Vertex goes that leaves its place to a service account."""

import pytest

from sluice.providers.vertex import ServiceAccount, placed
from sluice.values.errors import MalformedRequest
from sluice.values.request import DEFAULT_OPTIONS, BytesBody, Step

ACCOUNT = ServiceAccount("me@p.iam.gserviceaccount.com", "a key", project_id="p", region="europe-west4")
PLACE = "v1/projects/p/locations/europe-west4"


def step(endpoint: str) -> Step:
    body = BytesBody(b"{}")
    return Step(0, "google-vertex-ai", endpoint.encode(), b"", b"POST", [], b"", b"", body, DEFAULT_OPTIONS)


@pytest.mark.parametrize("prefix", ["v1/", "v1/v1/", "v1/v1/v1/"])
@pytest.mark.parametrize(
    "endpoint", ["publishers/google/models/gemini-x:generateContent", "endpoints/openapi/chat/completions"]
)
def test_a_path_without_a_place_gets_the_accounts_however_often_its_version_is_told(prefix: str, endpoint: str):
    assert placed(step(prefix + endpoint), ACCOUNT).endpoint.decode() == f"{PLACE}/{endpoint}"


@pytest.mark.parametrize("prefix", ["v1/", "v1/v1/"])
def test_a_path_that_names_its_place_keeps_it(prefix: str):
    endpoint = f"{prefix}projects/q/locations/us/endpoints/openapi/chat/completions"
    assert placed(step(endpoint), ACCOUNT).endpoint.decode() == endpoint


def test_what_nobody_places_is_refused_under_a_doubled_version_too():
    with pytest.raises(MalformedRequest):
        placed(step("v1/v1/endpoints/openapi/chat/completions"), None)
