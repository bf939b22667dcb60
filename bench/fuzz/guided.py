"""One target under atheris, in a process of its own, which ends with the run: see guiding.py, which starts it."""

import sys

import atheris

with atheris.instrument_imports(include=["sluice", "websockets"]):
    from bench.fuzz.targets import TARGETS


def main() -> None:
    name, *arguments = sys.argv[1:]
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
