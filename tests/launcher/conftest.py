import pytest
from launcher.answers import Answers
from launcher.audits import Audits
from launcher.document import Document
from launcher.inputs import Inputs
from launcher.targets import Targets
from support.clones import ROOT
from support.runs import run_of


class Rooms:
    """All that rules/common.smk makes of a run."""

    def __init__(self, name):
        self.run = run_of(name)
        self.study = self.run.study
        self.inputs = Inputs(self.run)
        self.answers = Answers(self.run, self.inputs)
        self.audits = Audits(self.run, self.inputs)
        self.document = Document(self.run)
        self.targets = Targets(self.run, self.inputs, self.audits)


@pytest.fixture
def mini(monkeypatch):
    monkeypatch.chdir(ROOT)
    return Rooms("mini")


@pytest.fixture
def paper(monkeypatch):
    monkeypatch.chdir(ROOT)
    return Rooms("paper")
