"""Commands in a console's own spool: kept or refused, never dropped."""

import asyncio
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from sluice.metrics import Metrics
from sluice.spool.frames import FILE_HEADER_BYTES, decode_command
from sluice.spool.layout import CONSOLES, file_seqs
from sluice.spool.reader import SpoolTail, last_key
from sluice.spool.writer import SpoolRefuses, SpoolWriter
from sluice.values.command import Change, Command
from sluice.values.ids import key_of
from sluice.values.settings import SpoolSettings
from sluice.values.tenancy import Gateway

OpenWriter = Callable[..., SpoolWriter]
Put = Callable[..., str]


def command_of(writer: SpoolWriter) -> Command:
    return Command(writer.mint.mint(), "local", ["01JC3R94FRD97JBCBX3S0ZAXKW"], Change(feedback=1))


def commands_in(folder: Path) -> list[Command]:
    tail, commands = SpoolTail(folder), []
    while found := tail.take():
        commands += [decode_command(each.data) for each in found]
    tail.close()
    return commands


async def test_a_command_is_in_the_file_when_it_was_given_and_then_on_the_disk(
    open_writer: OpenWriter, root: Path, gateway: Gateway
):
    writer = open_writer(SpoolSettings(file_bytes=300), numbers=CONSOLES)
    commands = [command_of(writer) for _ in range(10)]
    for command in commands:
        writer.order(gateway.id, command)
    async with asyncio.timeout(5):
        await writer.durable()
    assert commands_in(root / str(CONSOLES[0])) == commands
    assert len(file_seqs(root / str(CONSOLES[0]))) > 1


def test_consoles_have_numbers_that_no_worker_takes(open_writer: OpenWriter):
    writers = [open_writer(), open_writer(numbers=CONSOLES), open_writer(numbers=CONSOLES), open_writer()]
    assert [writer.number for writer in writers] == [0, CONSOLES[0], CONSOLES[1], 1]


def test_ids_of_commands_go_on_above_those_of_the_console_before(
    open_writer: OpenWriter, root: Path, gateway: Gateway, metrics: Metrics
):
    first = SpoolWriter.open(root, SpoolSettings(), metrics, numbers=CONSOLES)
    command = command_of(first)
    first.order(gateway.id, command)
    first.close()
    assert last_key(root / str(CONSOLES[0])) == key_of(command.id)
    assert key_of(open_writer(numbers=CONSOLES).mint.mint()) > key_of(command.id)


@pytest.mark.parametrize("when_full", ["drop", "refuse"])
def test_a_full_spool_refuses_commands(open_writer: OpenWriter, put: Put, root: Path, gateway: Gateway, when_full: str):
    worker = open_writer()
    writer = open_writer(SpoolSettings(max_bytes=4_000, when_full=when_full), numbers=CONSOLES)
    writer.order(gateway.id, kept := command_of(writer))
    put(worker, b"x" * 5_000)
    writer.measure()
    with pytest.raises(SpoolRefuses, match="full"):
        writer.order(gateway.id, command_of(writer))
    assert commands_in(root / str(CONSOLES[0])) == [kept]


def test_a_command_that_cannot_be_written_is_refused_and_later_ones_are_not(
    open_writer: OpenWriter, root: Path, gateway: Gateway
):
    now_s = 0.0
    writer = open_writer(numbers=CONSOLES, clock_s=lambda: now_s)
    writer.order(gateway.id, first := command_of(writer))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_HEADER_BYTES + 100, before[1]))
    try:
        with pytest.raises(SpoolRefuses, match="cannot be written"):
            writer.order(gateway.id, command_of(writer))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(SpoolRefuses, match="cannot be written"):
        writer.order(gateway.id, command_of(writer))
    now_s = 1.0
    writer.order(gateway.id, last := command_of(writer))
    assert commands_in(root / str(CONSOLES[0])) == [first, last]
