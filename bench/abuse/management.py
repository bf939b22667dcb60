"""The management API: paths, queries, bodies and tokens that it has not."""

from random import Random
from typing import Any

from bench.abuse.bodies import SCALARS, nested
from bench.abuse.cases import ACCOUNT, Aim, Case, Family, asked, encoded, family, request, word

GATEWAYS = f"{ACCOUNT}/gateways"
LOGS = f"{GATEWAYS}/default/logs"
GRAPHQL = "/client/v4/graphql"
READABLE = (GATEWAYS, f"{GATEWAYS}/default", LOGS, f"{LOGS}/01JC3R94FRD97JBCBX3S0ZAXKW", f"{ACCOUNT}/tokens")


def unknown_paths(rng: Random, aim: Aim) -> Case:
    start = rng.choice(
        ("/client/v4/", "/client/v4/accounts/local/", f"{ACCOUNT}/", f"{GATEWAYS}/default/", f"{LOGS}/x/")
    )
    path = "/".join(word(rng) for _ in range(rng.randint(1, 4)))
    return asked(request(f"{start}zz{path}", method=rng.choice(("GET", "POST", "DELETE")), aim=aim))


def strange_names(rng: Random, aim: Aim) -> Case:
    """Slashes, dots and NUL in percent; what is no UTF-8; names without end."""
    strange = ("%2f", "..%2f..", "%2e%2e", "%00", "%ff", "%c0%af", "a%0d%0ab", "%25", "%", "%zz", "a" * 3_000, "%F0%9F")
    name = rng.choice((*strange, "..", ".", ";", "~", "'", "%22", "%3Cscript%3E", word(rng)))
    place = rng.choice((f"{GATEWAYS}/{name}", f"{LOGS}/{name}", f"/client/v4/accounts/{name}/ai-gateway/gateways"))
    return asked(request(place + rng.choice(("", "/logs", "/request", "/x")), aim=aim))


def queries(rng: Random, aim: Aim) -> Case:
    keys = ("per_page", "page", "order_by", "order_by_direction", "start_date", "end_date", "min_cost", "max_tokens_in")
    value = rng.choice(("-1", "1e999", "9" * 40, "x", "%00", "%ff", "", "NaN", "' or 1=1--", "[]", "%F0%9F", "0x10"))
    query = "&".join(f"{key}={value}" for key in rng.sample(keys, rng.randint(1, 5)))
    return asked(request(f"{LOGS}?{query}".replace(" ", "%20"), aim=aim))


def filters(rng: Random, aim: Aim) -> Case:
    body = rng.choice(
        ("{", "[" * 3_000, '[{"key":1}]', '[{"key":"x","operator":"y","value":[]}]', "[1]", word(rng), "{}")
    )
    quoted = "".join(f"%{byte:02x}" for byte in body.encode())
    return asked(request(f"{LOGS}?filters={quoted}", aim=aim))


def bodies(rng: Random, aim: Aim) -> Case:
    target, method = rng.choice(
        (
            (GATEWAYS, "POST"),
            (f"{GATEWAYS}/default", "PUT"),
            (f"{LOGS}/01JC3R94FRD97JBCBX3S0ZAXKW", "PATCH"),
            (f"{ACCOUNT}/custom-providers", "POST"),
            (f"{GATEWAYS}/default/provider_configs", "POST"),
        )
    )
    wrong: dict[str, Any] = {"id": rng.choice(SCALARS[2:]), "cache_ttl": rng.choice(SCALARS), "base_url": "x"}
    texts = (b"", b"{", b"[]", b"null", b"\xff\xfe", nested(rng), encoded(wrong), b'{"id":' + b"9" * 5_000 + b"}")
    return asked(request(target, rng.choice(texts), method=method, aim=aim))


def long_bodies(rng: Random, aim: Aim) -> Case:
    body = b'{"id":"' + b"x" * rng.randint(1_000_000, 1_200_000) + b'"}'
    return asked(request(GATEWAYS, body, aim=aim), "m413:7001 413:2004 m400:7001")


def methods(rng: Random, aim: Aim) -> Case:
    method = rng.choice(("PROPFIND", "PURGE", "OPTIONS", "PATCH", "LINK", "TRACE"))
    return asked(request(rng.choice((GATEWAYS, LOGS)), method=method, aim=aim))


def tokens(rng: Random, aim: Aim) -> Case:
    value = rng.choice(
        ("", "Bearer", f"Bearer {word(rng, 1, 80)}", f"Basic {word(rng)}", "\xff", f"Bearer {aim.token}x")
    )
    return asked(request(rng.choice(READABLE), fields=[("Authorization", value)]))


def graphql(rng: Random, aim: Aim) -> Case:
    query = rng.choice(
        ("{" * 9_000, "{a" * 5_000 + "}" * 5_000, "query{viewer{x}}", "", "fragment", "{...a}", "\0", word(rng))
    )
    if rng.random() < 0.3:
        aliases = " ".join(f"a{at}:viewer{{accounts{{x}}}}" for at in range(rng.randint(100, 3_000)))
        query = f"{{{aliases}}}"
    return asked(request(GRAPHQL, encoded({"query": query, "variables": rng.choice(SCALARS)}), aim=aim))


def flood(rng: Random, aim: Aim) -> Case:
    """Pipelined, and more at once than the console is let have."""
    count = rng.randint(5, 20)
    return Case((request(rng.choice(READABLE), aim=aim) * count,), least=count, most=count, copies=rng.randint(2, 6))


FAMILIES: tuple[Family, ...] = (
    family("management: unknown paths", unknown_paths, "m404:7003 m405:7003"),
    family("management: strange names", strange_names, "m404:7002 m404:7003 m400:7001 m401:10000 m403:10000 m405:7003"),
    family("management: queries", queries, "m400:7001 200"),
    family("management: filters", filters, "m400:7001"),
    family("management: bodies", bodies, "200 m400:7001 m400:1002 m404:7002"),
    family("management: bodies too long", long_bodies, "", 0.1),
    family("management: methods", methods, "m405:7003 m404:7003"),
    family("management: tokens", tokens, "m401:10000"),
    family("management: GraphQL", graphql, "g400:7001 g413:7001 200", 0.5),
    family("management: flood", flood, "200 m404:7002 m503:7000", 0.05),
)
