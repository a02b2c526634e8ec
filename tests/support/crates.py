"""The public validator of RO-Crates, without network."""

import json
from importlib.resources import files

from requests_cache import CachedRequest, CachedResponse, CachedSession
from rocrate_validator.services import validate

PROFILES = ["ro-crate-1.1", "process-run-crate-0.5", "workflow-ro-crate-1.0", "workflow-run-crate-0.5"]


def save_contexts(path):
    """Make the cache ``path`` of what the validator looks up in the web, and return it.

    rocrate has the terms of RO-Crate 1.3 only; what 1.1 calls otherwise is put in its place, and the one that crates of
    runs need and 1.1 does not have is taken away.
    """
    terms = json.loads(files("rocrate").joinpath("data/ro-crate.jsonld").read_text(encoding="utf-8"))["@context"]
    del terms["sha256"]
    terms |= {name: f"https://bioschemas.org/{name}" for name in ("ComputationalWorkflow", "FormalParameter")}
    terms |= {name: f"https://bioschemas.org/ComputationalWorkflow#{name}" for name in ("input", "output")}
    run = "https://w3id.org/ro/terms/workflow-run"
    known = {"https://w3id.org/ro/crate/1.1/context": terms, f"{run}/context": {"sha256": f"{run}#sha256"}}
    with CachedSession(path, backend="sqlite", expire_after=-1) as session:
        for url, terms in known.items():
            session.cache.save_response(
                CachedResponse(
                    request=CachedRequest(method="GET", url=url),
                    url=url,
                    status_code=200,
                    headers={"Content-Type": "application/ld+json"},
                    content=json.dumps({"@context": terms}).encode(),
                )
            )
    return path


def issues(path, profile, contexts, severity="REQUIRED"):
    """What the validator has against a crate."""
    settings = {"rocrate_uri": path, "profile_identifier": profile, "requirement_severity": severity}
    found = validate({**settings, "offline": True, "cache_path": contexts})
    assert found.passed() == (not found.get_issues())
    return [issue.message for issue in found.get_issues()]
