#!/usr/bin/env bash
# Builds the Kubernetes control plane that the tests use: kube-apiserver, kube-scheduler and kube-controller-manager
# 1.20.2, from Debian's source package with Debian's Go. Debian has no newer one, and Kubernetes no packages for Debian
# that need no foreign source. Five minutes of CPU time and 2 GiB of disk while it builds, 160 MB when done.
#
# usage: scripts/kubernetes.sh         build what is missing, print the folder of the programs
#        scripts/kubernetes.sh --where print that folder, build nothing
#
# Needs the packages golang-go (1.19), dpkg-dev and etcd-server, and nothing of root.
set -euo pipefail

VERSION=1.20.2
SOURCE=kubernetes=1.20.5+really1.20.2-1.1+deb12u1
PROGRAMS=(kube-apiserver kube-scheduler kube-controller-manager)
HERE=${HOTSEAT_KUBERNETES:-${XDG_CACHE_HOME:-$HOME/.cache}/hotseat-kubernetes-$VERSION}

complete() {
    local program
    for program in "${PROGRAMS[@]}"; do [[ -x $HERE/$program ]] || return 1; done
}

if [[ ${1:-} == --where ]]; then
    echo "$HERE"
    exit 0
fi
mkdir -p "$HERE"
# One build at a time: test runs in several checkouts share the folder.
exec 9>"$HERE/.lock"
flock 9
if complete; then
    echo "$HERE"
    exit 0
fi

work=$(mktemp -d "$HERE/build.XXXXXX")
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

# This machine's own package sources, asked for source packages; its settings stay as they are.
mkdir -p "$work/apt/sources.d" "$work/apt/lists/partial" "$work/apt/cache/archives/partial"
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [[ -f $list ]] && sed -n 's/^deb\([[:space:]]\)/deb-src\1/p' "$list" >"$work/apt/sources.d/$(basename "$list" .list).list"
done
for list in /etc/apt/sources.list.d/*.sources; do
    [[ -f $list ]] && sed 's/^Types:.*/Types: deb-src/' "$list" >"$work/apt/sources.d/$(basename "$list")"
done
apt=(apt-get -qq -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$work/apt/sources.d"
    -o "Dir::State::Lists=$work/apt/lists" -o "Dir::Cache=$work/apt/cache" -o APT::Sandbox::User=root)
echo "fetching the source of Kubernetes $VERSION" >&2
(
    cd "$work"
    "${apt[@]}" update
    "${apt[@]}" source --download-only "$SOURCE"
    dpkg-source --no-check --extract kubernetes_*.dsc kubernetes
) >&2

# Kubernetes' own build fetches tools; in GOPATH mode everything comes from the source package.
GOROOT=$(go env GOROOT) # which a program built with -trimpath does not know by itself
export GOROOT GOPATH=$work/go GOCACHE=$work/gocache GO111MODULE=off CGO_ENABLED=0 GOFLAGS=-trimpath
tree=$GOPATH/src/k8s.io/kubernetes
mkdir -p "$(dirname "$tree")"
mv "$work/kubernetes" "$tree"
cd "$tree"
echo "building Kubernetes $VERSION (five minutes of CPU time)" >&2
nice go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
packages=$(grep -rlE '^// \+k8s:openapi-gen=' --include='*.go' pkg/apis staging/src vendor/k8s.io/kube-openapi |
    grep -vE '/(testdata|_examples|sample-|code-generator)' | xargs -n1 dirname | sort -u |
    sed -e 's#^staging/src/#k8s.io/kubernetes/vendor/#' -e 's#^pkg/#k8s.io/kubernetes/pkg/#' | paste -sd,)
nice "$work/openapi-gen" -O zz_generated.openapi -i "$packages" -p k8s.io/kubernetes/pkg/generated/openapi \
    --go-header-file hack/boilerplate/boilerplate.generatego.txt -r "$work/violations" --output-base "$GOPATH/src" >&2
in=k8s.io/kubernetes/vendor/k8s.io/component-base/version
says="-X $in.gitVersion=v$VERSION -X $in.gitMajor=1 -X $in.gitMinor=20"
for program in "${PROGRAMS[@]}"; do
    nice go build -tags providerless,dockerless -ldflags "-s -w $says" -o "$work/$program" "./cmd/$program"
    mv "$work/$program" "$HERE/$program"
done
echo "$HERE"
