"""What is promised of a gateway whose machine is in trouble: the short form of `scripts/soak hardships`."""

from pathlib import Path

from bench.hardships.hardships import suffer


async def test_a_full_disk_and_a_power_failure_take_no_more_than_is_promised(tmp_path: Path):
    told = await suffer(tmp_path, ["disk-full", "power"], seconds=1, stopped_s=0, rate=200, rounds=1)
    assert " 0 counted as lost" not in told["disk-full"]
    assert " 0 counted as lost" in told["power"]
