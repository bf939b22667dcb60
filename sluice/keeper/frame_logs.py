"""Frames to logs: their bodies found, what they used and what it cost read out of them."""

from contextlib import suppress
from pathlib import Path

from sluice.keeper.intake import Frame, Work
from sluice.keeper.metering import Meter
from sluice.keeper.rate_book import PricePending
from sluice.metrics import Metrics
from sluice.spool.frames import ImportedFrame
from sluice.spool.layout import Side, side_path
from sluice.values.log import Blob, NewLog, SideFile


class FrameLogs:
    """Makes logs of frames."""

    def __init__(self, meter: Meter, metrics: Metrics) -> None:
        self._meter = meter
        self._lost = metrics.counter("sluice_spool_lost_bodies_total", "Bodies whose side file is missing or short.")

    def all_metered(self, frames: list[tuple[Work, Frame]]) -> list[NewLog]:
        """Raises PricePending when the last has been looked at, so that all missing prices are asked for at once."""
        logs = []
        for work, frame in frames:
            with suppress(PricePending):
                logs.append(self._metered(work, frame))
        if len(logs) < len(frames):
            raise PricePending
        return logs

    def _metered(self, work: Work, frame: Frame) -> NewLog:
        if isinstance(frame, ImportedFrame):
            return frame.log
        exchange = frame.exchange
        request = self._body(work, exchange.id, "request", frame.request)
        response = self._body(work, exchange.id, "response", frame.response)
        entry = self._meter.entry(exchange, request, response)
        return NewLog(entry, request, response) if exchange.payload else NewLog(entry, None, None)

    def _body(self, work: Work, log_id: str, side: Side, section: bytes | int) -> Blob:
        """A body that is missing or short after a power loss is lost; its log is not."""
        if not isinstance(section, int):
            return section
        path = side_path(work.tail.folder, log_id, side)
        try:
            if path.stat().st_size >= section:
                return SideFile(path, section)
        except OSError:
            pass  # missing, or its disk is damaged
        self._lost.add()
        return None


def side_files(work: Work, frame: Frame) -> tuple[Path, ...]:
    """The files that hold bodies too long for their frame."""
    if isinstance(frame, ImportedFrame):
        return ()
    sides: tuple[tuple[Side, bytes | int], ...] = (("request", frame.request), ("response", frame.response))
    return tuple(
        side_path(work.tail.folder, frame.exchange.id, side) for side, section in sides if isinstance(section, int)
    )
