"""Brings foreign logs into a running server: all, the same file again, and another time with a death in the middle.

    scripts/soak import --lines 1000000

The file holds spend logs of LiteLLM with small bodies, spread over days. Each time the gateway must then have each log
once and no other, with its own bodies and fields, and the roll-ups must have counted it once.
"""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from bench import report
from bench.contenders import FAMILY, SLUICE, build, make_token, start_sluice
from bench.machine import BenchFault, Program, cpu_s, free_port, rss_mb, wait_until_quiet
from bench.store.client import Management
from bench.store.filling import LOGS_A_DAY
from bench.store.measuring import room
from sluice.insight import litellm
from sluice.storage.embedded.analytics import EmbeddedAnalyticsReader
from sluice.storage.embedded.reader import EmbeddedLogReader
from sluice.storage.ports import LogQuery
from sluice.values.ids import wall_ms
from sluice.values.log import LogEntry, NewLog, ShardKey
from sluice.values.rollup import RollupQuery

ONCE: Final = "once"
KILLED: Final = "killed"
SAMPLE: Final = 1_000
"""So many logs are read in full."""
READ_S: Final = 120.0
QUIET_S: Final = 3_600.0
_LOOK_S: Final = 0.02
_MODELS: Final = (("openai", "gpt-4o-mini"), ("gemini", "gemini-2.0-flash"), ("mistral", "mistral-large-latest"))


@dataclass(slots=True)
class Brought:
    """One run of `sluice logs import`."""

    what: str
    seconds: float = 0.0
    quiet_s: float = 0.0
    """Until the keeper had read all that was given it: of logs that are stored already the command awaits no more."""
    keeper_s: float = 0.0
    import_mb: float = 0.0
    keeper_mb: float = 0.0
    stored: int = 0
    """Logs in the gateway when it had ended."""
    index_mb: float = 0.0
    packs_mb: float = 0.0
    """On the disk, of both gateways. Bodies of logs that are there already are written again, and stay."""

    def line(self) -> list[str | float]:
        numbers = [
            self.seconds,
            self.quiet_s,
            self.keeper_s,
            self.import_mb,
            self.keeper_mb,
            self.index_mb,
            self.packs_mb,
        ]
        return [self.what, f"{self.stored:,}", *(f"{number:,.0f}" for number in numbers)]


@dataclass(slots=True)
class Server:
    """A running server, and what the file to be imported has in it."""

    data: Path
    program: Program
    shards: Mapping[str, ShardKey]
    """By the gateway's name."""
    ask: Callable[[], Management]
    """A connection anew: while a store is checked, the server closes one that is idle."""
    file: Path
    lines: int
    runs: list[Brought] = field(default_factory=list)

    def total(self, gateway: str) -> int:
        with closing(self.ask()) as console:
            return console.total(gateway)

    def bring(self, gateway: str, what: str, *, kill: bool = False) -> Brought:
        """Imports the file, or half of it: what then is stored is not told by the command. Raises BenchFault."""
        run, began_s = Brought(what), time.monotonic()
        keeper = self.program.family()[FAMILY[1]]
        used_s = cpu_s([keeper])
        with importing(self.data, self.file, gateway) as process:
            while process.poll() is None and not (kill and self._is_half_read(process.pid)):
                run.import_mb = max(run.import_mb, rss_mb(process.pid))
                run.keeper_mb = max(run.keeper_mb, rss_mb(keeper))
                time.sleep(_LOOK_S)
            if process.poll() not in (None, 0) or (kill and process.poll() is not None):
                raise BenchFault(f"the import ended with {process.poll()}")
            process.kill()
        run.seconds, run.stored = time.monotonic() - began_s, self.total(gateway)
        if not kill:
            wait_until_quiet([keeper], QUIET_S)
            run.stored = self.total(gateway)
        run.quiet_s, run.keeper_s = time.monotonic() - began_s, cpu_s([keeper]) - used_s
        taken = room(self.data / "shards")
        run.index_mb, run.packs_mb = taken.index / 1e6, taken.packs / 1e6
        self.runs.append(run)
        print(f"  {what}: {run.stored:,} logs, {run.seconds:.1f} s", flush=True)
        return run

    def _is_half_read(self, pid: int) -> bool:
        """How far a process has come in the file, as the kernel knows; not, where it has ended."""
        with suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                if descriptor.readlink() == self.file:
                    told = Path(f"/proc/{pid}/fdinfo/{descriptor.name}").read_text()
                    return int(told.split()[1]) * 2 >= self.file.stat().st_size
        return False

    def check(self, gateway: str) -> None:
        """Raises BenchFault where a log is missing, there twice, not its own or counted otherwise than once."""
        shard = self.shards[gateway]
        sample = set(random.Random(3).sample(range(self.lines), min(SAMPLE, self.lines)))
        expected, sums = set[str](), Sums()
        with closing(EmbeddedLogReader(self.data / "shards", query_timeout_s=READ_S)) as reader:
            for number, log in enumerate(logs_of(self.file)):
                expected.add(log.entry.id)
                sums.add(log.entry)
                if number in sample:
                    check_log(reader, shard, log)
            stored = reader.ids(shard, LogQuery(per_page=self.lines + 1), READ_S)
        if len(stored) != self.lines or set(stored) != expected:
            raise BenchFault(f"{gateway} has {len(stored)} logs, {len(expected - set(stored))} of them are missing")
        if (counted := counted_in(self.data, shard)) != sums:
            raise BenchFault(f"{gateway}: roll-ups count {counted}, not {sums}")


@dataclass(slots=True)
class Sums:
    """What roll-ups must have counted."""

    requests: int = 0
    errors: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_nano: int = 0

    def add(self, entry: LogEntry) -> None:
        self.requests += 1
        self.errors += not entry.success
        self.tokens_in += entry.usage.tokens_in or 0
        self.tokens_out += entry.usage.tokens_out or 0
        self.cost_nano += entry.cost_nano or 0


def counted_in(data: Path, shard: ShardKey) -> Sums:
    """The sums of all its roll-ups."""
    with closing(EmbeddedAnalyticsReader(data / "shards", query_timeout_s=READ_S)) as analytics:
        groups = analytics.groups({"": shard}, RollupQuery(0, wall_ms() + 86_400_000)).groups
    return Sums(*(sum(getattr(group, name) for group in groups) for name in Sums.__slots__))


def check_log(reader: EmbeddedLogReader, shard: ShardKey, log: NewLog) -> None:
    bodies = [reader.body(shard, log.entry.id, side) for side in ("request", "response")]
    found = [None if body is None else b"".join(body) for body in bodies]
    if reader.get(shard, log.entry.id) != log.entry or found != [log.request, log.response]:
        raise BenchFault(f"log {log.entry.id} is not as the file has it")


def logs_of(file: Path) -> Iterator[NewLog]:
    with file.open("rb") as lines:
        yield from map(litellm.read, lines)


def write_spend_logs(file: Path, lines: int) -> None:
    """Rows of LiteLLM's table; each tells its number in its id and its bodies."""
    end_s = time.time()
    with file.open("wb") as sink:
        for number in range(lines):
            sink.write(json.dumps(spend_log(number, end_s - (lines - number) / LOGS_A_DAY * 86_400)).encode() + b"\n")


def spend_log(number: int, began_s: float) -> dict[str, object]:
    chance = random.Random(number)
    vendor, model = chance.choice(_MODELS)
    asked, answered = chance.randrange(20, 900), chance.randrange(10, 700)
    failed = number % 50 == 7
    return {
        "request_id": f"chatcmpl-{number}",
        "call_type": "acompletion",
        "spend": asked * 1.5e-7 + answered * 6e-7,
        "prompt_tokens": asked,
        "completion_tokens": answered,
        "total_tokens": asked + answered,
        "startTime": _iso(began_s),
        "endTime": _iso(began_s + chance.lognormvariate(0, 0.8)),
        "model": f"{vendor}/{model}",
        "custom_llm_provider": vendor,
        "end_user": f"user-{number * 7919 % 20_000}",
        "team_id": f"team-{number % 20}",
        "request_tags": ["prod"],
        "cache_hit": "False",
        "metadata": {"error_information": {"error_code": "429"}} if failed else {},
        "status": "failure" if failed else "success",
        "messages": [{"role": "user", "content": f"This is number {number}: {chance.random()}"}],
        "response": {} if failed else {"choices": [{"message": {"content": f"You are number {number}."}}]},
    }


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds")


@contextmanager
def importing(data: Path, file: Path, gateway: str) -> Iterator[subprocess.Popen[bytes]]:
    words = ["logs", "import", str(file), "--from", "litellm", "--gateway", gateway, "--data", str(data)]
    environment = {**os.environ, **build()}
    with subprocess.Popen([*SLUICE, *words], env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)


def bring(data: Path, lines: int) -> str:
    """What to tell of it. Raises BenchFault."""
    file = data.with_name("spend_logs.jsonl")
    write_spend_logs(file, lines)
    with start_sluice(free_port(), port := free_port(), None, data) as program:
        program.wait_for_port(port)
        program.wait_for_family(FAMILY)
        ask = partial(Management, port, make_token(data))
        server = Server(data, program, _made(ask), ask, file, lines)
        _run(server)
    titles = [
        "import",
        "logs stored",
        "s",
        "keeper done, s",
        "keeper's CPU s",
        "import MB",
        "keeper MB",
        "index MB",
        "packs MB",
    ]
    size_mb = file.stat().st_size / 1e6
    return f"{lines:,} lines, {size_mb:,.0f} MB: all as they should be\n\n" + report.table(
        titles, [run.line() for run in server.runs]
    )


def _made(ask: Callable[[], Management]) -> dict[str, ShardKey]:
    """The gateways, which are new."""
    with closing(ask()) as console:
        for name in (ONCE, KILLED):
            console.create_gateway(name)
        return {name: ShardKey("local", console.internal_id(name)) for name in (ONCE, KILLED)}


def _run(server: Server) -> None:
    server.bring(ONCE, "the file")
    server.check(ONCE)
    server.bring(ONCE, "again")
    server.check(ONCE)
    if (dead := server.bring(KILLED, "killed in the middle", kill=True)).stored >= server.lines:
        raise BenchFault(f"the import was killed too late: {dead.stored} logs are stored")
    server.bring(KILLED, "begun again")
    server.check(KILLED)
