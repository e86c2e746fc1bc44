export MEMTOOLS_SKIP_LOG=/tmp/skipped-tests

# program NUMBER DIRECTORY PROGRAM ARGUMENTS…
program() {
    printf '\036program %s\n' "$1"
    cd "$2" || return
    export CARGO_MANIFEST_DIR="$2"
    shift 2
    : >$MEMTOOLS_SKIP_LOG
    # A session of its own, of which nothing is left for the next program.
    setsid busybox timeout -s KILL $DEADLINE "$@" &
    child=$!
    wait $child
    status=$?
    kill -9 -$child 2>/dev/null
    busybox sed "s/^/$(printf '\036')skip /" $MEMTOOLS_SKIP_LOG
    printf '\036end %s\n' $status
}

