"The claims: named sweeps, rules, verdicts. Called, it gives the verdicts: `from grok_nb import claims; claims('C9')`."
import sys as _sys
from types import ModuleType as _Module


class _Claims(_Module):
    def __call__(self, only=None):
        from .claims import claims
        return claims(only)


# A package and a function of one name would hide each other, by the order in which they are imported.
_sys.modules[__name__].__class__ = _Claims
