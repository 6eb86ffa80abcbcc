"""English sentences for experiments with sentence embeddings; written for this purpose."""

# groups of three: two that say nearly the same, and one on the same subject
EVALUATION = """
The train to the coast leaves at half past seven.
At seven thirty a train departs for the seaside.
Tickets for the train can be bought on board.
She planted tomatoes and basil on her balcony.
On her balcony she grows basil and tomatoes.
Too much rain ruined the tomato harvest this year.
The committee postponed its decision until next spring.
A decision was put off by the committee until spring.
Nobody on the committee had read the report.
A cat slept on the warm bonnet of the car.
The car's warm hood was where the cat took a nap.
Cats and dogs rarely share a basket.
Heavy snow closed the mountain pass overnight.
The pass over the mountains was shut in the night because of snow.
Skiers were glad about the fresh snow.
He repaired the old radio with parts from a toaster.
With pieces of a toaster he fixed the ancient radio.
The radio played a waltz from the thirties.
The bakery sells out of rye bread before nine.
By nine o'clock there is no rye bread left at the baker's.
Sourdough needs time, flour, water and patience.
Our flight was delayed for three hours by fog.
Fog kept our plane on the ground for three hours.
The airport has opened a second runway.
The child counted the stars until she fell asleep.
Counting stars, the little girl drifted off to sleep.
A new star was discovered near the edge of the galaxy.
Interest rates were raised for the second time this year.
For the second time in a year the bank increased its rates.
Many families can no longer afford their mortgage.
The violinist broke a string in the middle of the concert.
In mid-concert one of the violinist's strings snapped.
The orchestra tuned for a long time.
Wash the rice three times before you cook it.
Before cooking, rinse the rice thrice.
Fried rice tastes best with eggs from the day before.
The museum is free on the first Sunday of the month.
On every month's first Sunday nobody pays to enter the museum.
The museum bought a painting of a stormy sea.
The engine makes a rattling noise when it is cold.
When cold, the motor rattles.
An electric motor has very few moving parts.
They crossed the river on a raft made of barrels.
A raft of barrels carried them over the river.
The river rises every year when the snow melts.
The vaccine protects against the flu for about a year.
Protection from influenza by the shot lasts roughly twelve months.
The doctor told him to stay in bed for a week.
The goalkeeper saved two penalties in the final.
In the final match two penalty kicks were stopped by the keeper.
The stadium holds forty thousand spectators.
Bees find their way home by the position of the sun.
The sun's position guides bees back to the hive.
Honey never spoils if the jar is kept closed.
Please switch off the lights when you leave the office.
Turn the lights out, please, on leaving your office.
The office moves to the fourth floor in March.
The novel tells the story of a lighthouse keeper.
A keeper of a lighthouse is what the novel is about.
She returned the novel to the library a day late.
The printer has run out of black ink again.
Once more there is no black ink left in the printer.
Paper jams are always blamed on whoever printed last.
The volcano had been quiet for two hundred years.
For two centuries the volcano had not erupted.
Ash from the volcano covered the fields.
He learned Portuguese by listening to old songs.
Listening to songs of the past taught him Portuguese.
She teaches Latin and Greek at a small school.
The bridge was painted red to withstand the salt air.
Red paint on the bridge guards it from salty air.
The bridge swings a little in strong wind.
The recipe calls for two eggs and a cup of milk.
You need a cup of milk and a pair of eggs for this recipe.
Goats give less milk than cows.
The court ruled that the contract was void.
The contract is invalid, the judges decided.
Her lawyer asked for more time.
Wolves have returned to the forests of the north.
The northern forests are home to wolves once again.
A wolf howls to tell the pack where it is.
The password must contain a digit and a capital letter.
Passwords without a capital letter and a number are rejected.
Someone wrote the password on a yellow note.
The old clock in the hall is always five minutes fast.
That ancient hall clock runs five minutes ahead.
Clocks go back an hour at the end of October.
The divers found a chest of silver coins.
A box full of silver coins was discovered by divers.
Coral grows a few millimetres a year.
The software update deleted all my settings.
All of my preferences vanished with the program's update.
A good backup is one that has been restored.
He ran the marathon in under three hours.
It took him less than three hours to finish the marathon.
Running on sand is harder than running on grass.
Strong coffee keeps me awake until midnight.
If I drink strong coffee I cannot sleep before midnight.
Tea is grown in the hills above the town.
The senator apologised for his remarks on Thursday.
On Thursday the senator said sorry for what he had said.
The election will be held in November.
The glass broke when hot water was poured into it.
Pouring in hot water made the glass crack.
Windows are cleaned with vinegar and newspaper.
The telescope sees light that is older than the earth.
Light older than our planet reaches the telescope.
The moon was hidden behind thin clouds.
Her grandmother knitted him a scarf of green wool.
He got a green woollen scarf that her grandma had knitted.
Wool shrinks if it is washed too hot.
The factory will be powered by wind from next year.
Starting next year, wind energy will run the plant.
Three wind turbines stand on the hill behind the village.
"""

# on other subjects, of other lengths
CALIBRATION = """
The parcel was left with a neighbour on the second floor.
How do I change the language of my keyboard?
Penguins can stay under water for several minutes, and emperor penguins for more than twenty.
Yes.
The price of copper fell by four per cent in a week.
Nobody knew who had invited the magician to the funeral, least of all the family.
Whales sing.
Add the onions and let them brown slowly, stirring now and then, until they smell sweet.
The tenants complained about the broken lift.
In 1969 people walked on another world for the first time.
I am looking for a quiet room with a view of the garden, if possible for two nights.
A prime number has exactly two divisors.
The children built a hut of branches, leaves and an old blanket.
His shoes were wet and full of gravel.
The minister of transport opened the new tunnel yesterday in the presence of many guests.
Do not feed the ducks.
Marble is limestone that was changed by heat and pressure deep under the ground.
Our team lost by one point after extra time.
The actor forgot his lines and made up new ones, and the audience never noticed.
Where is the nearest pharmacy?
The dentist recommended a softer brush.
Rents have doubled within ten years in the centre of the capital.
A swarm of starlings darkened the sky above the reeds.
The function returns None if the list is empty.
You should have told me earlier!
The carpenter measured twice and cut once.
Large parts of the desert turned green after a single night of rain.
The exhibition shows letters, photographs and a torn coat.
Our dog is afraid of umbrellas, balloons and the postman.
Sales of bicycles rose sharply while those of cars stayed where they were.
The sea was as flat as a mirror.
She answered every question except the last.
Lightning struck the tower twice in one evening, but nobody was hurt.
Mix flour, sugar and butter until the dough holds together.
The patient was discharged from hospital on Monday morning.
This key opens neither the front door nor the cellar.
Many insects taste with their feet.
The pilot circled over the town until the fuel was used up, and landed without any trouble.
The theory predicts a particle that nobody has seen.
He wrote the letter by candlelight and burned it in the morning.
"""


def lines(text: str) -> list[str]:
    """The sentences of a text with one on each line."""
    return [line for line in text.splitlines() if line]
