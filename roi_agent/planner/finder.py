"""Resolution of nouns to things, which are found, inspected, filtered and measured with the available tools."""

from collections.abc import Collection, Sequence

from roi_agent.planner.inspector import Inspector
from roi_agent.planner.language import COLOURS, number, tokens
from roi_agent.planner.query import Extreme, Filter, Is, Lies, Noun, Placed, Shares, Unlike
from roi_agent.planner.steps import Call, Reply, Steps, Stopped, call, checked, handles_in
from roi_agent.planner.things import SAME_THING, WITHIN, Missing, Thing, overlap, without_nested

_RELAXED = 0.4  # share of the detector's threshold for a second search
_ANYTHING = "thing"
_BASIC = 10  # colours that are searched for one by one
_SUPERLATIVES = {
    "left to right": "leftmost", "right to left": "rightmost", "top to bottom": "topmost", "bottom to top": "lowest",
    "smallest to largest": "smallest", "largest to smallest": "largest", "nearest first": "nearest to {to}",
    "farthest first": "farthest from {to}",
}  # fmt: skip


class Finder(Inspector):
    """Finds the things that nouns refer to.

    tools: the available tools. Without measuring tools, the region model is asked about geometry; without a detector, everything
    is segmented.  mentioned: handles from the previous sentence or answer.  second_look: check finds with the region model,
    search again if a find is uncertain, and look closer at uncertain things.
    """

    def __init__(self, tools: Collection[str], mentioned: Sequence[str] = (), *, second_look: bool = True) -> None:
        super().__init__(tools, second_look=second_look)
        self.mentioned = tuple(mentioned)
        self._things: dict[str, Thing] = {}
        self._found: dict[tuple[object, ...], list[Thing]] = {}
        self._unknown: set[str] = set()
        self.measured_against: list[str] = []

    # ------------------------------------------------------------ finding

    def find(self, noun: Noun) -> Steps[list[Thing]]:
        """Find the things that a noun refers to.

        Raises Missing if a thing that a filter refers to was not found, and Stopped if nothing was found and a word is outside
        the detector's vocabulary, in which case the thing may still be there.
        """
        things = yield from self._candidates(noun)
        if not (noun.handles or (noun.pronoun and not noun.head)):
            things = yield from self._of_kind(noun, things)
        if noun.other and self.mentioned:  # "the other flag"
            mentioned = [self._things.get(handle) for handle in self.mentioned]
            things = [thing for thing in things if thing not in mentioned]
        for each in noun.filters:
            if not things:
                break
            things = yield from self.passing(things, each)
        if noun.pick is not None:
            things = yield from self.first(things, noun.pick)
        if not things and (unknown := next((phrase for phrase in _phrases(noun) if phrase in self._unknown), None)):
            raise Stopped(f"'{unknown}' is not in this detector's vocabulary: whether there is one is not known")
        return things

    def find_all(self, nouns: Sequence[Noun]) -> Steps[list[Thing]]:
        """Find the things of several nouns, without duplicates.  Raises Missing if one of several nouns is not found."""
        everything: dict[str, Thing] = {}
        for noun in nouns:
            things = yield from self.find(noun)
            if not things and len(nouns) > 1:
                raise Missing(noun)
            everything |= {thing.handle: thing for thing in things}
        return list(everything.values())

    def _find_reference(self, noun: Noun) -> Steps[list[Thing]]:
        """Find the reference of a comparison; several things for "the star" are a doubt.  Raises Missing."""
        things = yield from self.find(noun)
        if not things:
            raise Missing(noun)
        if len(things) > 1 and noun.definite and not noun.plural:
            handles = ", ".join(thing.handle for thing in things)
            self.doubts.append(f'"{noun.words}" fits {number(len(things))} things ({handles})')
        self.measured_against += [thing.handle for thing in things if thing.handle not in self.measured_against]
        return things

    def _candidates(self, noun: Noun) -> Steps[list[Thing]]:
        """Find the candidates of a noun, before any check."""
        if noun.handles or noun.pronoun:
            named = noun.handles or self.mentioned
            if not named:
                raise Stopped(f'I do not know what "{noun.words}" means: nothing was mentioned before')
            yield from self._learn_regions(named)
            return [self._things[handle] for handle in named]
        phrases = _phrases(noun)
        key = (phrases, noun.image)
        if key not in self._found:
            reply = yield from self._look_for(phrases, noun.image)
            if reply.failed and reply.text.startswith("unknown_image: no image is named"):
                self._found[key] = yield from self._found_in_all(phrases, noun)
            else:
                self._found[key] = yield from self._found_in(noun.image, phrases, noun, checked("find_regions", reply))
        return list(self._found[key])

    def _look_for(self, phrases: Sequence[str], image: str | None, threshold: float | None = None) -> Steps[Reply]:
        where = {"image": image} if image else {}
        if "find_regions" not in self.tools:
            if "segment_everything" not in self.tools:
                raise Stopped("I cannot find anything without the tools find_regions and segment_everything")
            (reply,) = yield [Call("segment_everything", where, "Nothing can be found by name, so everything is outlined.")]
            return reply
        level = {"threshold": threshold} if threshold is not None else {}
        why = f"Look for {' and '.join(phrases)}." if threshold is None else "Look again for what was missed."
        (reply,) = yield [Call("find_regions", {"phrases": list(phrases), **where, **level}, why)]
        return reply

    def _found_in_all(self, phrases: Sequence[str], noun: Noun) -> Steps[list[Thing]]:
        listed = yield from call("list_regions", "There are several images.")
        found: list[Thing] = []
        for image in listed.data["images"]:
            if image["parent"] is None:
                reply = yield from self._look_for(phrases, image["name"])
                found += yield from self._found_in(image["name"], phrases, noun, checked("find_regions", reply))
        return found

    def _found_in(self, image: str | None, phrases: Sequence[str], noun: Noun, reply: Reply) -> Steps[list[Thing]]:
        things = self._learn(reply)
        self._unknown |= set(reply.data.get("unknown", ()))
        if self._unknown >= set(phrases):
            return things
        self.threshold, self.detector_knows = float(reply.data.get("threshold", 0)), reply.data.get("knows")
        level = round(_RELAXED * self.threshold, 3)
        if not self.second_look or not level:  # without scores, a second search gives the same
            return things
        right = yield from self._of_kind(noun, things)
        for each in noun.filters:
            if isinstance(each, Is):
                right = yield from self.passing(right, each)
        plain = all(isinstance(each, Is) for each in noun.filters) and noun.pick is None
        if right and noun.head and not noun.plural and plain:  # "the red star" is found
            return things
        coloured = any(isinstance(each, Is) and each.attribute == "colour" for each in noun.filters)
        closer = phrases if coloured else [f"{colour} {noun.head or _ANYTHING}" for colour in COLOURS[:_BASIC]]
        more = self._learn(checked("find_regions", (yield from self._look_for(closer, image, level))))
        # Low-scored finds within another thing are mostly parts of it.
        for thing in more:
            if all(overlap(thing, other)[1] < WITHIN for other in things):
                things.append(thing)
        return things

    def _learn_regions(self, handles: Sequence[str]) -> Steps[None]:
        if any(handle not in self._things for handle in handles):
            self._learn((yield from call("list_regions", "See which regions there are.")))
        if unknown := [handle for handle in handles if handle not in self._things]:
            known = ", ".join(self._things) or "none"
            raise Stopped(f"There is no {unknown[0]}; known are: {known}")

    def _learn(self, reply: Reply) -> list[Thing]:
        """Return the things of a reply, the best first, one per place; a known thing keeps its first handle."""
        things: list[Thing] = []
        for region in reply.regions:
            new = Thing.of(region)
            met = (each for each in self._things.values() if each.image == new.image)
            thing = self._things.get(new.handle) or next((each for each in met if overlap(each, new)[0] >= SAME_THING), new)
            thing.labels |= new.labels
            thing.score = new.score if thing.score is None else max(thing.score, new.score or 0.0)
            self._things[new.handle] = thing
            if thing not in things:
                things.append(thing)
        return things

    def _of_kind(self, noun: Noun, things: list[Thing]) -> Steps[list[Thing]]:
        """Select the things of the noun's kind; without second looks, by the detector's labels."""
        labelled = "find_regions" in self.tools
        if noun.head and labelled and not self.second_look:
            return [thing for thing in things if thing.is_labelled(noun.head)]
        if not noun.head and labelled:
            return without_nested(things) if self.second_look else things
        return (yield from self.of_kind(noun.head, things))

    # ------------------------------------------------------------ filtering

    def passing(self, things: list[Thing], filter: Filter) -> Steps[list[Thing]]:
        """Return the things that pass a filter, in the same order."""
        match filter:
            case Is(attribute, value):
                kept = yield from self.with_look(attribute, value, things)
            case Lies(relation, to):
                kept = yield from self._related(things, relation, to)
            case Placed(place):
                kept = yield from self._placed(things, place)
            case Shares(attribute, with_):
                others = yield from self._find_reference(with_)
                yield from self.learn(attribute, [*things, *others])
                values = {other.facts[attribute] for other in others}
                own = {other.handle for other in others}
                return [
                    thing for thing in things if thing.handle not in own and (thing.facts[attribute] in values) != filter.negated
                ]
            case Unlike(attribute):
                kept = yield from self._unlike(things, attribute)
        return [thing for thing in things if (thing in kept) != filter.negated]

    def _related(self, things: list[Thing], relation: str, to: Noun) -> Steps[list[Thing]]:
        others = yield from self._find_reference(to)
        kept: list[Thing] = []
        for other in others:
            near = [thing for thing in things if thing.image == other.image and thing is not other and thing not in kept]
            near = [thing for thing in near if overlap(thing, other)[0] < SAME_THING]
            if near and "select_regions" in self.tools:
                handles = [thing.handle for thing in near]
                why = f"Measure which of them lie so to {other.handle}."
                reply = yield from call("select_regions", why, regions=handles, relation=relation, to=other.handle)
                kept += [thing for thing in near if thing.handle in reply.data["selected"]]
            elif near:
                kept += yield from self._asked_related(near, relation, other)
        return kept

    def _asked_related(self, things: list[Thing], relation: str, other: Thing) -> Steps[list[Thing]]:
        """Ask the region model about geometry if no measuring tool is available."""
        wording = self._words["touching" if relation == "touching" else "relation"]
        questions = [wording.format(first=f"<{t.handle}>", second=f"<{other.handle}>", relation=relation) for t in things]
        replies = yield [Call("ask_about_regions", {"question": question}, "Nothing can be measured.") for question in questions]
        answers = [checked("ask_about_regions", reply).data["text"] for reply in replies]
        return [thing for thing, text in zip(things, answers, strict=True) if text.startswith("yes")]

    def _placed(self, things: list[Thing], place: str) -> Steps[list[Thing]]:
        if not things:
            return []
        if "select_regions" in self.tools:
            handles = [thing.handle for thing in things]
            reply = yield from call("select_regions", f"See which lie in the {place}.", regions=handles, place=place)
            return [thing for thing in things if thing.handle in reply.data["selected"]]
        yield from self.learn("place", things)
        sides = {"middle": "centre"}.get(place, place).split()
        return [thing for thing in things if all(side in tokens(thing.facts["place"]) for side in sides)]

    def _unlike(self, things: list[Thing], attribute: str | None) -> Steps[list[Thing]]:
        for name in (attribute,) if attribute else ("colour", "kind", "size"):
            yield from self.learn(name, things)
            values = [thing.facts[name] for thing in things]
            single = [thing for thing, value in zip(things, values, strict=True) if values.count(value) == 1]
            if len(things) > 2 and len(single) == 1 and len(set(values)) == 2:
                return single
        return []

    # ------------------------------------------------------------ ordering

    def first(self, things: list[Thing], pick: Extreme) -> Steps[list[Thing]]:
        """Return the first, second, ... thing in an order, as a list with one or no element."""
        ordered = yield from self.ordered(things, pick.order, pick.to, up_to=pick.rank)
        return ordered[pick.rank - 1 : pick.rank]

    def ordered(self, things: list[Thing], order: str, to: Noun | None = None, *, up_to: int | None = None) -> Steps[list[Thing]]:
        """Sort things by an order of order_regions; `to` is the reference of nearest and farthest."""
        anchor: Thing | None = None
        if to is not None:
            anchor = (yield from self._find_reference(to))[0]
            things = [t for t in things if t is not anchor and t.image == anchor.image and overlap(t, anchor)[0] < SAME_THING]
        if len(things) < 2:
            return things
        if "order_regions" in self.tools:
            near = {"to": anchor.handle} if anchor else {}
            handles = [thing.handle for thing in things]
            reply = yield from call("order_regions", f"Sort them: {order}.", regions=handles, order=order, **near)
            by_handle = {thing.handle: thing for thing in things}
            return [by_handle[handle] for handle in reply.data["order"]]
        return (yield from self._asked_order(things, order, anchor, len(things) if up_to is None else up_to))

    def _asked_order(self, things: list[Thing], order: str, anchor: Thing | None, up_to: int) -> Steps[list[Thing]]:
        """Sort by asking the region model repeatedly which is first, if no measuring tool is available."""
        left, ordered = list(things), list[Thing]()
        superlative = _SUPERLATIVES[order].format(to=f"<{anchor.handle}>" if anchor else "")
        while len(left) > 1 and len(ordered) < up_to:
            listed = ", ".join(f"<{thing.handle}>" for thing in left[:-1]) + f" and <{left[-1].handle}>"
            question = self._words["superlative"].format(all=listed, superlative=superlative)
            reply = yield from call("ask_about_regions", "Nothing can be measured.", question=question)
            named = handles_in(reply.data["text"])
            first = next((thing for thing in left if thing.handle in named), None)
            if first is None:
                raise Stopped(f'The region model did not say which is the {superlative}: "{reply.data["text"]}"')
            ordered.append(first)
            left.remove(first)
        return [*ordered, *left]


def _phrases(noun: Noun) -> tuple[str, ...]:
    """Return the phrases for the detector: the noun with and without its colour."""
    colours = [each.value for each in noun.filters if isinstance(each, Is) and each.attribute == "colour" and not each.negated]
    head = noun.head or _ANYTHING
    coloured = [f"{colour} {head}" for colour in colours[:1]]
    return tuple(dict.fromkeys([*coloured, *([head] if noun.head or not colours else [])]))
