"""Compiled inner loops (numba, cached on disk) that several rooms share; others are `_kernel*.py`
files beside their users.

Imported inside functions only: loading numba is slow, and `import infoflow` stays light. Nothing
compiles at import; each kernel has one specialisation.
"""
