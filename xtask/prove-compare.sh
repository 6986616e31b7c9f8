#!/usr/bin/env bash
# Holds `cargo xtask compare` against what is known: the same code twice, beside a busy processor and alone, and two planted
# slowdowns. Takes hours with the numbers below; ROUNDS=2 gives a first impression. Runs in a clone of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-20}
same=${SAME:-$((rounds * 5))}
busy=
clone=$(mktemp -d)
trap 'if [ -n "$busy" ]; then kill "$busy"; fi; rm -rf "$clone"' EXIT
git clone --quiet . "$clone/tare"
# Not the checkout's: cargo would take what is compiled here for its own.
export CARGO_TARGET_DIR="$PWD/target/prove-compare"
cd "$clone/tare"

# $1: a patch; leaves the state with it on a branch of that name.
plant() {
  git checkout --quiet -B "$1" base
  git apply "fixtures/planted/$1.patch"
  git -c user.name=tare -c user.email=tare@localhost commit --quiet --all --message "Plant $1"
  git checkout --quiet -
}

# $1: what is counted; $2: an id that has to be among what is slower, or nothing; the rest: arguments of compare.
count() {
  local what=$1 id=$2 found=0 all=0
  shift 2
  for _ in $(seq "$tries"); do
    local code=0
    cargo xtask compare "$@" --output "$clone/runs" >"$clone/said" 2>&1 || code=$?
    if [ "$code" = 2 ]; then cat "$clone/said"; exit 2; fi
    all=$((all + 1))
    if [ "$code" = 1 ] && { [ -z "$id" ] || grep --quiet "^Slower.*$id" "$clone/said"; }; then found=$((found + 1)); fi
    if [ "$code" = 1 ]; then grep --max-count=1 "Slower" "$clone/said" || true; fi
    echo "$what: $found of $all"
  done
}

git checkout --quiet -B base
plant slower-token
plant round-trip
tries=$rounds
count "5 % planted in the check of a token, found" "auth/" base slower-token
count "a round trip planted in an action, found" "action/" base round-trip
tries=$same
count "alarms between the same code" "" base base
(while :; do :; done) &
busy=$!
count "alarms between the same code beside a busy processor" "" base base
