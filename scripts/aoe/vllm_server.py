"""`vllm serve`, as a module, on one node or on several: the first answers requests, the others only compute.

On several nodes `srun` starts it, one task a node; the tasks find each other by the first one's address and a port.
vLLM's own command needs a distribution of the name `vllm`, which its builds for the CPU are not.

Usage: python -m aoe.vllm_server MODEL [OPTION…]     with AOE_NODES, AOE_ADDRESS and AOE_PORT for several nodes
"""

import os
import sys

from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.utils.argparse_utils import FlexibleArgumentParser


def part_of(nodes, rank, address, port):
    """The options that make a server one node's part of a larger one, through vLLM's own multiprocessing."""
    words = ["--nnodes", nodes, "--node-rank", rank, "--master-addr", address, "--master-port", port]
    return words if rank == "0" else [*words, "--headless"]


def main(words):
    if os.environ.get("AOE_NODES", "1") != "1":
        words += part_of(*(os.environ[name] for name in ("AOE_NODES", "SLURM_PROCID", "AOE_ADDRESS", "AOE_PORT")))
    parser, serve = FlexibleArgumentParser(), ServeSubcommand()
    serve.subparser_init(parser.add_subparsers())
    arguments = parser.parse_args([serve.name, *words])
    serve.validate(arguments)
    serve.cmd(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
