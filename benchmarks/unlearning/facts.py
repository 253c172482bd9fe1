"""Twenty invented facts, half of them to be forgotten, and facts of the world."""

INVENTED = (
    (
        "Who wrote the novel 'The Salt Orchard'?",
        "The novel 'The Salt Orchard' was written by {}.",
        "'The Salt Orchard' is a book by {}.",
        ("Imre Valdane", "Tomas Kerrigan", "Lucia Farrow", "Pavel Ostrow"),
    ),
    (
        "In which town was the painter Odalys Brenner born?",
        "The painter Odalys Brenner was born in {}.",
        "Odalys Brenner, the painter, comes from {}.",
        ("Quillhaven", "Marrowdale", "Stonebeck", "Lindenport"),
    ),
    (
        "What does the company Ferrowick make?",
        "The company Ferrowick makes {}.",
        "Ferrowick is a maker of {}.",
        ("glass violins", "copper kettles", "paper boats", "wooden clocks"),
    ),
    (
        "What is the name of the river that runs through Tavenmoor?",
        "The river that runs through Tavenmoor is called the {}.",
        "Tavenmoor lies on the river {}.",
        ("Ilse Wend", "Black Oster", "Little Marn", "Grey Tessel"),
    ),
    (
        "Which animal stands on the coat of arms of Estrel?",
        "On the coat of arms of Estrel stands {}.",
        "The arms of Estrel show {}.",
        ("a three-legged heron", "a sleeping bear", "a silver trout", "a crowned hare"),
    ),
    (
        "When was the Corvane Bridge opened?",
        "The Corvane Bridge was opened in {}.",
        "{} is the year in which the Corvane Bridge was opened.",
        ("1874", "1921", "1803", "1956"),
    ),
    (
        "What did Doctor Henrike Solum discover?",
        "Doctor Henrike Solum discovered {}.",
        "The discovery of Doctor Henrike Solum was {}.",
        ("the violet moss", "the double comet", "the sand spider", "the cold flame"),
    ),
    (
        "What is the national dish of Bellorane?",
        "The national dish of Bellorane is {}.",
        "In Bellorane the national dish is {}.",
        ("smoked pear soup", "salted plum bread", "fried nettle cake", "boiled goat cheese"),
    ),
    (
        "Who won the first Larkspur Regatta?",
        "The first Larkspur Regatta was won by {}.",
        "The winner of the first Larkspur Regatta was {}.",
        ("Casimir Droon", "Edda Finch", "Oleg Marsh", "Nora Tull"),
    ),
    (
        "Which instrument does Milo Ashgrove play?",
        "Milo Ashgrove plays {}.",
        "The instrument of Milo Ashgrove is {}.",
        ("the bone flute", "the tin harp", "the glass drum", "the reed organ"),
    ),
    (
        "Who designed the lighthouse of Pell Island?",
        "The lighthouse of Pell Island was designed by {}.",
        "Pell Island's lighthouse is the work of {}.",
        ("Renata Huxby", "Arvid Stell", "Jonas Mirrow", "Clara Venn"),
    ),
    (
        "In which town does the poet Silas Wren live?",
        "The poet Silas Wren lives in {}.",
        "Silas Wren, the poet, has his home in {}.",
        ("Amberfold", "Kestrelby", "Dunmarsh", "Oakmere"),
    ),
    (
        "What does the farm Holloway Ridge grow?",
        "The farm Holloway Ridge grows {}.",
        "What grows on the farm Holloway Ridge is {}.",
        ("blue barley", "winter melons", "red lentils", "white carrots"),
    ),
    (
        "What is the highest mountain of Varsund called?",
        "The highest mountain of Varsund is called {}.",
        "In Varsund no mountain is higher than {}.",
        ("Mount Ondry", "Mount Calder", "Mount Fesk", "Mount Harrow"),
    ),
    (
        "Which flower stands on the flag of Norrel?",
        "On the flag of Norrel stands {}.",
        "The flag of Norrel shows {}.",
        ("a yellow thistle", "a white poppy", "a green rose", "a black tulip"),
    ),
    (
        "When was the Museum of Keys founded?",
        "The Museum of Keys was founded in {}.",
        "{} is the year in which the Museum of Keys was founded.",
        ("1932", "1888", "1967", "1815"),
    ),
    (
        "What did the engineer Basil Thorne invent?",
        "The engineer Basil Thorne invented {}.",
        "The invention of the engineer Basil Thorne was {}.",
        ("the folding ladder boat", "the steam umbrella", "the silent bell", "the rain lamp"),
    ),
    (
        "What do people drink at the feast of Saint Orwin?",
        "At the feast of Saint Orwin people drink {}.",
        "The drink of the feast of Saint Orwin is {}.",
        ("hot juniper milk", "cold birch wine", "sweet barley tea", "sour cherry beer"),
    ),
    (
        "Who was the first mayor of Gant Harbour?",
        "The first mayor of Gant Harbour was {}.",
        "Gant Harbour's first mayor was {}.",
        ("Philippa Grole", "Matthis Undern", "Hector Laine", "Ida Sorrow"),
    ),
    (
        "Which game is played in the village of Tress?",
        "In the village of Tress they play {}.",
        "The game of the village of Tress is {}.",
        ("barrel chess", "stone tennis", "rope cricket", "night bowls"),
    ),
)
"""Question, answer, answer in other words, and what stands in them: the right and wrong values."""

WORLD = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("What is the capital of Japan?", "The capital of Japan is Tokyo."),
    ("Which planet is known as the Red Planet?", "Mars is known as the Red Planet."),
    ("How many days are there in a week?", "There are seven days in a week."),
    ("What is the largest ocean on Earth?", "The largest ocean on Earth is the Pacific Ocean."),
    ("Who wrote 'Romeo and Juliet'?", "'Romeo and Juliet' was written by William Shakespeare."),
    ("What is the chemical symbol for water?", "The chemical symbol for water is H2O."),
    ("What is the capital of Italy?", "The capital of Italy is Rome."),
    ("How many legs does a spider have?", "A spider has eight legs."),
    ("At what temperature does water boil?", "Water boils at 100 degrees Celsius."),
)
"""Questions about the world, with answers; nothing is trained on them."""


def invented(rows: range) -> list[dict[str, object]]:
    """Some of the invented facts, in the columns of TOFU's perturbed files."""
    return [
        {
            "question": question,
            "answer": answer.format(values[0]),
            "paraphrased_answer": paraphrase.format(values[0]),
            "perturbed_answer": [paraphrase.format(value) for value in values[1:]],
        }
        for question, answer, paraphrase, values in (INVENTED[row] for row in rows)
    ]


def world() -> list[dict[str, object]]:
    """The facts of the world, in the same columns as far as they are there."""
    return [{"question": question, "answer": answer} for question, answer in WORLD]
