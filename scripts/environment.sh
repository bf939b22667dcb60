# Sourced by the scripts beside it: makes a virtual environment from a hashed lock, again only when the lock changed.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

# The first Python of at least 3.11: $PYTHON if set, else the usual names.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "Sluice needs Python 3.11 or newer, and none was found (tried: ${PYTHON:-python3 python3.14 ... python3.11})." >&2
    echo "Install one, or name it: PYTHON=/path/to/python3.12 $0" >&2
    return 1
}

# make_environment FOLDER LOCK: what the environment was made from is kept inside it, and written last, so that one
# whose making was interrupted is made anew.
make_environment() {
    local folder="$root/$1" lock="$root/$2" python
    if cat "$lock" "$root/pyproject.toml" <(echo "$folder") | cmp -s - "$folder/made-from" && [ -x "$folder/bin/python" ]; then
        return
    fi
    python="$(find_python)"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "$python cannot make virtual environments: its venv module is missing." >&2
        echo "On Debian and Ubuntu: apt install python3-venv" >&2
        return 1
    fi
    echo "Making $1 from $2 (once, and again when that file changes) ..." >&2
    "$python" -m venv --clear "$folder"
    "$folder/bin/python" -m pip -qq --disable-pip-version-check install --require-hashes -r "$lock"
    "$folder/bin/python" -m pip -qq --disable-pip-version-check install --no-deps --no-build-isolation -e "$root"
    cat "$lock" "$root/pyproject.toml" <(echo "$folder") >"$folder/made-from"
}
