"""What a store said is asked for again once its account has changed, and is kept within a bound."""

from sluice.engine.remembered import Remembered


class Numbered:
    """Generations that a test sets."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def of(self, account: str) -> int:
        return self.numbers.get(account, 0)

    def bump(self, account: str) -> None:
        self.numbers[account] = self.of(account) + 1

    def bump_all(self) -> None:
        self.numbers = {account: number + 1 for account, number in self.numbers.items()}


def test_an_answer_holds_until_its_account_changes_even_while_it_is_asked_for():
    generations, asked = Numbered(), []

    def ask(account: str, name: str) -> str | None:
        asked.append((account, name))
        if len(asked) == 1:
            generations.bump(account)
        return None if name == "none" else f"{name} {len(asked)}"

    remembered = Remembered(ask, generations, 4)
    assert [remembered.of("a", "x") for _ in range(3)] == ["x 1", "x 2", "x 2"]
    assert [remembered.of("a", "none") for _ in range(2)] == [None, None]
    generations.bump("b")
    assert remembered.of("a", "x") == "x 2"
    assert asked == [("a", "x"), ("a", "x"), ("a", "none")]


def test_past_the_bound_the_oldest_answer_goes():
    asked = []
    remembered = Remembered(lambda account, name: asked.append(name), Numbered(), 2)
    for name in ("x", "y", "z", "y", "x"):
        remembered.of("a", name)
    assert asked == ["x", "y", "z", "x"]
