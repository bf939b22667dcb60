"""When a dead child's successor starts."""

from sluice.supervisor.patience import Deaths, Patience

PATIENCE = Patience(deaths=3, deaths_within_s=10.0, first_delay_s=1.0, longest_delay_s=5.0)


def test_a_worker_is_replaced_at_once_until_it_has_died_too_often():
    deaths = Deaths(PATIENCE, at_once=True)
    assert [deaths.another(now, lived_s=1.0) for now in (100.0, 101.0)] == [100.0, 101.0]
    assert not deaths.too_many
    assert deaths.another(102.0, lived_s=1.0) == 103.0
    assert deaths.too_many


def test_waits_double_up_to_the_longest_while_none_stays_up():
    deaths = Deaths(PATIENCE, at_once=False)
    assert [deaths.another(0.0, lived_s=0.1) for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_place_stays_closed_until_one_stays_up_in_it():
    deaths = Deaths(PATIENCE, at_once=True)
    for now in (0.0, 1.0, 2.0):
        deaths.another(now, lived_s=1.0)
    assert deaths.another(50.0, lived_s=9.0) == 52.0
    assert deaths.too_many
    assert deaths.another(100.0, lived_s=10.0) == 100.0
    assert not deaths.too_many


def test_deaths_far_apart_are_no_reason_to_wait():
    deaths = Deaths(PATIENCE, at_once=True)
    assert [deaths.another(now, lived_s=5.0) for now in (0.0, 6.0, 12.0)] == [0.0, 6.0, 12.0]
