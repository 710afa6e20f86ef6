#!/usr/bin/env bash
# ./launch.sh            installs nnjax into .venv and trains a network on handwritten digits
# ./launch.sh test       installs the test extra and runs the whole test suite
# ./launch.sh install EXTRA …   installs extras, such as speech and text
# ./launch.sh COMMAND …  passes on to the `nnjax` command
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv="$here/.venv"

die() { printf 'launch.sh: %s\n' "$1" >&2; exit 2; }

# The newest Python that nnjax supports.
find_python() {
  local name
  for name in python3.13 python3.12 python3.11 python3 python; do
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  return 1
}

# install EXTRA: nothing to do where the stamp says that these files were installed already.
install() {
  local extra=$1 target="$here" stamp="$venv/.installed-${1:-core}" wanted
  wanted=$(cat "$here/pyproject.toml" "$here/requirements.txt" | cksum; echo "$here")
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then return; fi
  [ -z "$extra" ] || target="$here[$extra]"
  echo "installing nnjax${extra:+[$extra]} into .venv (once) ..." >&2
  if command -v uv >/dev/null; then
    [ -x "$venv/bin/python" ] || uv venv --quiet --python '>=3.11,<3.14' "$venv"
    uv pip install --quiet --python "$venv/bin/python" -c "$here/requirements.txt" -e "$target"
  else
    if [ ! -x "$venv/bin/python" ]; then
      python=$(find_python) || die 'needs Python 3.11, 3.12 or 3.13 on the PATH'
      "$python" -m venv "$venv" || die 'could not make .venv (on Debian: apt install python3-venv)'
    fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
      -c "$here/requirements.txt" -e "$target"
  fi
  printf '%s\n' "$wanted" >"$stamp"
}

case "${1:-}" in
  '')
    install ''
    exec "$venv/bin/nnjax" train --config="$here/experiments/digits_mlp.py"
    ;;
  test)
    shift
    install test
    cd "$here"
    exec "$venv/bin/python" -m pytest -n "${NNJAX_TEST_PROCESSES:-2}" "$@"
    ;;
  install)
    shift
    known=$(sed -n '/^\[project.optional-dep/,/^\[tool/s/^\([a-z]*\) = \[.*/\1/p' "$here/pyproject.toml")
    for extra in "${@:-}"; do
      grep -Fqx "${extra:-none}" <<<"$known" ||
        die "install ${extra:-needs an EXTRA}: the extras are ${known//$'\n'/, }"
    done
    install "$(IFS=,; echo "$*")"
    ;;
  *)
    install ''
    exec "$venv/bin/nnjax" "$@"
    ;;
esac
