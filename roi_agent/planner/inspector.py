"""Questions to the region model about things, and the weight of its answers.

The region model names and describes things and checks a detector's finds. It does not remove what it cannot judge: things in
images outside its domain, or finds of a detector that knows more than it does.
"""

from collections.abc import Collection, Sequence

from roi_agent.planner.language import described
from roi_agent.planner.steps import Call, Steps, Stopped, call, checked
from roi_agent.planner.things import Thing, article, has, is_kind, without_nested
from roi_agent.prompts import load_blocks

SURE = 0.6  # confidence of the region model; below it, the region gets a closer look


class Inspector:
    """Asks the region model about things, each question about a thing only once.

    tools: the available tools; without those that ask, only labels are known.  second_look: check finds, and look closer at
    uncertain things.  doubts: claims that could not be checked.  detector_knows: the only kind of images that the detector
    knows, None without a limit.  threshold: the minimum score of a find.
    """

    def __init__(self, tools: Collection[str], *, second_look: bool = True) -> None:
        self.tools = frozenset(tools)
        self.can_ask = "ask_each_region" in self.tools
        self.second_look = second_look and self.can_ask
        self.doubts: list[str] = []
        self.detector_knows: str | None = None
        self.threshold = 0.0
        self._answers: dict[str, dict[str, tuple[str, float]]] = {}
        self._outside: set[str] = set()  # images outside the region model's domain
        self._model_knows: str | None = None
        self._words = load_blocks("offline_planner")

    def of_kind(self, head: str, things: Sequence[Thing]) -> Steps[list[Thing]]:
        """Select the things of a kind, by the region model, or by the detector if the region model cannot judge."""
        yield from self.learn("kind", things)
        found = [thing for thing in things if thing.is_labelled(head)] if "find_regions" in self.tools else []
        unchecked = [thing for thing in found if thing.image in self._outside]
        judged = [thing for thing in things if thing not in unchecked]
        right = [thing for thing in judged if is_kind(thing, head)]
        right += yield from self._confirm_kind(head, [thing for thing in found if thing in judged and thing not in right])
        for thing in unchecked:
            if not self._is_weak(thing):
                self._doubt(thing, f"is {article(head)}")
                right.append(thing)
        for thing in right:
            thing.facts["kind"] = thing.facts["kind"] if is_kind(thing, head) else head
        return without_nested([thing for thing in things if thing in right])

    def _confirm_kind(self, head: str, things: Sequence[Thing]) -> Steps[list[Thing]]:
        """Ask about finds that the region model described differently, and return those that are kept."""
        if not things or not self.second_look:
            return []
        question, kept = self._words["is_a"].format(thing=article(head)), list[Thing]()
        answers = yield from self.ask_each(question, things, closer=True)
        for thing, (text, confidence) in zip(things, answers, strict=True):
            if text.startswith("yes") and confidence >= SURE:
                kept.append(thing)
            elif not self._may_overrule(thing) and not self._is_weak(thing):
                self._doubt(thing, f"is {article(head)}")
                kept.append(thing)
        return kept

    def with_look(self, attribute: str, value: str, things: Sequence[Thing]) -> Steps[list[Thing]]:
        """Select the things whose colour, size or kind is the value.  Raises Stopped if neither model can tell."""
        if self.can_ask:
            yield from self.learn(attribute, things)
        elif things and not any(thing.is_labelled_with(value) for thing in things):
            raise Stopped(f"I cannot tell whether {things[0].handle} is {value} without a region model")
        return [thing for thing in things if self._has_look(thing, attribute, value)]

    def learn(self, attribute: str, things: Sequence[Thing]) -> Steps[None]:
        """Learn the name, colour, kind, size or place of things, from a description or else by asking for it."""
        unknown = [thing for thing in things if attribute not in thing.facts]
        if not unknown:
            return
        if attribute in ("kind", "colour", "size", "name") and (new := [thing for thing in unknown if not thing.description]):
            answers = yield from self.ask_each(self._words["name"], new)
            for thing, (text, _) in zip(new, answers, strict=True):
                thing.description = text
                found = described(text)
                for name, value in (("kind", found.kind), ("colour", found.colour), ("size", found.size), ("name", text)):
                    if value is not None:
                        thing.facts.setdefault(name, value)
        if unknown := [thing for thing in things if attribute not in thing.facts]:
            answers = yield from self.ask_each(self._words[attribute], unknown)
            for thing, (text, _) in zip(unknown, answers, strict=True):
                found = described(text)
                value = {"colour": found.colour, "size": found.size, "kind": found.kind}.get(attribute)
                thing.facts[attribute] = value or text

    def ask_each(self, question: str, things: Sequence[Thing], *, closer: bool = False) -> Steps[list[tuple[str, float]]]:
        """Return an answer and its confidence for each thing; uncertain ones, or all with `closer`, get a closer look."""
        answers = self._answers.setdefault(question, {})
        if new := [thing for thing in things if thing.handle not in answers]:
            if not self.can_ask:
                raise Stopped("I cannot look at regions: there is no region model, or the tool ask_each_region is left out")
            for image in dict.fromkeys(thing.image for thing in new):
                group = [thing.handle for thing in new if thing.image == image]
                reply = yield from call("ask_each_region", f"Ask about {', '.join(group)}.", question=question, regions=group)
                for handle, each in zip(group, reply.data["answers"], strict=True):
                    answers[handle] = (each["text"], each["confidence"])
                    self._model_knows = each.get("knows")
                    self._outside |= {image} if each.get("outside") else set()
            doubtful = [thing.handle for thing in new if closer or answers[thing.handle][1] < SURE]
            if doubtful and self.second_look and "ask_about_regions" in self.tools:
                asked = [{"question": question.replace("<region>", f"<{each}>"), "closer": True} for each in doubtful]
                replies = yield [Call("ask_about_regions", each, "Look closer, to be sure.") for each in asked]
                for handle, reply in zip(doubtful, replies, strict=True):
                    again = checked("ask_about_regions", reply).data
                    answers[handle] = (again["text"], again["confidence"])
        return [answers[thing.handle] for thing in things]

    # ------------------------------------------------------------ weight of the answers

    def _has_look(self, thing: Thing, attribute: str, value: str) -> bool:
        if has(thing, attribute, value):
            return True
        if thing.is_labelled_with(value) and not (self.can_ask and self._may_overrule(thing)):
            self._doubt(thing, f"is {value}")
            return True
        if thing.image in self._outside:
            why = "the image lies outside what the region model was trained on"
            raise Stopped(f"I cannot tell whether {thing.handle} is {value}: {why}")
        return False

    def _may_overrule(self, thing: Thing) -> bool:
        """Whether the region model may remove a find of the detector; not if it knows less."""
        return thing.image not in self._outside and (self._model_knows is None or self.detector_knows is not None)

    def _is_weak(self, thing: Thing) -> bool:
        """Whether the score is below the detector's threshold."""
        return thing.score is not None and thing.score < self.threshold

    def _doubt(self, thing: Thing, claim: str) -> None:
        """Add a doubt about a find that the region model does not confirm."""
        if self.can_ask:
            verb = "could not check" if thing.image in self._outside else "does not see"
            self.doubts.append(f"the region model {verb} that {thing.handle} {claim}")
