#!/usr/bin/env bash
# Installs the identity providers that e2e/federation signs in by, with their versions: Keycloak from Maven Central (160 MB, 170 MB
# unpacked; needs Java 17 or later, starts in about 20 s with 512 MB of heap), and two for node from npm.
#
#   e2e/federation/install.sh [DIRECTORY]     DIRECTORY is .ci/cache by default
set -euo pipefail
cd "$(dirname "$0")/../.."
cache=${1:-.ci/cache}
version=26.4.0
mkdir -p "$cache"
if [ ! -x "$cache/keycloak-$version/bin/kc.sh" ]; then
  coordinates=org.keycloak:keycloak-quarkus-dist:$version:zip
  mvn -q -B org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy -Dartifact="$coordinates" -DoutputDirectory="$(realpath "$cache")" \
    -Dmdep.useBaseVersion=true
  python3 -m zipfile -e "$cache/keycloak-quarkus-dist-$version.zip" "$cache"
  rm "$cache/keycloak-quarkus-dist-$version.zip"
  chmod +x "$cache/keycloak-$version/bin/kc.sh"
fi
npm ci --no-audit --no-fund --prefix e2e/federation/node
