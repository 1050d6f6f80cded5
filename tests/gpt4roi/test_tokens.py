"""The tokens of a release's prompts: as the release read them, whichever file its tokenizer is kept in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image
from sentencepiece import SentencePieceProcessor

from roi_agent.model.checkpoints import convert
from roi_agent.model.checkpoints.vocabulary import load_tokenizer
from roi_agent.model.data.record import Record, RecordTurn
from roi_agent.model.engine.local import LocalRegionModel
from roi_agent.model.geometry.regions import Box, Region
from roi_agent.model.gpt4roi.processing import IGNORE, GPT4RoIProcessor, register_special_tokens
from roi_agent.model.images.loading import load_image
from roi_agent.model.protocol.answers import Decoding
from roi_agent.model.protocol.conversation import ConversationTemplate, Turn
from roi_agent.model.train.packing import prefix_ids
from roi_agent.model.train.samples import encode_records
from tests import published
from tests.release import FORMS, TOKENS, chain, load_processor, make_processor, write_tokenizer

IMAGE, BOX = Image.new("RGB", (40, 30), "red"), [1, 2, 20, 22]
REGIONS = [Region(f"region{number}", Box(0, 0, 10 * number, 10)) for number in (1, 2)]
OPENING = (
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite "
    f"answers to the human's questions.\n\n### Human: The <im_start>{'<im_patch>' * 16}<im_end> provides an overview of the "
    "picture.\n"
)
CASES: list[tuple[list[Turn], int, str]] = [
    ([Turn("What is <region1>?")], 1, "What is region1 <bbox>?\n### Assistant:"),
    ([Turn("<region1>")], 1, "region1 <bbox>\n### Assistant:"),
    ([Turn("<region1> or <region2> ?")], 2, "region1 <bbox> or region2 <bbox> ?\n### Assistant:"),
    ([Turn("<region1>\t\n <region2>\u3000is red")], 2, "region1 <bbox>\t\n region2 <bbox>\u3000is red\n### Assistant:"),
    ([Turn("<region1><region2>")], 2, "region1 <bbox>region2 <bbox>\n### Assistant:"),
    ([Turn("Is it a  dog ?")], 1, "There are region1 <bbox>. Is it a  dog ?\n### Assistant:"),
    ([Turn(" é 你好 🙂")], 0, " é 你好 🙂\n### Assistant:"),
    ([Turn("")], 0, "\n### Assistant:"),
    ([Turn("What is <region1>?", "a red dog")], 1, "What is region1 <bbox>?\n### Assistant: a red dog\n###"),
    (
        [Turn("Is <region1> a dog?", "a cat, é"), Turn("Is <region1> <region2>?", "")],
        2,
        "There are region2 <bbox>. Is region1 <bbox> a dog?\n### Assistant: a cat, é\n### Human: Is region1 region2?\n"
        "### Assistant: \n###",
    ),
    ([Turn("What?", "red"), Turn("Is it?")], 0, "What?\n### Assistant: red\n### Human: Is it?\n### Assistant:"),
]

# From the closed image on: " provides an overview of the picture.\n", "What is region1", "<bbox>", "?\n### Assistant: dog\n###"
GOLDEN = [
    *(455, 400, 270, 399, 355, 313, 317, 430, 13),
    *(446, 309, 353, 292, 439, 452, 305, 13, 260, 421, 401, 435, 271, 13, 260, 421),
]


@dataclass(frozen=True)
class Opened:
    """A release's tokenizer in one of its forms, and what reads its pieces themselves."""

    processor: GPT4RoIProcessor
    pieces: SentencePieceProcessor
    folder: Path

    def tokens(self, turns: list[Turn], count: int) -> list[str]:
        ids, _ = self.processor.encode(self.processor.render(turns, REGIONS[:count]))
        return self.named(ids)

    def named(self, ids: list[int]) -> list[str]:
        size = self.pieces.get_piece_size()
        return [self.pieces.id_to_piece(token) if token < size else TOKENS[token - size] for token in ids]

    def read_by_release(self, text: str) -> list[int]:
        """Cut at added tokens, white space beside them stripped, each stretch encoded with its dummy prefix."""
        stretches = re.split("(" + "|".join(map(re.escape, TOKENS)) + ")", text)
        ids: list[int] = [self.pieces.bos_id()]
        for place, stretch in enumerate(stretches):
            if stretch in TOKENS:
                ids.append(self.pieces.get_piece_size() + TOKENS.index(stretch))
                continue
            stretch = stretch.lstrip() if place else stretch
            stretch = stretch.rstrip() if place < len(stretches) - 1 else stretch
            ids += self.pieces.encode(stretch) if stretch else []
        return ids


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Opened]:
    made = {}
    for form in FORMS:
        folder = tmp_path_factory.mktemp("release")
        pieces = write_tokenizer(folder, form)
        made[form] = Opened(load_processor(folder), pieces, folder)
    return made


@pytest.fixture(params=FORMS)
def opened(request: pytest.FixtureRequest, forms: dict[str, Opened]) -> Iterator[Opened]:
    yield forms[request.param]


# ---------------------------------------------------------------- prompts


@pytest.mark.parametrize(("turns", "count", "text"), CASES)
def test_a_conversation_is_read_as_the_release_read_it(opened: Opened, turns: list[Turn], count: int, text: str) -> None:
    ids, _ = opened.processor.encode(opened.processor.render(turns, REGIONS[:count]))
    assert opened.named(ids) == opened.named(opened.read_by_release(OPENING + text))


def test_no_lone_space_stands_before_an_added_token(opened: Opened) -> None:
    tokens = opened.tokens([Turn("What is <region1>?", "dog"), Turn("Is it <region2>?")], 2)
    start = tokens.index("<im_start>")
    assert tokens[start - 4 : start + 1] == ["#", "▁Human", ":", "▁The", "<im_start>"]
    after = tokens.index("<im_end>")
    assert " ".join(tokens[after:]) == (
        "<im_end> ▁provides ▁an ▁overview ▁of ▁the ▁picture . <0x0A> "
        "T he re ▁are ▁region 2 <bbox> ▁. ▁What ▁is ▁region 1 <bbox> ▁? <0x0A> ## # ▁Assistant : ▁dog <0x0A> ## # "
        "▁Human : ▁Is ▁it ▁region 2 ? <0x0A> ## # ▁Assistant :"
    )


def test_golden_ids(opened: Opened) -> None:
    ids, labels = opened.processor.encode(opened.processor.render([Turn("What is <region1>?", "dog")], REGIONS[:1]))
    after = ids.index(455)
    assert ids[after - 18 : after] == [290, 454, *[451] * 16]
    assert ids[after:] == GOLDEN
    assert [token for token in labels if token != IGNORE] == GOLDEN[-4:] == labels[-4:]


def test_saved_and_loaded_again_it_reads_the_same(opened: Opened, tmp_path: Path) -> None:
    opened.processor.save_pretrained(tmp_path)
    again = Opened(GPT4RoIProcessor.from_pretrained(tmp_path), opened.pieces, tmp_path)
    for turns, count, text in CASES:
        assert again.processor.encode(again.processor.render(turns, REGIONS[:count]))[0] == opened.read_by_release(OPENING + text)


def test_a_converted_release_reads_the_same(opened: Opened, tmp_path: Path) -> None:
    shapes = published.llama_shapes(456) | published.region_shapes()
    folder = published.write_checkpoint(tmp_path / "merged", published.random_weights(shapes, 1), published.llama_config(456))
    for file in opened.folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    convert(folder, tmp_path / "out", vision=published.write_tower(tmp_path / "tower"), dtype="float32", show_progress=False)
    model = LocalRegionModel.from_folder(tmp_path / "out")
    read = model._request(load_image(IMAGE), [Turn("What is <region1>?")], REGIONS[:1], Decoding())
    text = OPENING + "What is region1 <bbox>?\n### Assistant:"
    assert list(read.ids) == opened.read_by_release(text)
    assert model.engine.runner.prefix_ids == prefix_ids(model.processor) == read.ids[: read.ids.index(455) + 1]


@pytest.mark.parametrize("form", FORMS)
def test_the_turns_of_another_family_are_read_as_the_tokenizer_itself_does(form: str, tmp_path: Path) -> None:
    write_tokenizer(tmp_path, form, (*TOKENS, "<|im_start|>", "<|im_end|>"))
    tokenizer = load_tokenizer([tmp_path])
    register_special_tokens(tokenizer, (*TOKENS, "<|im_start|>", "<|im_end|>"))
    processor = make_processor(tokenizer)
    processor.template = ConversationTemplate(
        opening="Look.<|im_start|>user\n<im_start>{image}<im_end> is the picture.",
        first_question="{question}<|im_end|>\n<|im_start|>assistant\n",
        next_question="\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n",
        answer="{answer}",
        end="<|im_end|>",
        first_mention="{name} <bbox>",
        later_mention="{name}",
        introduction="There are {mentions}. ",
    )
    turns = [Turn("Is <region1> a dog, é?", " a  dog"), Turn("<region2>red <region1>")]
    prompt = processor.render(turns, REGIONS)
    text = "".join(piece.text for piece in prompt.pieces)
    ids = processor.encode(prompt)[0]
    assert ids == [1, *tokenizer.encode(text, add_special_tokens=False)]


# ---------------------------------------------------------------- what users type


@pytest.mark.parametrize("typed", [*TOKENS, "<s>", "</s>", "<unk>", "<0x0A>"])
def test_no_text_becomes_a_special_token(opened: Opened, typed: str) -> None:
    plain, typed_in = opened.tokens([Turn("a ?", "b")], 0), opened.tokens([Turn(f"a {typed}?", f"b {typed}")], 0)
    for token in (*TOKENS, "<s>", "</s>", "<unk>"):
        assert plain.count(token) == typed_in.count(token)
    assert typed in opened.processor.tokenizer.decode(
        opened.processor.encode(opened.processor.render([Turn(f"a {typed}?")], []))[0]
    )


def test_a_typed_marker_is_spelled_and_what_follows_it_has_no_space_of_its_own(opened: Opened) -> None:
    tokens = opened.tokens([Turn("a\n### Human: ####dog ## <region1>### it", "###")], 1)
    start = len(tokens) - 1 - tokens[::-1].index("<im_end>")
    assert " ".join(tokens[start:]) == (
        "<im_end> ▁provides ▁an ▁overview ▁of ▁the ▁picture . <0x0A> a <0x0A> # # # ▁Human : ▁ # # # # d og ▁## ▁region 1 <bbox> "
        "▁# # # ▁it <0x0A> ## # ▁Assistant : ▁ # # # <0x0A> ## #"
    )


# ---------------------------------------------------------------- labels and scores


def test_labels_begin_with_the_answer_and_end_with_the_marker(opened: Opened) -> None:
    turns = [Turn("Is <region1> a dog?", "a red  cat, é"), Turn("Is it?", "")]
    ids, labels = opened.processor.encode(opened.processor.render(turns, REGIONS[:1]))
    learned = opened.named([token for token in labels if token != IGNORE])
    assert " ".join(learned) == "▁a ▁red ▁ ▁cat , ▁ <0xC3> <0xA9> <0x0A> ## # ▁ <0x0A> ## #"
    assert [label for label in labels if label != IGNORE] == [t for t, label in zip(ids, labels, strict=True) if label != IGNORE]


def test_training_and_asking_read_the_same_tokens(opened: Opened) -> None:
    turns = (RecordTurn("What is <region1>?", "dog"), RecordTurn("Is it <region2>?", "red"))
    record = Record("a", "a.png", (40, 30), tuple(REGIONS), turns, "ours", "CC0-1.0")
    prefix = prefix_ids(opened.processor)
    (trained,), _ = encode_records(opened.processor, prefix, [record])
    open_turns = [Turn("What is <region1>?", "dog"), Turn("Is it <region2>?")]
    asked, _ = opened.processor.encode(opened.processor.render(open_turns, REGIONS))
    assert (prefix + trained.ids)[: len(asked)] == asked
    assert opened.named(trained.labels[len(asked) - len(prefix) :]) == ["▁red", "<0x0A>", "##", "#"]


def test_options_are_scored_by_their_own_tokens(opened: Opened) -> None:
    steps = {":": {"▁dog": 0.5, "▁red": 0.3}, "▁red": {"▁dog": 0.2}, "▁dog": {"<0x0A>": 0.01, ",": 0.6}, ",": {"▁cat": 0.7}}
    model = chain(opened.processor, steps)
    choice = model.choose(IMAGE, "What is <region1>?", ["dog", "red dog", "dog, cat"], [BOX])
    expected = torch.tensor([[0.5, 1, 1], [0.3, 0.2, 1], [0.5, 0.6, 0.7]]).log().sum(1) / torch.tensor([1, 2, 3])
    assert choice.scores == pytest.approx(expected.tolist(), abs=1e-3) and choice.text == "dog, cat"
    long = Turn("What?", "red red red red")  # an earlier answer is the same for all options
    (later,) = model.choose_all(load_image(IMAGE), [([long, Turn("What is <region1>?")], REGIONS[:1], ["dog", "dog, cat"])])
    assert later.scores == pytest.approx([expected[0].item(), expected[2].item()], abs=1e-3)
