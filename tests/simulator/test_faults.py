import msgspec
import pytest

from sluice.simulator import faults
from sluice.simulator.faults import FAULTS, FaultError, Faults, base_model, parse_faults


def test_every_fault_has_its_field_and_its_row_in_the_table() -> None:
    assert [name.replace("-", "_") for name in FAULTS] == [field.name for field in msgspec.structs.fields(Faults)]
    table = faults.__doc__ or ""
    for name, value in FAULTS.items():
        assert f"| `{name}{'' if value.least == value.most else '-N'}` |" in table


def test_faults_are_read_from_suffixes_and_from_the_header() -> None:
    asked = parse_faults("gpt-4o~status-503~retry-after-2", "slow-head=20ms, cut=3")
    assert (asked.status, asked.retry_after, asked.slow_head, asked.cut) == (503, 2, 20, 3)
    assert base_model("gpt-4o~status-503~retry-after-2") == "gpt-4o"


@pytest.mark.parametrize("model", ["m~error-200", "m~drop-reused", "m~no-tail", "m~malformed", "m~huge-60mb"])
def test_a_name_with_a_dash_or_a_unit_is_understood(model: str) -> None:
    assert parse_faults(model, "") != faults.NONE


def test_the_header_overrides_the_suffix() -> None:
    assert parse_faults("m~cut-1", "cut=2").cut == 2


@pytest.mark.parametrize("model", ["m~no-such-fault", "m~cut", "m~cut-x", "m~status-99", "m~", "m~drop-2", "m~cut--1"])
def test_what_is_no_fault_is_refused(model: str) -> None:
    with pytest.raises(FaultError):
        parse_faults(model, "")
