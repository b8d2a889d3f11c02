# Shared by the scripts here and by .ci/run (sourced, not run). Needs bash 3.2 or newer and nothing else.
#
# XMPPKIT_NO_INSTALL=1    never install a package; say what is missing instead
# XMPPKIT_TRIXIE_ROOT     where the Debian 13 root is or is to be made (default: trixie-root in the target directory)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}
export XMPPKIT_TRIXIE_ROOT=${XMPPKIT_TRIXIE_ROOT:-$CARGO_TARGET_DIR/trixie-root}

say() { printf '%s\n' "$*" >&2; }

die() {
  say "$0: $*"
  exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

# Whether commands can run as root without asking anybody: as root, or by a sudo that needs no password.
can_be_root() { is_root || { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }; }

as_root() { if is_root; then "$@"; else sudo -n "$@"; fi; }

# Whether packages may be installed here, and how: only Debian's apt, and only if nobody said no.
can_install() { [ -z "${XMPPKIT_NO_INSTALL:-}" ] && command -v apt-get >/dev/null && can_be_root; }

package_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# install_packages PACKAGE...: installs those of Debian's packages that are missing; fails if it may not or cannot.
# Servers that come along are not started: a policy-rc.d forbids it meanwhile, and systemd is told not to start them later.
install_packages() {
  local package missing=() policy=/usr/sbin/policy-rc.d made_policy='' status=0
  command -v dpkg-query >/dev/null || return 1
  for package; do package_installed "$package" || missing+=("$package"); done
  [ ${#missing[@]} = 0 ] && return 0
  can_install || return 1
  say "installing ${missing[*]}"
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | as_root sh -c "cat > $policy && chmod 755 $policy" && made_policy=1
  fi
  apt_install "${missing[@]}" || { as_root apt-get -qq update >&2 && apt_install "${missing[@]}"; } || status=1
  if [ -n "$made_policy" ]; then as_root rm -f "$policy"; fi
  if [ -d /run/systemd/system ]; then
    for package in "${missing[@]}"; do
      case $package in prosody | ejabberd) as_root systemctl disable "$package" >&2 || true ;; esac
    done
  fi
  return $status
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=300 \
    -o Dpkg::Use-Pty=0 install "$@" >/dev/null
}

# What the crate itself needs to be built: cargo, a C compiler and OpenSSL's headers (the default TLS backend is the system's).
need_build_tools() {
  command -v cargo >/dev/null || die "cargo is missing: install a stable Rust toolchain, 1.88 or newer"
  command -v cc >/dev/null || command -v gcc >/dev/null || install_packages gcc libc6-dev ||
    die "a C compiler is missing: install gcc (Debian: apt-get install gcc libc6-dev)"
  case $(uname -s) in Linux) ;; *) return 0 ;; esac
  [ -n "${OPENSSL_DIR:-}${OPENSSL_LIB_DIR:-}" ] && return 0
  pkg-config --exists openssl 2>/dev/null || install_packages libssl-dev pkg-config ||
    die "OpenSSL's headers or pkg-config are missing: install them (Debian and Ubuntu: apt-get install libssl-dev pkg-config;" \
      "Fedora: dnf install openssl-devel pkgconf)"
}

# The address of the Debian mirror that this system's apt uses; nothing where there is none.
debian_mirror() {
  command -v apt-get >/dev/null || return 1
  local all
  all=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null) || return 1
  { grep '^Debian ' <<<"$all" || grep -v security <<<"$all"; } | sed -n '1s/.* //p' | grep .
}

# What `step` has measured: one line per step, "seconds<tab>result<tab>name". A script that another one runs adds to the outer's.
start_times() {
  if [ -z "${XMPPKIT_TIMES:-}" ]; then
    XMPPKIT_TIMES=$(mktemp)
    export XMPPKIT_TIMES
    trap 'print_times; rm -f "$XMPPKIT_TIMES"' EXIT
  fi
}

# step NAME COMMAND...: runs the command, notes how long it took and whether it succeeded, and returns its status; 77 is "skipped".
step() {
  local name=$1 start=$SECONDS status=0
  shift
  say ""
  say "== $name"
  "$@" || status=$?
  case $status in
    0) note_step $((SECONDS - start)) ok "$name" ;;
    77) note_step $((SECONDS - start)) skipped "$name"; status=0 ;;
    *) note_step $((SECONDS - start)) FAILED "$name" ;;
  esac
  return $status
}

note_step() { printf '%s\t%s\t%s\n' "$1" "$2" "$3" >>"$XMPPKIT_TIMES"; }

print_times() {
  local seconds result name
  say ""
  while IFS=$'\t' read -r seconds result name; do
    printf '%5d s  %-8s %s\n' "$seconds" "$result" "$name" >&2
  done <"$XMPPKIT_TIMES"
  printf '%5d s  in all\n' "$SECONDS" >&2
}
