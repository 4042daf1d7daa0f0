"""Words that have nothing to do with what is wanted: what an intervention should leave alone."""

from __future__ import annotations

# Instructions, each with the beginning of an answer as a person would write it.
INSTRUCTIONS = {
    "Explain how rain forms.": "Water from seas and lakes evaporates and rises with warm air. High up it cools and "
    "condenses around specks of dust into the droplets that make a cloud, and once these have grown heavy they fall.",
    "What should I pack for a weekend in the mountains?": "Take boots that are already worn in, a waterproof jacket, "
    "a warm layer for the evening, more socks than you expect to need, a map, a torch and something to eat on the way.",
    "Describe the room you would like to work in.": "It would have a tall window to the north, a wide wooden table "
    "with nothing on it, shelves along one wall, a chair for visitors, and a door that shuts out the noise.",
    "How do I boil an egg?": "Bring a pot of water to the boil, lower the egg in with a spoon and wait: six minutes "
    "leave the yolk soft, ten make it firm. Then hold it under cold water so that the shell comes off.",
    "Why is the sky blue?": "Sunlight holds all colours. The molecules of the air scatter short waves much more than "
    "long ones, so that blue light reaches us from every side while red passes straight through until the evening.",
    "Tell me about the history of the bicycle.": "The first machines had two wheels and no pedals, and their riders "
    "pushed themselves along with their feet. Pedals came in the 1860s, on the front wheel, and the chain twenty years "
    "later.",
    "What makes a good teacher?": "Someone who knows the subject well enough to put it simply, notices when a pupil "
    "has stopped following, asks more than he tells, and remembers what it was like not to understand.",
    "How does a refrigerator keep food cold?": "A liquid evaporates in the pipes behind the wall of the cabinet and "
    "takes heat from it. A pump then presses the vapour together, and at the back of the machine it gives that heat to "
    "the kitchen.",
}

# Questions, each with the beginning of an answer and the words that might follow, the right one first.
QUESTIONS = {
    "What is the capital of France?": ("The capital of France is", ("Paris", "London", "Madrid", "Berlin")),
    "What is the capital of Japan?": ("The capital of Japan is", ("Tokyo", "Beijing", "London", "Moscow")),
    "What is the capital of Italy?": ("The capital of Italy is", ("Rome", "Paris", "Athens", "Vienna")),
    "What is the capital of Germany?": ("The capital of Germany is", ("Berlin", "Paris", "London", "Rome")),
    "What is the capital of Russia?": ("The capital of Russia is", ("Moscow", "Berlin", "London", "Tokyo")),
    "In which continent is Egypt?": ("Egypt is a country in", ("Africa", "Asia", "Europe", "Australia")),
    "In which continent is Peru?": ("Peru is a country in", ("South", "Africa", "Asia", "Europe")),
    "In which continent is India?": ("India is a country in", ("Asia", "Africa", "Europe", "Australia")),
    "In which continent is Spain?": ("Spain is a country in", ("Europe", "Asia", "Africa", "Australia")),
    "How many legs does a spider have?": ("The number of legs of a spider is", ("eight", "six", "four", "two")),
    "How many legs does a dog have?": ("The number of legs of a dog is", ("four", "two", "six", "eight")),
    "How many days are in a week?": ("The number of days in a week is", ("seven", "five", "ten", "twelve")),
    "How many months are in a year?": ("The number of months in a year is", ("twelve", "seven", "ten", "four")),
    "What colour is grass?": ("Grass is", ("green", "blue", "red", "black")),
    "What colour is snow?": ("Snow is", ("white", "green", "black", "red")),
    "What colour is a ripe banana?": ("A ripe banana is", ("yellow", "blue", "green", "black")),
    "Which day comes after Monday?": ("After Monday comes", ("Tuesday", "Sunday", "Friday", "Thursday")),
    "Which month comes after January?": ("After January comes", ("February", "December", "June", "April")),
    "Which season comes after winter?": ("After winter comes", ("spring", "summer", "autumn", "winter")),
    "What is the opposite of hot?": ("The opposite of hot is", ("cold", "big", "fast", "dark")),
    "What is the opposite of up?": ("The opposite of up is", ("down", "left", "over", "fast")),
    "What is the opposite of big?": ("The opposite of big is", ("small", "hot", "tall", "old")),
    "What do bees make?": ("Bees make", ("honey", "milk", "bread", "wine")),
    "Which planet do we live on?": ("We live on the planet", ("Earth", "Mars", "Venus", "Jupiter")),
}
