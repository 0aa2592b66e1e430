#!/usr/bin/env bash
# A study on Slurm: sbatch docs/cluster/slurm.sh my_study.yaml --storage /shared/results [options of spikesweep run]
# Run from a folder that all nodes share, with the environment in .venv (or $SPIKESWEEP_VENV).
# Not run on a real Slurm so far: tests/studies/engine/execution/test_cluster_files.py runs it with stand-ins for srun and scontrol.
#SBATCH --job-name=spikesweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=B:INT@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

source "${SPIKESWEEP_VENV:-.venv}/bin/activate"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN # nodes have other users, and Ray's ports are open to them
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
port=$((20000 + SLURM_JOB_ID % 10000)) # two jobs may share a node

one_task=(--overlap --nodes=1 --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK") # since 22.05 a step must be told its cores

start_ray() { # NODE OPTIONS…: until it is killed
  srun "${one_task[@]}" --nodelist="$1" ray start --block --num-cpus="$SLURM_CPUS_PER_TASK" \
    --num-gpus="${SLURM_GPUS_ON_NODE:-0}" "${@:2}" >/dev/null &
  steps+=($!)
}

first_address() { # NODE: where a node has several networks, choose another here
  srun "${one_task[@]}" --nodelist="$1" hostname --all-ip-addresses | cut -d ' ' -f 1
}

# bash lets what runs in the background ignore INT, so the driver is sent TERM, which it takes for the same
stopped_by='' driver='' steps=()
stop() {
  stopped_by=$1
  [[ -z $driver ]] || kill -TERM "$driver"
}
trap 'stop INT' INT   # the time is nearly up: see --signal
trap 'stop TERM' TERM # scancel
trap '[[ ${#steps[@]} = 0 ]] || kill "${steps[@]}" 2>/dev/null || true' EXIT

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=$(first_address "${nodes[0]}")
start_ray "${nodes[0]}" --head --node-ip-address="$head" --port="$port" --include-dashboard=false
for _ in {1..120}; do
  (exec 3<>"/dev/tcp/$head/$port") 2>/dev/null && break
  sleep 1
done
for node in "${nodes[@]:1}"; do
  start_ray "$node" --address="$head:$port" --node-ip-address="$(first_address "$node")"
done

spikesweep run "$@" --address "$head:$port" &
driver=$!
[[ -z $stopped_by ]] || kill -TERM "$driver" # the signal came before there was a driver
code=0
wait "$driver" || code=$?
if [[ -n $stopped_by ]]; then # the signal ended the waiting; the driver ends by itself
  code=0
  wait "$driver" || code=$?
fi

if [[ $stopped_by = INT && $code != 0 && $code != 2 ]]; then # replicates are left
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
