"""The families of questions that rules can write, by the names that `--families` takes."""

from functools import partial

from roi_agent.generation import facts, facts_of_several
from roi_agent.generation.facts import Rule

ABOUT_ONE: dict[str, Rule] = {
    **{attribute: partial(facts.attribute_of, attribute=attribute) for attribute in ("kind", "colour", "name")},
    "size": facts.size,
    "place": facts.place,
    "presence": facts.presence,
}
SINGLE: dict[str, Rule] = {
    **ABOUT_ONE,
    "relation": facts.relation,
    "side": facts.side,
    "larger": facts.larger,
    "which_larger": facts.which_larger,
    "same_colour": partial(facts.same, attribute="colour"),
    "same_kind": partial(facts.same, attribute="kind"),
    "touching": facts.touching,
    "extreme": facts_of_several.extreme,
    "which": facts_of_several.which,
    "shared": facts_of_several.shared,
    "count_colour": partial(facts_of_several.count, attribute="colour"),
    "count_kind": partial(facts_of_several.count, attribute="kind"),
}
WITH_REASON = tuple(name for name in SINGLE if name not in ("kind", "colour", "name", "size", "place", "shared"))
FAMILIES = (*SINGLE, "why", "turns")
