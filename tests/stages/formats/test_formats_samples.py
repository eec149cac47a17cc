"""Each format's sample in data/formats reads to exactly these records."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.formats import Comparison, Instruction, Prompt, Ranking, Text, Unpaired, find, read_rows
from stages.formats.registry import FORMATS

SAMPLES = Path(__file__).parents[3] / "data" / "formats"


def u(text):
    return {"role": "user", "content": text}


def a(text):
    return {"role": "assistant", "content": text}


def s(text):
    return {"role": "system", "content": text}


def two(*ranks):
    return (Ranking("unnamed", ranks),)


LIBRARY = s("You answer for the Alder Street Library in one sentence.")
LIFT_OLD = "Lifts are also called elevators."
FIND_ROOM = {
    "name": "find_room",
    "description": "Whether a study room is free",
    "parameters": {
        "type": "object",
        "properties": {"room": {"type": "integer"}, "day": {"type": "string"}, "hour": {"type": "integer"}},
    },
}
ROOM_CALL = {"name": "find_room", "arguments": {"room": 4, "day": "Friday", "hour": 15}}
EXPECTED = {
    "messages.parquet": [
        Instruction(
            "m1",
            (
                u("Can I renew a book that someone else has reserved?"),
                a("No, a reserved book has to come back on its due date. You can reserve it again right away."),
            ),
        ),
        Instruction(
            "m2",
            (
                LIBRARY,
                u("Are dogs allowed inside?"),
                a("Assistance dogs are always welcome; other dogs may wait in the porch."),
                u("And cats?"),
                a("Cats in a closed carrier may come in with you."),
            ),
        ),
        Instruction(
            "m3", (u("Wie lange habt ihr samstags geöffnet?"), a("Samstags haben wir von 10 bis 16 Uhr geöffnet."))
        ),
    ],
    "sharegpt.json": [
        Instruction(
            "s1",
            (
                u("Where do I return a borrowed laptop?"),
                a("At the desk on the first floor, so that we can check it with you."),
            ),
        ),
        Instruction(
            "s2",
            (
                s("You help visitors of the Alder Street Library."),
                u("Is room 4 free on Friday at 3 pm?"),
                a("") | {"tool_calls": [{"type": "function", "function": ROOM_CALL}]},
                {"role": "tool", "content": '{"free": true}'},
                a("Yes, room 4 is free on Friday at 3 pm."),
            ),
            [{"type": "function", "function": FIND_ROOM}],
        ),
        Instruction(
            "s3",
            (
                u("I lost my card."),
                a("We can block it now. Is your address still the same?"),
                u("Yes."),
                a("Then a new card will be at the desk tomorrow; it costs 3 euros."),
            ),
        ),
    ],
    "alpaca.json": [
        Instruction(
            "52cad928cdf0",
            (
                u("Turn this note into a polite sentence.\n\nbook late 2 weeks, 4 euro"),
                a("Your book is two weeks overdue, so we kindly ask you for a fee of 4 euros."),
            ),
        ),
        Instruction(
            "96fc9086cb3f",
            (
                u("Name three rules of the reading room."),
                a("Speak quietly, keep drinks closed, and put books back on the trolley."),
            ),
        ),
        Instruction(
            "6e50b58a4c19",
            (
                s("You answer for the Alder Street Library."),
                u("When do you open on Saturdays?"),
                a("At 10 in the morning."),
                u("And on Sundays?"),
                a("On Sundays the library is closed."),
            ),
        ),
    ],
    "prompt_completion.csv": [
        Instruction("c1", (u("Subject of this request: my reading lamp flickers"), a("equipment"))),
        Instruction("c2", (u('Subject of this request: the app says "wrong PIN",\nbut it is right'), a("account"))),
        Instruction("c3", (u("Subject of this request: may I bring my class, 24 pupils, on 3 May?"), a("visit"))),
    ],
    "pairs.jsonl": [
        Comparison(
            "p1",
            (u("How many books may I borrow?"),),
            ("Up to ten at a time, for four weeks each.", "That depends."),
            two(1, 2),
        ),
        Comparison(
            "p2",
            (s("Be brief."), u("Do you have a printer?")),
            ("Yes, on the ground floor; a page costs 10 cents.", "Printing is a technique with a long history."),
            two(1, 2),
        ),
        Comparison(
            "p3",
            (u("Can I eat here?"), a("In the café, yes."), u("And in the reading room?")),
            ("No, only closed drinks are allowed there.", "Sure, go ahead!"),
            two(1, 2),
        ),
        Comparison("p4", (u("Is the lift working again?"),), ("Yes, since this morning.", LIFT_OLD), two(1, 2)),
    ],
    "hh.jsonl.gz": [
        Comparison(
            "c64a6c97cbb5",
            (u("Do I need a card to read here?"),),
            ("No, you need one only to borrow.", "Cards can be lost."),
            two(1, 2),
        ),
        Comparison(
            "0e6248b03aac",
            (u("I found a wallet."), a("Thank you! Where was it?"), u("Under a desk.")),
            ("Please hand it in at the front desk; we will look for its owner.", "Then it is yours."),
            two(1, 2),
        ),
        Comparison("985437657def", (u("How much is a late book?"),), ("Two euros a week.", "A lot."), two(1, 2)),
    ],
    "kto.jsonl": [
        Unpaired("k1", (u("Is there a quiet room?"),), "Yes, the glass room on the second floor.", True),
        Unpaired("k2", (u("Can I reserve it?"),), "Rooms are rooms.", False),
        Unpaired("k3", (u("Where is the copier?"),), "Next to the stairs on the ground floor.", True),
    ],
    "ranked.jsonl": [
        Comparison(
            "r1",
            (u("When is story time?"),),
            ("Wednesdays at 4 pm, in the children's room.", "On Wednesdays.", "Stories are nice.", "Ask someone."),
            (Ranking("ann", (1, 2, 3, 3)), Ranking("ben", (1, 2, 3, None))),
            "desk",
        ),
        Comparison(
            "r2",
            (u("Do you lend board games?"),),
            ("Games?", "Yes, two at a time, for two weeks.", "Yes."),
            two(3, 1, 2),
        ),
        Comparison(
            "r3",
            (u("Is there parking?"),),
            ("Cars park.", "There is a car park behind the building, free for two hours.", "Yes, behind the building."),
            two(3, 1, 2),
        ),
    ],
    "nectar.json": [
        Comparison(
            "n1",
            (u("Can I donate books?"),),
            ("Books are made of paper.", "Yes, clean books of the last ten years, at the desk.", "Yes, you can."),
            two(3, 1, 2),
        ),
        Comparison(
            "n2",
            (u("Who runs the café?"), a("A cooperative of volunteers."), u("May I join?")),
            ("Gladly: they meet on the first Monday of the month.", "Maybe."),
            two(1, 2),
        ),
        Comparison(
            "n3",
            (u("What is the Wi-Fi password?"),),
            ("I do not know.", "It is printed on your card.", "Passwords are secret."),
            two(2, 1, 2),
        ),
    ],
    "prompts.jsonl": [
        Prompt("q1", (u("Which floor is the map room on?"),), "the third"),
        Prompt(
            "q2",
            (s("Reply with one JSON object."), u("My card stopped working.")),
            {"subject": "account"},
            ["Cards are valid for two years."],
        ),
        Prompt("q3", (u("Hello"), a("Good morning! How can I help?"), u("I am looking for a book about bees."))),
    ],
    "text.jsonl": [
        Text("a33435152c23", "The Alder Street Library opened in 1931 in a former tram depot."),
        Text("t2", "Loans run for four weeks.\nThey can be renewed twice, unless the item is reserved."),
        Text("t3", "Der Lesesaal hat 84 Plätze, davon 12 mit Strom."),
    ],
}


def test_samples_cover_every_format_when_listed():
    assert {name.split(".")[0] for name in EXPECTED} == set(FORMATS)
    assert {p.name for p in SAMPLES.iterdir()} == set(EXPECTED) | {"README.md"}


@pytest.mark.parametrize("name", EXPECTED)
def test_format_reads_its_sample_exactly_when_the_keys_tell_it(name):
    rows = [row for _, row in read_rows(SAMPLES / name)]
    assert find(rows) == name.split(".")[0]
    assert [FORMATS[find(rows)].convert(row) for row in rows] == EXPECTED[name]


@pytest.mark.parametrize("name", FORMATS)
def test_readme_names_the_format_when_it_is_registered(name):
    assert f"| `{name}` | `{name}." in (SAMPLES / "README.md").read_text("utf-8")
