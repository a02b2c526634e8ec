# Loads the run; what rules ask for is in the package scripts/launcher, which is plain Python.
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from aoe.document.figures import figures_of
from launcher.answers import Answers
from launcher.audits import Audits, show_verdicts
from launcher.code.watch import CodeWatch
from launcher.cost import show_cost
from launcher.document import Document
from launcher.inputs import Inputs
from launcher.lifecycle import Lifecycle
from launcher.prediction.inputs import Prediction
from launcher.preflight.flight import title_of
from launcher.preflight.plan import Trials
from launcher.preflight.stages import scripts_of
from launcher.resources import JobResources
from launcher.run import Run
from launcher.targets import Targets

run = Run.load(workflow, config)
study, results, benchmarks = run.study, run.results, run.benchmarks
inputs = Inputs(run)
answers = Answers(run, inputs)
audits = Audits(run, inputs)
document = Document(run)
prediction = Prediction(run, inputs)
targets = Targets(run, inputs, audits)
trials = Trials(run)
code = CodeWatch(workflow, run)
lifecycle = Lifecycle(workflow, run, inputs, code)
jobs = JobResources(workflow, config)
memory, minutes, gpus = jobs.memory, jobs.minutes, jobs.gpus

# With `--sdm conda apptainer`, all environments come from one image; see config/README.md for how it is made.
if "container" in config:

    containerized: config["container"]


wildcard_constraints:
    study=study.name,
    name="|".join(map(re.escape, study.inputs)),
    base="|".join(map(re.escape, study.models)),
    other="|".join(map(re.escape, study.models)),
    variant="|".join(map(re.escape, study.variants)),
    audit="|".join(map(re.escape, study.audits)) or "no-audit",
    shard=r"[^/]+\.safetensors",


workflow.register_resource("turn", 1)


resource_scopes:
    turn="local",


onstart:
    lifecycle.start()


onsuccess:
    lifecycle.succeed()
