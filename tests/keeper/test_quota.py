"""The keeper stores no more than an account may have, and tells what it did not store."""

from concurrent.futures import ThreadPoolExecutor

from sluice.spool.tape import Whole
from sluice.spool.writer import SpoolWriter
from sluice.values.entitlement import AS_PLANNED, OwnEntitlement
from sluice.values.settings import SpoolSettings


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


def test_four_spools_written_at_once_bring_no_log_more_than_the_account_may_have(house):
    house.entitle(OwnEntitlement(account_rows=250))
    gateways = [house.gateway, house.gateway_named("second")]

    def write(number: int) -> int:
        spool = SpoolWriter.open(house.data / "spool", SpoolSettings(), house.metrics, numbers=[number])
        for turn in range(200):
            spool.append(gateways[turn % 2], house.exchange(spool.mint.mint()), Whole(b"{}"), Whole(b"{}"))
        spool.close()
        return 200

    with house.kept(), ThreadPoolExecutor(4) as writers:
        sent = sum(writers.map(write, range(4)))
    assert sum(len(house.ids(gateway)) for gateway in gateways) == 250
    refused = [
        house.count(
            "sluice_logs_dropped_total",
            "Logs that were lost, by gateway and reason.",
            account="local",
            gateway=gateway.id.hex(),
            reason="quota",
        )
        for gateway in gateways
    ]
    assert sum(refused) == sent - 250
