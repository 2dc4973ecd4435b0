#!/usr/bin/env bash
# Makes the API server of Kubernetes that internal/server's tests of clusters run against, from the Go module proxy, pinned by
# go.mod and go.sum beside this file: about 7 minutes of one processor (3 to 4 on two), 100 MB. etcd is Debian's etcd-server.
#
#   e2e/kubernetes/install.sh [DIRECTORY]     DIRECTORY is .ci/cache by default
#   SALLYPORT_TEST_ETCD=$(command -v etcd) SALLYPORT_TEST_KUBE_APISERVER=$PWD/.ci/cache/kube-apiserver-VERSION \
#     go test -tags e2e -v -run TestPeersKubernetes ./internal/server
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p "${1:-.ci/cache}"
cache=$(realpath "${1:-.ci/cache}")
version=$(go -C e2e/kubernetes list -m -f '{{.Version}}' k8s.io/kubernetes)
program=$cache/kube-apiserver-${version#v}
if [ ! -x "$program" ]; then
  go -C e2e/kubernetes build -trimpath -buildvcs=false -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version" -o "$program" k8s.io/kubernetes/cmd/kube-apiserver
fi
command -v etcd >/dev/null || echo 'etcd is missing: apt-get install --no-install-recommends etcd-server'
echo "$program"
