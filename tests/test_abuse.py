"""Clients and providers that mean ill: the short form of `scripts/soak abuse`."""

import re
from pathlib import Path

from bench.abuse.attack import abuse
from bench.abuse.table import FAMILIES

SEED = 11


async def test_no_bad_input_gets_a_wrong_answer_or_leaves_anything_behind(tmp_path: Path):
    findings = await abuse(tmp_path / "data", 1_700, SEED, weighs=False)
    assert findings.played >= 1_700
    assert findings.families == {family.name for family in FAMILIES}
    assert findings.beside.asked > 50
    assert {"400:2004", "431:2004", "408:2004", "413:2004", "501:2004", "m404:7003", "close1002"} <= set(
        findings.answers
    )


def test_the_families_are_told_of():
    page = (Path(__file__).parent.parent / "docs" / "hardening.md").read_text()
    told = re.search(r"(\d+) families", page)
    assert told
    assert int(told[1]) == len(FAMILIES) == len({family.name for family in FAMILIES})
