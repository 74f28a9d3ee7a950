"""Requests with tagged slots laid out as Audio SNIPS: 12 of its 39 slots, an eSpeak NG voice for each of its voices."""

import re
from collections import Counter
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np

from tasks.corpora.snips import FOLDERS, NO_SLOT, SLOTS, TEXTS, VOICES
from tasks.mini.acoustics import draw_scene
from tasks.mini.calibration import TTS_VOICES, Sizes, draw_readers
from tasks.mini.plan import CorpusPlan, draw_seed, write_lines
from tasks.mini.render import Utterance

# Intent to sentences in which {slot} stands for one of the slot's values.
_TEMPLATES = {
    "PlayMusic": (
        "play the {music_item} by {artist} on {service}",
        "i want to hear the latest {music_item} from {artist}",
        "play me something new by {artist} using {service}",
        "please open {service} and start my {playlist} playlist",
    ),
    "GetWeather": (
        "will it be {condition_description} in {city} {timeRange}",
        "what will the weather in {city} be like {timeRange}",
        "tell me if {condition_description} weather is expected {timeRange} near {city}",
        "how {condition_description} will it become in {city} {timeRange}",
    ),
    "BookRestaurant": (
        "book a {restaurant_type} for {party_size_number} people in {city}",
        "find any {cuisine} {restaurant_type} open {timeRange} for {party_size_number}",
        "i need a table for {party_size_number} at a {restaurant_type} in {city} {timeRange}",
        "reserve seats for {party_size_number} at a {restaurant_type} that serves {cuisine} food",
    ),
    "AddToPlaylist": (
        "please add this {music_item} to my {playlist} playlist",
        "put {artist} on the list that is called {playlist}",
        "include the {music_item} by {artist} in {playlist}",
    ),
    "RateBook": (
        "please give {object_name} a rating of {rating_value} stars",
        "rate the novel {object_name} {rating_value} out of six",
        "i would give the book {object_name} only {rating_value} points",
    ),
}
_VALUES = {
    "artist": "anna miller|the silver owls|johnny carter|blue harbor|rosa king|the winter brothers|max foster|"
    "little thunder|helen stone|paper planets",
    "music_item": "song|album|track|tune|record|concert",
    "playlist": "morning coffee|summer party|quiet nights|road trip|dinner jazz|happy monday|deep focus|rainy days",
    "service": "spotify|itunes|pandora|napster|youtube",
    "city": "boston|new york|denver|london|paris|chicago|rome|san diego|austin|berlin",
    "timeRange": "tomorrow|tonight|this weekend|next friday|at noon|in two hours|on christmas day|in april",
    "condition_description": "sunny|rainy|cloudy|windy|foggy|freezing|stormy|humid",
    "restaurant_type": "restaurant|bar|diner|pub|bakery|tavern",
    "cuisine": "italian|mexican|french|thai|greek|indian|korean",
    "party_size_number": "two|three|four|seven|eight|nine",
    "object_name": "the golden key|a long winter|river of stars|the last farmer|silent garden|beyond the hill|"
    "my brother's horse|small lights",
    "rating_value": "one|two|three|four|five|zero",
}
_CHOICES = {slot: values.split("|") for slot, values in _VALUES.items()}
_PIECE = re.compile(r"\{(\w+)\}|([^ {}]+)")

TaggedWords = list[tuple[str, str]]  # words in lower case, each with its slot or NO_SLOT


def tagged_words() -> set[tuple[str, str]]:
    """Every word that can occur, in lower case, with every slot (or NO_SLOT) that it can have."""
    templates = (template for forms in _TEMPLATES.values() for template in forms)
    plain = {(word, NO_SLOT) for template in templates for _, word in _PIECE.findall(template) if word}
    return plain | {(word, slot) for slot, values in _CHOICES.items() for value in values for word in value.split()}


def request(rng: np.random.Generator) -> tuple[TaggedWords, str]:
    """A random request and its intent; intents, sentences and values are drawn evenly."""
    intent = str(rng.choice(list(_TEMPLATES)))
    template = str(rng.choice(_TEMPLATES[intent]))
    words: TaggedWords = []
    for slot, word in _PIECE.findall(template):
        value = str(rng.choice(_CHOICES[slot])) if slot else word
        words += [(part, slot or NO_SLOT) for part in value.split()]
    return words, intent


def plan(root: Path, sizes: Sizes, rng: np.random.Generator) -> CorpusPlan:
    """The corpus under root/SNIPS; no request occurs twice, whoever says it."""
    folder = root / "SNIPS"
    names = list(chain.from_iterable(VOICES.values()))
    voices = dict(zip(names, draw_readers(len(names), rng), strict=True))
    utterances, lines = [], []
    counts: Counter[str] = Counter()
    used = set()
    for (part, name), size in zip(FOLDERS.items(), sizes.tagged_sentences, strict=True):
        for i in range(size):
            words, intent = request(rng)
            while (text := " ".join(word for word, _ in words)) in used:
                words, intent = request(rng)
            used.add(text)
            slots = [slot for _, slot in words]
            counts.update(slots)
            speaker = VOICES[part][i % len(VOICES[part])]
            path = folder / name / f"{speaker}-snips-{name}-{i}.wav"
            voice, scene = TTS_VOICES.vary(voices[speaker], rng), draw_scene(rng, TTS_VOICES.snr_db)
            utterances.append(Utterance(path, text, voice, scene, draw_seed(rng)))
            lines.append(f"{path.stem} BOS {text.upper()} EOS\t{' '.join([NO_SLOT, *slots, intent])}")
    return CorpusPlan(voices, utterances, partial(_write_lists, folder, lines, counts))


def _write_lists(folder: Path, lines: list[str], counts: Counter[str]) -> None:
    """The text file, and the slots by how many words have them, the more frequent first."""
    write_lines(folder / TEXTS, lines)
    by_frequency = sorted(set(counts) - {NO_SLOT}, key=lambda slot: (-counts[slot], slot))
    # The official reader takes an empty last line for a slot.
    (folder / SLOTS).write_text("\n".join([NO_SLOT, *by_frequency]), encoding="utf-8")
