#!/usr/bin/env bash
# Trains on a Cloud TPU pod slice: all its hosts, from queueing for it to deleting it.
#
#   launch/tpu_pod.sh COMMAND --name=NAME --zone=ZONE [options] [-- flags of fsvae_jax.main]
#
# Commands
#   create    queue for a slice, and wait until it is there
#   install   copy the last commit of this checkout to every host, install it, mount the bucket at ~/runs
#   start     start training on every host; goes on from the newest checkpoint in the bucket
#   logs      follow what host 0 prints
#   stop      save and stop training
#   status    state of the request and of the slice
#   resume    after a preemption: delete what is left, create, install, start
#   delete    delete slice and request; checkpoints stay in the bucket
#
# Options
#   --type=TYPE        slice, as gcloud names it; default v5litepod-16 (create, resume)
#   --runtime=VERSION  software of its hosts; default v2-alpha-tpuv5-lite (create, resume)
#   --spot             cheaper, and may be preempted (create, resume)
#   --project=PROJECT  default: gcloud's
#   --bucket=BUCKET    Cloud Storage bucket in the slice's region that keeps runs and data (install,
#                      resume); with hierarchical namespace, so that renaming a folder is atomic
#   --dry-run          print every command instead of running it
#
#   launch/tpu_pod.sh resume --name=pod --zone=us-west4-a --spot --bucket=my-runs -- \
#     --config=celeba --config.train.batch_size=1024
set -euo pipefail # all here is for bash 3.2, which macOS has, too

usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; }

fail() {
  echo "launch/tpu_pod.sh: $*; see --help" >&2
  exit 2
}

run() {
  if [[ $dry_run ]]; then
    printf '%q ' "$@"
    echo
  else
    "$@"
  fi
}

create() {
  run gcloud compute tpus queued-resources create "$name" --node-id="$name" "${where[@]}" \
    --accelerator-type="$type" --runtime-version="$runtime" ${spot:+--spot}
  local describe=(gcloud compute tpus queued-resources describe "$name" "${where[@]}")
  describe+=('--format=value(state.state)')
  if [[ $dry_run ]]; then
    run "${describe[@]}"
    return
  fi
  local state='' failures=0
  while [[ $state != ACTIVE ]]; do
    if state=$("${describe[@]}"); then
      failures=0
    else
      state='not to be learned just now'
      ((++failures < 20)) || fail "$name: gcloud failed $failures times in a row"
    fi
    echo "$name: $state"
    case $state in
      FAILED | SUSPENDED | SUSPENDING | DELETING)
        fail "$name is $state; delete it, and create it again" ;;
      ACTIVE) ;;
      *) sleep "${POLL_SECONDS:-30}" ;;
    esac
  done
}

# Runs a command line on every host, or on those that are given.
on_hosts() {
  run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker="${2:-all}" --command="$1"
}

# The file that this script is, and not a link to it: as readlink -f, which macOS lacks.
script() {
  local file=$0 target
  while [[ -L $file ]]; do
    target=$(readlink "$file")
    [[ $target == /* ]] && file=$target || file=$(dirname "$file")/$target
  done
  echo "$file"
}

install() {
  local archive
  archive=$(mktemp -d)/fsvae_jax.tar.gz
  if [[ ! $dry_run && $(git -C "$(dirname "$(script)")/.." status --porcelain) ]]; then
    echo 'launch/tpu_pod.sh: what is not committed is not installed' >&2
  fi
  run git -C "$(dirname "$(script)")/.." archive --format=tar.gz --output="$archive" HEAD
  run gcloud compute tpus tpu-vm scp "$archive" "$name:fsvae_jax.tar.gz" "${where[@]}" --worker=all
  rm -rf "$(dirname "$archive")"
  on_hosts 'set -e
    mkdir -p fsvae_jax && tar -xzf fsvae_jax.tar.gz -C fsvae_jax && cd fsvae_jax
    python3 -m pip install --quiet --user uv
    python3 -m uv venv --quiet --allow-existing --python=3.12
    python3 -m uv pip install --quiet --editable ".[tpu]"'
  [[ $bucket ]] || return 0
  on_hosts "set -e
    if ! command -v gcsfuse > /dev/null; then
      key=/usr/share/keyrings/cloud.google.asc site=https://packages.cloud.google.com/apt
      curl -fsS \$site/doc/apt-key.gpg | sudo tee \$key > /dev/null
      echo \"deb [signed-by=\$key] \$site gcsfuse-\$(lsb_release -c -s) main\" |
        sudo tee /etc/apt/sources.list.d/gcsfuse.list > /dev/null
      sudo apt-get -qq update && sudo apt-get -qq install -y gcsfuse
    fi
    mkdir -p runs
    mountpoint -q runs || gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 $bucket runs"
}

start() {
  local command check=''
  command=$(printf '%q ' .venv/bin/python -u -m fsvae_jax.main \
    --config.data.cache_dir=runs/cache "${flags[@]}") # of a field given twice the last counts
  if [[ " ${flags[*]}" != *' --workdir='* || " ${flags[*]}" != *' --config.data.cache_dir='* ]]; then
    check='mountpoint -q ~/runs || {
      echo give --bucket to install, or --workdir and --config.data.cache_dir on storage of all hosts
      exit 1; }'
  fi
  on_hosts "set -e
    cd fsvae_jax
    if [ -e ~/train.pid ] && kill -0 \$(cat ~/train.pid) 2> /dev/null; then
      echo it runs already; exit 1
    fi
    $check
    mkdir -p ~/runs
    [ -e runs ] || ln -s ~/runs runs
    nohup $command > ~/train.log 2>&1 < /dev/null &
    echo \$! > ~/train.pid"
}

logs() { on_hosts 'tail -n 100 -F train.log' 0; }

stop() { on_hosts "kill -TERM \$(cat train.pid)" 0; }

status() {
  run gcloud compute tpus queued-resources describe "$name" "${where[@]}"
  run gcloud compute tpus tpu-vm describe "$name" "${where[@]}"
}

delete() {
  run gcloud compute tpus queued-resources delete "$name" "${where[@]}" --force --quiet
}

resume() {
  delete || echo "nothing was left of $name"
  create
  install
  start
}

[[ $# -gt 0 ]] || { usage >&2; exit 2; }
command=$1
case $command in
  -h | --help) usage; exit 0 ;;
  create | install | start | logs | stop | status | resume | delete) shift ;;
  *) fail "unknown command $command" ;;
esac

name='' zone='' type=v5litepod-16 runtime=v2-alpha-tpuv5-lite spot='' project='' bucket='' dry_run=''
flags=()
while [[ $# -gt 0 ]]; do
  case $1 in
    --name=?*) name=${1#*=} ;;
    --zone=?*) zone=${1#*=} ;;
    --type=?*) type=${1#*=} ;;
    --runtime=?*) runtime=${1#*=} ;;
    --project=?*) project=${1#*=} ;;
    --bucket=?*) bucket=${1#*=} bucket=${bucket#gs://} bucket=${bucket%/} ;; # gcsfuse wants the name
    --spot) spot=yes ;;
    --dry-run) dry_run=yes ;;
    -h | --help) usage; exit 0 ;;
    --) shift; flags=("$@"); break ;;
    *) fail "unknown option $1 (flags of fsvae_jax.main come after --)" ;;
  esac
  shift
done
[[ $name ]] || fail '--name=NAME is missing'
[[ $zone ]] || fail '--zone=ZONE is missing'
[[ $name =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] || fail "--name=$name: small letters, digits and - only"
if [[ $command == start || $command == resume ]]; then
  [[ ${#flags[@]} -gt 0 ]] || fail "$command takes the flags of fsvae_jax.main after --"
elif [[ ${#flags[@]} -gt 0 ]]; then
  fail "$command takes no flags of fsvae_jax.main"
fi
where=(--zone="$zone" ${project:+--project="$project"})
[[ $dry_run ]] || command -v gcloud > /dev/null || fail 'gcloud is not installed'
"$command"
