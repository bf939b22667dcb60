"""What went through a gateway, counted: as the logs have it, by REST, by GraphQL and on the command line."""

from typing import Any


def test_what_went_through_is_counted_once_by_every_way_of_asking(start_gateway: Any):
    own = start_gateway("--simulate", "--workers", "1", logs={"rollup_metadata": '["team"]'})
    calls = [own.chat(), own.chat(), own.chat(model="gpt-4o-mini~status-503")]
    teams = {"cf-aig-metadata": '{"team": "red"}'}
    calls.append(own.universal([{"provider": "openai", "endpoint": "chat/completions", "headers": {}, "query": {
        "model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}}], **teams))  # fmt: skip
    logs = own.logs(len(calls))
    asked = {"step": "none", "group_by": "model"}
    result = own.manage("GET", "/gateways/default/analytics", params=asked).json()["result"]
    assert sum(group["requests"] for group in result["groups"]) == len(logs)
    for name in ("tokens_in", "tokens_out", "cost"):
        total = sum(log[name] or 0 for log in logs)
        assert abs(sum(group[name] for group in result["groups"]) - total) < 1e-9
    assert sum(group["errors"] for group in result["groups"]) == sum(not log["success"] for log in logs)
    by_team = own.manage("GET", "/analytics", params={"step": "none", "group_by": "metadata.team"}).json()["result"]
    assert [(group["dimensions"], group["requests"]) for group in by_team["groups"]] == [({"metadata.team": "red"}, 1)]
    query = '{viewer{accounts(filter:{accountTag:"local"}){aiGatewayRequestsAdaptiveGroups(limit:9){count}}}}'
    headers = {"authorization": f"Bearer {own.token}"}
    answer = own.http.post("/client/v4/graphql", json={"query": query}, headers=headers)
    groups = answer.json()["data"]["viewer"]["accounts"][0]["aiGatewayRequestsAdaptiveGroups"]
    assert groups == [{"count": len(logs)}]
    assert sum(group["requests"] for group in own.cli("analytics", "--by", "provider")["groups"]) == len(logs)
