"""Random recipes as studies write them, and what config/README.md says that they mean for a tensor."""

from fnmatch import fnmatchcase


def subset(choice, places):
    """A random subset, every part of which selects something; places: {tensor: Place}."""
    tensor = choice.choice([*places])
    place, found = places[tensor], {}
    if choice.random() < 0.6:
        found["groups"] = sorted({str(place.group), str(choice.choice([*places.values()]).group)})
    if place.layer is not None and choice.random() < 0.4:
        found["layers"] = [place.layer]
    if place.expert is not None and choice.random() < 0.4:
        found["experts"] = [choice.choice([place.expert, f"0-{place.expert}"])]
    if choice.random() < 0.3:
        found["names"] = [tensor, f"*{tensor[len(tensor) // 2 :]}"][: choice.randint(1, 2)]
    return found


def weights(choice, names):
    """Random λ that sum to 1: of one parent alone, often enough, else of several in any order."""
    chosen = choice.sample(names, choice.randint(1, len(names)))
    whole = choice.choice([0, 1, 0.5, round(choice.random(), 3), round(choice.random(), 3)])
    if len(chosen) == 1:
        return {chosen[0]: 1}
    shares = [whole / (len(chosen) - 1)] * (len(chosen) - 1)
    return dict(zip(chosen, [*shares, 1 - sum(shares)], strict=True))


def entry(choice, names, places):
    """A random recipe: of a base, names[0], with a subset and overrides."""
    overrides = [
        {"subset": subset(choice, places), "weights": weights(choice, names)} for _ in range(choice.randint(0, 2))
    ]
    found = {"base": names[0], "weights": weights(choice, names), "subset": subset(choice, places)}
    return found | {"overrides": [override for override in overrides if override["subset"]]}


def is_meant(error):
    """Whether an error is about a part of a subset that selects nothing together with the others."""
    return "select" in str(error) or "overrides before it" in str(error)


def selects(part, tensor, place):
    """Whether a subset selects a tensor."""
    return (
        ("groups" not in part or str(place.group) in part["groups"])
        and ("layers" not in part or place.layer in part["layers"])
        and ("experts" not in part or any(_in(place.expert, numbers) for numbers in part["experts"]))
        and ("names" not in part or any(fnmatchcase(tensor, pattern) for pattern in part["names"]))
    )


def _in(number, numbers):
    first, _, last = str(numbers).partition("-")
    return number is not None and int(first) <= number <= int(last or first)


def mixture(found, tensor, place):
    """{parent: λ} of a tensor by an entry, without regard to δ."""
    if not selects(found["subset"], tensor, place):
        return {found["base"]: 1}
    for override in found["overrides"]:
        if selects(override["subset"], tensor, place):
            return override["weights"]
    return found["weights"]
