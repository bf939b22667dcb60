from sluice.values.errors import LONGEST_DETAIL, MalformedRequest, OutputUnreadable


def test_an_error_quotes_a_body_up_to_a_bound():
    assert len(MalformedRequest("x" * 20_000_000).said) == LONGEST_DETAIL
    assert len(OutputUnreadable("x" * 20_000_000).detail) == LONGEST_DETAIL
