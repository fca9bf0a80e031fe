#!/usr/bin/env bash
# Make sure that Java 17 and Maven are there: by the system's package manager where we may use it, else say
# what to install. Does nothing where both are there.
set -euo pipefail

java_is_good() {
    local version
    version=$("${JAVA_HOME:+$JAVA_HOME/bin/}java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1) || return 1
    [ "${version:-0}" -ge 17 ]
}

missing() {
    local what=()
    java_is_good || what+=(java)
    command -v mvn >/dev/null || what+=(maven)
    echo "${what[@]:-}"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; elif sudo -n true 2>/dev/null; then sudo -n "$@"; else return 1; fi
}

install() {
    if command -v apt-get >/dev/null; then
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends default-jre-headless maven
    elif command -v dnf >/dev/null; then
        as_root dnf -q install -y java-17-openjdk-headless maven || as_root dnf -q install -y java-latest-openjdk-headless maven
    elif command -v apk >/dev/null; then
        as_root apk add -q openjdk17-jre-headless maven
    elif command -v brew >/dev/null; then
        brew install --quiet openjdk maven
    else
        return 1
    fi
}

wanted=$(missing)
[ -z "$wanted" ] && exit 0
echo "installing for Apache Kafka: $wanted"
install >&2 || true
wanted=$(missing)
[ -z "$wanted" ] && exit 0
echo "missing for Apache Kafka: $wanted; install Java 17 or newer and Maven (Debian, Ubuntu: apt-get install default-jre-headless maven; Fedora: dnf install java-17-openjdk-headless maven; macOS: brew install openjdk maven), or name a cluster in NEXTCLICK_BOOTSTRAP_SERVERS" >&2
exit 1
