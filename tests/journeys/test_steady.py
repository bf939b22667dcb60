"""Mixed traffic and reloads: the short form of `scripts/soak steady`, in which what grows cannot be told yet."""

from pathlib import Path

from bench.steady.steady import soak


async def test_mixed_traffic_ends_as_it_should_and_is_in_the_log_once_whatever_is_reloaded(tmp_path: Path):
    told = await soak(tmp_path, seconds=4, reload_s=1.5)
    assert "; 0 reloads" not in told
