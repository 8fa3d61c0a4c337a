#!/usr/bin/env bash
# Put what the Lambda function needs into build/lambda, which deploy/lambda.yaml packs.
#
#   deploy/build_lambda.sh [arm64|x86_64]     for which processor (default arm64)
#
# Needs no AWS and no compiler: every dependency comes as a wheel, and by its hash.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-arm64}" in
    arm64) machine=aarch64 ;;
    x86_64) machine=x86_64 ;;
    *) echo "usage: deploy/build_lambda.sh [arm64|x86_64]" >&2; exit 2 ;;
esac
python=${PYTHON:-python3}
target=build/lambda
rm -rf "$target"

# What Lambda runs on: Python 3.13 with glibc 2.34.
for_lambda=(--target "$target" --python-version 3.13 --implementation cp --abi cp313 --abi abi3 --abi none --only-binary :all:)
for tag in manylinux_2_34 manylinux_2_28 manylinux_2_17 manylinux2014; do
    for_lambda+=(--platform "${tag}_$machine")
done
"$python" -m pip install -q --disable-pip-version-check --require-hashes --no-deps --no-compile \
    "${for_lambda[@]}" -r requirements/run.txt
cp -R mailsyncd "$target/"

deploy/trim_botocore.sh "$target"
find "$target" \( -name __pycache__ -o -name bin -path "$target/bin" \) -prune -exec rm -rf {} +
# The same files make the same package.
find "$target" -exec touch -h -d "@${SOURCE_DATE_EPOCH:-315532800}" {} +
echo "$target: $(du -sm "$target" | cut -f1) MB for ${1:-arm64}"
