# Sourced with $here and $work: installs the vendor's package into $work, exactly as package-lock.json says. Ends the
# test with 77 and "skipped: why" when that cannot be had.
skip() { echo "skipped: $*"; exit 77; }
for program in node npm flock; do
  command -v "$program" >/dev/null || skip "$program is not installed"
done

mkdir -p "$work"
exec 9>"$work/lock"
flock 9   # suites may run at the same time
if ! cmp -s "$here/package-lock.json" "$work/installed"; then
  cp "$here/package.json" "$here/package-lock.json" "$work"
  # The package's install script only prints; the parser it needs comes built.
  (cd "$work" && timeout 180 npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1 9>&-) ||
    skip "npm ci did not get the vendor's package, see $work/npm.log"
  cp "$here/package-lock.json" "$work/installed"
fi
exec 9>&-
INTEROP_PACKAGE=$work/node_modules/vsoa node -e 'require(process.env.INTEROP_PACKAGE)' ||
  skip "the vendor's package does not load on this machine"
