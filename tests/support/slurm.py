"""A real Slurm on this machine: two nodes on loopback, with GPUs that are scheduled, but do not exist."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

ETC = Path("/etc/slurm")  # where jobs look for it: Snakemake's executor hides $SLURM_CONF from what runs in a job
DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
SlurmctldPort=16817
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
MinJobAge={remembered}
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SlurmdParameters=config_overrides
NodeName=node[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[16821-16822] CPUs={cpus} RealMemory={memory} \
Gres=gpu:{model}:{gpus} State=UNKNOWN
PartitionName=main Nodes=node1 Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=node1 MaxTime=INFINITE State=UP
PartitionName=both Nodes=node[1-2] MaxTime=INFINITE State=UP
PartitionName=short Nodes=node1 MaxTime=1:00:00 State=UP
PartitionName=urgent Nodes=node1 PriorityTier=2 MaxTime=INFINITE State=UP
"""


def missing():
    """Why there cannot be a Slurm on this machine, or None."""
    if os.geteuid() != 0:
        return "only root can start a Slurm"
    if absent := [daemon for daemon in DAEMONS if not shutil.which(daemon)]:
        return f"{absent[0]} is not installed (apt install slurmctld slurmd slurm-client munge)"
    if any((ETC / name).exists() and not (ETC / name).is_symlink() for name in ("slurm.conf", "gres.conf")):
        return f"this machine has a Slurm of its own ({ETC})"
    return None


class Slurm:
    """The cluster, from ``start`` to ``stop``; both nodes are the partition `both`, all other partitions are node1.

    What runs in them gives way to jobs in `urgent`; in `short`, jobs are given an hour.
    """

    def __init__(self, folder, cpus=2, memory=20_000, gpus=8, model="h200"):
        self.folder, self.started = Path(folder), []
        host = os.uname().nodename.split(".")[0]
        self.settings = {"folder": folder, "host": host, "cpus": cpus, "memory": memory, "gpus": gpus, "model": model}
        (self.folder / "state").mkdir(parents=True)
        self._configure()
        for number in range(gpus):
            (self.folder / f"gpu{number}").symlink_to("/dev/null")  # Slurm wants a device behind every GPU
        (self.folder / "gres.conf").write_text(
            f"Name=gpu Type={model} File={folder}/gpu[0-{gpus - 1}]\n", encoding="utf-8"
        )

    def start(self):
        ETC.mkdir(exist_ok=True)
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).unlink(missing_ok=True)
            (ETC / name).symlink_to(self.folder / name)
        if subprocess.run("munge -n </dev/null | unmunge", shell=True, capture_output=True).returncode:
            self._start_munge()
        self._daemon("slurmctld", "-D")
        for node in ("node1", "node2"):
            self._daemon("slurmd", "-D", "-N", node)
        deadline = time.monotonic() + 60
        while self._states() != {"idle"}:
            assert time.monotonic() < deadline, (self.folder / "slurmctld.log").read_text(encoding="utf-8")[-2000:]
            time.sleep(0.2)

    def _configure(self, remembered=86400):
        (self.folder / "slurm.conf").write_text(
            CONFIGURATION.format(**self.settings, remembered=remembered), encoding="utf-8"
        )

    @contextlib.contextmanager
    def forgetting(self):
        """Meanwhile, Slurm forgets jobs within a minute after their end; it remembers all others."""
        for seconds in (2, 86400):
            self._configure(seconds)
            subprocess.run(["scontrol", "reconfigure"], check=True)
            if seconds == 2:
                yield

    def _start_munge(self):
        for folder, mode in (("/run/munge", "755"), ("/var/lib/munge", "700"), ("/var/log/munge", "700")):
            subprocess.run(["install", "-d", "-o", "munge", "-g", "munge", "-m", mode, folder], check=True)
        key = Path("/etc/munge/munge.key")
        if not key.exists():
            key.write_bytes(os.urandom(128))
            key.chmod(0o600)
            shutil.chown(key, "munge", "munge")
        self._daemon("runuser", "-u", "munge", "--", "/usr/sbin/munged", "--foreground")

    def _daemon(self, *command):
        with open(self.folder / f"{Path(command[0]).name}.out", "ab") as out:
            self.started.append(subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL))

    def _states(self):
        listed = subprocess.run(["sinfo", "-h", "-N", "-p", "both", "-o", "%T"], capture_output=True, encoding="utf-8")
        return set(listed.stdout.split()) or {"unknown"}

    def stop(self):
        subprocess.run(["scancel", "--user", "root"], capture_output=True)
        for process in reversed(self.started):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        for name in ("slurm.conf", "gres.conf"):
            (ETC / name).unlink()

    def jobs(self, folder):
        """What Slurm recorded of every job that was submitted in a folder: [{key: value}], oldest first."""
        shown = subprocess.run(
            ["scontrol", "--oneliner", "show", "jobs"], capture_output=True, encoding="utf-8", check=True
        )
        jobs = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in shown.stdout.splitlines() if "JobId=" in line]
        return [job for job in jobs if job.get("WorkDir") == str(folder)]
