"""What every family of transformers is tried with, and what came of it: docs/families.json.

``make families`` runs all of them, with vLLM's build for processors where that knows a family.
"""

import json
import re
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from aoe import AoeError
from aoe.checkpoints.parts import TensorGroup
from support.families import all_families, no_language_model
from support.family_flow import Flow
from support.family_serving import served

RECORD = Path(__file__).parents[2] / "docs/families.json"
WORKS, REFUSED, WRONG, LEFT_OUT = "works", "refused", "wrong", "left out"
NOT_OF_TEXT = "not tried: it reads more than text"
LONGEST = 200  # characters of another program's error


def outcome(model_type, folder):
    """{"outcome", "why" unless it works, "class", "groups" if it is a model}, and the Flow that works, or None."""
    if reason := no_language_model(model_type):
        return {"outcome": LEFT_OUT, "why": reason}, None
    try:
        flow = Flow(model_type, folder)
        wrong = flow.run()
    except AoeError as error:
        return {"outcome": REFUSED, "why": _sentence(error, folder)}, None
    except Exception as error:  # of any kind: it is transformers'
        return {"outcome": LEFT_OUT, "why": f"transformers: {_sentence(error, folder)}"}, None
    found = {"class": flow.model.__name__}
    if own := wrong.pop("known_to_transformers", None):
        return {"outcome": LEFT_OUT, "why": f"transformers: {_sentence(own, folder)}"} | found, None
    if wrong:
        step, error = next(iter(wrong.items()))
        how = REFUSED if error.startswith(AoeError.__name__) else WRONG
        return {"outcome": how, "why": f"{step}: {_sentence(error, folder)}"} | found, None
    return {"outcome": WORKS} | found | {"groups": [group for group in TensorGroup if group in flow.groups]}, flow


def _sentence(error, folder):
    """The first line of an error, without what is different every time."""
    text = re.sub(r"\s+", " ", str(error).strip().split("\n")[0].replace(f"{folder}/", ""))
    text = re.sub(r"^(AoeError|AssertionError|TypeError|RuntimeError): ", "", text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def run(families, say=print):
    """{model type: outcome} of some families, those that vLLM knows served."""
    found, served_ones = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for model_type in families:
            place = Path(folder) / model_type
            found[model_type], flow = outcome(model_type, place)
            say(f"{model_type}: {found[model_type]['outcome']} {found[model_type].get('why', '')}".strip())
            if flow and flow.is_text:
                served_ones[model_type] = flow
            else:
                found[model_type] |= {"served": NOT_OF_TEXT} if flow else {}
                shutil.rmtree(place, ignore_errors=True)
        for model_type, said in served(served_ones, Path(folder)):
            found[model_type]["served"] = said
    return found


def main(families):
    torch.set_num_threads(1)  # several wait for each other, where a machine has other work
    transformers.utils.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    record = json.loads(RECORD.read_text(encoding="utf-8"))["families"] if families and RECORD.exists() else {}
    found = record | run(families or all_families())
    content = {"transformers": transformers.__version__, "families": {name: found[name] for name in sorted(found)}}
    RECORD.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
