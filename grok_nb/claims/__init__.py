"The claims: named sweeps, rules, verdicts. Called, it gives the verdicts: `from grok_nb import claims; claims('C9')`."
from grok_nb import callable_wing

callable_wing(__name__, "claims.claims")
