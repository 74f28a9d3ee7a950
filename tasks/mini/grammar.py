"""Sentences of the mini suite: a small context-free grammar of read-aloud English, some 280 words in all."""

import numpy as np

# Upper-case names are rules; each alternative is equally likely; every other token is a word.
_RULES: dict[str, tuple[str, ...]] = {
    "SENTENCE": (
        "WHO DID WHAT WHERE",
        "WHO DID WHAT WHEN",
        "WHO DID WHAT",
        "WHO ADVERB DID WHAT",
        "WHO MET WHOM WHERE",
        "WHO MET WHOM WHEN",
        "WHO WENT ADVERB WHERE",
        "WHO WENT WHERE WHEN",
        "WHO WENT WHERE and DID WHAT",
        "WHO could not DO WHAT WHERE",
        "WHO would ADVERB DO WHAT",
        "WHO must DO WHAT WHEN",
        "WHO SAID that WHO DID WHAT",
        "WHO SAID WHAT was ADJECTIVE",
        "WHEN WHO DID WHAT",
        "WHEN WHO WENT WHERE",
        "WHERE stood NEW THING",
        "there was NEW THING WHERE",
        "WHAT was ADJECTIVE but ADJECTIVE",
        "WHAT from OUR PLACE was ADJECTIVE",
        "JOIN WHO WENT WHO DID WHAT",
        "WHO DID WHAT JOIN WHO WENT",
        "COUNT CROWD WENT WHERE",
        "COUNT CROWD DID WHAT WHEN",
    ),
    "WHO": ("OUR PERSON", "OUR ADJECTIVE PERSON", "PRONOUN", "OUR PERSON and OUR PERSON"),
    "WHOM": ("OUR PERSON", "OUR ADJECTIVE PERSON", "COUNT CROWD"),
    "WHAT": ("OUR THING", "OUR ADJECTIVE THING", "NEW THING", "NEW ADJECTIVE THING"),
    "WHERE": ("NEAR OUR PLACE", "NEAR OUR ADJECTIVE PLACE", "NEAR OUR PLACE"),
    "WHEN": (
        "before sunset",
        "after dinner",
        "at midnight",
        "in the morning",
        "last winter",
        "every evening",
        "during the storm",
        "until spring",
        "on sunday",
        "that night",
    ),
    "OUR": ("the", "the", "the", "his", "her", "their", "our", "my", "this"),
    "NEW": ("a", "a", "one", "another"),
    "PRONOUN": ("he", "she", "they", "we", "i", "you", "nobody", "everyone"),
    "JOIN": ("when", "while", "because", "although"),
    "COUNT": ("two", "three", "seven", "ten", "many", "several", "a hundred", "a few"),
    "CROWD": ("men", "women", "children", "soldiers", "horses", "birds", "strangers", "ships"),
    "SAID": ("said", "thought", "knew", "believed", "hoped"),
    "PERSON": tuple(
        "farmer captain doctor teacher widow sister brother mother father child merchant sailor hunter king queen "
        "priest servant lawyer neighbor uncle girl boy painter miller clerk traveler baker cousin".split()
    ),
    "THING": tuple(
        "letter lantern basket candle table window door horse wagon book sword ring purse coat hat stone rope boat "
        "lamp blanket bottle mirror key box ladder picture hammer paper flower apple clock chair kettle drum".split()
    ),
    "PLACE": tuple(
        "village river valley forest harbor bridge castle church market mountain island road field garden station "
        "kitchen cellar meadow orchard prison school city cottage tower shore".split()
    ),
    "ADJECTIVE": tuple(
        "old young quiet gentle broken heavy golden little strange brave weary tall dark bright narrow empty wooden "
        "hungry honest clever proud lonely foreign famous humble pale bitter silent cold warm thick ragged".split()
    ),
    "DID": tuple(
        "carried found sold painted watched followed opened lost bought brought dropped touched kept wanted "
        "remembered forgot noticed admired cleaned repaired borrowed counted buried lifted promised refused".split()
    ),
    "DO": tuple("carry find sell watch open lose bring touch keep remember forget repair borrow count".split()),
    "MET": tuple("thanked warned helped answered questioned trusted loved feared visited met".split()),
    "WENT": tuple(
        "waited slept laughed walked wandered worked vanished trembled listened returned rested sang prayed".split()
    ),
    "ADVERB": tuple(
        "slowly softly gladly often never always quickly seldom suddenly bravely patiently scarcely already".split()
    ),
    "NEAR": tuple("near behind beyond across beside under toward through above into".split()),
}
_SHORT, _LONG = 4, 16  # lengths in words that come up often enough to be waited for

_CONTENT_RULES = "PERSON CROWD THING PLACE ADJECTIVE DID DO MET WENT ADVERB".split()


def words() -> list[str]:
    """Every word the grammar can produce, in lower case and alphabetical order."""
    tokens = {token for alternatives in _RULES.values() for line in alternatives for token in line.split()}
    return sorted(tokens - set(_RULES) | {"an"})


def content_words() -> frozenset[str]:
    """The words for people, things, places, qualities and deeds: those that one would search recordings for."""
    return frozenset(word for rule in _CONTENT_RULES for word in _RULES[rule])


def sentence(rng: np.random.Generator, shortest: int = 6, longest: int = 11) -> str:
    """A random sentence of `shortest` to `longest` words, in lower case without punctuation.

    Raises ValueError for lengths that the grammar hardly has: expected some of 4 to 16 words.
    """
    if not shortest <= longest or longest < _SHORT or shortest > _LONG:
        raise ValueError(f"no sentence has {shortest} to {longest} words: expected a range that meets 4 to 16")
    while True:
        tokens = _expand("SENTENCE", rng)
        if shortest <= len(tokens) <= longest:
            followers = [*tokens[1:], ""]
            return " ".join(_article(token, after) for token, after in zip(tokens, followers, strict=True))


def _expand(token: str, rng: np.random.Generator) -> list[str]:
    if token not in _RULES:
        return [token]
    alternative = _RULES[token][int(rng.integers(len(_RULES[token])))]
    return [word for part in alternative.split() for word in _expand(part, rng)]


def _article(token: str, after: str) -> str:
    # "honest" is the only word here whose first sound is a vowel though its first letter is not.
    return "an" if token == "a" and (after[:1] in set("aeiou") or after == "honest") else token
