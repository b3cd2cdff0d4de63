"Networks. Called, it lists them: `from grok_nb import models; models()`."
from grok_nb import callable_wing

callable_wing(__name__, "display.catalogue")
