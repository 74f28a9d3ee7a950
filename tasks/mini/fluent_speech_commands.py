"""Spoken requests laid out as Fluent Speech Commands: its 31 intents in other words, by speakers of one part each."""

import uuid
from functools import partial
from pathlib import Path

import numpy as np

from tasks.corpora.fluent_speech_commands import FOLDER, LISTS, SLOTS
from tasks.mini.acoustics import draw_scene
from tasks.mini.calibration import REQUESTS, Sizes, draw_readers
from tasks.mini.espeak import Voice
from tasks.mini.plan import CorpusPlan, draw_seed, write_lines
from tasks.mini.render import Utterance

# Action and object to ways of asking for it; "*" stands for the words of the place.
_PHRASES: dict[tuple[str, str], tuple[str, ...]] = {
    ("change language", "none"): (
        "i would like to change the language",
        "please use another language from now on",
        "can you speak a different language",
        "open the settings for the language",
    ),
    **{
        ("change language", language): (
            f"please switch over to {language}",
            f"could you speak {language} with me now",
            f"set the language to {language}",
            f"i would rather hear everything in {language}",
        )
        for language in ("Chinese", "English", "German", "Korean")
    },
    ("activate", "music"): (
        "could you play some music please",
        "go ahead and start the music",
        "let me hear one of my songs",
        "put some nice music on for us",
    ),
    ("activate", "lights"): (
        "please turn on the lights*",
        "switch all the lights on*",
        "i need some light*",
        "make it nice and bright*",
    ),
    ("activate", "lamp"): (
        "could you turn on the lamp",
        "please switch the reading lamp on",
        "i need the lamp to be on",
        "let the lamp shine for a while",
    ),
    ("deactivate", "music"): (
        "please stop the music right now",
        "no more music for today please",
        "that is the end of the song",
        "turn the music off for a while",
    ),
    ("deactivate", "lights"): (
        "please turn off the lights*",
        "switch all the lights off*",
        "i do not need any light*",
        "make it completely dark*",
    ),
    ("deactivate", "lamp"): (
        "could you turn off the lamp",
        "please switch the reading lamp off",
        "the lamp does not have to be on",
        "i want the lamp off for the night",
    ),
    ("increase", "volume"): (
        "turn it up a little please",
        "please make it a lot louder",
        "raise the volume by one step",
        "i cannot hear it well enough",
    ),
    ("increase", "heat"): (
        "please turn up the heat*",
        "make it a little warmer*",
        "raise the temperature*",
        "it is much too cold*",
    ),
    ("decrease", "volume"): (
        "turn it down a little please",
        "please make it a lot quieter",
        "lower the volume by one step",
        "that is far too loud for me",
    ),
    ("decrease", "heat"): (
        "please turn down the heat*",
        "make it a little cooler*",
        "lower the temperature*",
        "it is much too hot*",
    ),
    **{
        ("bring", thing): (
            f"could you bring me {name}",
            f"go and fetch {name} for me",
            f"i would like to have {name} now",
            f"please find {name} and come back",
        )
        for thing, name in {
            "newspaper": "the newspaper",
            "juice": "some juice",
            "socks": "my socks",
            "shoes": "my shoes",
        }.items()
    },
}
_PLACES = {"none": "", "kitchen": " in the kitchen", "bedroom": " in the bedroom", "washroom": " in the washroom"}
# (action, object, location) to what can be said.
INTENTS = {
    (*pair, place): tuple(phrase.replace("*", words) for phrase in phrases)
    for pair, phrases in _PHRASES.items()
    for place, words in _PLACES.items()
    if place == "none" or "*" in phrases[0]
}


def plan(root: Path, sizes: Sizes, rng: np.random.Generator) -> CorpusPlan:
    """The corpus under its official folder; every part goes through the intents in one order, the same for all, so that
    no part has an intent that a longer one lacks."""
    folder = root / FOLDER
    drawn = iter(draw_readers(sum(sizes.intent_speakers), rng))
    order = list(INTENTS)
    rng.shuffle(order)
    voices: dict[str, Voice] = {}
    utterances, lists = [], {}
    for name, speakers, clips in zip(LISTS.values(), sizes.intent_speakers, sizes.intent_clips, strict=True):
        names = [rng.bytes(8).hex() for _ in range(speakers)]
        voices.update(zip(names, drawn, strict=False))
        lists[name] = [f",path,speakerId,transcription,{','.join(SLOTS)}"]
        for i in range(clips):
            intent, speaker = order[i % len(order)], names[i % speakers]
            text = str(rng.choice(INTENTS[intent]))
            relative = f"wavs/speakers/{speaker}/{uuid.UUID(bytes=rng.bytes(16))}.wav"
            voice, scene = REQUESTS.vary(voices[speaker], rng), draw_scene(rng, REQUESTS.snr_db)
            utterances.append(Utterance(folder / relative, text, voice, scene, draw_seed(rng)))
            lists[name].append(f"{i},{relative},{speaker},{text[0].upper() + text[1:]},{','.join(intent)}")
    return CorpusPlan(voices, utterances, partial(_write_lists, folder / "data", lists))


def _write_lists(folder: Path, lists: dict[str, list[str]]) -> None:
    for name, lines in lists.items():
        write_lines(folder / name, lines)
