"What is done to a training. Called, it lists them: `from grok_nb import methods; methods()`."
from grok_nb import callable_wing

callable_wing(__name__, "display.catalogue")
