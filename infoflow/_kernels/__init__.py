"""Compiled inner loops (numba, cached on disk).

Imported inside functions only: loading numba is slow, and `import infoflow` stays light. Nothing
compiles at import; each kernel has one specialisation.
"""
