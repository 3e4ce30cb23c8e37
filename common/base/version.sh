#!/bin/sh
# What --version says: the release of version.h and, in a clone, how many commits have changed what
# is compiled since that release, the last of them, and "dirty" where there are changes without a
# commit: 0.5.0+12.gabc1234. Without git, or where git refuses to tell, the release alone.
#
# usage: version.sh
#
# Commits to tests or pages do not count, so tools are not linked anew for them. The release is
# the commit that gave it its title in CHANGELOG.md.
set -eu

cd "$(dirname -- "$0")/../.."
release=$(sed -n 's/^#define FFKV_VERSION "\(.*\)"$/\1/p' common/base/version.h)
[ -n "$release" ] || { echo "version.sh: common/base/version.h does not define FFKV_VERSION" >&2; exit 1; }

describe() (
    [ -e .git ] || return 1 # a folder within somebody else's clone
    # The files that a build is made of.
    set -- Makefile common tools pipelines/experiments.csv
    released=$(git log -S"## $release - " --format=%H -- CHANGELOG.md | tail -n 1)
    [ -n "$released" ] || return 1
    count=$(git rev-list --count "$released..HEAD" -- "$@")
    commit=$(git log -1 --format=%h -- "$@")
    changed=
    git diff --quiet HEAD -- "$@" || changed=.dirty
    [ "$count$changed" = 0 ] || echo "+$count.g$commit$changed"
)

build=$(describe 2>/dev/null) || build=
echo "$release$build"
