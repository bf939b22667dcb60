"""The keeper stores no more than an account may have, and tells what it did not store."""

from sluice.values.entitlement import AS_PLANNED, OwnEntitlement


def test_a_gateway_at_its_quota_keeps_what_it_has_and_stores_no_more_until_the_account_may(house):
    house.entitle(OwnEntitlement(gateway_rows=3))
    other = house.gateway_named("other")
    ids = [house.put() for _ in range(5)]
    others = [house.put(other) for _ in range(2)]
    house.keep()
    assert (house.ids(), house.ids(other)) == (ids[:3], others)
    refused = {"account": "local", "gateway": house.gateway.id.hex(), "reason": "quota"}
    assert house.count("sluice_logs_dropped_total", "Logs that were lost, by gateway and reason.", **refused) == 2
    house.entitle(AS_PLANNED)
    later = house.put()
    house.keep()
    assert house.ids() == [*ids[:3], later]


def test_an_account_at_its_quota_is_not_passed_by_any_of_its_gateways(house):
    house.entitle(OwnEntitlement(account_rows=10))
    gateways = [house.gateway, *(house.gateway_named(name) for name in ("second", "third"))]
    for _ in range(8):
        for gateway in gateways:
            house.put(gateway)
    house.keep()
    assert sum(len(house.ids(gateway)) for gateway in gateways) == 10
