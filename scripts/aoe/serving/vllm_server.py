"""`vllm serve`, as a module, on one node or on several: the first answers requests, the others only compute.

On several nodes `srun` starts it, one task a node; the tasks find each other by the first one's address and a port.
vLLM's own command needs a distribution of the name `vllm`, which its builds for the CPU are not.

Usage: python -m aoe.serving.vllm_server MODEL [OPTION…]     with AOE_NODES, AOE_ADDRESS and AOE_PORT for several nodes
"""

import contextlib
import os
import socket
import sys

from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.utils.argparse_utils import FlexibleArgumentParser
from aoe.serving.server import end_with


def part_of(nodes: str, rank: str, address: str, port: str) -> list[str]:
    """Return the options that make a server one node's part of a larger one, through vLLM's own multiprocessing."""
    words = ["--nnodes", nodes, "--node-rank", rank, "--master-addr", address, "--master-port", port]
    return words if rank == "0" else [*words, "--headless"]


def own_address(first: str) -> str | None:
    """Return the address that this node sends from to the ``first`` node of its server, which the others reach it by.

    On a node without a default route, or with several networks, vLLM itself finds none, or another.  None, if the
    node's name leads to its loopback interface only, or to nothing: then vLLM has to look.
    """
    with contextlib.suppress(OSError):
        for family, kind, protocol, _, place in socket.getaddrinfo(first, 9, type=socket.SOCK_DGRAM):
            with contextlib.suppress(OSError), socket.socket(family, kind, protocol) as probe:
                probe.connect(place)  # sends nothing
                address = probe.getsockname()[0]
                if not address.startswith("127.") and address != "::1":
                    return address
    return None


def main(words: list[str]) -> None:
    if os.environ.get("AOE_PARENT"):
        end_with(int(os.environ["AOE_PARENT"]))
    several = os.environ.get("AOE_NODES", "1") != "1"
    address = own_address(os.environ["AOE_ADDRESS"]) if several else "127.0.0.1"
    if address:
        os.environ.setdefault("VLLM_HOST_IP", address)
    if several:
        words += part_of(*(os.environ[name] for name in ("AOE_NODES", "SLURM_PROCID", "AOE_ADDRESS", "AOE_PORT")))
    parser, serve = FlexibleArgumentParser(), ServeSubcommand()
    serve.subparser_init(parser.add_subparsers())
    arguments = parser.parse_args([serve.name, *words])
    serve.validate(arguments)
    serve.cmd(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
