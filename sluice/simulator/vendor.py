"""What the simulator needs to know of one vendor's wire."""

import re
from collections.abc import Callable
from typing import NamedTuple

from sluice.simulator.call import NOWHERE, Call
from sluice.simulator.files import Shelf
from sluice.simulator.live import Live
from sluice.simulator.script import Part, Script


class Vendor(NamedTuple):
    answer: Callable[[Call, Shelf], Script]
    """The vendor's reply to a request. Raises Refused."""
    refusal: Callable[[Call, int, str], Script]
    """An error reply of this status in the vendor's shape; an empty message leaves the words to the vendor."""
    error_event: Callable[[Call], Part]
    """How a stream of this vendor reports an error midway."""
    model_in_path: re.Pattern[str] = NOWHERE
    """Where its paths name the model, in a group."""
    live: Callable[[Call], Live] | None = None
    """The vendor's side of a WebSocket. Raises Refused."""
