"What a network is asked to learn. Called, it lists them: `from grok_nb import tasks; tasks()`."
from grok_nb import callable_wing

callable_wing(__name__, "display.catalogue")
