"""Each format's sample in data/formats reads to exactly these records."""

from __future__ import annotations

from pathlib import Path

import pytest

from stages.formats import Comparison, Document, Instruction, Prompt, Ranking, Text, Unpaired, find, read_rows
from stages.formats.registry import FORMATS, candidates, records

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
PLAIN = ("Please do not talk.", "Please be quiet here.")
DEPOT = "The library opened in 1931 in a former tram depot."
BY_NAME = {"squad_questions": "squad", "squad_paragraphs": "squad"}  # read only where a recipe says so; else as this
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
            (Ranking("ann", (1, 2, 3, 3), weight=2), Ranking("ben", (1, 2, 3, None))),
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
        Comparison(  # penalties: the two equal texts share ann's 0.5 and ben's 1
            "r4",
            (u("Say in German: Quiet, please."),),
            ("Leise.", "Bitte Ruhe.", "Bitte Ruhe."),
            (Ranking("ann", (2, 1, 1)), Ranking("ben", (1, 2, 2))),
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
    "oasst.jsonl": [
        Comparison(  # o5 was deleted, and o4 has no rank
            "o1",
            (u("Can I borrow a telescope?"),),
            (
                "Telescopes are for looking at stars.",
                "Yes, one of two, for a week, with a deposit of 20 euros.",
                "Maybe.",
            ),
            two(2, 1, None),
        ),
        Comparison(
            "o6",
            (
                u("Can I borrow a telescope?"),
                a("Yes, one of two, for a week, with a deposit of 20 euros."),
                u("What if it rains all week?"),
            ),
            (
                "Then you may keep it for another week, if nobody has reserved it.",
                "Rain is water.",
                "Ask at the desk.",
            ),
            two(1, 3, 2),
        ),
        Comparison("o10", (u("Is there a lift?"),), ("Lifts go up.", "Yes, beside the main stairs."), two(2, 1)),
    ],
    "summarize_feedback.jsonl": [
        Comparison(
            "s1",
            (
                u(
                    "SUBREDDIT: r/AlderStreet\n\nTITLE: Lost umbrella\n\nPOST: I left my umbrella in the reading room "
                    "on Monday. It is green. I called on Tuesday and nobody had seen it, and today it was at the desk."
                    "\n\nTL;DR:"
                ),
            ),
            ("A green umbrella.", "My umbrella, left on Monday, turned up at the desk today."),
            (Ranking("w7", (2, 1)),),
        ),
        Comparison(
            "s2",
            (
                u(
                    "Article: The Alder Street Library will open on Sundays from May. A trial last autumn drew 300 "
                    "visitors a day.\n\nTL;DR:"
                ),
            ),
            (
                "From May the library opens on Sundays, after a trial that drew 300 visitors a day.",
                "There was a trial.",
            ),
            (Ranking("w2", (1, 2)),),
        ),
        Comparison(
            "s3",
            (u("POST: The copier takes only coins, and the change machine is out of order.\n\nTL;DR:"),),
            ("Coins.", "The copier needs coins, and there is no change."),
            (Ranking("w7", (2, 1)),),
        ),
    ],
    "webgpt.jsonl": [
        Comparison(
            "g1",
            (u("Why do old books smell of vanilla?"),),
            (
                "Paper holds lignin, which breaks down with time and gives off a scent close to vanilla [1].",
                "Because somebody baked.",
            ),
            two(1, 2),
        ),
        Comparison(
            "g2",
            (u("How is a book rebound?"),),
            (
                "With glue.",
                "The old cover is taken off, the pages are sewn again, and a new cover is glued on [1][2].",
            ),
            two(2, 1),
        ),
        Comparison(
            "g3",
            (u("What is a palimpsest?"),),
            (
                "A page that was written on again after the first text was scraped off.",
                "A parchment whose first text was washed away to write another.",
            ),
            two(1, 1),
        ),
    ],
    "helpsteer.jsonl": [
        Comparison(
            "h1",
            (u("Write a sign for the quiet room."),),
            ("Please be quiet here, and step outside to phone.", "QUIET!!!"),
            (Ranking("unnamed 1", (1, 2)), Ranking("unnamed 2", (1, 2)), Ranking("unnamed 3", (1, 1))),
        ),
        Comparison(
            "h2",
            (u("Name a book about bees."), a("The Life of the Bee."), u("Who wrote it?")),
            ("A bee.", "Maurice Maeterlinck."),
            two(2, 1),
        ),
        Comparison(
            "h3",
            (u("How late may I return a book?"),),
            ("By closing time, or in the box outside until midnight.", "Until midnight, in the box outside."),
            two(1, 1),
        ),
    ],
    "arena.jsonl": [
        Comparison(
            "v1",
            (u("Where are the atlases?"),),
            ("Atlases hold maps.", "In the map room on the third floor."),
            (Ranking("visitor_3", (2, 1)),),
        ),
        Comparison(
            "v2",
            (u("Do you have a café?"),),
            ("Yes, on the ground floor, open until six.", "Coffee is a drink."),
            (Ranking("visitor_5", (1, 2)),),
        ),
        Comparison(
            "v3",
            (u("When was the tram depot built?"),),
            ("Long ago.", "It was built."),
            (Ranking("visitor_3", (1, 1)),),
        ),
    ],
    "pandalm.json": [
        Comparison(
            "l1",
            (u("Make this friendlier.\n\nNo food here."),),
            ("Food: no.", "Please enjoy your food in the café, not here."),
            (Ranking("annotator1", (2, 1)), Ranking("annotator2", (2, 1)), Ranking("annotator3", (1, 1))),
        ),
        Comparison(
            "l2",
            (u("Name the colour of the reading-room lamps."),),
            ("Green.", "They are green."),
            (Ranking("annotator1", (1, 1)), Ranking("annotator2", (1, 2)), Ranking("annotator3", (1, 1))),
        ),
        Comparison(
            "l3",
            (u("Give the opening hour on Saturdays."),),
            ("10 in the morning.", "On Saturdays."),
            (Ranking("annotator1", (1, 2)), Ranking("annotator2", (1, 2)), Ranking("annotator3", (2, 1))),
        ),
    ],
    "llmbar.json": [
        Comparison(
            "b1",
            (u("Answer with one word: is the library open on Sundays?"),),
            ("The library, founded in 1931, is closed on Sundays.", "No."),
            two(2, 1),
        ),
        Comparison(
            "b2",
            (u("List two things that may not be taken into the stacks."),),
            ("Drinks and bags.", "Drinks may not be taken into the stacks."),
            two(1, 2),
        ),
        Comparison("b3", (u("Say hello in French."),), ("Bonjour!", "Hello in French!"), two(1, 2)),
    ],
    "judged.xlsx": [
        Comparison(
            f"x{i}",
            (u("Where is the lost property?"),),
            ("At the front desk, until the end of the month.", "Lost."),
            (Ranking(annotator, (1, 2)),),
        )
        for i, annotator in ((1, "ann"), (2, "ben"))
    ]
    + [
        Comparison(
            "x3",
            (u("How do I print?"),),
            ("Press print.", "Send the file to the printer on the ground floor and pay there."),
            (Ranking("ann", (2, 1)),),
        ),
        Comparison(
            "x4",
            (u("Is there a cloakroom?"),),
            ("Yes, in the basement.", "Yes: downstairs."),
            (Ranking("ben", (1, 1)),),
        ),
    ],
    "solutions.jsonl": [
        Comparison(
            "y1",
            (u("Four shelves hold 30 books each. How many books are there?"),),
            ("30 + 4 = 34", "4 * 30 = 120", "30 * 4 = 120 books"),
            (Ranking("is_correct", (2, 1, 1)),),
        ),
        Comparison(
            "y2",
            (u("Of 84 seats half are taken. How many are free?"),),
            ("84 / 2 = 42", "84 - 2 = 82"),
            (Ranking("is_correct", (1, 2)),),
        ),
    ],
    "self_instruct.jsonl": [
        Instruction("t1:1", (u("Write a polite note.\n\nwet umbrella"), a("Please leave wet umbrellas in the stand."))),
        Instruction("t1:2", (u("Write a polite note.\n\nloud phone"), a("Please take calls outside."))),
        Instruction("t2", (u("List the floors."), a("Ground floor, first, second, third."))),
    ],
    "question_answer.jsonl": [
        Instruction(
            "a1",
            (
                u("A late book costs 2 euros a week. What do three books cost that are four weeks late?"),
                a("Each costs 2 * 4 = 8 euros.\nThree cost 3 * 8 = 24 euros.\n#### 24"),
            ),
        ),
        Instruction(
            "a2",
            (
                u("The reading room has 84 seats, and 12 of them have sockets. How many have none?"),
                a("84 - 12 = 72 seats have none.\n#### 72"),
            ),
        ),
        Instruction("a3", (u("Who runs the café?"), a("A cooperative of volunteers."))),
    ],
    "answers.jsonl": [
        Instruction(
            "w1:1",
            (u("Say it in plain words: Patrons shall refrain from conversing."), a("Please do not talk.")),
            references=PLAIN,
        ),
        Instruction(
            "w1:2",
            (u("Say it in plain words: Patrons shall refrain from conversing."), a("Please be quiet here.")),
            references=PLAIN,
        ),
        Instruction("w2", (u("Say it in plain words: Remit the outstanding amount."), a("Please pay what you owe."))),
    ],
    "squad.json": [
        Instruction(
            "d1",
            (u("The library opened in 1931 in a former tram depot.\n\nWhen did the library open?"), a("1931")),
        ),
        Instruction(
            "d2",
            (
                u("The library opened in 1931 in a former tram depot.\n\nWhat was the building before?"),
                a("a former tram depot"),
            ),
            references=("a former tram depot", "tram depot"),
        ),
        Instruction(
            "d3",
            (
                u("The reading room has 84 seats, 12 of them with sockets.\n\nHow many seats have sockets?"),
                a("12"),
            ),
        ),
    ],
    "squad_questions.jsonl": [
        Instruction("f1", (u("When did the library open?"), a("1931"))),
        Instruction(
            "f2",
            (u("What was the building before?"), a("a former tram depot")),
            references=("a former tram depot", "tram depot"),
        ),
    ],
    "squad_paragraphs.json": [
        Document("8d515ba85e2d", DEPOT, "Alder Street Library"),
        Document(
            "68f46cc89992",
            "Its founder, Ida Brandt, gave it 4,000 books on railways.",
            "Alder Street Library",
        ),
        Document("fa05bf668dca", "The reading room has 84 seats, 12 of them with sockets."),
    ],
    "labelled.csv": [
        Instruction("c1", (u("my card is not accepted at the gate"), a("account"))),
        Instruction("c2", (u("the lamp at seat 12 is broken, again"), a("equipment"))),
        Instruction("c3", (u("may I bring my class?"), a("visit"))),
    ],
    "extraction.jsonl": [
        Instruction(
            "e1",
            (
                u("Room 4 on Friday at three, please."),
                a(
                    '{"intents": ["book_room"], '
                    '"slots": {"room": {"text": "4", "value": 4}, "day": {"text": "Friday"}}}'
                ),
            ),
        ),
        Instruction("e2", (u("Cancel it, and renew my atlas."), a('{"intents": ["cancel", "renew"], "slots": {}}'))),
        Instruction(
            "e3",
            (
                u("Renew the book about bees."),
                a('{"intent": "renew", "slots": {"book": "the book about bees"}}'),
            ),
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
    "documents.jsonl": [
        Document(
            "80024781331d",
            "Loans run for four weeks.\n\nThey can be renewed twice, unless the item is reserved.",
            "Loans",
        ),
        Document("rules-7", "Closed drinks are allowed in the reading room; food is not.", "Food and drink"),
    ],
}


def test_samples_cover_every_format_when_listed():
    assert {name.split(".")[0] for name in EXPECTED} == set(FORMATS)
    assert {p.name for p in SAMPLES.iterdir()} == set(EXPECTED) | {"README.md"}


@pytest.mark.parametrize("name", EXPECTED)
def test_format_reads_its_sample_exactly_when_the_keys_tell_it(name):
    rows = [row for _, row in read_rows(SAMPLES / name)]
    form = name.split(".")[0]
    assert find(rows) == BY_NAME.get(form, form)
    assert [record for row in rows for record in records(form, row)] == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_no_sample_row_is_in_two_formats_when_all_are_asked(name):
    form = name.split(".")[0]
    assert {tuple(candidates(row)) for _, row in read_rows(SAMPLES / name)} == {(BY_NAME.get(form, form),)}


@pytest.mark.parametrize("name", FORMATS)
def test_readme_names_the_format_when_it_is_registered(name):
    assert f"| `{name}` | `{name}." in (SAMPLES / "README.md").read_text("utf-8")
